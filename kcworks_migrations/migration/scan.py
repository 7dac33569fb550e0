# SPDX-FileCopyrightText: 2026 kcworks-migrations contributors
# SPDX-License-Identifier: MIT
"""Reads the rows that may get a date, in keyset pages, as frozen values.

Those are all with the legacy field, and those for which a decision stands.
"""

from datetime import datetime
from typing import Any

from ..config import What
from ..database import Database
from ..kinds import COMMUNITY, RECORD, Kind
from ..ledger import standing
from ..ledger.standing import Known
from ..rules.decide import GROUP_PROBLEMS
from ..rules.values import CommunityRow, RecordRow
from ..text import escape

Row = RecordRow | CommunityRow

LABEL_LIMIT = 255
"""Characters that are kept of a PID or a slug."""


def is_scanned(fields: str, more: str = "false") -> str:
    """Give the condition for the rows that are looked at.

    Args:
        fields: SQL for the custom fields of a row.
        more: SQL for further rows.

    Returns:
        SQL: they have the legacy field, or are no object, or more.
    """
    has_field = f"{fields} ? :field OR jsonb_typeof({fields}) NOT IN ('object', 'null')"
    return f"({has_field} OR {more})"


# A document is stored out of line: `#> '{}'`, the whole of it, fetches and decompresses
# it once for each row, and `OFFSET 0` keeps the planner from repeating that for each
# place that uses it.
_FROM = """
FROM {table} AS t
CROSS JOIN LATERAL (SELECT t.json #> '{{}}' AS json OFFSET 0) AS d
CROSS JOIN LATERAL (SELECT d.json->'custom_fields' AS v OFFSET 0) AS f
WHERE """
# Without `OFFSET 0` parallel workers can count: half the time.
CUSTOM_FIELDS = "(t.json->'custom_fields')"
COUNT_ROWS = "SELECT count(*) FROM {table} AS t WHERE "
# Autovacuum that looks at a table while it is being filled leaves the statistics of an
# empty one, and until it comes again each page and each batch would be a pass over the
# table. What PostgreSQL knows nothing of (-1) it guesses well enough.
IS_TAKEN_FOR_SMALL = (
    "SELECT c.reltuples BETWEEN 0 AND :count / 10 AND NOT pg_is_in_recovery()"
    " FROM pg_class AS c WHERE c.oid = to_regclass('{table}')"
)
ANALYZE = "ANALYZE (SKIP_LOCKED) {table} (id, created)"

_COMMON_COLUMNS = """
SELECT t.id::text, coalesce(nullif(left(%s, 255), ''), t.id::text), {created},
    jsonb_typeof(f.v), CASE WHEN jsonb_typeof(f.v) <> 'object'
                            THEN left(f.v::text, 501) END,
    jsonb_typeof(f.v->:field), left(f.v->>:field, 501)
"""
# Of the groups only what the rules look at travels: how many there are, each identifier
# that is text, and of the other entries, of which there may be any number, the first
# ones: the type and text of the entry, and those of its identifier.
_RECORD_COLUMNS = """
    , t."index", jsonb_typeof(f.v->:groups_field),
    CASE WHEN jsonb_typeof(f.v->:groups_field) <> 'array'
         THEN left(f.v->>:groups_field, 501) END,
    CASE WHEN jsonb_typeof(f.v->:groups_field) = 'array'
         THEN jsonb_array_length(f.v->:groups_field) END,
    CASE WHEN jsonb_typeof(f.v->:groups_field) = 'array' THEN (
        SELECT array_agg(e->>'group_identifier')
        FROM jsonb_array_elements(f.v->:groups_field) AS e WHERE {is_text}) END,
    CASE WHEN jsonb_typeof(f.v->:groups_field) = 'array' THEN (
        SELECT array_agg(ARRAY[
            jsonb_typeof(e),
            CASE WHEN (jsonb_typeof(e->'group_identifier') <> 'null') IS NOT TRUE
                 THEN left(e::text, 501) END,
            jsonb_typeof(e->'group_identifier'),
            left(e->>'group_identifier', 501)])
        FROM (SELECT e FROM jsonb_array_elements(f.v->:groups_field) AS e
              WHERE ({is_text}) IS NOT TRUE LIMIT {limit}) AS others) END
""".replace(
    "{is_text}",
    "jsonb_typeof(e->'group_identifier') = 'string'"
    " AND length(e->>'group_identifier') <= 500",
).replace("{limit}", str(GROUP_PROBLEMS))
SELECT_ROWS = {
    RECORD: _COMMON_COLUMNS % "d.json->>'id'" + _RECORD_COLUMNS + _FROM,
    COMMUNITY: _COMMON_COLUMNS % "t.slug" + _FROM,
}
"""In the order of `RecordRow` and `CommunityRow`."""

