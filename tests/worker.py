# SPDX-FileCopyrightText: 2026 kcworks-migrations contributors
# SPDX-License-Identifier: MIT
"""A real Celery worker of the instance, in a process that a test may kill."""

import os
import signal
import subprocess
import sys
import time

import processes
from celery import current_app as celery_app

PATIENCE_SECONDS = 120
QUEUE = "celery"
COMMAND = [
    *(sys.executable, "-m", "celery", "-A", "invenio_app.celery", "worker"),
    *("--loglevel", "INFO", "--concurrency", "1", "-I", "kcworks_migrations.tasks"),
]


def wait_until(condition, what: str):
    """Ask again and again until a condition holds; give what it gave."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not (found := condition()):
        assert time.monotonic() < deadline, f"waited too long until {what}"
        time.sleep(0.02)
    return found


def result_of(task_id: str):
    """Wait for the end of a task; give what is known of it."""
    result = celery_app.AsyncResult(task_id)
    wait_until(result.ready, f"{task_id} has ended")
    return result


class Worker:
    """A worker with one child, which does the tasks."""

    def __init__(self, log) -> None:
        self._log = log
        self._process: subprocess.Popen | None = None

    def start(self) -> None:
        """Start it; it takes messages as soon as it can."""
        with self._log.open("a") as output:
            self._process = subprocess.Popen(
                COMMAND, stdout=output, stderr=output, start_new_session=True
            )

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def child(self) -> int:
        """The process that does the tasks."""
        (child,) = processes.descendants(self.pid)
        return child

    @property
    def log(self) -> str:
        return self._log.read_text(errors="replace")

    def kill_child(self, number: int = signal.SIGKILL) -> None:
        """Kill the process that does the task; the worker stays."""
        os.kill(self.child, number)

    def kill(self) -> None:
        """Kill it with all its processes, at once."""
        if self._process is None:
            return
        family = [self.pid, *processes.descendants(self.pid)]
        for pid in family:
            if processes.exists(pid):
                os.kill(pid, signal.SIGKILL)
        self._process.wait()
        self._process = None

    def stop(self, number: int = signal.SIGTERM) -> None:
        """Ask it to end, and wait until it has."""
        os.kill(self.pid, number)
        self._process.wait(PATIENCE_SECONDS)
        self._process = None
