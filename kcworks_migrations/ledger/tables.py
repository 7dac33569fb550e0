# SPDX-FileCopyrightText: 2026 kcworks-migrations contributors
# SPDX-License-Identifier: MIT
"""Whether our tables are there, and making them."""

from flask import current_app
from sqlalchemy.engine import Engine

from ..database import Database, opened
from ..errors import RefusedError
from ..models import CreatedDatesBackup, CreatedDatesProblem, CreatedDatesRun
from ..text import UPGRADE

NAMES = tuple(
    model.__tablename__
    for model in (CreatedDatesRun, CreatedDatesBackup, CreatedDatesProblem)
)

ROOT_REVISION = "7f3a51c9e0d2"
TABLES_REVISION = "a94c06be7d15"
"""The revision that makes the tables, and changes no date."""


def exist(database: Database) -> bool:
    """Tell whether all tables are there."""
    return all(database.has_table(name) for name in NAMES)


def make(engine: Engine, lock_timeout_seconds: int) -> None:
    """Make the tables if they are absent, as `invenio alembic upgrade` does.

    Only our two revisions up to the tables run, whatever other modules have pending.
    A crash leaves both or neither of them done; the same call does the rest.

    Args:
        engine: The engine of the instance's database; an app context is needed.
        lock_timeout_seconds: How long a look waits for a locked table.

    Raises:
        RefusedError: Alembic believes that the tables are there.
    """
    with opened(engine, lock_timeout_seconds) as database:
        if database.transaction(exist, database):
            return
        current_app.extensions["invenio-db"].alembic.upgrade(TABLES_REVISION)
        if database.transaction(exist, database):
            return
    raise RefusedError(
        f"Alembic believes that the tables {NAMES[0]} and so on were made, but the"
        " database lacks them.",
        "if a backup of the database has them, restore them, as nothing else knows"
        f" the old dates. Otherwise `invenio alembic stamp {ROOT_REVISION}` tells"
        " Alembic the truth; then run the same command again.",
    )


def check(database: Database) -> None:
    """Refuse to work without the tables, in the present transaction.

    Raises:
        RefusedError: One is absent.
    """
    if not exist(database):
        raise RefusedError(
            f"The database has no table {NAMES[0]}.",
            f"`{UPGRADE}` makes the tables of this package and changes the dates;"
            f" `invenio alembic upgrade {TABLES_REVISION}` makes the tables alone.",
        )
