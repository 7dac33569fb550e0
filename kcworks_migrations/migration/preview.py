# SPDX-FileCopyrightText: 2026 kcworks-migrations contributors
# SPDX-License-Identifier: MIT
"""A preview: what an update would do. Nothing is locked and no row is written."""

import time
from collections.abc import Callable

from ..config import How, What
from ..database import Database
from ..interrupt import CheckStop
from ..kinds import COMMUNITY, RECORD, Kind
from ..ledger.statistics import Progress
from ..report.reporter import Reporter
from ..report.summary import Summary, result_line
from ..rules.values import Change, Problem
from .decisions import Decisions, check_names

SAMPLE_ROWS = 5
"""Changes of each kind that are shown."""

Count = Callable[[Database, list[str], list[str]], int]
"""Counts the documents that hold the dates of some records and communities."""


class Preview:
    """Decides everything, and keeps what a person wants to know of it."""

    def __init__(
        self,
        database: Database,
        what: What,
        how: How,
        reporter: Reporter,
        problems_kept: int,
    ) -> None:
        """Keep what the work needs.

        Args:
            database: A connection that is only read.
            what: What the update is to do.
            how: How many rows are read at a time.
            reporter: Is told how it goes.
            problems_kept: The most problems to keep.
        """
        self.summary = Summary(None, "apply", "dry run")
        self._database = database
        self._what = what
        self._how = how
        self._reporter = reporter
        self._problems_kept = problems_kept
        self._decisions = Decisions(database, what)
        self._ids: dict[Kind, list[str]] = {RECORD: [], COMMUNITY: []}

    def do(self, count_documents: Count, check_stop: CheckStop) -> Summary:
        """Look at every row.

        Memory grows by about 100 bytes for each row that would change, and by as much
        again at the end, for the documents to be counted exactly.

        Args:
            count_documents: Counts the documents to reindex.
            check_stop: Called between two pages; may raise.

        Returns:
            What would be done.
        """
        self._database.transaction(check_names, self._database, self._what)
        began = time.monotonic()
        if RECORD not in self._what.kinds:
            self._decisions.read_oldest(self._how.batch_size, check_stop)
        for kind in self._what.kinds:
            self._do_kind(kind, check_stop)
        self.summary.seconds = time.monotonic() - began
        self.summary.documents = self._database.transaction(
            count_documents, self._database, self._ids[RECORD], self._ids[COMMUNITY]
        )
        return self.summary

    def _do_kind(self, kind: Kind, check_stop: CheckStop) -> None:
        summary, size = self.summary, self._how.batch_size
        self._reporter.line(f"[DRY RUN] Updating {kind} created dates...")
        progress = Progress(kind.plural, self._decisions.count(kind))
        self._reporter.line(f"Found {progress.total} {kind.plural} with a legacy field")
        shown = summary.sample.setdefault(kind.name, [])
        with self._reporter.phase(progress):
            for page in self._decisions.pages(kind, size, check_stop):
                summary.statistics = summary.statistics.plus(
                    kind, page.decisions, page.group_problems
                )
                found = [d for d in page.decisions if isinstance(d, Problem)]
                found += page.group_problems
                summary.problems += found[
                    : max(self._problems_kept - len(summary.problems), 0)
                ]
                changes = [d for d in page.decisions if isinstance(d, Change)]
                shown += changes[: SAMPLE_ROWS - len(shown)]
                self._ids[kind] += [change.id for change in changes]
                self._reporter.decisions(kind, page.decisions)
                self._reporter.batch(progress, size)
                progress = progress.after(len(page.decisions))
                self._reporter.advance(progress)
        tally = summary.statistics.of(kind)
        self._reporter.line(f"[DRY RUN] {result_line(kind, tally)}")
