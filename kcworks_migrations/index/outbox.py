# SPDX-FileCopyrightText: 2026 kcworks-migrations contributors
# SPDX-License-Identifier: MIT
"""Hands on what is pending: to invenio-indexer's bulk queues, or by indexing it here.

Entries are marked after the broker has confirmed the messages, or OpenSearch has the
documents, so a crash in between does some ids twice, which is harmless, and loses none.
While OpenSearch is unhealthy nothing is sent: workers would throw the messages away.
"""

from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Any

from sqlalchemy import text
from sqlalchemy.engine import Engine

from ..config import How
from ..database import Database
from ..interrupt import CheckStop
from ..kinds import COMMUNITY, DRAFT, KINDS, RECORD, Kind
from ..ledger import pending, runs, settling
from ..ledger.pending import Sent
from ..ledger.statistics import Progress
from ..report import notices
from ..report.endings import close_killed
from ..report.reporter import Reporter
from ..text import counted, escape
from .broker import indexer_of, is_of_broker, publisher
from .correct import correct
from .documents import Outcome
from .health import Gate, SearchUnhealthyError
from .truth import holding

BATCH_ROWS = 2000
"""Ids that are sent, confirmed and marked together."""

HERE_ROWS = 500
"""Ids that are done here between two looks at OpenSearch."""

# Each list of ids comes as one text with a line per id, as there may be a million.
_COUNTS = " + ".join(
    f"(SELECT count(*) FROM ({holding(kind, 'TABLE communities', 'TABLE records')})"
    " AS h)"
    for kind in KINDS
)
COUNT_DOCUMENTS = text(rf"""
WITH records AS (
    SELECT unnest(CAST(string_to_array(:record_ids, E'\n') AS uuid[]))
), communities AS (
    SELECT unnest(CAST(string_to_array(:community_ids, E'\n') AS uuid[]))
)
SELECT {_COUNTS}
""")

HandOn = Callable[[Kind, list[str]], Outcome]
Advance = Callable[[int], None]


def send_pending(
    engine: Engine,
    how: How,
    reporter: Reporter,
    check_stop: CheckStop,
    is_again: bool = False,
    is_here: bool = False,
) -> Sent:
    """Take the lock and hand on what is pending.

    Args:
        engine: The engine of the instance's database; an app context is needed.
        how: How to work.
        reporter: Shows how far it is.
        check_stop: Raises when somebody asked to stop.
        is_again: Hand on every entry again, as what was queued may have been lost.
        is_here: Index here instead of sending to the queues.

    Returns:
        What was handed on and what is pending; a failure is told, not raised.

    Raises:
        RunInProgressError: A run is at work.
        RunStoppedError: Somebody asked to stop; the same call does the rest.
    """
    with runs.locked(engine, how.lock_timeout_seconds) as database:
        for killed in database.transaction(close_killed, database):
            notices.send(killed, reporter)
        database.check_stop = check_stop
        total = database.transaction(pending.begin, database, is_again)
        progress = Progress("changes", total)

        def advance(entries: int) -> None:
            nonlocal progress
            progress = progress.after(entries)
            reporter.advance(progress)
            if progress.done < total:
                reporter.batch(progress, BATCH_ROWS)
            check_stop()

        with reporter.phase(progress):
            hand_on = index_here if is_here else dispatch
            sent = hand_on(database, Gate(how, reporter, check_stop), advance)
        if total:
            database.transaction(settling.begin, database)
    return sent


def dispatch(database: Database, gate: Gate, advance: Advance) -> Sent:
    """Send everything in the outbox to the bulk queues.

    Args:
        database: The connection that holds the lock.
        gate: Stands before each page of ids.
        advance: Called with the number of entries each time some were handed on, and
            with 0 on the way there; may raise.

    Returns:
        What was sent and what is pending; a failure is told, not raised.
    """

    def work(sent: Sent) -> None:
        with publisher(gate.before_batch) as broker:

            def publish(kind: Kind, ids: list[str]) -> Outcome:
                broker.publish(indexer_of(kind, gate.how), ids)
                return Outcome(written=set(ids))

            _Walk(database, BATCH_ROWS, publish, advance, sent).do()

    return _told(database, work)


