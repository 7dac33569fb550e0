# SPDX-FileCopyrightText: 2026 kcworks-migrations contributors
# SPDX-License-Identifier: MIT
"""Would the broker take what is queued for the index, and would somebody drain it?"""

from collections.abc import Iterable
from typing import Any

from celery import current_app as celery_app
from flask import current_app
from invenio_indexer.proxies import current_indexer_registry

from ..broker import connected
from ..config import Options
from ..names import CREATED_ONLY_OF_KIND, INDEXER_OF_KIND
from ..rules import escape
from .line import Line, fine, stop, warning

BROKER_SECONDS = 3
"""How long the broker may take to answer."""

PING_SECONDS = 2
"""How long the workers may take to answer."""

BACKLOG_MESSAGES = 1000
"""From how many waiting messages on the workers seem to fall behind."""

TASKS = ("manage_indexer_queues", "process_bulk_queue")
"""The tasks that drain the queues, in whichever module a release has them."""


def broker(options: Options) -> Iterable[Line]:
    """Look at the broker, the queues that would be used, and the workers.

    Nothing is declared but the answer queue of the ping, which goes with it.
    """
    try:
        with connected(BROKER_SECONDS) as connection:
            address = connection.as_uri()  # without the password
            lines = [
                fine("broker", f"{escape(address)} answers."),
                _backlog(connection, options),
                _workers(connection),
            ]
    except Exception as error:  # each transport has errors of its own
        said = escape(str(error), 200) or type(error).__name__
        yield stop(
            "broker",
            f"The broker does not answer: {said}.",
            "Start it, or correct the address. Without it the dates become right, and"
            " the index only after `invenio kcworks-created-dates reindex`.",
        )
        return
    yield from lines


def _backlog(connection: Any, options: Options) -> Line:
    """Count what waits; a queue that is not there yet is made when first used."""
    kinds = [INDEXER_OF_KIND]
    if options.indexing != "full":
        kinds.append(CREATED_ONLY_OF_KIND)
    total, absent = 0, 0
    for indexer_id in (name for kind in kinds for name in kind.values()):
        queue = current_indexer_registry.get(indexer_id).mq_queue
        # The broker closes a channel on which one asks for what it does not have.
        with connection.channel() as channel:
            try:
                found = queue(channel).queue_declare(passive=True)
            except connection.channel_errors:
                absent += 1
            else:
                total += found.message_count
    if total > BACKLOG_MESSAGES:
        return warning(
            "queues",
            f"{total:,} messages wait in the indexing queues already.",
            "See that the workers drain them: what the upgrade queues comes after.",
        )
    made = f"; {absent} of them not made yet" if absent else ""
    return fine("queues", f"{total:,} messages wait in the indexing queues{made}.")


def _workers(connection: Any) -> Line:
    """Ask the workers; a queue's consumers say nothing, they come for one task each."""
    inspect = celery_app.control.inspect(timeout=PING_SECONDS, connection=connection)
    count = len(inspect.ping() or ())
    if not count:
        return warning(
            "workers",
            f"No Celery worker answered within {PING_SECONDS} s.",
            "Start the workers: without one the queues fill and nothing is indexed.",
        )
    return fine("workers", f"{count} Celery worker{'s' * (count > 1)} answered.")


def schedule(options: Options) -> Iterable[Line]:
    """Look whether Celery's beat is told to have the queues drained."""
    entries = (current_app.config.get("CELERY_BEAT_SCHEDULE") or {}).values()
    tasks = {str(entry.get("task", "")).rpartition(".")[2] for entry in entries}
    found = [task for task in TASKS if task in tasks]
    if found:
        fact = f"Beat has {' and '.join(found)}; whether beat runs can't be seen."
        yield fine("schedule", fact)
    else:
        yield warning(
            "schedule",
            "CELERY_BEAT_SCHEDULE has no task that drains the indexing queues.",
            "Add invenio_records_resources.tasks.manage_indexer_queues to it.",
        )
