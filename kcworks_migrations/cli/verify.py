# SPDX-FileCopyrightText: 2026 kcworks-migrations contributors
# SPDX-License-Identifier: MIT
"""``verify``: database, ledger and index side by side."""

import json

import click
from flask import current_app
from flask.cli import with_appcontext
from invenio_db import db

from .. import verify as verification
from ..config import options_from


@click.command()
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
