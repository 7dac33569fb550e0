# SPDX-FileCopyrightText: 2026 kcworks-migrations contributors
# SPDX-License-Identifier: MIT
"""Reads the rows that have a legacy field, in keyset pages, as frozen values."""

from typing import Any

from ..config import What
from ..database import Database
from ..kinds import COMMUNITY, RECORD, Kind
from ..rules.values import CommunityRow, RecordRow
from ..text import escape

Row = RecordRow | CommunityRow

LABEL_LIMIT = 255
"""Characters that are kept of a PID or a slug."""


def _has_field(fields: str) -> str:
    """Give the condition that custom fields have the legacy field, or are no object."""
    return f"({fields} ? :field OR jsonb_typeof({fields}) NOT IN ('object', 'null'))"


# A document is stored out of line: `#> '{}'`, the whole of it, fetches and decompresses
# it once for each row, and `OFFSET 0` keeps the planner from repeating that for each
# place that uses it.
_FROM_WITH_FIELD = """
FROM {table} AS t
CROSS JOIN LATERAL (SELECT t.json #> '{{}}' AS json OFFSET 0) AS d
CROSS JOIN LATERAL (SELECT d.json->'custom_fields' AS v OFFSET 0) AS f
WHERE """ + _has_field("f.v")
# Without `OFFSET 0` parallel workers can count: half the time.
COUNT_WITH_FIELD = "SELECT count(*) FROM {table} AS t WHERE " + _has_field(
    "(t.json->'custom_fields')"
)

_COMMON_COLUMNS = """
SELECT t.id::text, coalesce(nullif(left(%s, 255), ''), t.id::text), {created},
    jsonb_typeof(f.v), CASE WHEN jsonb_typeof(f.v) <> 'object'
                            THEN left(f.v::text, 501) END,
    jsonb_typeof(f.v->:field), left(f.v->>:field, 501)
"""
# Of the groups only what the rules look at travels: the type of each entry, and the
# type and text of its identifier.
_RECORD_COLUMNS = """
    , t."index", jsonb_typeof(f.v->:groups_field),
    CASE WHEN jsonb_typeof(f.v->:groups_field) <> 'array'
         THEN left(f.v->>:groups_field, 501) END,
    CASE WHEN jsonb_typeof(f.v->:groups_field) = 'array' THEN (
        SELECT array_agg(ARRAY[
            jsonb_typeof(e),
            CASE WHEN (jsonb_typeof(e->'group_identifier') <> 'null') IS NOT TRUE
                 THEN left(e::text, 501) END,
            jsonb_typeof(e->'group_identifier'),
            left(e->>'group_identifier', 501)])
        FROM jsonb_array_elements(f.v->:groups_field) AS e) END
"""
SELECT_WITH_FIELD = {
    RECORD: _COMMON_COLUMNS % "d.json->>'id'" + _RECORD_COLUMNS + _FROM_WITH_FIELD,
    COMMUNITY: _COMMON_COLUMNS % "t.slug" + _FROM_WITH_FIELD,
}
"""In the order of `RecordRow` and `CommunityRow`."""

# Keyset pages: each is a short query of its own on the primary key.
NEXT_PAGE = (
    " AND (CAST(:after AS uuid) IS NULL OR t.id > CAST(:after AS uuid))"
    " ORDER BY t.id LIMIT :limit"
)
BY_IDS = " AND t.id = ANY(CAST(:ids AS uuid[])) ORDER BY t.id"


def count(database: Database, what: What, kind: Kind) -> int:
    """Count the rows of a kind that have the legacy field of that kind."""
    field = _fields(what, kind)["field"]
    return database.execute_on(kind, COUNT_WITH_FIELD, field=field).scalar_one()


def read(
    database: Database, what: What, kind: Kind, which: str, **values: Any
) -> list[Row]:
    """Read some of the rows that have the legacy field, in the present transaction.

    Args:
        database: A connection.
        what: Has the names of the fields.
        kind: Records or communities.
        which: `NEXT_PAGE` or `BY_IDS`.
        **values: The parameters of that.

    Returns:
        The rows by ascending primary key.
    """
    query = SELECT_WITH_FIELD[kind] + which
    rows = database.execute_on(kind, query, **_fields(what, kind), **values)
    make: Any = RecordRow if kind is RECORD else CommunityRow
    return [make(id, escape(label, LABEL_LIMIT), *rest) for id, label, *rest in rows]


def _fields(what: What, kind: Kind) -> dict[str, str]:
    if kind is COMMUNITY:
        return {"field": what.community_group_field}
    return {"field": what.record_date_field, "groups_field": what.record_groups_field}
