# SPDX-FileCopyrightText: 2026 kcworks-migrations contributors
# SPDX-License-Identifier: MIT
r"""The errors of this package; each one tells the next safe step.

::

    CreatedDatesError
    ├── LegacyDateError            a value of the legacy date field is refused
    ├── SettingError               a setting can't be used
    ├── FilterError                a filter names what is not there
    ├── InstanceError              the database is not one that can be migrated
    ├── DatabaseFailedError        the database failed before a run began
    ├── ServiceFailedError         OpenSearch or the broker failed, beside a run
    ├── PlanError                  a frozen plan does not fit the present
    ├── RunInProgressError         another run holds the lock
    ├── SessionLostError           a pooler has moved a run to another session
    ├── LaterRunsError             later runs changed rows of the run again
    ├── RehearsalFailedError       a rehearsal could not be ended as one
    ├── RehearsalOvertakenError    another run relies on the rows of a rehearsal
    ├── NotConfirmedError          somebody was asked and said no
    ├── TasksNotQueuedError        the broker takes no tasks
    ├── RunIncompleteError         a run stopped early and can be continued
    │   └── RunInterruptedError    because it was asked to
    ├── ReindexingStoppedError     ids or messages still wait
    └── LedgerMismatchError        the database did not do what was asked of it
"""

import re
import sys
import textwrap
from datetime import datetime
from typing import IO, Any

import click

from .output import is_terminal, unfailing

WIDTH = 80


def wrapped(text: str, width: int = WIDTH) -> list[str]:
    """Break text into lines; what stands between backticks is never broken."""
    glued = re.sub("`[^`]*`", lambda found: found[0].replace(" ", "\xa0"), text)
    parts = textwrap.wrap(glued, width, break_on_hyphens=False, break_long_words=False)
    return [part.replace("\xa0", " ") for part in parts]


class CreatedDatesError(click.ClickException):
    """Base of all errors; click prints its message alone, without a traceback."""

    exit_code = 3

    def show(self, file: IO[Any] | None = None) -> None:
        """Print the message: one line in a log, whole words on a terminal."""
        message = f"Error: {self.format_message()}"
        if is_terminal(sys.stderr):
            lines = [line for part in message.split("\n") for line in wrapped(part)]
            message = "\n".join(lines)
        with unfailing():
            click.echo(message, file=file or sys.stderr)


class LegacyDateError(CreatedDatesError):
    """A legacy date is refused."""

    def __init__(self, reason: str) -> None:
        """Keep the reason, one of the words in `rules.REASONS`."""
        super().__init__(reason)
        self.reason = reason


class SettingError(CreatedDatesError):
    """A setting can't be used; nothing was touched."""

    exit_code = 2

    def __init__(self, name: str, value: object, wanted: str) -> None:
        """Say which setting, its value and what is wanted instead."""
        self.fact = f"{name} is {value!r}, but must be {wanted}."
        super().__init__(
            f"{self.fact} Nothing was changed: correct the setting and run the same"
            " command again."
        )


class FilterError(CreatedDatesError):
    """A filter would let other rows through than was meant; nothing was touched."""

    exit_code = 2

    def __init__(self, fact: str) -> None:
        """Say what is wrong with it."""
        super().__init__(f"{fact} Nothing was changed: correct that and try again.")


class InstanceError(CreatedDatesError):
    """The database can't be migrated; nothing was touched."""

    exit_code = 2

    def __init__(self, fact: str, next_step: str) -> None:
        """Say what was found and what to do."""
        super().__init__(f"{fact} Nothing was changed: {next_step}")


class DatabaseFailedError(CreatedDatesError):
    """The database failed where no run was at work; nothing is lost."""

    def __init__(self, fact: str) -> None:
        """Repeat what the database said."""
        super().__init__(
            f"The database says: {fact}. Nothing is lost: see to that, then run the"
            " same command again."
        )


class ServiceFailedError(CreatedDatesError):
    """OpenSearch or the broker failed where no run was at work; nothing is lost."""

    def __init__(self, name: str, fact: str) -> None:
        """Name the service and repeat what its client said."""
        super().__init__(
            f"{name} failed: {fact}. Nothing is lost: see to that, then run the same"
            " command again."
        )


class RunInProgressError(CreatedDatesError):
    """Another run is at work on this database."""

    exit_code = 4

    def __init__(
        self, run_id: int | None, origin: str | None, since: datetime | None
    ) -> None:
        """Name the run that holds the lock; none when it has not begun its row."""
        from .dates import show

        self.run_id = run_id
        who = f"run {run_id} ({origin}), started {show(since)}," if run_id else "a run"
        super().__init__(
            f"Another run is at work: {who} holds the lock. Nothing was changed: wait "
            "until it has ended (invenio kcworks-created-dates status), then run the "
            "same command again."
        )


