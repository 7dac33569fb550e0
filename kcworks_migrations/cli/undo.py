# SPDX-FileCopyrightText: 2026 kcworks-migrations contributors
# SPDX-License-Identifier: MIT
"""``rollback`` and ``stop``: the old dates back, and an end to the run at work."""

from collections.abc import Mapping
from typing import Any

import click
from flask import current_app
from invenio_db import db

from .. import locks, migration
from ..config import options_from
from ..database import Database
from ..interrupt import pause, tries
from ..kinds import DATED
from ..ledger import history, plans, runs, tables
from ..ledger.plans import PlanFile
from ..ledger.standing import Selection, count_standing
from ..report.reporter import Reporter
from ..report.steps import taken_back_lines
from ..text import COMMAND, DOWNGRADE, counted, echo, escape
from ..values import NAME
from .common import (
    ask,
    connected,
    exit_with,
    json_option,
    reason_option,
    tell,
    yes_option,
)
from .group import created_dates

LOOK_SECONDS = 0.5
CHANGED_SHOWN = 10


@created_dates.command()
@click.option("--run", "run_id", type=int, metavar="N", help="Only what this run did.")
@click.option(
    "--record",
    "records",
    type=NAME,
    multiple=True,
    metavar="PID",
    help="Only this record.",
)
@click.option(
    "--community",
    "communities",
    type=NAME,
    multiple=True,
    metavar="SLUG",
    help="Only this one.",
)
@click.option(
    "--dry-run", is_flag=True, help="Say what would be restored; write nothing."
)
@reason_option
@json_option
@yes_option
def rollback(
    run_id: int | None,
    records: tuple[str, ...],
    communities: tuple[str, ...],
    dry_run: bool,
    reason: str | None,
    is_json: bool,
    yes: bool,
) -> None:
    """Restore the old dates without moving Alembic.

    Works in every state; `status` says when `invenio alembic downgrade a94c06be7d15`
    is the better undo of everything, as Alembic has the revision applied.

    \b
    Examples:
      invenio kcworks-created-dates rollback --dry-run
      invenio kcworks-created-dates rollback --run 3
      invenio kcworks-created-dates rollback --record 5f5st-kvr34 --record 1q2w3-e4r56
    """  # noqa: D301 - click reads the escape
    selection = Selection(run_id, records, communities)
    with connected() as database:
        found = database.transaction(_what_is_restored, database, selection)
    if dry_run:
        nothing = "[DRY RUN] Nothing was written."
        tell(is_json, found, [*_lines(found), nothing])
        return
    ask("\n".join(_lines(found)), yes)
    _, how = options_from(current_app.config)
    reporter = Reporter(how.verbose, is_json)
    exit_with(migration.revert(db.engine, "cli", selection, reporter, reason))


def _what_is_restored(database: Database, selection: Selection) -> dict[str, Any]:
    """Read what a rollback would do; give what is printed as JSON."""
    given_up = _given_up(database, selection)
    standing = _standing(database, selection, given_up is not None)
    count, shown = history.changed_since(database, CHANGED_SHOWN, selection)
    files = plans.files(database, selection)
    return {
        "standing": standing,
        "gives_up": given_up,
        "changed_since": count,
        "changed_since_shown": shown,
        "decisions": [plan._asdict() | {"again": plan.command} for plan in files],
        "is_applied": tables.state(database).is_applied,
    }


def _lines(found: Mapping[str, Any]) -> list[str]:
    """Say what a rollback would do."""
    changed = found["changed_since"]
    dates = counted(found["standing"] - changed, "created date")
    lines = [f"This restores {dates}."]
    if changed:
        rows = counted(changed, "row")
        lines.append(f"Left alone, as somebody has changed them since: {rows}")
        for row in found["changed_since_shown"]:
            lines.append(f"  {row['kind']} {row['label']}, now {row['created']}")
    if found["gives_up"]:
        lines.append(f"Gives up {found['gives_up']}, which was interrupted.")
    for plan in found["decisions"]:
        if plan["decisions"]:
            lines += taken_back_lines([PlanFile(*map(plan.get, PlanFile._fields))])
    if found["is_applied"]:
        lines.append(
            "Alembic will still record the revision as applied; for everything, prefer"
            f" {DOWNGRADE}"
        )
    return lines


def _given_up(database: Database, selection: Selection) -> str | None:
    """Name the plan that was interrupted, if it is given up by this."""
    left = plans.unfinished(database)
    is_of_rows = selection.records or selection.communities
    if left is None or is_of_rows or selection.run_id not in (None, left.run_id):
        return None
    return left.plan


def _standing(database: Database, selection: Selection, is_given_up: bool) -> int:
    """Count what would be restored.

    Returns:
        How many changes; at least one of each named row and of a run, except one
        whose plan is given up.

    Raises:
        UsageError: A named row has no change that stands, or the run has none.
    """
    tables.check(database)
    run_id, total = selection.run_id, 0
    for kind in DATED:
        names = selection.names(kind)
        for name in names or ():
            if not count_standing(database, kind, [name], run_id):
                where = "" if run_id is None else f" in run {run_id}"
                raise click.UsageError(
                    f"No change of {kind} {escape(name)} stands{where}. Nothing was"
                    f" changed: `{COMMAND} show` tells its history."
                )
        total += count_standing(database, kind, names, run_id)
    if run_id is not None and not (total or is_given_up):
        raise click.UsageError(
            f"Run {run_id} has no change that stands. Nothing was changed:"
            f" `{COMMAND} status` lists the runs."
        )
    return total


@created_dates.command()
def stop() -> None:
    """Stop the run that is at work, after its batch.

    It may be anywhere: a terminal, a deploy, a worker. This command waits until it
    has stopped; Ctrl-C ends the waiting only. What the run did stands.

    \b
    Example:
      invenio kcworks-created-dates stop
    """  # noqa: D301 - click reads the escape
    with connected() as database:

        def is_at_work() -> bool:
            return database.transaction(locks.holder, database) is not None

        if not is_at_work():
            echo("No run is at work.")
            return
        run_id = database.transaction(runs.request_stop, database)
        if run_id is None:
            echo("No run, but something else holds the lock; waiting for its end.")
            if shared := database.transaction(tables.shared_with, database):
                echo(shared)
        else:
            echo(f"Run {run_id} was asked to stop; waiting for its batch to end.")
        while is_at_work():
            pause(LOOK_SECONDS)
        if run_id is None:
            return
        # The lock is free a moment before the row says how the run ended.
        for _ in tries((LOOK_SECONDS,) * 4):
            status = database.transaction(runs.row, database, run_id).status
            if status != runs.RUNNING:
                break
    echo(f"Run {run_id} has ended: {status}. What to do next:")
    echo(f"  {COMMAND} status")
