# SPDX-FileCopyrightText: 2026 kcworks-migrations contributors
# SPDX-License-Identifier: MIT
"""The outbox: entries whose reindexing was not queued yet (`queued_at` is empty).

A change and a restoration leave their entry pending in the same transaction. It is
marked after the broker has confirmed its message, so a crash in between sends some ids
twice, which is harmless, and loses none.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import text

from ..database import Database
from ..kinds import DATED, Kind
from . import settling

# Fragments for queries of other rooms on a table of the instance, known as `t`.
IS_PENDING_RECORD = (
    "EXISTS (SELECT FROM kcworks_created_dates_backup AS b WHERE b.entity_id = t.id"
    " AND b.kind = 'record' AND b.queued_at IS NULL)"
)
CHANGED_COMMUNITIES = (
    "SELECT b.entity_id FROM kcworks_created_dates_backup AS b"
    " WHERE b.kind = 'community'"
)
CHANGED_RECORDS = (
    "SELECT b.entity_id FROM kcworks_created_dates_backup AS b WHERE b.kind = 'record'"
)

COUNT_PENDING = text(
    "SELECT count(*) FROM kcworks_created_dates_backup WHERE queued_at IS NULL"
)
# A run fills the table faster than autovacuum looks at it. Without statistics the
# search for what embeds a community with 200,000 records, all pending, takes hours.
ANALYZE_BACKUP = text("ANALYZE kcworks_created_dates_backup")
SELECT_PENDING = text("""
SELECT id, entity_id::text AS entity_id, outcome FROM kcworks_created_dates_backup
WHERE queued_at IS NULL AND kind = :kind AND id > :after ORDER BY id LIMIT :limit
""")
# Only as they were read: one that was restored meanwhile is pending on its own account.
UPDATE_QUEUED = text("""
UPDATE kcworks_created_dates_backup AS b SET queued_at = clock_timestamp()
FROM unnest(CAST(:ids AS bigint[]), CAST(:outcomes AS text[])) AS read(id, outcome)
WHERE b.id = read.id AND b.outcome IS NOT DISTINCT FROM read.outcome
""")
UPDATE_ALL_PENDING = text(
    "UPDATE kcworks_created_dates_backup SET queued_at = NULL"
    " WHERE outcome IS NULL OR outcome = 'restored'"
)


@dataclass
class Sent:
    """What was handed on from the outbox."""

    sent: int = 0
    """Documents: messages that the broker confirmed, or what was written here."""
    pending: int = 0
    """Entries that are still to be handed on."""
    error: str | None = None
    """Why it stopped early; none when all was handed on."""
    position: dict[str, int] = field(
        default_factory=lambda: dict.fromkeys((kind.name for kind in DATED), 0)
    )
    """Entries that were handed on, by the name of their kind."""
    written: int = 0
    """Of the documents, those that were not right before."""
    refused: int = 0
    """Documents that OpenSearch refused for good."""


def communities(first: int, last: int) -> str:
    """Give the query for the communities of the pending entries with these numbers."""
    return (
        "SELECT b.entity_id FROM kcworks_created_dates_backup AS b"
        " WHERE b.kind = 'community' AND b.queued_at IS NULL"
        f" AND b.id BETWEEN {first:d} AND {last:d}"
    )


def count(database: Database) -> int:
    """Count the pending entries."""
    return database.execute(COUNT_PENDING).scalar_one()


def analyze(database: Database) -> None:
    """Let PostgreSQL look at the ledger, which has just grown."""
    database.execute(ANALYZE_BACKUP)


def pages(database: Database, kind: Kind, limit: int) -> Iterator[Sequence[Any]]:
    """Read the pending entries page by page, each in a transaction of its own.

    Args:
        database: A connection, outside a transaction.
        kind: Records or communities.
        limit: The most entries of a page.

    Yields:
        Rows with `id`, the entry's, `entity_id`, and the entry's `outcome`.
    """
    after = 0

    def read() -> Sequence[Any]:
        return database.execute(
            SELECT_PENDING, kind=kind.name, after=after, limit=limit
        ).fetchall()

    while page := database.transaction(read):
        yield page
        after = page[-1].id


def mark_queued(database: Database, entries: Sequence[Any]) -> None:
    """Write that the reindexing of entries, as they were read, is in safe hands."""
    values = {"ids": [e.id for e in entries], "outcomes": [e.outcome for e in entries]}
    database.execute(UPDATE_QUEUED, **values)


def reopen_all(database: Database) -> None:
    """Make every entry of the ledger pending again, restored ones included."""
    database.execute(UPDATE_ALL_PENDING)


def begin(database: Database, is_again: bool) -> int:
    """Begin to hand on what is pending: nothing is settled from then on.

    Args:
        database: The connection that holds the lock, in a transaction.
        is_again: Make every entry pending first.

    Returns:
        How many entries are pending.
    """
    if is_again:
        reopen_all(database)
    total = count(database)
    if total:
        settling.begin(database)
    return total
