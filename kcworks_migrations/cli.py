# SPDX-FileCopyrightText: 2026 kcworks-migrations contributors
# SPDX-License-Identifier: MIT
"""The command group ``invenio kcworks-created-dates``."""

import json
import sys
from dataclasses import replace
from datetime import datetime

import click
from flask import current_app
from flask.cli import with_appcontext
from invenio_db import db

from . import ledger, migration, queries
from .config import options_from
from .database import opened
from .dates import show
from .report import counted, problem_lines, result_line
from .rules import REASONS
from .statistics import Statistics


@click.group("kcworks-created-dates")
def created_dates() -> None:
    """The true created dates of imported records and communities.

    The dates are changed by `invenio alembic upgrade` and put back by
    `invenio alembic downgrade kcworks_migrations@-1`.
    """


DAY = click.DateTime(["%Y-%m-%d"])


@created_dates.command()
@click.option("--records-only", is_flag=True, help="Only records, not communities.")
@click.option("--communities-only", is_flag=True, help="Only communities.")
@click.option(
    "--start-date",
    type=DAY,
    help="Only records whose created is on this UTC day or later.",
)
@click.option(
    "--end-date",
    type=DAY,
    help="Only records whose created is on this UTC day or before.",
)
@click.option("--batch-size", type=click.IntRange(1, 100_000), help="Rows at a time.")
@click.option("--dry-run", is_flag=True, help="Count what would change; write nothing.")
@click.option("-v", "--verbose", is_flag=True, help="Print each changed row.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@with_appcontext
def update(
    records_only: bool,
    communities_only: bool,
    start_date: datetime | None,
    end_date: datetime | None,
    batch_size: int | None,
    dry_run: bool,
    verbose: bool,
    yes: bool,
) -> None:
    """Change the dates as the upgrade does, as often as wanted.

    \b
    Examples:
      invenio kcworks-created-dates update --dry-run
      invenio kcworks-created-dates update --records-only --start-date 2024-05-01
    \f

    Raises:
        UsageError: The options contradict each other.
    """  # noqa: D301 - click reads the escapes
    if records_only and communities_only:
        raise click.UsageError("Use either --records-only or --communities-only.")
    if start_date and end_date and start_date > end_date:
        raise click.UsageError("--start-date lies after --end-date.")
    options = options_from(current_app.config)
    options = replace(
        options,
        batch_size=batch_size or options.batch_size,
        verbose=verbose or options.verbose,
        is_dry_run=dry_run,
        kinds=("record",) * (not communities_only)
        + ("community",) * (not records_only),
        filters=replace(
            options.filters,
            start_date=start_date and start_date.date(),
            end_date=end_date and end_date.date(),
        ),
    )
    if not dry_run:
        ask(f"Change created of {' and '.join(options.kinds)} rows?", yes)
    migration.apply(db.engine, "cli", options)


def ask(question: str, is_answered: bool) -> None:
    """Ask before anything is written, unless `--yes` was given.

    Raises:
        UsageError: There is nobody to ask.
    """
    if is_answered:
        return
    if not sys.stdin.isatty():
        raise click.UsageError("Without a terminal to ask on, --yes is needed.")
    click.confirm(question, abort=True)


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
    click.echo(f"Can be rolled back: {counted(standing, 'change')}")
    click.echo(f"Waiting for reindexing: {counted(waiting, 'change')}")
    if waiting:
        click.echo("Send them with\n  invenio kcworks-created-dates reindex")


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
                click.echo("\n".join(problem_lines(stored.problem)))
            count += len(page)
            after = page[-1].number
    click.echo(f"{counted(count, 'problem')} of run {run_id}.")


@created_dates.command()
@click.option(
    "--all",
    "is_again",
    is_flag=True,
    help="Send every change of the ledger again, for example after OpenSearch was down"
    " while the queues were drained.",
)
@with_appcontext
def reindex(is_again: bool) -> None:
    """Send the changes that wait to the indexing queues."""
    sent = migration.send_waiting(db.engine, is_again)
    click.echo(
        f"{counted(sent.sent, 'document')} queued, {counted(sent.waiting, 'change')}"
        " waiting."
    )
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
    ask("Put all old created dates back?", yes)
    migration.revert(db.engine, origin="cli")