def index_here(database: Database, gate: Gate, advance: Advance) -> Sent:
    """Index everything in the outbox here, without the broker and without workers.

    Args:
        database: The connection that holds the lock.
        gate: Stands before each page of ids.
        advance: As in `dispatch`.

    Returns:
        What was indexed and what is pending; a failure is told, not raised.
    """
    is_full = gate.how.indexing == "full"

    def index(kind: Kind, ids: list[str]) -> Outcome:
        gate.check()
        return correct(database, kind, ids, gate.check_stop, is_full)

    def work(sent: Sent) -> None:
        _Walk(database, HERE_ROWS, index, advance, sent).do()

    return _told(database, work)


def _told(database: Database, work: Callable[[Sent], None]) -> Sent:
    """Do the work, if any; a failure is told, not raised."""
    sent = Sent()
    total = database.transaction(pending.count, database)
    try:
        if total:
            database.transaction(pending.analyze, database)
            work(sent)
    except SearchUnhealthyError as error:
        done = sum(sent.position.values())
        sent.error = f"{error}; processed {done} of {total} changes"
    except Exception as error:
        if not is_of_broker(error):
            raise
        sent.error = escape(str(error) or type(error).__name__)
    sent.pending = database.transaction(pending.count, database)
    return sent


@dataclass(frozen=True)
class _Walk:
    """The way through the outbox: communities with what embeds them, then records."""

    database: Database
    limit: int  # the most ids of a page
    hand_on: HandOn
    advance: Advance
    sent: Sent

    def do(self) -> None:
        """Hand on all.

        What embeds communities is found by one pass over each table for each
        `BATCH_ROWS` of them, which are marked then. Records that are pending on their
        own account are left to that, or each would be indexed twice.
        """
        for communities in pending.pages(self.database, COMMUNITY, BATCH_ROWS):
            some = pending.communities(communities[0].id, communities[-1].id)
            for kind in (COMMUNITY, RECORD, DRAFT):
                query = holding(kind, some)
                if kind is RECORD:
                    query += f" AND NOT {pending.IS_PENDING_RECORD}"
                # Closed here and now: the next one has the same name in the database.
                with closing(self.database.held(query, self.limit)) as pages:
                    for page in pages:
                        self._take(kind, [str(row.id) for row in page])
                        self.advance(0)
            self._mark(COMMUNITY, communities)
        for page in pending.pages(self.database, RECORD, self.limit):
            # A row that went there and back has an entry of each.
            ids = list(dict.fromkeys(entry.entity_id for entry in page))
            self._take(RECORD, ids, page)
            self._mark(RECORD, page)

    def _take(self, kind: Kind, ids: list[str], entries: Sequence[Any] = ()) -> None:
        """Hand on some ids; of some that were not taken, mark the others' entries."""
        outcome = self.hand_on(kind, ids)
        self.sent.sent += outcome.done
        self.sent.written += len(outcome.written)
        self.sent.refused += len(outcome.refused)
        if outcome.again:
            if entries:
                done = [e for e in entries if e.entity_id not in outcome.again]
                self._mark(kind, done)
            left = counted(len(outcome.again), "document")
            why = outcome.obstacle or "they are being edited"
            raise SearchUnhealthyError(f"OpenSearch did not take {left}: {why}")

    def _mark(self, kind: Kind, entries: Sequence[Any]) -> None:
        # A crash before this commit leaves the entries in the outbox.
        self.database.transaction(pending.mark_queued, self.database, entries)
        self.sent.position[kind.name] += len(entries)
        self.advance(len(entries))


def count_documents(
    database: Database, record_ids: bytearray, community_ids: bytearray
) -> int:
    """Count the documents that would be reindexed if these rows were changed.

    Args:
        database: The connection, in a transaction.
        record_ids: Records that would change, by 16 bytes each.
        community_ids: Communities that would change; what embeds them is counted, too.

    Returns:
        The exact number, each document counted once.
    """
    return database.execute(
        COUNT_DOCUMENTS,
        record_ids=record_ids.hex("\n", 16),
        community_ids=community_ids.hex("\n", 16),
    ).scalar_one()
