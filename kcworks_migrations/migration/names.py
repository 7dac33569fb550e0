# SPDX-FileCopyrightText: 2026 kcworks-migrations contributors
# SPDX-License-Identifier: MIT
"""Which rows are meant by UUIDs, PIDs and slugs."""

from typing import NamedTuple

from ..config import What
from ..database import Database
from ..errors import RefusedError
from ..kinds import COMMUNITY, DATED, RECORD, Kind
from ..text import escape, is_storable

# A misspelt name in a list of rows would silently choose other rows. One pass over
# each table for all names, in the very values that the names are compared with later.
# A join, however many names there are, where `OR` would compare each row with each.
SELECT_NAMED = """
SELECT v.name FROM {table} AS t
CROSS JOIN LATERAL (VALUES ({label}), (t.id::text)) AS v(name)
WHERE v.name IN (SELECT unnest(CAST(:names AS text[])))
"""
_MEANT = "SELECT %s AS name, t.id::text AS id, {label} AS label FROM {table} AS t %s"
# The length of the arrays is hidden: a planner that knows it reads all of a table that
# it takes for small, for each page of lines.
SELECT_BY_ID = (
    "WHERE t.id = ANY((SELECT CAST(:names AS uuid[]))::uuid[]) AND t.json IS NOT NULL"
)
# PIDs through the unique index of the persistent identifiers: the PID in a document has
# none.
SELECT_BY_LABEL = {
    RECORD: (
        "p.pid_value",
        "JOIN pidstore_pid AS p ON p.object_uuid = t.id WHERE p.pid_type = 'recid'"
        " AND p.pid_value = ANY((SELECT CAST(:names AS text[]))::text[])"
        " AND t.json IS NOT NULL",
    ),
    COMMUNITY: (
        "t.slug",
        "WHERE t.slug = ANY((SELECT CAST(:names AS text[]))::text[])"
        " AND t.json IS NOT NULL",
    ),
}


class Meant(NamedTuple):
    """A row that a line may mean."""

    kind: Kind
    id: str
    label: str


def look_up(
    database: Database, names: list[str], is_label: bool
) -> dict[str, list[Meant]]:
    """Look up names through an index of each table, in the present transaction.

    Args:
        database: A connection.
        names: UUIDs; or PIDs and slugs.
        is_label: Whether they are PIDs and slugs.

    Returns:
        The rows by name; a PID may also be a slug.
    """
    found: dict[str, list[Meant]] = {}
    for kind in DATED if names else ():
        column, where = ("t.id::text", SELECT_BY_ID)
        if is_label:
            column, where = SELECT_BY_LABEL[kind]
        for row in database.execute_on(kind, _MEANT % (column, where), names=names):
            meant = Meant(kind, row.id, row.label or row.id)
            found.setdefault(row.name, []).append(meant)
    return found


def check_names(database: Database, what: What) -> None:
    """Refuse names to leave alone, or to change only, that are no row.

    Args:
        database: A connection, in a transaction.
        what: What is asked for.

    Raises:
        RefusedError: Some name is neither a PID, a slug nor a UUID.
    """
    unknown = {*what.exclude, *(what.only or ())}
    names = [name for name in unknown if is_storable(name)]
    if not unknown:
        return
    for kind in DATED:
        known = database.execute_on(kind, SELECT_NAMED, names=names)
        unknown.difference_update(known.scalars())
    if unknown:
        shown = ", ".join(escape(name, 60) for name in sorted(unknown)[:10])
        more = f" and {len(unknown) - 10} more" if len(unknown) > 10 else ""
        raise RefusedError(
            f"Names that are no record and no community: {shown}{more}.",
            "correct them and try again.",
        )
