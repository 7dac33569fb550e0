# SPDX-FileCopyrightText: 2026 kcworks-migrations contributors
# SPDX-License-Identifier: MIT
"""Wait until Celery workers have emptied the indexing queues, showing how far they are.

``drain.py worker`` waits for a worker, ``drain.py wait`` until nothing is queued or at
work, and ``drain.py purge`` throws away what is queued.
"""

import os
import sys
import time

import mark
from celery import Celery
from kombu import Connection
from kombu.exceptions import ChannelError

QUEUES = {
    "records": "records",
    "drafts": "records-drafts",
    "communities": "communities",
    # A message has many ids.
    "dates of records": "kcworks-created-dates-records",
    "dates of drafts": "kcworks-created-dates-records-drafts",
    "dates of communities": "kcworks-created-dates-communities",
    "tasks": "celery",
}
PATIENCE_SECONDS = 180
PAUSE_SECONDS = 2
BROKER = os.environ["INVENIO_CELERY_BROKER_URL"]


def queued(connection: Connection) -> dict[str, int]:
    """Return how many messages wait in each queue; one that is not there has none."""
    counts = {}
    for name, queue in QUEUES.items():
        channel = connection.channel()  # an error closes it
        try:
            _, counts[name], _ = channel.queue_declare(queue, passive=True)
            channel.close()
        except ChannelError:
            counts[name] = 0
    return counts


def purge(connection: Connection) -> None:
    """Throw away what is queued."""
    for name, count in queued(connection).items():
        if count:
            connection.channel().queue_purge(QUEUES[name])


def tasks_at_work() -> int | None:
    """Return how many tasks the worker has taken, or none when no worker answers."""
    app = Celery(broker=BROKER, accept_content=["json", "msgpack"])
    inspect = app.control.inspect(timeout=PAUSE_SECONDS, limit=1)
    # Reserved first: what is begun in between is counted twice, not overlooked.
    answers = [inspect.reserved(), inspect.active()]
    if None in answers:
        return None
    return sum(len(tasks) for answer in answers for tasks in answer.values())


def wait_for_worker() -> None:
    """Wait until a worker answers."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while tasks_at_work() is None:
        if time.monotonic() > deadline:
            sys.exit("error: the Celery worker does not answer, see its log")


def wait(connection: Connection) -> None:
    """Wait until the queues are empty and no task is at work.

    A message leaves its queue before the document is written, so the tasks count, too.
    """
    deadline = time.monotonic() + PATIENCE_SECONDS
    while True:
        counts = queued(connection)
        at_work = tasks_at_work()
        text = ", ".join(f"{count} {name}" for name, count in counts.items() if count)
        busy = f", {at_work} tasks at work" if at_work else ""
        print(f"    waiting in the queues: {text or 'nothing'}{busy}", flush=True)
        if not text and at_work == 0:
            return
        if time.monotonic() > deadline:
            sys.exit("error: the queues are not drained, see the log of the worker")
        time.sleep(PAUSE_SECONDS)


def main() -> None:
    """Run one command."""
    if sys.argv[1] == "worker":
        return wait_for_worker()
    mark.require()
    with Connection(BROKER) as connection:
        {"wait": wait, "purge": purge}[sys.argv[1]](connection)


if __name__ == "__main__":
    main()
