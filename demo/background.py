# SPDX-FileCopyrightText: 2026 kcworks-migrations contributors
# SPDX-License-Identifier: MIT
"""Start and end a process of the demo that outlives the shell.

``background.py FOLDER start NAME COMMAND...`` starts it unless it runs (its output goes
to FOLDER/NAME.log), ``status NAME`` tells by the exit code whether it runs, and
``stop NAME`` ends it.
"""

import json
import signal
import sys
from pathlib import Path

import processes
from common import Failure

PATIENCE_SECONDS = 20


def is_running(state: Path) -> bool:
    """Return whether the remembered process runs."""
    return state.exists() and processes.is_alive(json.loads(state.read_text()))


def start(state: Path, command: list[str]) -> None:
    """Start a command unless it runs."""
    if not is_running(state):
        log = state.with_suffix(".log")
        process = processes.spawn(command, log, None, {})
        state.write_text(json.dumps(processes.identify(process.pid)))


def stop(state: Path) -> None:
    """End what `start` started, and nothing else."""
    if state.exists():
        process = json.loads(state.read_text())
        try:
            processes.end(process, signal.SIGTERM, PATIENCE_SECONDS)
        except Failure:
            processes.end(process, signal.SIGKILL)
        state.unlink()


def main() -> None:
    """Run one command."""
    folder, verb, name, *command = sys.argv[1:]
    state = Path(folder) / f"{name}.json"
    match verb:
        case "start":
            start(state, command)
        case "stop":
            stop(state)
        case "status":
            sys.exit(not is_running(state))


if __name__ == "__main__":
    main()
