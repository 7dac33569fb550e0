# SPDX-FileCopyrightText: 2026 kcworks-migrations contributors
# SPDX-License-Identifier: MIT
"""``update``: the same work as the upgrade, as often as wanted."""

from dataclasses import replace
from datetime import datetime

import click
from flask import current_app
from flask.cli import with_appcontext
from invenio_db import db

from .. import migration
from ..config import options_from
from .common import ask, exit_with

DAY = click.DateTime(["%Y-%m-%d"])


@click.command()
@click.option("--records-only", is_flag=True, help="Only records, not communities.")
@click.option("--communities-only", is_flag=True, help="Only communities.")
@click.option(
    "--start-date",
    metavar="YYYY-MM-DD",
    type=DAY,
    help="Only records whose created is on this UTC day or later.",
)
@click.option(
    "--end-date",
    metavar="YYYY-MM-DD",
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
    exit_with(migration.apply(db.engine, "cli", options))
