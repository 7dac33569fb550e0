# SPDX-FileCopyrightText: 2026 kcworks-migrations contributors
# SPDX-License-Identifier: MIT
"""Whether our tables are there, what Alembic has recorded, and making the tables."""

from typing import Any, NamedTuple

import click
from flask import current_app
from sqlalchemy import text
from sqlalchemy.engine import Engine

from ..database import Database, opened
from ..errors import RefusedError, RunInProgressError
from ..interrupt import tries
from ..models import CreatedDatesBackup, CreatedDatesProblem, CreatedDatesRun
from ..text import UPGRADE, escape

NAMES = tuple(
    model.__tablename__
    for model in (CreatedDatesRun, CreatedDatesBackup, CreatedDatesProblem)
)

SELECT_OTHER_SCHEMAS = text(
    "SELECT n.nspname FROM pg_class AS c JOIN pg_namespace AS n ON n.oid ="
    " c.relnamespace WHERE c.relname = CAST(:table AS text) AND c.relkind = 'r'"
    " AND c.oid IS DISTINCT FROM to_regclass(CAST(:table AS text)) ORDER BY n.nspname"
)

ROOT_REVISION = "7f3a51c9e0d2"
TABLES_REVISION = "a94c06be7d15"
"""The revision that makes the tables, and changes no date."""
DATA_REVISION = "c51d8e2f60b7"
"""The revision that changes the dates."""

REVISIONS = (ROOT_REVISION, TABLES_REVISION, DATA_REVISION)

SELECT_STAMPED = text("SELECT version_num FROM alembic_version")

PAUSES_SECONDS = (0.1, 0.2, 0.4, 0.8, 1.6)
"""Before each further look whether another process has made the tables."""


class State(NamedTuple):
    """What Alembic has recorded of this package, and which tables are there."""

    stamped: tuple[str, ...]
    """Our revisions that Alembic has stamped, the oldest first; one at most, unless
    the stamps are damaged."""
    tables: tuple[str, ...]
    """Those of our tables that are there."""

    @property
    def is_applied(self) -> bool:
        """Whether Alembic records the dates as changed."""
        return DATA_REVISION in self.stamped

    @property
    def damage(self) -> tuple[str, str] | None:
        """What keeps Alembic from working, and how to repair it; none if nothing."""
        if len(self.stamped) > 1:
            older = ", ".join(f"'{revision}'" for revision in self.stamped[:-1])
            return (
                f"Alembic has stamped {' and '.join(self.stamped)}, where only one can"
                " be: every `invenio alembic upgrade` of the instance fails.",
                "in psql, on the instance's database: `DELETE FROM alembic_version"
                f" WHERE version_num IN ({older})`.",
            )
        missing = [name for name in NAMES if name not in self.tables]
        if missing and self.stamped not in ((), (ROOT_REVISION,)):
            return (
                "Alembic records the tables of this package as created, but"
                f" {', '.join(missing)} is missing.",
                "if a backup of the database has it, restore it: nothing else knows the"
                f" old dates. Otherwise `invenio alembic stamp {ROOT_REVISION}`, then"
                f" `{UPGRADE}`, which creates what is missing.",
            )
        return None

    def as_dict(self) -> dict[str, Any]:
        """Return what is printed as JSON."""
        more = {"is_applied": self.is_applied, "damage": self.damage}
        return self._asdict() | more


def exist(database: Database) -> bool:
    """Tell whether all tables are there."""
    return all(database.has_table(name) for name in NAMES)


def state(database: Database) -> State:
    """Read what Alembic has recorded of this package, and which tables are there."""
    found: set[str] = set()
    if database.has_table("alembic_version"):
        found.update(database.execute(SELECT_STAMPED).scalars())
    return State(
        tuple(revision for revision in REVISIONS if revision in found),
        tuple(name for name in NAMES if database.has_table(name)),
    )


def make(engine: Engine, lock_timeout_seconds: int) -> None:
    """Make the tables if they are absent, as `invenio alembic upgrade` does.

    Only our two revisions up to the tables run, whatever other modules have pending.
    Each takes the lock first; refused, because another process makes the tables, this
    looks again. A crash leaves each of them done or not; the same call does the rest.

    Args:
        engine: The engine of the instance's database; an app context is needed.
        lock_timeout_seconds: How long a look waits for a locked table.

    Raises:
        RefusedError: Alembic's stamps are damaged, or a table can't be used.
        RunInProgressError: Another process was at work all the time.
    """
    with opened(engine, lock_timeout_seconds) as database:
        for is_last in tries(PAUSES_SECONDS):
            now = database.transaction(state, database)
            if now.damage:
                raise RefusedError(*now.damage)
            if now.tables == NAMES:
                return
            try:
                current_app.extensions["invenio-db"].alembic.upgrade(TABLES_REVISION)
                return
            except click.ClickException as error:
                if error.exit_code != RunInProgressError.exit_code:
                    fact, _, step = error.message.partition(" Nothing was changed: ")
                    raise RefusedError(fact, step) from error
                if is_last:
                    shared = database.transaction(shared_with, database)
                    raise RunInProgressError(shared=shared) from error


def shared_with(database: Database) -> str:
    """Say who else takes the lock, one for all schemas; empty where nobody does."""
    schemas = database.execute(SELECT_OTHER_SCHEMAS, table=NAMES[0]).scalars().all()
    if not schemas:
        return ""
    names = ", ".join(escape(name, 60) for name in schemas)
    return (
        f"Instances in other schemas of this database ({names}) take the same lock;"
        " their runs are shown by their own `status` alone."
    )


def check(database: Database) -> None:
    """Refuse to work without the tables, in the present transaction.

    Raises:
        RefusedError: One is absent.
    """
    now = state(database)
    if now.tables != NAMES:
        missing = next(name for name in NAMES if name not in now.tables)
        raise RefusedError(
            *now.damage
            or (
                f"The database has no table {missing}.",
                f"`{UPGRADE}` makes the tables of this package and changes the dates;"
                f" `invenio alembic upgrade {TABLES_REVISION}` makes the tables alone.",
            )
        )
