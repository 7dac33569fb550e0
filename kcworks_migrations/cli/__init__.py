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

    The dates are changed by `invenio alembic upgrade` and put back by
    `invenio alembic downgrade kcworks_migrations@-1`.
    """


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
