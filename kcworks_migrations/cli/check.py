# SPDX-FileCopyrightText: 2026 kcworks-migrations contributors
# SPDX-License-Identifier: MIT
"""``check``: go or no-go before the deploy."""

import os
import sys

import click
from flask.cli import with_appcontext
from invenio_db import db

from ..checks import check as look
from ..checks.line import Line
from ..errors import WIDTH, wrapped
from ..summary import counted
from .common import echo_json

COLORS = {"fine": "green", "warning": "yellow", "stop": "red"}

INDENT = 9
"""Columns of the level, which comes first in each line."""

AGAIN = "invenio kcworks-created-dates check"


@click.command()
@click.option("--json", "is_json", is_flag=True, help="Print one JSON document.")
@with_appcontext
def check(is_json: bool) -> None:
    """Say go or no-go before the deploy.

    Looks at the database, its rows, the broker, the workers and OpenSearch, for some
    seconds, and changes nothing. Each line is fine, a warning, or a stop, and says
    what to do. The exit status is 0 for go and 1 for no-go, a wrong setting included.

    \b
    Examples:
      invenio kcworks-created-dates check
      invenio kcworks-created-dates check --json | jq -r '.lines[] | .level + " " + .name'
    """  # noqa: D301, E501 - click reads the escape
    lines = []
    for line in look(db.engine):
        lines.append(line)
        if not is_json:
            click.echo(text_of(line))
    stops = [line for line in lines if line.level == "stop"]
    warnings = [line for line in lines if line.level == "warning"]
    next_step = AGAIN if stops else _next_step(lines)
    if is_json:
        document = {
            "is_go": not stops,
            "stops": len(stops),
            "warnings": len(warnings),
            "next_step": next_step,
            "lines": [line._asdict() for line in lines],
        }
        echo_json(document)
    else:
        told = f", {counted(len(warnings), 'warning')}" if warnings else ""
        verdict = (
            f"No go: {counted(len(stops), 'thing')} to see to first{told}. Then again:"
            if stops
            else f"Go{told}. Next:"
        )
        click.echo(f"\n{verdict}\n  {next_step}")
    click.get_current_context().exit(1 if stops else 0)


def _next_step(lines: list[Line]) -> str:
    """Give the command that the line about the revision names."""
    named = [line.what_to_do or "" for line in lines if line.name == "revision"]
    commands = [text.strip("`") for text in named if text.startswith("`")]
    return commands[0] if commands else AGAIN


def text_of(line: Line) -> str:
    """Give a line as text of 80 columns; commands in it are never broken."""
    told = [f"{line.name.replace('_', ' ')}: {line.fact}"]
    if line.what_to_do:
        told.append(f"To do: {line.what_to_do}")
    parts = [part for text in told for part in wrapped(text, WIDTH - INDENT)]
    level = f"{line.level:<{INDENT}}"
    if sys.stdout.isatty() and "NO_COLOR" not in os.environ:
        level = click.style(level, fg=COLORS[line.level])
    return f"\n{' ' * INDENT}".join([level + parts[0], *parts[1:]])
