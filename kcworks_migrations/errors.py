# SPDX-FileCopyrightText: 2026 kcworks-migrations contributors
# SPDX-License-Identifier: MIT
r"""The errors of this package; each one tells the next safe step.

::

    CreatedDatesError           3  the work stopped, or was declined
    ├── RefusedError            2  what was asked for can't be done; nothing was changed
    ├── RunInProgressError      4  another run holds the lock; nothing was changed
    ├── ServiceFailedError      3  PostgreSQL, OpenSearch or the broker, beside a run
    └── RunFailedError          3  a run failed; what it did stands
        └── RunStoppedError     3  somebody asked it to stop

The numbers are the exit statuses of the commands; anything else that goes wrong ends
them with `UNEXPECTED`.
"""

import sys
from datetime import datetime
from typing import IO, Any

import click

from .text import COMMAND, is_terminal, show, unfailing, wrapped

POOLED = (
    "The database is reached through a pooler in transaction mode, which can't keep the"
    " lock of a run."
)
UNPOOL = (
    "SQLALCHEMY_DATABASE_URI must have the address of PostgreSQL itself, or of a pool"
    " in session mode."
)

UNEXPECTED = 5
"""Exit status after an error that nobody has thought of."""


class CreatedDatesError(click.ClickException):
    """Base of all errors; click prints its message alone, without a traceback."""

    exit_code = 3

    def __init__(self, fact: str, next_step: str = "") -> None:
        """Make the message.

        Args:
            fact: What failed, and what state it is in.
            next_step: What to do, commands between backticks.
        """
        super().__init__(f"{fact} {next_step}".rstrip())
        self.fact = fact

    def show(self, file: IO[Any] | None = None) -> None:
        """Print the message: one line in a log, whole words on a terminal."""
        message = f"Error: {self.format_message()}"
        if is_terminal(sys.stderr):
            lines = [line for part in message.split("\n") for line in wrapped(part)]
            message = "\n".join(lines)
        with unfailing():
            click.echo(message, file=file or sys.stderr)


class RefusedError(CreatedDatesError):
    """What was asked for can't be done; nothing was changed."""

    exit_code = 2

    def __init__(self, fact: str, next_step: str) -> None:
        """Make the message.

        Args:
            fact: What is in the way.
            next_step: What to do, beginning in lower case.
        """
        super().__init__(fact, f"Nothing was changed: {next_step}")


class RunInProgressError(CreatedDatesError):
    """Another run is at work on this database."""

    exit_code = 4

    def __init__(
        self,
        run_id: int | None = None,
        origin: str | None = None,
        since: datetime | None = None,
        shared: str = "",
    ) -> None:
        """Name the run that holds the lock; none when it has not begun its row.

        Args:
            run_id: The run.
            origin: Who asked for it.
            since: When it began.
            shared: Whose run it may be instead.
        """
        who = f"run {run_id} ({origin}), started {show(since)}," if run_id else "a run"
        more = f" {shared}" if shared and not run_id else ""
        super().__init__(
            f"Another run is at work: {who} holds the lock.{more} Nothing was changed.",
            f"Wait until it has ended (`{COMMAND} status`), then run the same command"
            " again.",
        )


class ServiceFailedError(CreatedDatesError):
    """PostgreSQL, OpenSearch or the broker failed where no run row says so."""

    def __init__(self, name: str, fact: str) -> None:
        """Make the message.

        Args:
            name: The service.
            fact: What it, or its client, said.
        """
        super().__init__(
            f"{name} failed: {fact}. Nothing is lost.",
            "When that is mended, run the same command again.",
        )


class RunFailedError(CreatedDatesError):
    """A run could not finish; what it did stands, and a rerun does the rest."""

    def __init__(self, run_id: int | None, fact: str) -> None:
        """Make the message.

        Args:
            run_id: The run; none for work without a run row.
            fact: Why it ended, a whole sentence.
        """
        self.run_id = run_id
        what = f"Run {run_id}" if run_id else "The work"
        super().__init__(
            f"{what} is not complete: {fact} What was done is saved.",
            "Run the same command again to do the rest.",
        )


class RunStoppedError(RunFailedError):
    """Somebody asked a run to stop, and it did so after its batch."""

    def __init__(self, run_id: int | None, asked_by: str) -> None:
        """Make the message.

        Args:
            run_id: The run; none for work without a run row.
            asked_by: The signal or the command that asked.
        """
        super().__init__(run_id, f"it was stopped by {asked_by}.")
        self.asked_by = asked_by