# Keyset pages: each is a short query of its own on the primary key.
NEXT_PAGE = (
    "{scanned} AND (CAST(:after AS uuid) IS NULL OR t.id > CAST(:after AS uuid))"
    " ORDER BY t.id LIMIT :limit"
)
_BY_IDS = "t.id = ANY(CAST(:ids AS uuid[])) ORDER BY t.id"
BY_IDS = "{scanned} AND " + _BY_IDS
# The rows of a plan, except those that are purged; the length of the array is hidden,
# or each page of a small table would be a pass over it.
PLANNED = (
    "t.json IS NOT NULL AND t.id = ANY((SELECT CAST(:ids AS uuid[]))::uuid[])"
    " ORDER BY t.id"
)


def count(database: Database, what: What, kind: Kind, known: Known) -> int:
    """Count the rows of a kind that may get a date, or those of a plan.

    Returns:
        How many; PostgreSQL, which plans what follows, knows that there are so many.
    """
    if what.plan is not None:
        count = len(what.plan.ids.get(kind, ()))
    else:
        decided = [standing.IS_DECIDED[kind]] * known.has_decisions
        query = COUNT_ROWS + is_scanned(CUSTOM_FIELDS, *decided)
        field = fields_of(what, kind)["field"]
        count = database.execute_on(kind, query, field=field).scalar_one()
    if database.execute_on(kind, IS_TAKEN_FOR_SMALL, count=count).scalar_one():
        database.execute_on(kind, ANALYZE)
    return count


def read(
    database: Database, what: What, kind: Kind, known: Known, which: str, **values: Any
) -> list[Row]:
    """Read some of the rows that may get a date, in the present transaction.

    Args:
        database: A connection.
        what: Has the names of the fields.
        kind: Records or communities.
        known: What the ledger has to say.
        which: `NEXT_PAGE`, `BY_IDS` or `PLANNED`.
        **values: The parameters of that.

    Returns:
        The rows by ascending primary key, with what the ledger says of each. Those
        that we have changed are among them although their field is gone.
    """
    changed = [standing.IS_CHANGED[kind]] * known.has_changes
    which = which.replace("{scanned}", is_scanned("f.v", *changed))
    query = SELECT_ROWS[kind] + which
    found = database.execute_on(kind, query, **fields_of(what, kind), **values)
    make: Any = RecordRow if kind is RECORD else CommunityRow
    rows = [make(id, escape(label, LABEL_LIMIT), *rest) for id, label, *rest in found]
    ids = [row.id for row in rows]
    if known.has_decisions:
        decided = standing.decisions(database, kind, ids)
        rows = [row._replace(decided=decided.get(row.id)) for row in rows]
    if known.has_ledger and kind is COMMUNITY:
        originals = standing.originals(database, ids)
        rows = [_with_original(row, *originals.get(row.id, ())) for row in rows]
    return rows


def _with_original(
    row: CommunityRow, old: datetime | None = None, new: datetime | None = None
) -> CommunityRow:
    """Add what a community was, if it still is what we made it."""
    return row._replace(original=old) if new and new == row.created else row


def fields_of(what: What, kind: Kind) -> dict[str, str]:
    """Give the parameters that name the custom fields of a kind."""
    if kind is COMMUNITY:
        return {"field": what.community_group_field}
    return {"field": what.record_date_field, "groups_field": what.record_groups_field}