class SessionLostError(CreatedDatesError):
    """A pooler has moved a run to another session of the database than its lock's."""

    def __init__(self, locking_pid: int | None) -> None:
        """Name the server's process that keeps the lock."""
        super().__init__(
            "The run was ended: a pooler in transaction mode has moved it to another"
            " session of the database than the one with its lock. What was committed is"
            f" saved. Free the lock with `SELECT pg_terminate_backend({locking_pid})`,"
            " give SQLALCHEMY_DATABASE_URI the address of PostgreSQL itself, and run"
            " the same command again."
        )


class RunIncompleteError(CreatedDatesError):
    """A run could not finish; what it did is kept and the same command goes on."""

    def __init__(self, run_id: int | None, fact: str) -> None:
        """Say which run stopped, none for work without a run row, and why."""
        self.run_id = run_id
        what = f"Run {run_id}" if run_id else "The work"
        super().__init__(
            f"{what} is not complete: {fact} What was done is saved; run the "
            "same command again to complete it."
        )


class RunInterruptedError(RunIncompleteError):
    """A run was asked to stop, and did so after its batch."""

    def __init__(self, run_id: int | None, asked_by: str) -> None:
        """Say which run and what asked it."""
        super().__init__(run_id, f"it was stopped by {asked_by}.")
        self.asked_by = asked_by


class PlanError(CreatedDatesError):
    """A frozen plan can't be carried out; nothing was touched."""

    exit_code = 2

    def __init__(self, fact: str) -> None:
        """Say what is the matter with the plan."""
        super().__init__(
            f"The plan can't be carried out. {fact.rstrip()}\nNothing was changed: make"
            " a new plan with `invenio kcworks-created-dates update --dry-run"
            " --save-plan FILE`, or take these lines out."
        )


class ReindexingStoppedError(CreatedDatesError):
    """The broker or OpenSearch failed, or somebody asked to stop."""

    def __init__(self, fact: str, is_drained: bool) -> None:
        """Say why; what goes on must not send everything again."""
        command = "invenio kcworks-created-dates reindex" + " --wait" * is_drained
        super().__init__(
            f"Stopped early: {fact}. Nothing is lost: when that is over, go on with"
            f"\n  {command}"
        )


class RehearsalFailedError(CreatedDatesError):
    """A rehearsal could not be ended as one."""

    def __init__(self, run_id: int, fact: str, is_back: bool) -> None:
        """Say which run it was, what went wrong, and whether the rows are back."""
        state = "Its rows are as they were before."
        if not is_back:
            state = (
                "Its rows are still changed: put them back with `invenio"
                f" kcworks-created-dates rollback --run {run_id}`."
            )
        super().__init__(f"The rehearsal failed (run {run_id}): {fact} {state}")


class RehearsalOvertakenError(CreatedDatesError):
    """Another run has found the rows of a rehearsal right, and relies on them."""

    def __init__(self, run_id: int, since_id: int, origin: str) -> None:
        """Name the rehearsal's run and the other one."""
        super().__init__(
            f"The rows of the rehearsal (run {run_id}) are left as they are: run"
            f" {since_id} ({origin}) has found them right since. They keep their true"
            " dates, with entries in the ledger like all others, so that the downgrade"
            " or `invenio kcworks-created-dates rollback` puts them back with the rest."
        )


class LaterRunsError(CreatedDatesError):
    """Later runs changed rows of a run again; nothing was touched."""

    exit_code = 2

    def __init__(self, run_id: int, later: dict[int, int], names: str) -> None:
        """Say how many rows of the run were changed again by which later runs.

        Args:
            run_id: The run that was to be rolled back.
            later: The number of rows by the later run.
            names: The options that name the rows; empty for all.
        """
        runs = ", ".join(f"{rows} by run {id}" for id, rows in later.items())
        command = "invenio kcworks-created-dates rollback"
        first = f"{command} --run {max(later)}{names}"
        super().__init__(
            f"Run {run_id} can't be rolled back before the runs that changed its rows"
            f" again: {runs}. Nothing was changed. Roll the later run back first,"
            f" `{first}`, or all runs in the right order: `{command}{names}`."
        )


class NotConfirmedError(CreatedDatesError):
    """Whoever was asked did not say yes."""

    def __init__(self) -> None:
        """Say that nothing happened."""
        super().__init__(
            "Nothing was changed. To go on, run the same command again and answer y."
        )


class TasksNotQueuedError(CreatedDatesError):
    """The broker takes no tasks; nothing was touched."""

    def __init__(self, fact: str) -> None:
        """Repeat what the broker or the result backend said."""
        super().__init__(
            f"The tasks could not be queued: {fact}. Nothing was changed: see to the"
            " broker and the result backend, then run the same command again, or run"
            " it without --background."
        )


class LedgerMismatchError(CreatedDatesError):
    """A write touched another number of rows than its backup."""

    def __init__(
        self, run_id: int | None, expected_rows: int, actual_rows: int
    ) -> None:
        """Give the run, none when entries of several were restored, and the numbers."""
        what = f"Run {run_id}" if run_id else "Restoring"
        super().__init__(
            f"{what}: {expected_rows} rows were to be written and {actual_rows} "
            "were. The batch was rolled back; run the same command again, and report "
            "this if it comes back."
        )
