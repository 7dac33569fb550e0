# SPDX-FileCopyrightText: 2026 kcworks-migrations contributors
# SPDX-License-Identifier: MIT
"""What a run has at hand while it is at work: its batches, its counters, its end."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import TypeVar

from ..database import Database
from ..interrupt import CheckStop, never
from ..ledger import evidence, history, pending, problems, runs, tables
from ..ledger.pending import Sent
from ..ledger.runs import Run
from ..ledger.statistics import Progress
from ..options import How
from ..report.reporter import Reporter
from ..report.summary import PROBLEMS_SHOWN, Summary
from ..text import show

T = TypeVar("T")

Queue = Callable[[Database, Callable[[int], None]], Sent]
"""Hands on what is pending: with the connection, and with what is called with the
number of entries each time some were handed on."""


@dataclass
class Work:
    """What a run has at hand while it is at work."""

    database: Database
    """The connection that holds the lock."""
    run: Run
    """The run; its statistics and its progress follow each commit."""
    summary: Summary
    how: How
    reporter: Reporter
    between: CheckStop = never
    """Called between two batches; raises when somebody asked to stop by a signal."""
    batch_rows: int = field(init=False)
    """Rows of the next batch: fewer after one that took too long."""

    def __post_init__(self) -> None:
        """Begin with the largest batch."""
        self.batch_rows = self.how.batch_size

    def begin_phase(self, phase: str, total: int) -> Progress:
        """Begin to count another phase."""
        self.run.progress = Progress(phase, total)
        return self.run.progress

    def batch(self, write: Callable[[Run], T], tell: Callable[[T], None]) -> T:
        """Do one batch in one transaction, with the counters of the run.

        A crash before the commit leaves nothing of it, a crash after it all of it.

        Args:
            write: What to do, with a copy of the run in which it counts.
            tell: Is given what it returned, when it is committed.

        Returns:
            What it returned.

        Raises:
            RunStoppedError: The command `stop` asked for it; the batch is committed.
        """

        def do() -> tuple[T, Run, bool]:
            run = replace(self.run)
            result = write(run)
            return result, run, runs.save(self.database, run)

        if self.run.progress is not None:
            self.reporter.batch(self.run.progress, self.batch_rows)
        began = time.monotonic()
        result, run, is_stopping = self.database.transaction(do)
        if time.monotonic() - began > self.how.batch_seconds:
            self.batch_rows = max(self.batch_rows // 2, 1)
        else:
            self.batch_rows = min(self.batch_rows * 2, self.how.batch_size)
        self.run.statistics, self.run.progress = run.statistics, run.progress
        if run.progress is not None:
            self.reporter.advance(run.progress)
        tell(result)
        if is_stopping:
            self.database.check_stop()
        return result

    def finish(self, queue: Queue | None) -> None:
        """Queue the reindexing, end the run and tell what it did.

        Args:
            queue: Hands on what is pending; none to leave that to somebody else.
        """
        database, run, summary = self.database, self.run, self.summary
        sent = Sent(pending=database.transaction(pending.count, database))
        progress = self.begin_phase("changes", sent.pending)

        def advance(entries: int) -> None:
            nonlocal progress
            run.progress = progress = progress.after(entries)
            self.reporter.advance(progress)
            database.transaction(runs.save, database, run)
            self.database.check_stop()

        with self.reporter.phase(progress):
            if queue is not None:
                sent = queue(database, advance)
        summary.queued, summary.queue_error = sent.sent, sent.error
        summary.stopped_at = sent.position if sent.error else None
        self.end(sent.error and f"{sent.pending} changes are pending: {sent.error}")
        self.reporter.end(summary)

    def end(self, message: str | None) -> None:
        """Write that the run has succeeded, and complete the summary."""
        database, summary = self.database, self.summary

        def end() -> None:
            runs.save(database, self.run)
            self.close(database, message)

        summary.status, summary.statistics = runs.SUCCEEDED, self.run.statistics
        database.transaction(end)
        self.reporter.ended(summary, message)

    def close(self, database: Database, message: str | None) -> None:
        """Write how the run ended, as the summary has it, and complete the summary.

        Args:
            database: A connection, in a transaction; the run's own may be lost.
            message: Why it ended early, or what its reindexing waits for.
        """
        run_id, summary = self.run.id, self.summary
        statistics = summary.statistics.as_dict(summary.stopped_at)
        runs.end(database, run_id, summary.status, statistics, message)
        summary.problems = problems.first(database, run_id, PROBLEMS_SHOWN)
        summary.gone = problems.first(database, run_id, PROBLEMS_SHOWN, evidence.REASON)
        summary.unfinished = history.unfinished_runs(database, run_id)
        summary.pending = pending.count(database)
        summary.is_applied = tables.state(database).is_applied
        summary.on_upgrade = self.how.on_upgrade


def not_stored(asked: datetime, became: str | None) -> str:
    """Say, as the value of a problem, what a row became instead of what was asked."""
    return f"{show(asked)} {f'became {became}' if became else 'was not written'}"
