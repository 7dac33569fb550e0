# SPDX-FileCopyrightText: 2026 kcworks-migrations contributors
# SPDX-License-Identifier: MIT
"""``reindex``: sends what waits to the indexing queues."""

import click
from flask.cli import with_appcontext
from invenio_db import db

from .. import migration
from ..report import counted


@click.command()
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
