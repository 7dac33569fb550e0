# SPDX-FileCopyrightText: 2026 kcworks-migrations contributors
# SPDX-License-Identifier: MIT
"""Compares the database with the ledger, and the index with the database.

Only reads, in pages, apart from `fix`, which queues what is not right.
"""

from collections.abc import Callable, Mapping
from contextlib import closing

from invenio_search import current_search_client
from invenio_search.engine import search
from sqlalchemy import text
from sqlalchemy.engine import Engine

from .. import locks
from ..config import How
from ..database import Database, opened
from ..errors import POOLED, UNPOOL, RefusedError, ServiceFailedError
from ..interrupt import pause
from ..kinds import DATED, KINDS, Kind
from ..ledger import history, pending, runs
from ..text import escape
from . import broker
from .documents import alias_of
from .truth import Truth, holding
from .verdict import Counted, Verdict

# Every document that holds a date of the ledger.
HOLDING = {
    kind: holding(kind, pending.CHANGED_COMMUNITIES, pending.CHANGED_RECORDS)
    for kind in KINDS
}
SELECT_LABELS = (
    "SELECT t.id::text AS id, {label} AS label FROM {table} AS t"
    " WHERE t.id = ANY(CAST(:ids AS uuid[]))"
)

PAGE_ROWS = 1000
SECOND_LOOK_SECONDS = 1
"""How long somebody who is editing may need from the commit to the document."""


def verify(
    engine: Engine, how: How, sample: int | None = None, fix: bool = False
) -> Verdict:
    """Compare every changed row and every document that holds its date.

    Args:
        engine: The engine of the instance's database; an app context is needed.
        how: The settings.
        sample: Compare about so many documents of each kind, evenly spread.
        fix: Queue the documents that are not right.

    Returns:
        What was found; what was fixed is still told as it was.

    Raises:
        RefusedError: The database can't be used.
        RunInProgressError: Another run is at work, and something is to be fixed.
        ServiceFailedError: The database or OpenSearch failed, or the broker when it was
            to take ids.
    """
    opening = runs.locked if fix else opened
    try:
        with opening(engine, how.lock_timeout_seconds) as database:
            return _verify(database, how, sample, fix)
    except search.exceptions.TransportError as error:
        raise ServiceFailedError("OpenSearch", escape(str(error))) from error
    except Exception as error:
        if not broker.is_of_broker(error):
            raise
        raise ServiceFailedError("The broker", escape(str(error))) from error


def _verify(database: Database, how: How, sample: int | None, fix: bool) -> Verdict:
    verdict = Verdict()
    verdict.pending = database.transaction(pending.count, database)
    if locks.is_pooled(database, database.pid):
        raise RefusedError(POOLED, UNPOOL)  # it would lose the pages of documents
    verdict.queued = _queued_messages()
    for kind in DATED:
        for label in history.wrong_rows(database, kind):
            verdict.rows_wrong.add(f"{kind} {label}")
    is_busy = bool(verdict.pending or verdict.queued)
    bad = verdict.lagging if is_busy else verdict.wrong

    def queue(kind: Kind, ids: list[str]) -> None:
        if fix and ids:
            with broker.publisher() as queues:
                queues.publish(broker.indexer_of(kind, how), ids)
            verdict.fixed += len(ids)

    for kind in KINDS:
        _compare_documents(database, kind, sample, verdict, bad, queue)
    return verdict


def wrong_documents(database: Database, kind: Kind, ids: list[str]) -> list[str]:
    """Compare some documents with their rows.

    Args:
        database: A connection, outside a transaction.
        kind: Of the documents.
        ids: Primary keys.

    Returns:
        A sentence for each that is stale or missing, or one if OpenSearch fails.
    """
    if not ids:
        return []
    try:
        current_search_client.indices.refresh(index=alias_of(kind))
        states = _states(database, kind, ids)
    except search.exceptions.TransportError as error:
        return [f"OpenSearch failed: {escape(str(error))}"]
    names = _names(database, kind, states)
    return [f"The document of {names[id]} is {states[id]}." for id in names]


def _queued_messages() -> int | None:
    try:
        with broker.connected() as connection:
            return sum(broker.queued_messages(connection).values())
    except Exception as error:
        if not broker.is_of_broker(error):
            raise
        return None


def _compare_documents(
    database: Database,
    kind: Kind,
    sample: int | None,
    verdict: Verdict,
    bad: Counted,
    queue: Callable[[Kind, list[str]], None],
) -> None:
    """Compare documents with their rows, page by page, and hand on those not right.

    Each of these is looked at twice: whoever edits a record commits it first and writes
    its document then.
    """
    step = max(_count_documents(database, kind) // sample, 1) if sample else 1
    number, doubtful = 0, []
    with closing(database.held(HOLDING[kind], PAGE_ROWS)) as pages:
        for rows in pages:
            ids = [str(row.id) for row in rows[-number % step :: step]]
            number += len(rows)
            states = _states(database, kind, ids) if ids else {}
            verdict.right += list(states.values()).count("right")
            doubtful += [id for id, state in states.items() if state != "right"]
            if len(doubtful) >= PAGE_ROWS:
                queue(kind, _count(database, kind, doubtful, verdict, bad))
                doubtful = []
    if doubtful:
        pause(SECOND_LOOK_SECONDS)
        queue(kind, _count(database, kind, doubtful, verdict, bad))


def _count_documents(database: Database, kind: Kind) -> int:
    query = text(f"SELECT count(*) FROM ({HOLDING[kind]}) AS h")
    return database.transaction(lambda: database.execute(query).scalar_one())


def _count(
    database: Database, kind: Kind, ids: list[str], verdict: Verdict, bad: Counted
) -> list[str]:
    """Count how some documents are, stale ones as `bad`; give those not right."""
    states = _states(database, kind, ids)
    names = _names(database, kind, states)
    verdict.right += len(states) - len(names)
    for id, name in names.items():
        (verdict.missing if states[id] == "missing" else bad).add(name)
    return list(names)


def _names(database: Database, kind: Kind, states: Mapping[str, str]) -> dict[str, str]:
    """Name the documents that are not right for a person, by their ids."""
    ids = [id for id, state in states.items() if state != "right"]

    def read() -> dict[str, str]:
        found = database.execute_on(kind, SELECT_LABELS, ids=ids)
        return {row.id: row.label for row in found}

    labels = database.transaction(read) if ids else {}
    return {id: f"{kind} {labels.get(id) or id}" for id in ids}


def _states(database: Database, kind: Kind, ids: list[str]) -> dict[str, str]:
    """Tell how some documents are: right, stale or missing; not those of no row."""
    # Whole, as OpenSearch takes twenty times as long to pick the leaves out.
    found = current_search_client.mget(body={"ids": ids}, index=alias_of(kind))["docs"]
    documents = {d["_id"]: d for d in found if d.get("found")}
    truth = Truth.read(database, kind, ids, documents)

    def state(id: str) -> str:
        if id not in documents:
            return "missing"
        return "stale" if any(truth.differences(documents[id])) else "right"

    return {id: state(id) for id in ids if id in truth.rows}
