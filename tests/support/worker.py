# SPDX-FileCopyrightText: 2026 kcworks-migrations contributors
# SPDX-License-Identifier: MIT
"""A real Celery worker of the instance, in a process that a test may kill."""

import ctypes
import os
import signal
import subprocess
import sys
import time

import processes
from celery import current_app as celery_app

PATIENCE_SECONDS = 120
QUEUE = "celery"
BEAT_TASK = "invenio_records_resources.tasks.manage_indexer_queues"
SCHEDULE = {"indexer": {"task": BEAT_TASK, "schedule": 1}}
"""That of the application, with a second instead of ten."""
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


def forget_tasks() -> None:
    """Throw away the tasks that wait for a worker."""
    with celery_app.connection_for_write() as connection:
        channel = connection.default_channel
        channel.queue_declare(QUEUE, durable=True, auto_delete=False)
        channel.queue_purge(QUEUE)


def result_of(task_id: str):
    """Wait for the end of a task; give what is known of it."""
    result = celery_app.AsyncResult(task_id)
    wait_until(result.ready, f"{task_id} has ended")
    return result


def end_with_parent() -> None:
    """Let the kernel end this process, with its children, when its parent is gone."""
    pr_set_pdeathsig = 1
    ctypes.CDLL(None).prctl(pr_set_pdeathsig, signal.SIGQUIT)


class Worker:
    """A worker with one child, which does the tasks."""

    def __init__(self, log, *options: str, **environment: str) -> None:
        self._log = log
        self._command = [*COMMAND, *options]
        self._environment = environment
        self._process: subprocess.Popen | None = None

    @classmethod
    def with_beat(cls, log, *options: str, **environment: str) -> "Worker":
        """Make one that beat tells every second to drain the queues."""
        options += ("--beat", "--schedule", str(log.with_suffix(".schedule")))
        environment["INVENIO_CELERY_BEAT_SCHEDULE"] = repr(SCHEDULE)
        return cls(log, *options, **environment)

    def start(self) -> None:
        """Start it, or end its rest; it takes messages as soon as it can."""
        if self._process:
            assert self._tell("add_consumer", queue=QUEUE), "it answers"
            return
        with self._log.open("a") as output:
            self._process = subprocess.Popen(
                self._command,
                stdout=output,
                stderr=output,
                env=os.environ | self._environment,
                start_new_session=True,
                preexec_fn=end_with_parent,
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

    def _tell(self, command: str, **arguments):
        """Tell the one worker that there is to do something; give its answer."""
        answers = celery_app.control.broadcast(
            command, arguments=arguments, reply=True, timeout=5, limit=1
        )
        return [answer for one in answers for answer in one.values()]

    def rest(self) -> None:
        """Let it take no message until it is started again; kill it if it has some."""
        if self._process and (
            not self._tell("cancel_consumer", queue=QUEUE)
            or self._tell("active") != [[]]
            or self._tell("reserved") != [[]]
        ):
            self.kill()

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
