# SPDX-FileCopyrightText: 2026 kcworks-migrations contributors
# SPDX-License-Identifier: MIT
"""``rollback`` and ``stop``: the old dates back, and an end to the run at work."""

import click
from flask import current_app
from invenio_db import db

from .. import locks, migration
from ..config import options_from
from ..database import Database
from ..interrupt import pause, tries
from ..kinds import DATED
from ..ledger import plans, runs, tables
from ..ledger.standing import Selection, count_standing
from ..report.reporter import Reporter
from ..text import COMMAND, counted, echo, escape
from .common import ask, connected, exit_with, json_option, reason_option, yes_option
from .group import created_dates

LOOK_SECONDS = 0.5


@created_dates.command()
@click.option("--run", "run_id", type=int, metavar="N", help="Only what this run did.")
@click.option(
    "--record", "records", multiple=True, metavar="PID", help="Only this record."
)
@click.option(
    "--community", "communities", multiple=True, metavar="SLUG", help="Only this one."
)
@reason_option
@json_option
@yes_option
def rollback(
    run_id: int | None,
    records: tuple[str, ...],
    communities: tuple[str, ...],
    reason: str | None,
    is_json: bool,
    yes: bool,
) -> None:
    """Restore the old dates without moving Alembic.

    For an upgrade that did not finish, for an update, or for some rows. After a
    finished upgrade, `invenio alembic downgrade a94c06be7d15` does the same for all.

    \b
    Examples:
      invenio kcworks-created-dates rollback
      invenio kcworks-created-dates rollback --run 3
      invenio kcworks-created-dates rollback --record 5f5st-kvr34 --record 1q2w3-e4r56
    """  # noqa: D301 - click reads the escape
    selection = Selection(run_id, records, communities)
    with connected() as database:
        standing = database.transaction(_standing, database, selection)
    ask(f"This restores {counted(standing, 'created date')}.", yes)
    _, how = options_from(current_app.config)
    reporter = Reporter(how.verbose, is_json)
    exit_with(migration.revert(db.engine, "cli", selection, reporter, reason))


def _standing(database: Database, selection: Selection) -> int:
    """Count what would be restored.

    Returns:
        How many changes; at least one of each named row and of a run, except one
        whose plan it gives up.

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
    left = plans.unfinished(database)
    if run_id is not None and not (total or (left and left.run_id == run_id)):
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
