# SPDX-FileCopyrightText: 2026 kcworks-migrations contributors
# SPDX-License-Identifier: MIT
"""What the commands share: options, asking before a write, and the exit status."""

import sys
from collections.abc import Callable, Generator, Iterable
from contextlib import contextmanager
from dataclasses import fields
from typing import Any

import click
from flask import current_app
from invenio_db import db

from ..config import options_from
from ..database import Database, opened
from ..errors import CreatedDatesError, RefusedError
from ..ledger import tables
from ..options import How, What
from ..report import steps
from ..report.monitor import Monitor, Trouble
from ..report.summary import Summary
from ..text import as_json, echo, is_terminal
from ..values import FLAG, REASON

NOTHING_YET = "Nothing has been done yet: no date was changed on this instance."

json_option = click.option(
    "--json", "is_json", is_flag=True, help="Print one JSON document."
)
yes_option = click.option("--yes", is_flag=True, help="Do not ask.")
reason_option = click.option(
    "--reason", type=REASON, metavar="TEXT", help="Why this is done; `status` shows it."
)


def option(name: str, *flags: str, **more: Any) -> Callable[[Any], Any]:
    """Give the decorator for an option that `options` declares.

    Args:
        name: The name of its field.
        *flags: Further spellings, such as ``-v``.
        **more: What click is told beside the type and the help.

    Returns:
        The decorator. An option that is not given is none: the setting holds.
    """
    [field] = [f for f in (*fields(What), *fields(How)) if f.name == name]
    value = field.metadata["value"]
    told: dict[str, Any] = {"type": value, "help": field.metadata["help"]}
    if value is FLAG:
        told |= {"type": bool, "is_flag": True, "default": None}
    return click.option(*flags, f"--{name.replace('_', '-')}", name, **told | more)


@contextmanager
def connected() -> Generator[Database]:
    """Open a connection, with the lock timeout of the settings."""
    _, how = options_from(current_app.config)
    with opened(db.engine, how.lock_timeout_seconds) as database:
        yield database


@contextmanager
def reading(is_json: bool, is_check: bool = False) -> Generator[Database]:
    """Open a connection for looking; end the command where nothing was done yet.

    Raises:
        RefusedError: A table is missing that Alembic records as created.
    """
    with connected() as database:
        now = database.transaction(tables.state, database)
        if now.tables != tables.NAMES:
            if now.damage and not is_check:
                raise RefusedError(*now.damage)
            found = Monitor(None, (Trouble(*now.damage),) if now.damage else ())
            _, how = options_from(current_app.config)
            next_steps = steps.first_steps(now.is_applied, how.on_upgrade)
            document = {"message": NOTHING_YET, "next": next_steps}
            told = [f"  {step}" for step in next_steps]
            lines = [f"{NOTHING_YET} Begin with:", *told]
            if is_check:
                document, lines = found.as_dict(), [found.line()]
            tell(is_json, document, lines)
            click.get_current_context().exit(0 if found.is_ok else 1)
        yield database


def tell(is_json: bool, document: Any, lines: Iterable[str]) -> None:
    """Print what was found, as one JSON document or as lines for people."""
    echo(as_json(document) if is_json else "\n".join(lines))


def ask(what: str, is_answered: bool) -> None:
    """Say what is about to be done, and ask unless `--yes` was given.

    Raises:
        UsageError: There is nobody to ask.
        CreatedDatesError: The answer was no.
    """
    echo(what, err=True)
    if is_answered:
        return
    if not is_terminal(sys.stdin):
        raise click.UsageError("There is no terminal to ask on: --yes is needed.")
    try:
        is_confirmed = click.confirm("Continue?", err=True)
    except click.Abort:  # Ctrl-C at the question
        echo(err=True)
        is_confirmed = False
    if not is_confirmed:
        raise CreatedDatesError(
            "Nothing was changed.",
            "To continue, run the same command again and answer y.",
        )


def exit_with(summary: Summary) -> None:
    """End with 3 if the queueing stopped early, 1 with problems, 0 otherwise.

    Of a plan, every line counts that decides something, and nothing else.
    """
    is_done = not summary.statistics.errors
    if summary.plan:
        is_done = summary.plan.is_carried_out
    status = 0 if is_done else 1
    click.get_current_context().exit(3 if summary.queue_error else status)
