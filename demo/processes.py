# SPDX-FileCopyrightText: 2026 kcworks-migrations contributors
# SPDX-License-Identifier: MIT
"""Start servers that outlive the script, and end exactly those again.

A process is remembered as ``[pid, start time]``: a pid alone may belong to a stranger
after the next boot.
"""

import os
import pwd
import signal
import subprocess
import time
from pathlib import Path

from common import Failure


def _stat(pid: int) -> list[str]:
    """Return the fields of ``/proc/PID/stat`` after the command; empty when gone."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return []
    fields = text.rpartition(")")[2].split()
    # While a thread of a zombie is still ending, its files and ports are not free.
    is_gone = fields[0] == "Z" and int(fields[17]) <= 1
    return [] if is_gone else fields


def identify(pid: int) -> list[int]:
    """Return what tells this process from a later one with the same pid."""
    fields = _stat(pid)
    return [pid, int(fields[19]) if fields else 0]


def exists(pid: int) -> bool:
    """Return whether any process with this pid runs; a zombie does not."""
    return bool(_stat(pid))


def is_alive(process: list[int]) -> bool:
    """Return whether a remembered process still runs."""
    return exists(process[0]) and identify(process[0]) == process


def is_running(entry: dict) -> bool:
    """Return whether all processes of a service of our own run."""
    pids = entry.get("pids", [])
    return bool(pids) and all(is_alive(process) for process in pids)


def descendants(pid: int) -> list[int]:
    """Return the children of a process, their children and so on."""
    parents: dict[int, list[int]] = {}
    for folder in Path("/proc").glob("[0-9]*"):
        if fields := _stat(int(folder.name)):
            parents.setdefault(int(fields[1]), []).append(int(folder.name))
    found: list[int] = []
    unseen = [pid]
    while unseen:
        unseen += (children := parents.get(unseen.pop(), []))
        found += children
    return found


def rights(user: str | None) -> dict:
    """Return the arguments with which subprocess starts a program as another user."""
    if not user:
        return {}
    return {"user": user, "group": pwd.getpwnam(user).pw_gid, "extra_groups": []}


def spawn(
    command: list[str], log: Path, user: str | None, environment: dict[str, str]
) -> subprocess.Popen:
    """Start a server in a session of its own.

    Args:
        command: The program and its arguments.
        log: Gets what the program prints.
        user: Whom to run it as, when this is root.
        environment: Variables to set for it.

    Returns:
        The process.
    """
    with log.open("a") as output:
        return subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            cwd=log.parent,
            env=os.environ | environment,
            start_new_session=True,
            **rights(user),
        )


def end(process: list[int], stop_signal: int, patience_seconds: float = 60) -> None:
    """End one remembered process with what it started, and wait until it is gone.

    Args:
        process: The pid and start time.
        stop_signal: How it is asked; SIGKILL also goes to its descendants.
        patience_seconds: How long to wait.

    Raises:
        Failure: It still runs.
    """
    if not is_alive(process):
        return
    family = [process, *map(identify, descendants(process[0]))]
    for member in family if stop_signal == signal.SIGKILL else family[:1]:
        if is_alive(member):
            os.kill(member[0], stop_signal)
    deadline = time.monotonic() + patience_seconds
    while any(is_alive(member) for member in family):
        if time.monotonic() > deadline:
            raise Failure(f"process {process[0]} does not end")
        time.sleep(0.1)
