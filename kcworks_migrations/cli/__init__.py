# SPDX-FileCopyrightText: 2026 kcworks-migrations contributors
# SPDX-License-Identifier: MIT
"""The command group ``invenio kcworks-created-dates``."""

import click

from .check import check
from .problems import problems
from .rehearse import rehearse
from .reindex import reindex
from .rollback import rollback
from .show import show
from .status import status
from .stop import stop
from .update import update
from .verify import verify


@click.group("kcworks-created-dates")
def created_dates() -> None:
    """The true created dates of imported records and communities.

    \b
    Before: check, update --dry-run, rehearse
    Do it:  invenio alembic upgrade kcworks_migrations@head
    After:  status, problems, verify
    Undo:   invenio alembic downgrade a94c06be7d15 (after a half finished upgrade:
            rollback)

    Exit status of all: 0 done, 1 done with problems (or no-go, not right), 2 wrong
    usage or setting, 3 stopped early or failed and can be continued, 4 another run
    is at work.
    """  # noqa: D301 - click reads the escape


COMMANDS = (
    check,
    rehearse,
    update,
    status,
    problems,
    show,
    verify,
    reindex,
    stop,
    rollback,
)
for command in COMMANDS:
    created_dates.add_command(command)
