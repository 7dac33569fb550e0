# SPDX-FileCopyrightText: 2026 kcworks-migrations contributors
# SPDX-License-Identifier: MIT
"""The command group ``invenio kcworks-created-dates``."""

import json

import click
from flask import current_app
from flask.cli import with_appcontext
from invenio_db import db

from . import ledger, migration, queries
from .config import options_from
from .database import opened
from .dates import show
from .report import problem_line, result_line
from .rules import REASONS
from .statistics import Statistics


@click.group("kcworks-created-dates")
def created_dates() -> None:
    """The true created dates of imported records and communities.

    The dates are changed by `invenio alembic upgrade` and put back by
    `invenio alembic downgrade kcworks_migrations@-1`.
    """


@created_dates.command()
@click.option("--json", "is_json", is_flag=True, help="Print one JSON document.")
@with_appcontext
def status(is_json: bool) -> None:
    """Show the runs, what stands of them, and what waits for reindexing."""
    with opened(db.engine, options_from(current_app.config).lock_timeout_seconds) as d:
        rows, waiting, standing = d.transaction(
            lambda: (
                d.execute(queries.SELECT_RUNS, limit=10).mappings().all(),
                ledger.count_waiting(d),
                ledger.count_standing(d),
            )
        )
    if is_json:
        document = {
            "runs": [dict(row) for row in rows],
            "standing": standing,
            "waiting": waiting,
        }
        click.echo(json.dumps(document, default=lambda v: v.isoformat(), indent=2))
        return
    for row in rows:
        click.echo(
            f"Run {row['id']}: {row['action']} from {row['origin']}, {row['status']}"
        )
        click.echo(f"  {show(row['started_at'])} to {show(row['finished_at'])}")
        statistics = Statistics.from_dict(row["statistics"])
        click.echo(f"  {result_line('record', statistics.records)}")
        click.echo(f"  {result_line('community', statistics.communities)}")
        if row["message"]:
            click.echo(f"  {row['message']}")
    click.echo(f"{standing} changes stand and can be rolled back.")
    if waiting:
        click.echo(
            f"{waiting} changes wait for reindexing; send them with\n"
            "  invenio kcworks-created-dates reindex"
        )


@created_dates.command()
@click.option("--run", "run_id", type=int, help="The run; by default the last one.")
@click.option("--reason", type=click.Choice(list(REASONS)), help="Only this reason.")
@with_appcontext
def problems(run_id: int | None, reason: str | None) -> None:
    """List what a run could not change or read."""
    with opened(db.engine, options_from(current_app.config).lock_timeout_seconds) as d:
        if run_id is None:
            last = d.transaction(
                lambda: d.execute(queries.SELECT_RUNS, limit=1).first()
            )
            run_id = last.id if last else 0
        after = count = 0
        while page := d.transaction(ledger.problems, d, run_id, reason, after):
            for stored in page:
                click.echo(problem_line(stored.problem))
            count += len(page)
            after = page[-1].number
    click.echo(f"{count} problems of run {run_id}.")


@created_dates.command()
@with_appcontext
def reindex() -> None:
    """Send the changes that wait to the indexing queues."""
    sent = migration.send_waiting(db.engine)
    click.echo(f"{sent.sent} documents were queued, {sent.waiting} changes wait.")
    if sent.error:
        raise click.ClickException(
            f"The broker did not take all: {sent.error}. Nothing is lost; run the same"
            " command again when it is back."
        )


@created_dates.command()
@click.option("--yes", is_flag=True, help="Do not ask.")
@with_appcontext
def rollback(yes: bool) -> None:
    """Put the old dates back without moving Alembic.

    For an upgrade that was left half finished; otherwise use
    `invenio alembic downgrade kcworks_migrations@-1`, which does the same.
    """
    if not yes:
        click.confirm("Put all old created dates back?", abort=True)
    migration.revert(db.engine, origin="cli")
