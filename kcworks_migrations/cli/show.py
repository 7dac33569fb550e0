# SPDX-FileCopyrightText: 2026 kcworks-migrations contributors
# SPDX-License-Identifier: MIT
"""``show``: the history of one date."""

import json

import click
from flask import current_app
from flask.cli import with_appcontext
from invenio_db import db

from .. import queries
from ..config import options_from
from ..database import opened
from ..dates import show as show_instant
from ..rules import escape


@click.command()
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
