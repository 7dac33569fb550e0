# SPDX-FileCopyrightText: 2026 kcworks-migrations contributors
# SPDX-License-Identifier: MIT
"""Compares the database with the ledger, and the index with the database.

Only reads, in pages, apart from `fix`, which queues what is not right.
"""

import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from invenio_indexer.proxies import current_indexer_registry
from invenio_search import current_search_client
from invenio_search.engine import search
from invenio_search.utils import build_alias_name
from sqlalchemy.engine import Engine

from . import broker, names, queries
from .config import Options
from .database import Database, locked, opened
from .errors import ServiceFailedError
from .ledger import count_waiting
from .rules import escape
from .summary import counted
from .truth import Truth

PAGE_ROWS = 1000
SHOWN = 20
"""Ids of each state that are kept."""

PRINTED = 5
"""Those of them that are printed."""

SECOND_LOOK_SECONDS = 1
"""How long somebody who is editing may need from the commit to the document."""

COMMAND = "invenio kcworks-created-dates"


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
        """Say in one line how the documents are."""
        return (
            f"{'All right' if self.is_clean else 'Not all right'}: documents:"
            f" {self.right} right, {self.lagging.count} lagging,"
            f" {self.wrong.count} wrong, {self.missing.count} missing"
        )

    def examples(self) -> list[str]:
        """Name some of what is not right."""
        lines = []
        for state in ("lagging", "wrong", "missing", "rows_wrong"):
            found = getattr(self, state)
            name = "row unlike its ledger entry" if state == "rows_wrong" else state
            lines += [f"  {name}: {text}" for text in found.shown[:PRINTED]]
            if found.count > PRINTED:
                lines.append(f"  ... and {found.count - PRINTED} more")
        return lines

    def advice(self) -> list[str]:
        """Say what waits, and what can be done."""
        lines = []
        if self.waiting:
            lines.append(f"{counted(self.waiting, 'change')} not queued yet; to queue:")
            lines.append(f"  {COMMAND} reindex")
        if self.queued is None:
            lines.append("The broker does not tell what waits in the queues.")
        elif self.queued:
            queued = counted(self.queued, "message")
            lines.append(f"In the queues: {queued}. When workers have done them:")
            lines.append(f"  {COMMAND} verify")
        if self.rows_wrong.count:
            lines.append("Something else has changed rows; what was done to one:")
            lines.append(f"  {COMMAND} show PID-OR-SLUG")
        if self.fixed:
            fixed = counted(self.fixed, "document")
            lines.append(f"{fixed} queued. When the queues are empty:")
            lines.append(f"  {COMMAND} verify")
        elif not self.queued and (self.wrong.count or self.missing.count):
            lines.append("To queue the wrong and the missing ones:")
            lines.append(f"  {COMMAND} verify --fix")
        return lines

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
        ServiceFailedError: OpenSearch failed, or the broker when it was to take ids.
    """
    try:
        return _verify(engine, options, sample, fix)
    except search.exceptions.TransportError as error:
        raise ServiceFailedError("OpenSearch", escape(str(error))) from error
    except Exception as error:
        if not broker.is_of_broker(error):
            raise
        raise ServiceFailedError("The broker", escape(str(error))) from error


def _verify(engine: Engine, options: Options, sample: int | None, fix: bool) -> Verdict:
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
            for stale in _stale_documents(database, kind, sample, verdict, bad):
                if fix:
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


def _stale_documents(
    database: Database, kind: str, sample: int | None, verdict: Verdict, bad: Counted
) -> Iterator[list[str]]:
    """Compare documents with their rows; yield the ids of those not right, in pages.

    Each of them is looked at twice: whoever edits a record commits it first and writes
    its document then.
    """
    doubtful: list[str] = []
    for ids in _documents(database, kind, sample):
        states = _states(database, kind, ids)
        verdict.right += list(states.values()).count("right")
        doubtful += [id for id, state in states.items() if state != "right"]
        if len(doubtful) >= PAGE_ROWS:
            yield compare_documents(database, kind, doubtful, verdict, bad)
            doubtful = []
    if doubtful:
        time.sleep(SECOND_LOOK_SECONDS)
        yield compare_documents(database, kind, doubtful, verdict, bad)


def compare_documents(
    database: Database, kind: str, ids: list[str], verdict: Verdict, bad: Counted
) -> list[str]:
    """Count how some documents are, those not right as `bad`; give the latter's ids."""
    stale = []
    for id, state in _states(database, kind, ids).items():
        if state == "right":
            verdict.right += 1
        else:
            (verdict.missing if state == "missing" else bad).add(f"{kind} {id}")
            stale.append(id)
    return stale


def _states(database: Database, kind: str, ids: list[str]) -> dict[str, str]:
    """Tell how some documents are: right, stale or missing; not those of no row."""
    record_cls = current_indexer_registry.get(names.INDEXER_OF_KIND[kind]).record_cls
    # Whole, as OpenSearch takes twenty times as long to pick the leaves out.
    found = current_search_client.mget(
        body={"ids": ids}, index=build_alias_name(record_cls.index._name)
    )["docs"]
    documents = {d["_id"]: d for d in found if d.get("found")}
    truth = Truth.read(database, kind, ids, documents)

    def state(id: str) -> str:
        if id not in documents:
            return "missing"
        document = documents[id]
        is_right = truth.is_current(document) and not any(truth.differences(document))
        return "right" if is_right else "stale"

    return {id: state(id) for id in ids if id in truth.rows}
