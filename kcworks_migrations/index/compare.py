# SPDX-FileCopyrightText: 2026 kcworks-migrations contributors
# SPDX-License-Identifier: MIT
"""Compares every row and every document that holds a date of the ledger.

It takes no lock: nobody waits for it, and what a run writes meanwhile is found by the
next pass.
"""

import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from functools import partial

from invenio_search.engine import search
from sqlalchemy import text
from sqlalchemy.engine import Engine

from .. import locks
from ..config import How
from ..database import Database, opened
from ..errors import POOLED, UNPOOL, RefusedError, ServiceFailedError
from ..interrupt import CheckStop, never, pause
from ..kinds import DATED, KINDS, Kind
from ..ledger import history, pending, problems, settling
from ..report.reporter import Reporter
from ..text import escape
from . import outbox
from .client import search_client
from .correct import correct
from .documents import MISSING, Outcome, alias_of
from .health import Gate
from .truth import holding, names_of
from .verdict import Verdict

# Every document that holds a date of the ledger, restored ones included.
HOLDING = {
    kind: holding(kind, pending.CHANGED_COMMUNITIES, pending.CHANGED_RECORDS)
    for kind in KINDS
}
PAGE_ROWS = 1000
SECOND_LOOK_SECONDS = 1
"""How long somebody who is editing may need from the commit to the document."""


def verify(
    engine: Engine,
    how: How,
    sample: int | None = None,
    fix: bool = False,
    check_stop: CheckStop = never,
) -> Verdict:
    """Compare every changed row and every document that holds its date.

    What is not right asks for a look.

    Args:
        engine: The engine of the instance's database; an app context is needed.
        how: The settings.
        sample: Compare about so many documents of each kind, evenly spread.
        fix: Bring those right that are not.
        check_stop: Called between two requests; may raise.

    Returns:
        What was found, also kept with the newest run unless it is of a sample or a
        look knows more.

    Raises:
        RefusedError: The database can't be used.
        ServiceFailedError: The database or OpenSearch failed.
    """
    with opened(engine, how.lock_timeout_seconds) as database:
        verdict = compare(database, how, sample, fix, check_stop)
        if verdict.error:
            raise ServiceFailedError("OpenSearch", verdict.error)
        database.transaction(_keep, database, verdict, fix, sample is None)
    return verdict


def _keep(database: Database, verdict: Verdict, is_written: bool, is_all: bool) -> None:
    """Keep what was found, and ask for a look where one is needed."""
    index = settling.latest(database)
    if index is None:
        return
    if is_all:
        found, has_written = verdict.as_dict(), verdict.has_written
        settling.save(database, found, has_written, has_tried=is_written)
    if is_written:
        if verdict.has_written or verdict.refused.count or is_all and index.looks:
            settling.begin(database)
    elif verdict.left > index.refused or verdict.pending and index.settled_at:
        settling.withdraw(database)


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
        search_client().indices.refresh(index=alias_of(kind))
    except search.exceptions.TransportError as error:
        return [f"OpenSearch failed: {escape(str(error))}"]
    outcome = correct(database, kind, ids, is_written=False)
    if outcome.again:
        return [f"OpenSearch failed: {outcome.obstacle}"]
    names = names_of(database, kind, list(outcome.bad))
    return [f"The document of {names[id]} is {now}." for id, now in outcome.bad.items()]


