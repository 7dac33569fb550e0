# SPDX-FileCopyrightText: 2026 kcworks-migrations contributors
# SPDX-License-Identifier: MIT
"""The group that every command is in, and what it does about an unexpected error."""

import traceback
from typing import Any

import click
from flask.cli import AppGroup

from ..errors import UNEXPECTED, CreatedDatesError
from ..text import COMMAND, echo, escape, logger

KNOWN = (click.ClickException, click.exceptions.Exit, click.Abort, BrokenPipeError)
"""What click itself ends with a status; the last is a reader that has seen enough."""


class Group(AppGroup):
    """A group whose commands end with `UNEXPECTED` after an error of no known kind.

    Each command is called in the context of the application.
    """

    def invoke(self, ctx: click.Context) -> Any:
        """Invoke the command; print and log the traceback of such an error.

        Returns:
            What the command returns.

        Raises:
            Exit: With `UNEXPECTED`.
            CreatedDatesError: Somebody pressed Ctrl-C outside a run.
        """
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt as error:
            step = f"`{COMMAND} status` shows what was changed."
            raise CreatedDatesError("Stopped by Ctrl-C.", step) from error
        except KNOWN:
            raise
        except Exception as error:
            lines = "".join(traceback.format_exception(error)).splitlines()
            trace = "\n".join(map(escape, lines))
            logger.error("%s", trace)
            echo(trace, err=True)
            echo(
                "Error: an unexpected error, shown above, ended the command. Please"
                f" report it; `{COMMAND} status` shows what was changed.",
                err=True,
            )
            raise click.exceptions.Exit(UNEXPECTED) from error


@click.group("kcworks-created-dates", cls=Group)
def created_dates() -> None:
    """Set the created dates of imported records and communities to the true ones.

    \b
    Before: check, update --dry-run, rehearse
    Do it:  invenio alembic upgrade kcworks_migrations@head
    After:  status, problems, verify
    Undo:   invenio alembic downgrade a94c06be7d15 (after an upgrade that did not
            finish: rollback)

    \b
    Exit status of every command:
      0  done
      1  done, with problems; from check: no go; from verify: not right
      2  wrong usage or setting; nothing was changed
      3  stopped early, failed or declined; what was done is saved
      4  another run is at work; nothing was changed
      5  an unexpected error; its traceback is printed and logged
    """  # noqa: D301 - click reads the escape
