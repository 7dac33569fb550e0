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
@click.option(
    "--fix",
    is_flag=True,
    help="Queue the documents that are not right, and those only.",
)
@click.option(
    "--sample",
    type=click.IntRange(1),
    metavar="N",
    help="Look at about so many documents of each kind.",
)
@click.option("--json", "is_json", is_flag=True, help="Print one JSON document.")
@with_appcontext
def verify(fix: bool, sample: int | None, is_json: bool) -> None:
    """Compare the database with the ledger, and the index with the database.

    Every changed row is compared with what the ledger says, and every document that
    holds a changed date with the database: of records, drafts and communities.
    Nothing is written, apart from what --fix queues.

    \b
    lagging  not right yet, while changes or messages wait
    wrong    another date than the database, or older, and nothing waits
    missing  not in the index

    The exit status is 0 when all is right and nothing waits, else 1.

    \b
    Examples:
      invenio kcworks-created-dates verify
      invenio kcworks-created-dates verify --sample 1000
      invenio kcworks-created-dates verify --fix
      invenio kcworks-created-dates verify --json > verdict.json
    \f
    """  # noqa: D301 - click reads the escapes
    options = options_from(current_app.config)
    verdict = verification.verify(db.engine, options, sample, fix)
    if is_json:
        click.echo(json.dumps(verdict.as_dict(), indent=2))
    else:
        lines = [verdict.line(), *verdict.examples(), *verdict.advice()]
        click.echo("\n".join(lines))
    click.get_current_context().exit(0 if verdict.is_clean else 1)
