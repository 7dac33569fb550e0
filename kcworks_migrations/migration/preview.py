# SPDX-FileCopyrightText: 2026 kcworks-migrations contributors
# SPDX-License-Identifier: MIT
"""A preview: what an update would do. Nothing is locked and no row is written."""

import time
from collections.abc import Callable
from uuid import UUID

from ..config import How, What
from ..database import Database
from ..kinds import COMMUNITY, RECORD, Kind
from ..ledger.statistics import Progress
from ..report.reporter import Reporter
from ..report.summary import Summary, result_line
from .decisions import Decisions, Page, check_names

SAMPLE_ROWS = 5
"""Changes of each kind that are shown."""

Count = Callable[[Database, bytearray, bytearray], int]
"""Counts the documents that hold the dates of some records and communities, whose
UUIDs come as 16 bytes each: a million of them are 16 MB, and 85 MB as text."""


def look(
    database: Database,
    what: What,
    how: How,
    reporter: Reporter,
    count_documents: Count,
    problems_kept: int,
) -> Summary:
    """Decide about every row, and keep what a person wants to know of it.

    Memory grows by 16 bytes for each row that would change, and by some 150 at the
    end, for the documents to be counted exactly.

    Args:
        database: A connection that is only read.
        what: What the update is to do.
        how: How many rows are read at a time.
        reporter: Is told how it goes.
        count_documents: Counts the documents to reindex.
        problems_kept: The most problems to keep.

    Returns:
        What would be done.
    """
    database.transaction(check_names, database, what)
    began = time.monotonic()
    summary = Summary(None, "apply", "dry run", sample={k.name: [] for k in what.kinds})
    decisions = Decisions(database, what)
    decisions.read_oldest(how.batch_size)
    ids = {RECORD: bytearray(), COMMUNITY: bytearray()}
    for kind in what.kinds:
        reporter.line(f"[DRY RUN] Updating {kind} created dates...")
        progress = Progress(kind.plural, decisions.count(kind))
        reporter.line(f"Found {progress.total} {kind.plural} with a legacy field")
        with reporter.phase(progress):
            for page in decisions.pages(kind, how.batch_size):
                _keep(page, kind, summary, problems_kept)
                ids[kind].extend(b"".join(UUID(c.id).bytes for c in page.changes))
                reporter.decisions(kind, page.decisions)
                reporter.batch(progress, how.batch_size)
                progress = progress.after(len(page.decisions))
                reporter.advance(progress)
        reporter.line(f"[DRY RUN] {result_line(kind, summary.statistics.of(kind))}")
    summary.seconds = time.monotonic() - began
    summary.documents = database.transaction(
        count_documents, database, ids[RECORD], ids[COMMUNITY]
    )
    return summary


def _keep(page: Page, kind: Kind, summary: Summary, problems_kept: int) -> None:
    """Count a page, and keep the first problems and some changes of a kind."""
    summary.statistics = summary.statistics.plus(
        kind, page.decisions, page.group_problems
    )
    summary.problems += page.problems[: max(problems_kept - len(summary.problems), 0)]
    shown = summary.sample[kind.name]
    shown += page.changes[: SAMPLE_ROWS - len(shown)]
