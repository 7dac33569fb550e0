# SPDX-FileCopyrightText: 2026 kcworks-migrations contributors
# SPDX-License-Identifier: MIT
"""What the commands share: asking before a write, and the exit status."""

import sys

import click

from ..report import Summary


def exit_with(summary: Summary) -> None:
    """End with 1 if there were problems, 0 otherwise."""
    click.get_current_context().exit(1 if summary.statistics.errors else 0)


def ask(question: str, is_answered: bool) -> None:
    """Ask before anything is written, unless `--yes` was given.

    Raises:
        UsageError: There is nobody to ask.
    """
    if is_answered:
        return
    if not sys.stdin.isatty():
        raise click.UsageError("Without a terminal to ask on, --yes is needed.")
    click.confirm(question, abort=True)
