# SPDX-FileCopyrightText: 2026 kcworks-migrations contributors
# SPDX-License-Identifier: MIT
"""``rehearse``: a few real rows there and back, and a forecast of the whole."""

import click
from flask import current_app
from flask.cli import with_appcontext
from invenio_db import db

from ..config import options_from
from ..interrupt import interrupt
from ..output import echo, unfailing
from ..rehearse import Rehearsal
from ..rehearse import rehearse as do_rehearse
from ..report import Reporter
from ..summary import counted, duration
from .common import ask, echo_json


@click.command()
@click.option(
    "--limit",
    type=click.IntRange(1, 10_000),
    default=100,
    show_default=True,
    metavar="N",
    help="So many rows, of all shapes.",
)
@click.option("--json", "is_json", is_flag=True, help="Print one JSON document.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@with_appcontext
def rehearse(limit: int, is_json: bool, yes: bool) -> None:
    """Try a few real rows, there and back, and forecast the whole.

    Changes them, indexes, verifies, puts all back and verifies again. Drains the
    indexing queues here. Leaves nothing behind but a run that says so. The
    exit status is 0 when everything was as it should be, else 1.

    \b
    Example:
      invenio kcworks-created-dates rehearse --limit 20
    """  # noqa: D301 - click reads the escape
    options = options_from(current_app.config)
    ask(
        f"This changes created of up to {limit} rows, indexes them, and puts them back."
        "\nUsers may see the new dates for a moment.",
        "Go on?",
        yes,
    )
    with interrupt(None) as asked:
        result = do_rehearse(
            db.engine, options, limit, Reporter(options.verbose), asked.check
        )
    if is_json:
        with unfailing():
            echo_json(result.as_dict())
    else:
        echo("\n".join(_lines(result)))
    click.get_current_context().exit(1 if result.wrong else 0)


def _lines(result: Rehearsal) -> list[str]:
    if not result.rows:
        return ["Nothing to rehearse: no date would change."]
    lines = [
        "",
        f"Rehearsal with {counted(result.rows, 'row')}, run {result.run_id}:"
        f" {counted(result.documents, 'document')} indexed on the way.",
    ]
    if result.edited:
        lines.append(f"{result.edited} were edited meanwhile and not compared.")
    lines += [f"  wrong: {text}" for text in result.wrong]
    if not result.wrong:
        lines.append("Every row and document was right, and is as it was before.")
    e = result.forecast
    if e:
        drain = "unknown" if e.drain_seconds is None else duration(e.drain_seconds)
        lines += [
            f"The whole: {counted(e.rows, 'row')} in about {duration(e.run_seconds)},"
            f" a ledger of {e.ledger_bytes / 1e6:.1f} MB,",
            f"  {counted(e.documents, 'document')} to reindex, {drain} for one worker.",
        ]
    return [*lines, "Next:", "  invenio alembic upgrade kcworks_migrations@head"]
