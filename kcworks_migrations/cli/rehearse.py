# SPDX-FileCopyrightText: 2026 kcworks-migrations contributors
# SPDX-License-Identifier: MIT
"""``rehearse``: a few real rows there and back."""

from dataclasses import asdict

import click
from flask import current_app
from invenio_db import db

from .. import rehearsal
from ..config import options_from
from ..ledger import tables
from ..report.reporter import Reporter
from ..text import UPGRADE, counted
from .common import ask, json_option, reason_option, tell, yes_option
from .group import created_dates


@created_dates.command()
@click.option(
    "--limit",
    type=click.IntRange(1, 10_000),
    default=100,
    show_default=True,
    metavar="N",
    help="How many rows, of all shapes.",
)
@reason_option
@json_option
@yes_option
def rehearse(limit: int, reason: str | None, is_json: bool, yes: bool) -> None:
    """Try a few real rows, there and back.

    Changes them, indexes them, compares every column and document, and restores
    them, without workers and under one lock. What is left is a run with restored
    entries. The exit status is 0 when everything was as it should be, else 1.

    \b
    Example:
      invenio kcworks-created-dates rehearse --limit 20
    """  # noqa: D301 - click reads the escape
    what, how = options_from(current_app.config)
    ask(
        f"This changes created of up to {limit} rows, indexes them, and restores them."
        "\nUsers may see the new dates for a moment.",
        yes,
    )
    tables.make(db.engine, how.lock_timeout_seconds)
    reporter = Reporter(how.verbose)
    result = rehearsal.rehearse(db.engine, what, how, limit, reporter, reason)
    tell(is_json, asdict(result), _lines(result))
    click.get_current_context().exit(1 if result.wrong else 0)


def _lines(result: rehearsal.Rehearsal) -> list[str]:
    if not result.rows:
        return ["Nothing to rehearse: no date would change."]
    lines = [
        "",
        f"Rehearsal with {counted(result.rows, 'row')}, run {result.run_id}:"
        f" {counted(result.documents, 'document')} indexed on the way.",
    ]
    if result.locked:
        rows = counted(result.locked, "row")
        lines.append(f"Locked by somebody all the time, and left out: {rows}.")
    if result.edited:
        rows = counted(result.edited, "row")
        lines.append(f"Edited by somebody meanwhile, and not compared: {rows}.")
    lines += [f"  wrong: {text}" for text in result.wrong]
    if not result.wrong:
        lines.append("Every row and document was right, and is as it was before.")
    rate = result.documents / max(result.index_seconds, 0.001)
    lines.append(
        f"The whole would change {counted(result.rows_in_all, 'row')}; here"
        f" {rate:,.0f} documents a second were indexed."
    )
    return [*lines, "Next:", f"  {UPGRADE}"]
