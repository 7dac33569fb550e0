# SPDX-FileCopyrightText: 2026 kcworks-migrations contributors
# SPDX-License-Identifier: MIT
"""A preview: what an update would do. Nothing is locked and no row is written."""

import time
from collections.abc import Callable, Generator
from contextlib import closing
from uuid import UUID

from ..config import How, What
from ..database import Database
from ..kinds import COMMUNITY, DATED, RECORD, Kind
from ..ledger import plans
from ..ledger.statistics import Progress
from ..report.lines import found_line, result_line
from ..report.plan import PlanView
from ..report.reporter import Reporter
from ..report.summary import Summary
from ..report.views import Suspicions
from ..rules.values import Change
from ..text import CARRY_OUT, SAVE_PLAN, UPGRADE, escape
from ..values import Plan
from .decisions import Decisions
from .names import check_names
from .page import Page
from .plan import add_lines
from .save import Writer

SELECT_LABEL = "SELECT {label} FROM {table} AS t WHERE t.id = CAST(:id AS uuid)"

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
    writer: Writer | None,
) -> Summary:
    """Decide about every row, and keep what a person wants to know of it.

    Memory grows by 24 bytes for each row that would change, and by some 150 at the
    end, for the documents to be counted exactly.

    Args:
        database: A connection that is only read.
        what: What the update is to do.
        how: How many rows are read at a time.
        reporter: Is told how it goes.
        count_documents: Counts the documents to reindex.
        problems_kept: The most problems to keep.
        writer: Where all changes are written, and perhaps the problems.

    Returns:
        What would be done.
    """
    database.transaction(check_names, database, what)
    began, suspicions = time.monotonic(), Suspicions()
    summary = Summary(None, "apply", "dry run", sample={k.name: [] for k in what.kinds})
    summary.plan = PlanView(what.plan) if what.plan else None
    summary.to_do = database.transaction(_to_do, database, what, how)
    decisions = Decisions(database, what)
    ids = {RECORD: bytearray(), COMMUNITY: bytearray()}
    with closing(_pages(decisions, what, how, reporter, summary)) as pages:
        for kind, page in pages:
            if summary.plan:
                add_lines(summary.plan, database, kind, page.decisions)
            changing = _keep(page, kind, summary, problems_kept)
            ids[kind].extend(b"".join(UUID(c.id).bytes for c in changing))
            suspicions.add(kind, changing)
            if writer is not None:
                problems = page.problems if writer.has_problems else ()
                writer.write(database, kind, [*page.changes, *problems])
    summary.seconds = time.monotonic() - began
    summary.documents = database.transaction(
        count_documents, database, ids[RECORD], ids[COMMUNITY]
    )
    many = [
        (instant, count, _name(database, ids[RECORD], number))
        for instant, count, number in suspicions.many()
    ]
    summary.suspicious = suspicions.lines(many)
    return summary


def _pages(
    decisions: Decisions, what: What, how: How, reporter: Reporter, summary: Summary
) -> Generator[tuple[Kind, Page]]:
    """Decide all rows, and tell how it goes."""
    for kind in what.kinds:
        reporter.line(f"[DRY RUN] Updating {kind} created dates...")
        decisions.read_oldest(kind, how.batch_size)
        progress = Progress(kind.plural, decisions.count(kind))
        reporter.line(found_line(kind, progress.total, what.plan))
        with reporter.phase(progress):
            for page in decisions.pages(kind, how.batch_size):
                yield kind, page
                reporter.decisions(kind, page.decisions)
                reporter.batch(progress, how.batch_size)
                progress = progress.after(len(page.decisions))
                reporter.advance(progress)
        reporter.line(f"[DRY RUN] {result_line(kind, summary.statistics.of(kind))}")
        if summary.plan:
            reporter.line("Comparing with what the rules compute...")
            for page in decisions.by_rules(kind, how.batch_size):
                summary.plan.compare(kind, page.decisions)


def _name(database: Database, ids: bytearray, number: int) -> str:
    """Name one of some records, whose UUIDs come as 16 bytes each."""
    id = str(UUID(bytes=bytes(ids[16 * number : 16 * number + 16])))
    read = database.execute_on
    label = database.transaction(read, RECORD, SELECT_LABEL, id=id).scalar()
    return f"record {escape(label or id)}"


def _keep(page: Page, kind: Kind, summary: Summary, problems_kept: int) -> list[Change]:
    """Count a page, and keep the first problems and some changes of a kind.

    Returns:
        The changes to another date.
    """
    summary.statistics = summary.statistics.plus(
        kind, page.decisions, page.malformed_groups, len(page.gone)
    )
    summary.gone += page.gone[: max(problems_kept - len(summary.gone), 0)]
    summary.problems += page.problems[: max(problems_kept - len(summary.problems), 0)]
    changing = [change for change in page.changes if not change.is_kept]
    shown = summary.sample[kind.name]
    shown += changing[: SAMPLE_ROWS - len(shown)]
    return changing


def _to_do(database: Database, what: What, how: How) -> tuple[str, ...]:
    """Say how to do what was looked at; Alembic knows of no plan."""
    again = "the same command without --dry-run."
    if what.plan:
        return (f"  {again}",)
    if left := plans.unfinished(database):
        return left.steps
    if how.on_upgrade == "wait":
        return (f"  {SAVE_PLAN}", f"  {CARRY_OUT}")
    if what.kinds != DATED:
        return (f"  {again}",)
    return (f"  {UPGRADE}", f"or, when that was done before, {again}")


def compare(database: Database, what: What, how: How, plan: Plan) -> PlanView:
    """Tell what becomes of a plan's lines, and nothing else of what would be done.

    Args:
        database: A connection that is only read.
        what: What the update is to do.
        how: How many rows are read at a time.
        plan: The plan in it.

    Returns:
        That.
    """
    view = PlanView(plan)
    for kind, page in Decisions(database, what).every(how.batch_size):
        add_lines(view, database, kind, page.decisions)
    return view