def compare(
    database: Database,
    how: How,
    sample: int | None,
    is_written: bool,
    check_stop: CheckStop,
    is_look: bool = False,
) -> Verdict:
    """Make one pass: the outbox if it may write, then rows and documents.

    Args:
        database: A connection without a transaction, and without a pooler.
        how: The settings.
        sample: As in `verify`.
        is_written: Bring those right that are not.
        check_stop: Called between two requests; may raise.
        is_look: Whether it is a look that was claimed.

    Returns:
        What was found; an OpenSearch that fails is told in it.

    Raises:
        RefusedError: A pooler would lose the pages of documents.
    """
    if locks.is_pooled(database, database.pid):
        raise RefusedError(POOLED, UNPOOL)
    began = time.monotonic()
    verdict = Verdict()
    withdraw = partial(database.transaction, settling.withdraw, database, is_look)
    if is_written:
        reporter = Reporter(is_verbose=False, is_silent=True)
        gate = Gate(how, reporter, check_stop)
        if database.transaction(pending.count, database):
            withdraw()
        sent = outbox.index_here(database, gate, lambda entries: check_stop())
        verdict.indexed, verdict.error = sent.written, sent.error
    verdict.pending = database.transaction(pending.count, database)
    for kind in DATED:
        for label in history.wrong_rows(database, kind):
            verdict.rows_wrong.add(f"{kind} {label}")
    for kind in KINDS:
        if verdict.error is None:
            before = withdraw if is_written else None
            _Comparison(database, kind, verdict, before, check_stop).do(sample)
    verdict.seconds = round(time.monotonic() - began, 1)
    return verdict


@dataclass
class _Comparison:
    """The documents of one kind, compared with their rows page by page.

    Each that is not right is looked at twice: whoever edits a record commits it first
    and writes its document then.
    """

    database: Database
    kind: Kind
    verdict: Verdict
    before_write: Callable[[], None] | None
    """Called before any is written; none if none is to be."""
    check_stop: CheckStop
    has_refused: bool = False
    """Whether problems are to end that OpenSearch refused documents once."""

    def do(self, sample: int | None) -> None:
        """Compare all, or about so many; end early if OpenSearch fails."""
        step, number, doubtful = 1, 0, []
        database, kind = self.database, self.kind
        if self.before_write:
            has_refused = problems.has_refused
            self.has_refused = database.transaction(has_refused, database, kind)
        if sample:
            query = text(f"SELECT count(*) FROM ({HOLDING[kind]}) AS h")
            count = database.transaction(database.execute, query)
            step = max(count.scalar_one() // sample, 1)
        with closing(database.held(HOLDING[kind], PAGE_ROWS)) as pages:
            for rows in pages:
                ids = [str(row.id) for row in rows[-number % step :: step]]
                number += len(rows)
                doubtful += self._look(ids)
                if len(doubtful) >= PAGE_ROWS:
                    self._look_again(doubtful)
                    doubtful = []
                if self.verdict.error:
                    return
        if doubtful:
            pause(SECOND_LOOK_SECONDS, self.check_stop)
            self._look_again(doubtful)
        if self.has_refused and not (sample or self.verdict.error):
            end = problems.end_refused_except
            database.transaction(end, database, kind, HOLDING[kind])

    def _look(self, ids: list[str]) -> list[str]:
        """Look at some; count those that are right, give the others."""
        outcome = self._correct(ids, is_written=False)
        self.verdict.right += len(outcome.found) - len(outcome.bad)
        return list(outcome.bad)

    def _look_again(self, ids: list[str]) -> None:
        """Count those that are still not right; bring them right if that is asked."""
        if self.before_write:
            self.before_write()
        outcome = self._correct(ids, bool(self.before_write))
        bad = outcome.bad
        self.verdict.right += len(outcome.found) - len(bad)
        self.verdict.written += len(outcome.written)
        for id, name in names_of(self.database, self.kind, list(bad)).items():
            if id in outcome.refused:
                self.verdict.refused.add(name)
            missing, stale = self.verdict.missing, self.verdict.stale
            (missing if bad[id] == MISSING else stale).add(name)

    def _correct(self, ids: list[str], is_written: bool) -> Outcome:
        outcome = correct(
            self.database, self.kind, ids, self.check_stop, is_written=is_written
        )
        if outcome.again:
            self.verdict.error = outcome.obstacle or "they are being edited"
        if self.has_refused:
            right = (outcome.found.keys() - outcome.bad.keys()) | outcome.written
            right -= {*outcome.refused, *outcome.again}
            end = problems.end_refused
            self.database.transaction(end, self.database, self.kind, list(right))
        return outcome
