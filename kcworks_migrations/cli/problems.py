# SPDX-FileCopyrightText: 2026 kcworks-migrations contributors
# SPDX-License-Identifier: MIT
"""``problems``: what a run could not change or read."""

import csv
import sys
from collections.abc import Iterator

import click
from flask import current_app
from flask.cli import with_appcontext
from invenio_db import db

from .. import ledger, queries
from ..config import options_from
from ..database import Database, opened
from ..rules import REASONS, Problem
from ..summary import counted, problem_lines
from .common import echo_json


@click.command()
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
    \f

    Raises:
        UsageError: There is no such run.
    """  # noqa: D301 - click reads the escapes
    with opened(db.engine, options_from(current_app.config).lock_timeout_seconds) as d:
        runs = d.transaction(d.execute, queries.SELECT_RUN_IDS).scalars().all()
        if run_id is None and runs:
            run_id = runs[-1]
        if run_id is None or run_id not in runs:
            which = "yet" if run_id is None else run_id
            known = ", ".join(map(str, runs[-10:])) or "none"
            raise click.UsageError(f"There is no run {which}; known: {known}.")
        found = _found(d, run_id, reason)
        if is_json:
            echo_json({"run": run_id, "problems": [p._asdict() for p in found]})
        elif is_csv:
            writer = csv.writer(sys.stdout)
            writer.writerow(Problem._fields)
            writer.writerows(found)
        else:
            count = 0
            for problem in found:
                click.echo("\n".join(problem_lines(problem)))
                count += 1
            click.echo(f"{counted(count, 'problem')} of run {run_id}.")


def _found(database: Database, run_id: int, reason: str | None) -> Iterator[Problem]:
    """Read page by page: a field with another name makes every row a problem."""
    after = 0
    while page := database.transaction(
        ledger.problems, database, run_id, reason, after
    ):
        yield from (stored.problem for stored in page)
        after = page[-1].number
