# SPDX-FileCopyrightText: 2026 kcworks-migrations contributors
# SPDX-License-Identifier: MIT
"""Compares the database with the ledger, and the index with the database.

Only reads, in pages, apart from `fix`, which queues what is not right.
"""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from invenio_indexer.proxies import current_indexer_registry
from invenio_search import current_search_client
from invenio_search.utils import build_alias_name
from sqlalchemy.engine import Engine

from . import broker, names, queries
from .config import Options
from .database import Database, locked, opened
from .ledger import count_waiting
from .truth import Truth

PAGE_ROWS = 1000
SHOWN = 20
"""Ids of each state that are shown."""

LEAVES = [
    "created",
    "uuid",
    "version_id",
    "parent.id",
    "parent.created",
    "parent.version_id",
    "parent.parent.id",
    "parent.communities.entries.id",
    "parent.communities.entries.created",
    "parent.communities.entries.version_id",
    "parent.communities.entries.parent.id",
    "parent.communities.entries.parent.created",
    "parent.communities.entries.parent.version_id",
    "versions.latest_id",
    "versions.next_draft_id",
]
"""What is read of a document: less than a tenth of it."""


@dataclass
class Counted:
    """How many are in a state, and some of them."""

    count: int = 0
    shown: list[str] = field(default_factory=list)

    def add(self, text: str) -> None:
        """Count one."""
        self.count += 1
        if len(self.shown) < SHOWN:
            self.shown.append(text)


@dataclass
class Verdict:
    """What was found."""

    right: int = 0
    """Documents that hold the true dates."""
    lagging: Counted = field(default_factory=Counted)
    """Not right yet, while changes or messages wait."""
    wrong: Counted = field(default_factory=Counted)
    """Documents with another date than the database, with nothing waiting."""
    missing: Counted = field(default_factory=Counted)
    """Rows without a document."""
    rows_wrong: Counted = field(default_factory=Counted)
    """Rows whose date is not the one that their last entry says."""
    waiting: int = 0
    """Changes in the outbox."""
    queued: int | None = 0
    """Messages in the queues; none when the broker does not tell."""
    fixed: int = 0
    """Documents that were queued to be brought right."""

    @property
    def is_clean(self) -> bool:
        """Tell whether nothing is left to do; the queues also hold what others send."""
        counted = (self.lagging, self.wrong, self.missing, self.rows_wrong)
        return not (self.waiting or any(c.count for c in counted))

    def line(self) -> str:
        """Say everything in one line."""
        queued = "unknown" if self.queued is None else self.queued
        fixed = f"; {self.fixed} documents queued" if self.fixed else ""
        return (
            f"{self.right} documents right, {self.lagging.count} lagging,"
            f" {self.wrong.count} wrong, {self.missing.count} missing;"
            f" {self.rows_wrong.count} rows unlike their ledger entry;"
            f" {self.waiting} changes and {queued} messages waiting{fixed}"
        )

    def examples(self) -> list[str]:
        """Name some of what is not right."""
        return [
            f"  {state}: {text}"
            for state in ("lagging", "wrong", "missing", "rows_wrong")
            for text in getattr(self, state).shown
        ]

    def as_dict(self) -> dict[str, Any]:
        """Give what is printed as JSON."""
        return asdict(self) | {"is_clean": self.is_clean}


def verify(
    engine: Engine, options: Options, sample: int | None = None, fix: bool = False
) -> Verdict:
    """Compare every changed row and every document that holds its date.

    Args:
        engine: The engine of the instance's database; an app context is needed.
        options: The settings.
        sample: Compare about so many documents of each kind, evenly spread.
        fix: Queue the documents that are not right.

    Returns:
        What was found; what was fixed is still told as it was.

    Raises:
        InstanceError: The database can't be read.
        RunInProgressError: Another run is at work, and something is to be fixed.
    """
    verdict = Verdict()
    opening = locked if fix else opened
    with opening(engine, options.lock_timeout_seconds) as database:
        verdict.waiting = database.transaction(count_waiting, database)
        verdict.queued = _queued_messages()
        for kind in queries.TABLE_OF_KIND:
            _compare_rows(database, kind, verdict)
        is_busy = bool(verdict.waiting or verdict.queued)
        bad = verdict.lagging if is_busy else verdict.wrong
        for kind in names.INDEXER_OF_KIND:
            for ids in _documents(database, kind, sample):
                stale = _compare_documents(database, kind, ids, verdict, bad)
                if fix and stale:
                    with broker.publisher() as queues:
                        queues.publish(names.indexer_of(kind), stale)
                    verdict.fixed += len(stale)
    return verdict


def _compare_rows(database: Database, kind: str, verdict: Verdict) -> None:
    query, after = queries.SELECT_ENTRIES_AND_ROWS, 0

    def read(after: int) -> Sequence[Any]:
        rows = database.execute_on(kind, query, kind=kind, after=after, limit=PAGE_ROWS)
        return rows.fetchall()

    while rows := database.transaction(read, after):
        for row in rows:
            if row.is_wrong:
                verdict.rows_wrong.add(f"{kind} {row.label}")
        after = rows[-1].id


def _queued_messages() -> int | None:
    try:
        with broker.connected() as connection:
            return sum(broker.queued_messages(connection).values())
    except Exception as error:
        if not broker.is_of_broker(error):
            raise
        return None


def _documents(
    database: Database, kind: str, sample: int | None
) -> Iterator[list[str]]:
    """Yield the ids of all documents that hold a changed date, page by page."""

    def count() -> int:
        return database.execute(queries.COUNT_HOLDING[kind]).scalar_one()

    def read(cursor: str | None) -> Sequence[Any]:
        query = queries.SELECT_HOLDING[kind]
        return database.execute(query, cursor=cursor, limit=PAGE_ROWS).fetchall()

    step = max(database.transaction(count) // sample, 1) if sample else 1
    number, cursor = 0, None
    while rows := database.transaction(read, cursor):
        ids = [row.id for n, row in enumerate(rows, number) if n % step == 0]
        number += len(rows)
        cursor = rows[-1].id
        if ids:
            yield ids


def _compare_documents(
    database: Database, kind: str, ids: list[str], verdict: Verdict, bad: Counted
) -> list[str]:
    """Compare some documents with their rows; give the ids of those not right."""
    record_cls = current_indexer_registry.get(names.INDEXER_OF_KIND[kind]).record_cls
    found = current_search_client.mget(
        body={"ids": ids},
        index=build_alias_name(record_cls.index._name),
        _source_includes=LEAVES,
    )["docs"]
    documents = {d["_id"]: d for d in found if d.get("found")}
    truth = Truth.read(database, kind, ids, documents)
    stale = []
    for id in ids:
        if id not in truth.rows:  # deleted since
            continue
        if id not in documents:
            verdict.missing.add(f"{kind} {id}")
        elif not truth.is_current(documents[id]) or any(
            truth.differences(documents[id])
        ):
            bad.add(f"{kind} {id}")
        else:
            verdict.right += 1
            continue
        stale.append(id)
    return stale
