# SPDX-FileCopyrightText: 2026 kcworks-migrations contributors
# SPDX-License-Identifier: MIT
"""``reindex``: sends what waits to the indexing queues, and drains them if asked."""

import json

import click
from flask import current_app
from flask.cli import with_appcontext
from invenio_db import db

from .. import migration
from ..config import options_from
from ..drain import Drained, drain
from ..errors import ReindexingStoppedError
from ..health import Gate
from ..interrupt import interrupt
from ..output import echo
from ..report import Reporter
from ..summary import counted


@click.command()
@click.option(
    "--all",
    "is_again",
    is_flag=True,
    help="Send every change of the ledger again, for example after OpenSearch was down"
    " while the queues were drained.",
)
@click.option(
    "--wait",
    "is_drained",
    is_flag=True,
    help="Then index here what is in the queues, until they are empty. No Celery"
    " worker is needed, and none is in the way.",
)
@click.option("--json", "is_json", is_flag=True, help="Print one JSON document.")
@with_appcontext
def reindex(is_again: bool, is_drained: bool, is_json: bool) -> None:
    """Send the changes that wait to the indexing queues.

    The exit status is 0 when all is done, 1 when documents were refused, and 3 when
    it stopped early and can be continued.

    \b
    Examples:
      invenio kcworks-created-dates reindex
      invenio kcworks-created-dates reindex --wait
      invenio kcworks-created-dates reindex --all --wait
    \f

    Raises:
        ReindexingStoppedError: Something waits still.
    """  # noqa: D301 - click reads the escapes
    options = options_from(current_app.config)
    drained = Drained()
    with interrupt(None) as asked:
        sent = migration.send_waiting(db.engine, is_again, asked.check)
        if is_drained and not sent.error:
            reporter = Reporter(options.verbose)
            gate = Gate(options, reporter, asked.check)
            drained = drain(gate, reporter, asked.check)
    error = sent.error or drained.error
    if is_json:
        document = {
            "sent": sent.sent,
            "waiting": sent.waiting,
            "indexed": drained.indexed,
            "refused": drained.refused,
            "left": drained.left,
            "error": error,
        }
        echo(json.dumps(document, indent=2))
    else:
        echo(
            f"{counted(sent.sent, 'document')} queued,"
            f" {counted(sent.waiting, 'change')} waiting."
        )
        if is_drained and not sent.error:
            left = "unknown" if drained.left is None else drained.left
            echo(
                f"{counted(drained.indexed, 'document')} indexed, {drained.refused}"
                f" refused; messages left in the queues: {left}."
            )
            if drained.refused:
                echo("The log of the instance names the refused ones.")
    if error or sent.waiting:
        raise ReindexingStoppedError(error or "changes wait", is_drained)
    click.get_current_context().exit(1 if drained.refused else 0)
