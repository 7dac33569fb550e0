# SPDX-FileCopyrightText: 2026 kcworks-migrations contributors
# SPDX-License-Identifier: MIT
"""``rollback``: the old dates back without moving Alembic."""

import click
from flask import current_app
from flask.cli import with_appcontext
from invenio_db import db

from .. import ledger, migration
from ..config import options_from
from ..database import Database, opened
from ..downgrade import KINDS, Selection
from ..report import Reporter
from ..rules import escape
from ..summary import counted
from .common import ask, exit_with


@click.command()
@click.option("--run", "run_id", type=int, metavar="ID", help="Only of this run.")
@click.option("--record", "records", multiple=True, metavar="PID", help="Only of this.")
@click.option(
    "--community", "communities", multiple=True, metavar="SLUG", help="Only of this."
)
@click.option("--json", "is_json", is_flag=True, help="Print the end as JSON.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@with_appcontext
def rollback(
    run_id: int | None,
    records: tuple[str, ...],
    communities: tuple[str, ...],
    is_json: bool,
    yes: bool,
) -> None:
    """Put the old dates back without moving Alembic.

    For an upgrade that was left half finished, for an update, or for some rows. After
    a finished upgrade, `invenio alembic downgrade a94c06be7d15` does the same for all.

    \b
    Examples:
      invenio kcworks-created-dates rollback
      invenio kcworks-created-dates rollback --run 3
      invenio kcworks-created-dates rollback --record 5f5st-kvr34 --record 1q2w3-e4r56
    """  # noqa: D301 - click reads the escape
    selection = Selection(run_id, records, communities)
    options = options_from(current_app.config)
    with opened(db.engine, options.lock_timeout_seconds) as database:
        standing = database.transaction(_standing, database, selection)
    ask(f"This puts back {counted(standing, 'created date')}.", "Go on?", yes)
    exit_with(
        migration.revert(
            db.engine, "cli", selection, Reporter(options.verbose, is_json)
        )
    )


def _standing(database: Database, selection: Selection) -> int:
    """Count what would be put back.

    Returns:
        How many changes, at least one.

    Raises:
        UsageError: A named row has no change that stands, or the run has none.
    """
    selection.check(database)
    total = 0
    for kind in KINDS:
        for name in selection.labels(kind) or ():
            if not ledger.count_standing(database, kind, selection.run_id, [name]):
                raise click.UsageError(
                    f"No change of {kind} {escape(name)} stands. Nothing was changed:"
                    " `invenio kcworks-created-dates show` tells its history."
                )
        total += ledger.count_standing(
            database, kind, selection.run_id, selection.labels(kind)
        )
    if selection.run_id is not None and not total:
        raise click.UsageError(
            f"Run {selection.run_id} has no change that stands. Nothing was changed:"
            " `invenio kcworks-created-dates status` lists the runs."
        )
    return total
