# SPDX-FileCopyrightText: 2026 kcworks-migrations contributors
# SPDX-License-Identifier: MIT
"""The command group ``invenio kcworks-created-dates``."""

import csv
import json
import sys
from dataclasses import replace
from datetime import datetime

import click
from flask import current_app
from flask.cli import with_appcontext
from invenio_db import db

from . import ledger, migration, queries
from . import verify as verification
from .config import options_from
from .database import LOCK_KEY, opened
from .dates import show as show_instant
from .report import Summary, counted, problem_lines, result_line
from .rules import REASONS, Problem, escape
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


def exit_with(summary: Summary) -> None:
    """End with 1 if there were problems, 0 otherwise."""
    click.get_current_context().exit(1 if summary.statistics.errors else 0)


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
        rows, waiting, standing, is_at_work = d.transaction(
            lambda: (
                d.execute(queries.SELECT_RUNS, limit=10).mappings().all(),
                ledger.count_waiting(d),
                ledger.count_standing(d),
                d.execute(queries.SELECT_LOCK_IS_HELD, key=LOCK_KEY).scalar_one(),
            )
        )
    if is_json:
        document = {
            "runs": [dict(row) for row in rows],
            "is_at_work": is_at_work,
            "standing": standing,
            "waiting": waiting,
        }
        click.echo(json.dumps(document, default=lambda v: v.isoformat(), indent=2))
        return
    for row in rows:
        state = row["status"]
        if state == "running" and not is_at_work:
            state = "killed; the same command goes on with it"
        click.echo(f"Run {row['id']}: {row['action']} from {row['origin']}, {state}")
        began, ended = show_instant(row["started_at"]), show_instant(row["finished_at"])
        click.echo(f"  {began} to {ended}")
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
@click.option("--json", "is_json", is_flag=True, help="Print one JSON document.")
@click.option("--csv", "is_csv", is_flag=True, help="Print CSV with a heading.")
@with_appcontext
def problems(
    run_id: int | None, reason: str | None, is_json: bool, is_csv: bool
) -> None:
    """List what a run could not change or read.

    \b
    Examples:
      invenio kcworks-created-dates problems --reason not_utc
      invenio kcworks-created-dates problems --run 3 --csv > problems.csv
    """  # noqa: D301 - click reads the escape
    found: list[Problem] = []
    with opened(db.engine, options_from(current_app.config).lock_timeout_seconds) as d:
        if run_id is None:
            last = d.transaction(
                lambda: d.execute(queries.SELECT_RUNS, limit=1).first()
            )
            run_id = last.id if last else 0
        after = 0
        while page := d.transaction(ledger.problems, d, run_id, reason, after):
            found += [stored.problem for stored in page]
            after = page[-1].number
    if is_json:
        document = {"run": run_id, "problems": [problem._asdict() for problem in found]}
        click.echo(json.dumps(document, indent=2))
    elif is_csv:
        writer = csv.writer(sys.stdout)
        writer.writerow(Problem._fields)
        writer.writerows(found)
    else:
        for problem in found:
            click.echo("\n".join(problem_lines(problem)))
        click.echo(f"{counted(len(found), 'problem')} of run {run_id}.")


@created_dates.command()
@click.argument("label", metavar="PID-OR-SLUG")
@click.option("--json", "is_json", is_flag=True, help="Print one JSON document.")
@with_appcontext
def show(label: str, is_json: bool) -> None:
    """Show what happened to the date of one record or community.

    \b
    Examples:
      invenio kcworks-created-dates show 5f5st-kvr34
      invenio kcworks-created-dates show medieval-studies --json
    \f

    Raises:
        ClickException: The ledger has no entry of it.
    """  # noqa: D301 - click reads the escapes
    with opened(db.engine, options_from(current_app.config).lock_timeout_seconds) as d:
        entries = d.transaction(
            lambda: d.execute(queries.SELECT_HISTORY, label=label).mappings().all()
        )
    if not entries:
        raise click.ClickException(f"No date of {escape(label)} was ever changed.")
    if is_json:
        document = [dict(entry) for entry in entries]
        click.echo(json.dumps(document, default=str, indent=2))
        return
    for e in entries:
        click.echo(f"Run {e['run_id']}: {e['kind']} {e['label']} ({e['entity_id']})")
        click.echo(f"  from {show_instant(e['old_created'])}")
        click.echo(f"  to   {show_instant(e['new_created'])}")
        source = f" of record {e['source_record_label']}" * bool(e["source_record_id"])
        click.echo(f"  because of {e['source_value']}{source}")
        click.echo(f"  changed {show_instant(e['changed_at'])}")
        click.echo(f"  queued  {show_instant(e['queued_at'])}")
        if e["outcome"]:
            click.echo(f"  rollback: {e['outcome']} {show_instant(e['restored_at'])}")


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
    exit_with(migration.revert(db.engine, origin="cli"))


@created_dates.command()
@click.option("--fix", is_flag=True, help="Queue the documents that are not right.")
@click.option(
    "--sample",
    type=click.IntRange(1),
    metavar="N",
    help="Look at about so many of each kind.",
)
@click.option("--json", "is_json", is_flag=True, help="Print one JSON document.")
@with_appcontext
def verify(fix: bool, sample: int | None, is_json: bool) -> None:
    """Compare the database with the ledger, and the index with the database.

    The exit status is 0 when all is right and nothing waits, else 1.
    """
    options = options_from(current_app.config)
    verdict = verification.verify(db.engine, options, sample, fix)
    if is_json:
        click.echo(json.dumps(verdict.as_dict(), indent=2))
    else:
        click.echo("\n".join([verdict.line(), *verdict.examples()]))
    click.get_current_context().exit(0 if verdict.is_clean else 1)
