# SPDX-FileCopyrightText: 2026 kcworks-migrations contributors
# SPDX-License-Identifier: MIT
"""A dry run: the same path up to the write, what would come out, how long it takes."""

import time
from collections.abc import Callable
from dataclasses import replace
from typing import TextIO

from sqlalchemy.engine import Engine
from sqlalchemy.exc import DBAPIError

from . import ledger, plan, queries
from .config import Options
from .database import Database, opened, said_by
from .estimate import Changed
from .interrupt import interrupt
from .report import LogReporter, Reporter
from .rules import Change, Decision, Problem
from .statistics import Statistics
from .summary import PROBLEMS_SHOWN, Summary
from .upgrade import Upgrade

Note = Callable[[str, list[Decision]], None]

SAMPLE_ROWS = 5
"""Changes of each kind that are shown."""


def try_out(
    engine: Engine,
    options: Options,
    reporter: Reporter,
    plan_file: TextIO | None = None,
) -> Summary:
    """Find out what an update would do; nothing is locked and no row is written.

    Args:
        engine: The engine of the instance's database; an app context is needed.
        options: What the update is to do.
        reporter: Who is told.
        plan_file: Where to write every change, one JSON object a line.

    Returns:
        What would be done, with a sample and an estimate, already printed.
    """

    def write(kind: str, decisions: list[Decision]) -> None:
        if plan_file:
            plan.write_lines(plan_file, kind, decisions)

    timeout = options.lock_timeout_seconds
    with opened(engine, timeout, needs_ledger=False) as database:
        summary = foretell(database, options, reporter, write)
    reporter.end(summary)
    return summary


def foretell(
    database: Database, options: Options, reporter: Reporter, note: Note
) -> Summary:
    """Decide everything, with a sample and an estimate.

    Args:
        database: A connection.
        options: What the update is to do.
        reporter: Who is told.
        note: Called with the kind and the decisions of each batch.

    Returns:
        What would be done.
    """
    summary = Summary(0, "apply", "dry run", Statistics())
    changed = _changed(database, reporter)

    def note_changes(kind: str, decisions: list[Decision]) -> None:
        note(kind, decisions)
        problems = [d for d in decisions if isinstance(d, Problem)]
        summary.problems += problems[: PROBLEMS_SHOWN - len(summary.problems)]
        changes = [d for d in decisions if isinstance(d, Change)]
        shown = summary.sample.setdefault(kind, [])
        shown += changes[: SAMPLE_ROWS - len(shown)]
        if changed and changes:
            changed.add(kind, [change.id for change in changes])

    start = time.monotonic()
    with interrupt(None) as asked:
        summary.statistics = _decide(
            database, options, reporter, note_changes, asked.check
        )
    if changed:
        summary.estimate = changed.estimate(
            options, summary.statistics.updated, time.monotonic() - start
        )
    return summary


def compare_with_plan(
    database: Database,
    options: Options,
    reporter: Reporter,
    check_interrupt: Callable[[], None],
) -> None:
    """Look at every row of a plan before the first one is written.

    Options that leave some of its rows for later are no difference.

    Raises:
        PlanError: A row's date has moved since, or the rules give another one now.
    """
    reporter.line("Comparing the plan with the rows")
    comparison = plan.Comparison(options.filters.planned or {})
    filters = replace(
        options.filters, start_date=None, end_date=None, excluded=frozenset()
    )
    kinds = tuple(queries.TABLE_OF_KIND)
    whole = replace(options, filters=filters, kinds=kinds, limit=None, since=None)
    _decide(database, whole, LogReporter(), comparison.note, check_interrupt)
    comparison.refuse_differences()


def _decide(
    database: Database,
    options: Options,
    reporter: Reporter,
    note: Note,
    check_interrupt: Callable[[], None],
) -> Statistics:
    run = ledger.Run(0, "records", None, Statistics())
    options = replace(options, is_dry_run=True, delay_seconds=0)
    work = Upgrade(database, options, run, reporter, check_interrupt, note)
    work.do()
    return work.run.statistics


def _changed(database: Database, reporter: Reporter) -> Changed | None:
    """Prepare the estimate; a standby takes no temporary table, and gets none."""
    try:
        return Changed(database)
    except DBAPIError as error:
        reporter.line(f"There will be no estimate: {said_by(error)}")
        return None
