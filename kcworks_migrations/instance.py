# SPDX-FileCopyrightText: 2026 kcworks-migrations contributors
# SPDX-License-Identifier: MIT
"""The tables of the instance as a run needs them: there, visible, with `created`."""

from collections.abc import Iterable
from typing import TYPE_CHECKING

from sqlalchemy import text

from .errors import RefusedError
from .kinds import ALSO_READ, KINDS, MEMBERSHIPS

if TYPE_CHECKING:
    from .database import Database

UP_TO_DATE = "bring the instance up to date with `invenio alembic upgrade`."

NEEDED = (*(kind.table for kind in KINDS), MEMBERSHIPS)

SELECT_COLUMN_TYPE = text(
    "SELECT format_type(atttypid, NULL) FROM pg_attribute"
    " WHERE attrelid = to_regclass(:table) AND attname = 'created'"
    " AND NOT attisdropped"
)
SELECT_HIDING = text(
    "SELECT name, current_user AS role FROM unnest(CAST(:tables AS text[])) AS name"
    " WHERE row_security_active(to_regclass(name))"
)

# A `timestamp` column means UTC by Invenio's convention; a `timestamptz` column is an
# instant already. `AT TIME ZONE` makes the conversion explicit, in both directions, so
# that no session or server time zone ever takes part in it.
CONVERSIONS = {
    "timestamp without time zone": " AT TIME ZONE 'UTC'",
    "timestamp with time zone": "",
}


def conversion(database: "Database", table: str) -> str:
    """Read the type of `created`.

    Returns:
        What stands behind an instant to make it that type, or the reverse.

    Raises:
        RefusedError: The table or its `created` is absent.
    """
    found = database.execute(SELECT_COLUMN_TYPE, table=table).scalar()
    if found not in CONVERSIONS:
        fact = f"The database has no table {table} with a timestamp created."
        raise RefusedError(fact, UP_TO_DATE)
    return CONVERSIONS[found]


def check_tables(database: "Database") -> None:
    """Refuse a database that lacks tables, or hides rows.

    Raises:
        RefusedError: It does.
    """
    for table in NEEDED:
        if not database.has_table(table):
            raise RefusedError(f"The database has no table {table}.", UP_TO_DATE)
    for fact, step in hidden(database, (*NEEDED, *ALSO_READ)):
        raise RefusedError(fact, step)


def hidden(database: "Database", tables: Iterable[str]) -> Iterable[tuple[str, str]]:
    """Tell which tables hide rows from this role, which would seem to be gone.

    Yields:
        The fact about a table, and what to do.
    """
    for table, role in database.execute(SELECT_HIDING, tables=list(tables)):
        yield (
            f"Row-level security of the table {table} hides rows from the role {role}.",
            f'let it see all rows, `ALTER ROLE "{role}" BYPASSRLS` as a superuser.',
        )
