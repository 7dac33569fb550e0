# SPDX-FileCopyrightText: 2026 kcworks-migrations contributors
# SPDX-License-Identifier: MIT
"""``stop``: asks the run that is at work to stop after its batch."""

import time

import click
from flask import current_app
from flask.cli import with_appcontext
from invenio_db import db

from .. import ledger
from ..config import options_from
from ..database import opened
from ..output import echo

LOOK_SECONDS = 0.5


@click.command()
@with_appcontext
def stop() -> None:
    """Stop the run that is at work, after its batch.

    It may be anywhere: a terminal, a deploy, a worker. Waits until it has
    stopped; Ctrl-C ends the waiting and leaves the request as it is. The same command
    that began the run goes on with it later.

    \b
    Example:
      invenio kcworks-created-dates stop
    """  # noqa: D301 - click reads the escape
    with opened(db.engine, options_from(current_app.config).lock_timeout_seconds) as d:
        if not d.transaction(d.lock_holder):
            echo("No run is at work.")
            return
        run_id = d.transaction(ledger.request_stop, d)
        if run_id is None:
            echo("Something else holds the lock, which ends by itself; waiting.")
        else:
            echo(f"Run {run_id} was asked to stop; waiting for its batch to end.")
        while d.transaction(d.lock_holder):
            time.sleep(LOOK_SECONDS)
        ended = run_id and d.transaction(ledger.status_of, d, run_id)
    if ended == "interrupted":
        echo(f"Run {run_id} has stopped; the same command goes on with it.")
    elif run_id:
        echo(f"Run {run_id} has ended: {ended}.")
