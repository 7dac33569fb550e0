# SPDX-FileCopyrightText: 2026 kcworks-migrations contributors
# SPDX-License-Identifier: MIT
"""Hands what became stale to invenio-indexer's bulk queues: the outbox's other end.

Backup rows that are not marked as queued are the outbox. They are marked after the
broker has confirmed the messages, so a crash in between sends some ids twice, which
is harmless, and loses none. While OpenSearch is sick nothing is sent: workers would
throw the messages away.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from . import queries
from .broker import Publisher, is_of_broker, publisher
from .database import Database
from .health import Gate, SearchUnhealthyError
from .ledger import count_waiting
from .names import INDEXER_OF_KIND as INDEXER_OF_KIND
from .names import indexer_of
from .rules import escape

BATCH_ROWS = 2000
"""Ids that are sent, confirmed and marked together."""

KINDS = ("community", "record")
"""The order of sending: what embeds a community is found by what waits itself."""


@dataclass
class Dispatch:
    """What was handed to the queues."""

    sent: int = 0
    """Messages that the broker confirmed, embedding documents included."""
    waiting: int = 0
    """Entries of the outbox that are still to be sent."""
    error: str | None = None
    """Why sending stopped; none when all was sent."""
    position: dict[str, int] = field(default_factory=lambda: dict.fromkeys(KINDS, 0))
    """Entries of the outbox that were sent, by kind."""


def dispatch(
    database: Database, gate: Gate, advance: Callable[[int], None]
) -> Dispatch:
    """Send everything in the outbox to the bulk queues.

    Communities go first, with the documents that embed them. Records that wait on
    their own account are left out there and come right after, so none is sent twice.

    Args:
        database: The connection that holds the lock.
        gate: Stands before each batch of ids.
        advance: Called with the number of entries each time some were sent.

    Returns:
        What was sent and what waits; a broker that is down or an OpenSearch that is
        sick is told, not raised.
    """
    result = Dispatch()
    total = database.transaction(count_waiting, database)
    send = {"community": _send_communities, "record": _send_records}
    try:
        if total:
            database.transaction(database.execute, queries.ANALYZE_BACKUP)
            with publisher(gate.before_batch) as broker:
                for kind in KINDS:
                    for entries in _unqueued(database, kind):
                        ids = [entry.entity_id for entry in entries]
                        result.sent += send[kind](database, broker, ids)
                        _mark_queued(database, [entry.id for entry in entries])
                        result.position[kind] += len(entries)
                        advance(len(entries))
    except SearchUnhealthyError as error:
        done = sum(result.position.values())
        result.error = f"{error}; processed {done} of {total} changes"
    except Exception as error:
        if not is_of_broker(error):
            raise
        result.error = escape(str(error) or type(error).__name__)
    result.waiting = database.transaction(count_waiting, database)
    return result


def _mark_queued(database: Database, entry_ids: list[int]) -> None:
    # A crash before this commit leaves the entries in the outbox: they are sent again.
    database.transaction(database.execute, queries.UPDATE_QUEUED, entry_ids=entry_ids)


def _unqueued(database: Database, kind: str) -> Iterator[list[Any]]:
    after = 0
    while entries := database.transaction(
        _fetch,
        database,
        queries.SELECT_UNQUEUED,
        kind=kind,
        after=after,
        limit=BATCH_ROWS,
    ):
        yield entries
        after = entries[-1].id


def _fetch(database: Database, query: Any, **values: Any) -> list[Any]:
    return list(database.execute(query, **values).fetchall())


def _send_records(database: Database, broker: Publisher, ids: list[str]) -> int:
    broker.publish(indexer_of("record"), ids)
    return len(ids)


def _send_communities(database: Database, broker: Publisher, ids: list[str]) -> int:
    """Send communities, their sub-communities, and the records and drafts of both."""
    below = database.transaction(
        _fetch, database, queries.SELECT_SUBCOMMUNITIES, ids=ids
    )
    stale = list(dict.fromkeys([*ids, *(row.id for row in below)]))
    broker.publish(indexer_of("community"), stale)
    sent = len(stale)
    for kind in ("record", "draft"):
        for page in _embedding(database, kind, stale):
            broker.publish(indexer_of(kind), page)
            sent += len(page)
    return sent


def _embedding(database: Database, kind: str, ids: list[str]) -> Iterator[list[str]]:
    query = queries.SELECT_EMBEDDING[kind]
    cursor = None
    while page := database.transaction(
        _fetch, database, query, ids=ids, cursor=cursor, limit=BATCH_ROWS
    ):
        yield [row.id for row in page]
        cursor = page[-1].id
