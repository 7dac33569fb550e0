# SPDX-FileCopyrightText: 2026 kcworks-migrations contributors
# SPDX-License-Identifier: MIT
"""``status``: the runs, what stands of them, and what to do next."""

import json

import click
from flask import current_app
from flask.cli import with_appcontext
from invenio_db import db

from .. import ledger, queries
from ..config import options_from
from ..database import LOCK_KEY, opened
from ..dates import show as show_instant
from ..report import counted, result_line
from ..statistics import Statistics


@click.command()
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
