# SPDX-FileCopyrightText: 2026 kcworks-migrations contributors
# SPDX-License-Identifier: MIT
"""``update``: the same work as the upgrade, as often as wanted."""

from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import TextIO

import click
from flask import current_app
from flask.cli import with_appcontext
from invenio_db import db

from .. import dry_run as dry_running
from .. import ledger, migration, plan
from ..config import Options, options_from
from ..database import opened
from ..dates import show
from ..output import echo
from ..report import Reporter
from ..scan import check_filters
from . import background as in_background
from .common import ask, exit_with

DAY = click.DateTime(["%Y-%m-%d"])
FILE = click.Path(exists=True, dir_okay=False, path_type=Path)


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
@click.option(
    "--incremental",
    is_flag=True,
    help="Only what changed since the start of the last succeeded run.",
)
@click.option(
    "--limit",
    type=click.IntRange(1),
    metavar="N",
    help="Change N records and N communities at most, to try it on a few.",
)
@click.option(
    "--exclude",
    type=FILE,
    metavar="FILE",
    help="Leave these rows alone: PIDs, slugs or UUIDs, one a line.",
)
@click.option(
    "--dry-run",
    is_flag=True,
    help="Count, show a sample and estimate; write nothing.",
)
@click.option(
    "--save-plan",
    type=click.Path(dir_okay=False, writable=True, path_type=Path),
    metavar="FILE",
    help="With --dry-run: write each change as a line of JSON.",
)
@click.option(
    "--plan",
    "plan_path",
    type=FILE,
    metavar="FILE",
    help="Change just the rows of a saved plan, or nothing if one has moved.",
)
@click.option("--batch-size", type=click.IntRange(1, 100_000), help="Rows at a time.")
@click.option(
    "--delay",
    type=click.FloatRange(0, 3600),
    default=0,
    metavar="SECONDS",
    help="Wait so long between two batches.",
)
@click.option(
    "--background",
    is_flag=True,
    help="Let Celery workers do it; print the ids of the tasks.",
)
@click.option("-v", "--verbose", is_flag=True, help="Print each changed row.")
@click.option("--json", "is_json", is_flag=True, help="Print the end as JSON.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@with_appcontext
def update(
    records_only: bool,
    communities_only: bool,
    start_date: datetime | None,
    end_date: datetime | None,
    incremental: bool,
    limit: int | None,
    exclude: Path | None,
    dry_run: bool,
    save_plan: Path | None,
    plan_path: Path | None,
    batch_size: int | None,
    delay: float,
    background: bool,
    verbose: bool,
    is_json: bool,
    yes: bool,
) -> None:
    """Change the dates as the upgrade does, as often as wanted.

    \b
    Examples:
      invenio kcworks-created-dates update --dry-run
      invenio kcworks-created-dates update --limit 20
      invenio kcworks-created-dates update --incremental --yes
      invenio kcworks-created-dates update --records-only --start-date 2024-05-01
      invenio kcworks-created-dates update --dry-run --save-plan plan.jsonl
      invenio kcworks-created-dates update --plan plan.jsonl
      invenio kcworks-created-dates update --background --yes

    Exit status: 0 done, 1 done with problems, 2 wrong usage, 3 stopped early
    (the same command goes on), 4 another run is at work.
    \f

    Raises:
        UsageError: The options contradict each other.
    """  # noqa: D301 - click reads the escapes
    if records_only and communities_only:
        raise click.UsageError("Use either --records-only or --communities-only.")
    if save_plan and not dry_run:
        raise click.UsageError("--save-plan needs --dry-run.")
    if background and (plan_path or save_plan):
        raise click.UsageError(
            "A plan is a file here, which a worker can't see: leave out --background."
        )
    options = options_from(current_app.config)
    options = replace(
        options,
        batch_size=batch_size or options.batch_size,
        verbose=verbose or options.verbose,
        is_dry_run=dry_run,
        limit=limit,
        delay_seconds=delay,
        kinds=("record",) * (not communities_only)
        + ("community",) * (not records_only),
        filters=replace(
            options.filters,
            start_date=start_date and start_date.date(),
            end_date=end_date and end_date.date(),
            excluded=plan.read_names(exclude) if exclude else frozenset(),
            planned=plan.read(plan_path) if plan_path else None,
        ),
    )
    check_filters(db.engine, options)
    if background:
        if not dry_run:
            ask("\n".join(_what_is_done(options)), "Go on?", yes)
        in_background.echo(in_background.queue(options, incremental), is_json)
        return
    if incremental:
        options = _since_the_last_run(options)
    reporter = Reporter(options.verbose, is_json)
    if dry_run:
        with _written(save_plan) as file:
            summary = dry_running.try_out(db.engine, options, reporter, file)
        exit_with(summary)
    ask("\n".join(_what_is_done(options)), "Go on?", yes)
    exit_with(migration.apply(db.engine, "cli", options, reporter))


def _since_the_last_run(options: Options) -> Options:
    with opened(db.engine, options.lock_timeout_seconds) as database:
        since = database.transaction(ledger.base_of, database, options)
    if since:
        said = (
            f"Looking at what changed since {show(since.instant)} (run {since.run_id})."
        )
    else:
        said = (
            "No succeeded run of the same options to build on: looking at everything."
        )
    echo(said, err=True)
    return replace(options, since=since)


@contextmanager
def _written(path: Path | None) -> Generator[TextIO | None]:
    """Open the plan beside its place: a crash leaves no half of one under its name."""
    if path is None:
        yield None
        return
    beside = path.with_name(path.name + ".part")
    try:
        with beside.open("w", encoding="utf-8") as file:
            yield file
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)


def _what_is_done(options: Options) -> list[str]:
    """Say what an update is about to do, as far as is known before it looks."""
    nouns = {"record": "records", "community": "communities"}
    filters = options.filters
    lines = [
        f"This changes created of {' and '.join(nouns[k] for k in options.kinds)} to"
        " their true dates.",
        "Nothing else of them changes, and rollback or the downgrade undoes it.",
    ]
    if filters.start_date or filters.end_date:
        first, last = filters.start_date or "the first", filters.end_date or "the last"
        lines.append(f"- only records created from {first} to {last}")
    if filters.first_versions_only:
        lines.append("- only first versions of records")
    if options.limit:
        lines.append(f"- at most {options.limit} of each")
    if filters.excluded:
        lines.append(f"- except the {len(filters.excluded)} excluded ones")
    if filters.planned is not None:
        lines.append(f"- only the {len(filters.planned)} rows of the plan")
    return lines
