# SPDX-FileCopyrightText: 2026 kcworks-migrations contributors
# SPDX-License-Identifier: MIT
"""``update``: the same work as the upgrade, as often as wanted."""

from pathlib import Path
from typing import Any

import click
from flask import current_app
from invenio_db import db

from .. import migration
from ..config import options_from
from ..database import opened
from ..kinds import COMMUNITY, RECORD
from ..ledger import tables
from ..migration.decisions import check_names
from ..options import What
from ..report.reporter import Reporter
from . import background
from .common import ask, exit_with, json_option, option, reason_option, yes_option
from .group import created_dates

FILE = click.Path(exists=True, dir_okay=False, path_type=Path)


def _names(ctx: click.Context, param: click.Parameter, path: Path | None) -> Any:
    """Read the names in a file, one a line, except empty lines and ``#`` lines."""
    if path is None:
        return None
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    names = (line.strip() for line in lines)
    return [name for name in names if name and not name.startswith("#")]


@created_dates.command()
@click.option("--records-only", is_flag=True, help="Only records, not communities.")
@click.option("--communities-only", is_flag=True, help="Only communities.")
@option("start_date", metavar="YYYY-MM-DD")
@option("end_date", metavar="YYYY-MM-DD")
@option("limit", metavar="N")
@option("exclude", type=FILE, metavar="FILE", callback=_names)
@option("batch_size", metavar="N")
@option("delay", metavar="SECONDS")
@click.option("--dry-run", is_flag=True, help="Count and show examples; write nothing.")
@click.option(
    "--background",
    "is_in_background",
    is_flag=True,
    help="Let Celery workers do it; print the ids of the tasks.",
)
@reason_option
@option("verbose", "-v")
@json_option
@yes_option
def update(
    records_only: bool,
    communities_only: bool,
    dry_run: bool,
    is_in_background: bool,
    reason: str | None,
    is_json: bool,
    yes: bool,
    **given: Any,
) -> None:
    """Change the dates as the upgrade does.

    Rows that are right already are skipped, so an update may be repeated as often as
    wanted. The tables of this package are made first if they are absent.

    \b
    Examples:
      invenio kcworks-created-dates update --dry-run
      invenio kcworks-created-dates update --limit 20 --reason "a first try"
      invenio kcworks-created-dates update --records-only --start-date 2024-05-01
      invenio kcworks-created-dates update --background --yes
    \f

    Raises:
        UsageError: The options contradict each other.
    """  # noqa: D301 - click reads the escapes
    if records_only and communities_only:
        raise click.UsageError("Use either --records-only or --communities-only.")
    kinds = (RECORD,) * (not communities_only) + (COMMUNITY,) * (not records_only)
    what, how = options_from(current_app.config, kinds=kinds, **given)
    with opened(db.engine, how.lock_timeout_seconds) as database:
        database.transaction(check_names, database, what)
    if not dry_run:
        ask("\n".join(_what_is_done(what)), yes)
    if is_in_background:
        background.tell_tasks(background.queue(kinds, given, dry_run, reason), is_json)
        return
    prefix = "[DRY RUN] " if dry_run else ""
    reporter = Reporter(how.verbose, is_json, prefix=prefix)
    if dry_run:
        summary = migration.preview(db.engine, what, how, reporter)
    else:
        tables.make(db.engine, how.lock_timeout_seconds)
        summary = migration.apply(db.engine, "cli", what, how, reporter, reason=reason)
    exit_with(summary)


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
    if what.first_versions_only:
        lines.append("- only first versions of records")
    if what.limit:
        lines.append(f"- at most {what.limit} of each")
    if what.exclude:
        lines.append(f"- except the {len(what.exclude)} excluded ones")
    return lines
