# SPDX-FileCopyrightText: 2026 kcworks-migrations contributors
# SPDX-License-Identifier: MIT
"""``update``: the same work as the upgrade, as often as wanted."""

from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import click
from flask import current_app
from invenio_db import db

from .. import migration
from ..config import options_from
from ..database import opened
from ..errors import CreatedDatesError
from ..interrupt import interrupt
from ..kinds import COMMUNITY, RECORD
from ..ledger import tables
from ..migration.approval import check_approved
from ..migration.names import check_names
from ..migration.plan import read as read_plan
from ..migration.preview import compare
from ..migration.save import Writer
from ..migration.sheet import names_in
from ..options import How, What
from ..report.reporter import Reporter
from ..text import echo
from . import background
from .common import ask, exit_with, json_option, option, reason_option, yes_option
from .group import created_dates

FILE = click.Path(exists=True, dir_okay=False, path_type=Path)

save_plan_option = click.option(
    "--save-plan",
    "saved",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="With --dry-run: write each change into a new CSV file, for --plan.",
)
with_problems_option = click.option(
    "--with-problems",
    is_flag=True,
    help="With --save-plan: write each problem, too, without a new date.",
)
background_option = click.option(
    "--background",
    "is_in_background",
    is_flag=True,
    help="Let Celery workers do it; print the ids of the tasks.",
)


def _names(ctx: click.Context, param: click.Parameter, path: Path | None) -> Any:
    """Read the names of rows in a file.

    Returns:
        The names; none if no file was given.

    Raises:
        BadParameter: There is no name in it.
    """
    if path is None:
        return None
    if names := names_in(path):
        return names
    raise click.BadParameter(f"{path} names no row.")


@created_dates.command()
@click.option("--records-only", is_flag=True, help="Only records, not communities.")
@click.option("--communities-only", is_flag=True, help="Only communities.")
@option("start_date", metavar="YYYY-MM-DD")
@option("end_date", metavar="YYYY-MM-DD")
@option("limit", metavar="N")
@option("exclude", type=FILE, metavar="FILE", callback=_names)
@option("plan", type=FILE, metavar="FILE")
@option("batch_size", metavar="N")
@option("delay", metavar="SECONDS")
@click.option("--dry-run", is_flag=True, help="Count and show examples; write nothing.")
@save_plan_option
@with_problems_option
@background_option
@reason_option
@option("verbose", "-v")
@json_option
@yes_option
def update(
    records_only: bool,
    communities_only: bool,
    plan: Path | None,
    dry_run: bool,
    saved: Path | None,
    with_problems: bool,
    is_in_background: bool,
    reason: str | None,
    is_json: bool,
    yes: bool,
    **given: Any,
) -> None:
    """Change the dates as the upgrade does, or as a plan says.

    Rows that are right already are skipped, so an update may be repeated as often as
    wanted. The tables of this package are made first if they are absent.

    \b
    Examples:
      invenio kcworks-created-dates update --dry-run
      invenio kcworks-created-dates update --limit 20 --reason "a first try"
      invenio kcworks-created-dates update --records-only --start-date 2024-05-01
      invenio kcworks-created-dates update --background --yes

    \b
    With an approval, and dates that somebody knows:
      invenio kcworks-created-dates update --dry-run \\
        --save-plan plan.csv --with-problems
      invenio kcworks-created-dates update --plan plan.csv
    \f

    Raises:
        UsageError: The options contradict each other.
    """  # noqa: D301 - click reads the escapes
    if records_only and communities_only:
        raise click.UsageError("Use either --records-only or --communities-only.")
    if saved and (not dry_run or is_in_background):
        raise click.UsageError("--save-plan needs --dry-run, without --background.")
    if with_problems and not saved:
        raise click.UsageError("--with-problems needs --save-plan.")
    if plan and is_in_background:
        raise click.UsageError("--plan can't be combined with --background.")
    kinds = (RECORD,) * (not communities_only) + (COMMUNITY,) * (not records_only)
    what, how = options_from(current_app.config, kinds=kinds, **given)
    with opened(db.engine, how.lock_timeout_seconds) as database:
        database.transaction(check_names, database, what)
        if plan:
            what = replace(what, plan=read_plan(database, plan, what))
        if not dry_run:
            database.transaction(check_approved, database, what, how)
    if not dry_run:
        ask("\n".join(_what_is_done(what) + _what_the_plan_does(what, how)), yes)
    if is_in_background:
        background.tell_tasks(background.queue(kinds, given, dry_run, reason), is_json)
        return
    if dry_run:
        reporter = Reporter(how.verbose, is_json, prefix="[DRY RUN] ")
        with _new_plan(saved, with_problems) as writer:
            summary = migration.preview(db.engine, what, how, reporter, writer=writer)
    else:
        reporter = Reporter(how.verbose, is_json)
        tables.make(db.engine, how.lock_timeout_seconds)
        summary = migration.apply(db.engine, "cli", what, how, reporter, reason=reason)
    exit_with(summary)


@contextmanager
def _new_plan(path: Path | None, has_problems: bool) -> Generator[Writer | None]:
    """Open a new file, which has its name when it is complete and replaces none.

    What ends early leaves a file that ends in ``.part``.

    Raises:
        UsageError: There is a file already.
        CreatedDatesError: It can't be written.
    """
    if path is None:
        yield None
        return
    if path.exists():
        raise click.UsageError(f"{path} exists already, and may hold somebody's work.")
    part = path.with_name(f"{path.name}.part")
    try:
        with part.open("wb") as file:
            writer = Writer(file, has_problems)
            yield writer
            writer.close()
        part.rename(path)
    except OSError as error:
        fact = f"{part} could not be written: {error.strerror}. No date was changed."
        raise CreatedDatesError(fact, "Mend that, then try again.") from error
    echo(f"Saved the plan: {path}", err=True)


def _what_the_plan_does(what: What, how: How) -> list[str]:
    """Say what a plan makes of the rows; takes as long as a dry run."""
    if what.plan is None:
        return []
    echo("Comparing the plan with the rows...", err=True)
    with opened(db.engine, how.lock_timeout_seconds) as database, interrupt() as check:
        database.check_stop = check
        return compare(database, what, how, what.plan).lines()


def _what_is_done(what: What) -> list[str]:
    """Say what an update is about to do, as far as is known before it looks."""
    nouns = " and ".join(kind.plural for kind in what.kinds)
    lines = [
        f"This sets created of {nouns} to their true dates.",
        "Nothing else in them changes; `rollback` or the downgrade undoes it.",
    ]
    if what.start_date or what.end_date:
        first, last = what.start_date or "the first", what.end_date or "the last"
        lines.append(f"- only records created from {first} to {last}")
    if what.later_versions == "keep":
        lines.append("- only first versions of records, except where a plan says so")
    if what.limit:
        lines.append(f"- at most {what.limit} of each")
    if what.exclude:
        lines.append(f"- except the {len(what.exclude)} excluded ones")
    return lines
