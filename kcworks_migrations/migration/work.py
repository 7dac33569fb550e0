# SPDX-FileCopyrightText: 2026 kcworks-migrations contributors
# SPDX-License-Identifier: MIT
"""What a run has at hand while it is at work: its batches, its counters, its end."""

import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TypeVar

from ..database import Database
from ..interrupt import CheckStop, never
from ..ledger import history, pending, problems, runs
from ..ledger.pending import Sent
from ..ledger.runs import Run
from ..ledger.statistics import Progress
from ..options import How
from ..report.reporter import Reporter
from ..report.summary import PROBLEMS_SHOWN, Summary

T = TypeVar("T")

Queue = Callable[[Database, Callable[[int], None]], Sent]
"""Hands on what is pending: with the connection, and with what is called with the
number of entries each time some were handed on."""


class BatchSize:
    """How many rows the next batch takes: fewer after one that took too long."""

    def __init__(self, how: How) -> None:
        """Begin with the largest batch."""
        self.rows = self._largest_rows = how.batch_size
        self._limit_seconds = how.batch_seconds

    @contextmanager
    def measured(self) -> Generator[None]:
        """Measure one batch and choose the size of the next."""
        began = time.monotonic()
        yield
        if time.monotonic() - began > self._limit_seconds:
            self.rows = max(self.rows // 2, 1)
        else:
            self.rows = min(self.rows * 2, self._largest_rows)


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
    size: BatchSize
    between: CheckStop = never
    """Called between two batches; raises when somebody asked to stop by a signal."""

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

        with self.size.measured():
            result, run, is_stopping = self.database.transaction(do)
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
            self.database.check_stop()

        with self.reporter.phase(progress):
            if queue is not None:
                sent = queue(database, advance)
        message = sent.error and f"{sent.pending} changes are pending: {sent.error}"
        summary.stopped_at = sent.position if sent.error else None

        summary.queued, summary.pending = sent.sent, sent.pending
        summary.queue_error = sent.error
        self.end(message)
        self.reporter.end(summary)

    def end(self, message: str | None) -> None:
        """Write that the run has succeeded, and complete the summary."""
        database, run, summary = self.database, self.run, self.summary

        def end() -> None:
            runs.save(database, run)
            runs.end(database, run.id, runs.SUCCEEDED, message, summary.stopped_at)
            summary.problems = problems.first(database, run.id, PROBLEMS_SHOWN)
            summary.unfinished = history.unfinished_runs(database, run.id)

        database.transaction(end)
        summary.status, summary.statistics = runs.SUCCEEDED, run.statistics
        self.reporter.ended(summary, message)
