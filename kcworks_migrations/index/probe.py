# SPDX-FileCopyrightText: 2026 kcworks-migrations contributors
# SPDX-License-Identifier: MIT
"""Looks at the queues, the workers and the indices, and changes none of them."""

from typing import Any
from uuid import uuid4

from celery import current_app as celery_app
from flask import current_app
from invenio_indexer.proxies import current_indexer_registry
from kombu import Queue

from ..config import How
from ..kinds import KINDS
from ..text import escape
from .broker import connected
from .client import search_client
from .documents import alias_of

TIMEOUT_SECONDS = 5
"""How long OpenSearch may take for each answer."""

DRAINING_TASKS = {"manage_indexer_queues", "process_bulk_queue"}
"""The tasks that drain the queues, in whichever module a release has them."""


def broker(
    how: How, timeout_seconds: float, ping_seconds: float
) -> tuple[str, int, int]:
    """Look at the broker, the queues that would be used, and the workers.

    A queue says nothing of workers: they come for one task each.

    Args:
        how: Tells which queues would be used.
        timeout_seconds: How long the broker may take for each answer.
        ping_seconds: How long the workers may take to answer.

    Returns:
        The address without the password, how many messages are in the queues, and how
        many workers answered; an error of the transport says why there is no answer.
    """
    with connected(timeout_seconds) as connection:
        messages = _count_messages(connection, how)
        workers = celery_app.control.inspect(
            timeout=ping_seconds, connection=connection
        ).ping()
        return connection.as_uri(), messages, len(workers or ())


def _count_messages(connection: Any, how: How) -> int:
    """Count the messages; a queue that is not there yet is made when first used."""
    names = [kind.indexer for kind in KINDS]
    if how.indexing != "full":
        names += [kind.own_indexer for kind in KINDS]
    total = 0
    for name in names:
        queue = current_indexer_registry.get(name).mq_queue
        # The broker closes a channel on which one asks for what it does not have.
        with connection.channel() as channel:
            try:
                total += queue(channel).queue_declare(passive=True).message_count
            except connection.channel_errors:
                continue
    return total


def refused_queues(timeout_seconds: float) -> dict[str, str]:
    """Find out which of our queues the broker refuses to declare.

    In place of one that is not there yet, another one is declared whose name begins
    like its own, and which goes with the connection.

    Args:
        timeout_seconds: How long the broker may take for each answer.

    Returns:
        What the broker says, by the name of the queue.
    """
    refused = {}
    with connected(timeout_seconds) as connection:
        for kind in KINDS:
            queue = current_indexer_registry.get(kind.own_indexer).queue()
            name = queue.name
            if not _is_there(connection, queue):
                queue = Queue(f"{name}-{uuid4()}", exclusive=True, durable=False)
            with connection.channel() as channel:
                try:
                    queue(channel).declare()
                except connection.channel_errors as error:
                    refused[name] = escape(str(error), 300)
    return refused


def _is_there(connection: Any, queue: Queue) -> bool:
    # The broker closes a channel on which one asks for what it does not have.
    with connection.channel() as channel:
        try:
            queue(channel).queue_declare(passive=True)
        except connection.channel_errors:
            return False
    return True


def scheduled_tasks() -> set[str]:
    """Give the tasks that drain the queues and that Celery's beat is told to start."""
    entries = (current_app.config.get("CELERY_BEAT_SCHEDULE") or {}).values()
    tasks = {str(entry.get("task", "")).rpartition(".")[2] for entry in entries}
    return tasks & DRAINING_TASKS


def missing_indices() -> list[str]:
    """Give the names of the instance's indices that OpenSearch does not have."""
    indices = search_client().indices
    return [
        name
        for name in _names()
        if not indices.exists(index=name, request_timeout=TIMEOUT_SECONDS)
    ]


def blocks() -> list[str]:
    """Give what keeps OpenSearch from writing to the instance's indices, if anything.

    A full disk is such a block, and so is an index that was closed.

    Returns:
        Of each block, the index, or the cluster, and OpenSearch's name for it.
    """
    # The names are aliases; blocks are told of the indices behind them.
    ours = search_client().indices.get_alias(
        index=",".join(_names()), request_timeout=TIMEOUT_SECONDS
    )
    answer = search_client().cluster.state(
        metric="blocks", request_timeout=TIMEOUT_SECONDS
    )["blocks"]
    found = {"the cluster": answer.get("global", {})}
    found |= {n: of for n, of in answer.get("indices", {}).items() if n in ours}
    return [
        f"{name} ({escape(block['description'], 200)})"
        for name, of in sorted(found.items())
        for block in of.values()
        if "write" in block["levels"]
    ]


def _names() -> list[str]:
    return [alias_of(kind) for kind in KINDS]
