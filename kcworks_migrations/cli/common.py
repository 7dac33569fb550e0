# SPDX-FileCopyrightText: 2026 kcworks-migrations contributors
# SPDX-License-Identifier: MIT
"""What the commands share: asking before a write, and the exit status."""

import json
import sys
from typing import Any

import click

from ..errors import NotConfirmedError
from ..output import echo
from ..summary import Summary


def exit_with(summary: Summary) -> None:
    """End with 3 if some of the reindexing waits, 1 with problems, 0 otherwise."""
    status = 1 if summary.statistics.errors else 0
    click.get_current_context().exit(3 if summary.queue_error else status)


def ask(what: str, question: str, is_answered: bool) -> None:
    """Say what is about to be done, and ask unless `--yes` was given.

    Raises:
        UsageError: There is nobody to ask.
        NotConfirmedError: The answer was no.
    """
    echo(what, err=True)
    if is_answered:
        return
    if not sys.stdin.isatty():
        raise click.UsageError("Without a terminal to ask on, --yes is needed.")
    try:
        is_confirmed = click.confirm(question, err=True)
    except click.Abort:  # Ctrl-C at the question
        click.echo(err=True)
        is_confirmed = False
    if not is_confirmed:
        raise NotConfirmedError


def echo_json(document: Any) -> None:
    """Print one JSON document; instants as ISO 8601."""
    click.echo(json.dumps(document, default=_as_text, indent=2))


def _as_text(value: Any) -> str:
    return value.isoformat() if hasattr(value, "isoformat") else str(value)
