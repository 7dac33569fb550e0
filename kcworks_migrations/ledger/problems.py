# SPDX-FileCopyrightText: 2026 kcworks-migrations contributors
# SPDX-License-Identifier: MIT
"""The table of problems: what could not be changed or indexed, and why.

A problem that later runs meet again stays the same row, with its first and its last
run. It was met by each run between them that looked at all rows of its kind: a row that
such a run found right has no old problem that could come back.
"""

import sys
from collections.abc import Generator, Iterator, Mapping, Sequence
from typing import Any

from sqlalchemy import text

from ..database import Database
from ..kinds import Kind
from ..rules.values import Problem
from ..text import escape
from . import evidence, tables

# Whether a run that looks at all rows is `r`. Those that its options leave alone are
# looked at as well, except with a plan.
_LOOKS_AT_ALL = "r.action = 'apply' AND NOT r.options ? 'plan' AND r.options->'kinds' ?"
# Equal problems of a row, whose groups may be equal, are told apart by their turn. They
# are grouped, not joined: that is linear whatever the planner believes of a table that
# has just grown. The length of the array is hidden as in `entries`.
WRITE_PROBLEMS = text(f"""
WITH i AS (
    SELECT *, row_number() OVER (
        PARTITION BY kind, entity_id, reason, value, group_id ORDER BY number) AS turn
    FROM unnest(
        CAST(:kinds AS text[]), CAST(:ids AS uuid[]), CAST(:labels AS text[]),
        CAST(:reasons AS text[]), CAST(:values AS text[]), CAST(:group_ids AS text[])
    ) WITH ORDINALITY AS i(kind, entity_id, label, reason, value, group_id, number)
), known AS (
    SELECT *, row_number() OVER (
        PARTITION BY kind, entity_id, reason, value, group_id ORDER BY id) AS turn
    FROM kcworks_created_dates_problem
    WHERE entity_id = ANY((SELECT CAST(:ids AS uuid[]))::uuid[])
      AND last_run_id < :run_id AND last_run_id >= (
        SELECT coalesce(max(r.id), 0) FROM kcworks_created_dates_run AS r
        WHERE r.id < :run_id AND r.status = 'succeeded' AND {_LOOKS_AT_ALL} :kind)
      AND (reason <> 'locked' OR :is_final)
), met AS (
    SELECT kind, entity_id, max(label) AS label, reason, value, group_id,
           max(number) AS number, max(id) AS id
    FROM (
        SELECT kind, entity_id, label, reason, value, group_id, turn, number,
               CAST(NULL AS bigint) AS id FROM i
        UNION ALL
        SELECT kind, entity_id, NULL, reason, value, group_id, turn, NULL, id FROM known
    ) AS problems
    GROUP BY kind, entity_id, reason, value, group_id, turn
    HAVING max(number) IS NOT NULL
), again AS (
    UPDATE kcworks_created_dates_problem AS p
    SET last_run_id = :run_id, label = met.label FROM met WHERE p.id = met.id
)
INSERT INTO kcworks_created_dates_problem
    (run_id, last_run_id, kind, entity_id, label, reason, value, group_id, found_at)
SELECT :run_id, :run_id, kind, entity_id, label, reason, value, group_id,
       clock_timestamp()
FROM met WHERE id IS NULL ORDER BY number
""")
# Read once for all pages; those that stay locked are written anew, and not read again.
SELECT_LOCKED = (
    "SELECT id, entity_id::text AS entity_id FROM kcworks_created_dates_problem"
    " WHERE run_id = {run_id:d} AND kind = '{kind}' AND reason = 'locked' ORDER BY id"
)
DELETE_LOCKED = text(
    "DELETE FROM kcworks_created_dates_problem"
    " WHERE id = ANY((SELECT CAST(:ids AS bigint[]))::bigint[])"
)
SELECT_PROBLEMS = text(f"""
SELECT p.id, p.entity_id::text, p.label, p.kind, p.reason, p.value, p.group_id
FROM kcworks_created_dates_problem AS p
JOIN kcworks_created_dates_run AS r ON r.id = :run_id
WHERE p.run_id <= :run_id AND p.last_run_id >= :run_id
  AND (:run_id IN (p.run_id, p.last_run_id) OR {_LOOKS_AT_ALL}
       CASE p.kind WHEN 'group' THEN 'record' ELSE p.kind END)
  AND CASE WHEN CAST(:reason AS text) IS NULL THEN p.reason <> '{evidence.REASON}'
           ELSE p.reason = :reason END
  AND p.id > :after AND p.id <= :until
ORDER BY p.id LIMIT :limit
""")
SELECT_LAST_ID = text("SELECT coalesce(max(id), 0) FROM kcworks_created_dates_problem")
# The problem belongs to the last run that changed the row, or, for what only embeds a
# change, to the last run. It is one row, however often it is refused.
INSERT_REFUSED = """
WITH i AS (
    SELECT i.*, coalesce(
        (SELECT max(b.run_id) FROM kcworks_created_dates_backup AS b
         WHERE b.entity_id = i.id AND b.kind = :kind),
        (SELECT max(id) FROM kcworks_created_dates_run)) AS run_id
    FROM unnest(CAST(:ids AS uuid[]), CAST(:values AS text[])) AS i(id, value)
), again AS (
    UPDATE kcworks_created_dates_problem AS p
    SET last_run_id = i.run_id, value = i.value FROM i
    WHERE p.entity_id = i.id AND p.kind = :kind AND p.reason = 'index_refused'
    RETURNING p.entity_id
)
INSERT INTO kcworks_created_dates_problem
    (run_id, last_run_id, kind, entity_id, label, reason, value, found_at)
SELECT i.run_id, i.run_id, :kind, i.id, coalesce(
        (SELECT {label} FROM {table} AS t WHERE t.id = i.id), i.id::text),
       'index_refused', i.value, clock_timestamp()
FROM i WHERE i.run_id IS NOT NULL AND i.id NOT IN (SELECT entity_id FROM again)
"""
HAS_REFUSED = text(
    "SELECT EXISTS (SELECT FROM kcworks_created_dates_problem"
    " WHERE kind = :kind AND reason = 'index_refused')"
)
DELETE_REFUSED = text(
    "DELETE FROM kcworks_created_dates_problem"
    " WHERE kind = :kind AND reason = 'index_refused'"
    " AND entity_id = ANY(CAST(:ids AS uuid[]))"
)

PAGE_ROWS = 1000


def write(
    database: Database,
    run_id: int,
    kind: Kind,
    problems: Sequence[Problem],
    is_final: bool = True,
) -> None:
    """Write what a run met, once for each problem and all the runs that meet it.

    Args:
        database: The connection.
        run_id: The run.
        kind: Of the rows that were looked at.
        problems: Theirs, and those of the groups in them.
        is_final: Whether rows that are locked will not be tried again: until then a
            lock is a problem of this run alone, so that it can be taken back.
    """
    if problems:
        database.execute(
            WRITE_PROBLEMS,
            run_id=run_id,
            kind=kind.name,
            is_final=is_final,
            ids=[p.id for p in problems],
            labels=[p.label for p in problems],
            kinds=[p.kind for p in problems],
            reasons=[p.reason for p in problems],
            values=[p.value for p in problems],
            group_ids=[p.group_id for p in problems],
        )


def locked(
    database: Database, run_id: int, kind: Kind, limit: int
) -> Generator[Sequence[Any]]:
    """Read the problems of rows that were locked when their batch was written.

    Args:
        database: The connection of the run, outside a transaction.
        run_id: The run.
        kind: Records or communities.
        limit: The most problems of a page.

    Returns:
        The pages, of `id` and `entity_id`.
    """
    return database.held(SELECT_LOCKED.format(run_id=run_id, kind=kind), limit)


def delete_locked(database: Database, ids: Sequence[int]) -> None:
    """Take back problems of rows that are about to be decided again."""
    database.execute(DELETE_LOCKED, ids=list(ids))


def first(
    database: Database, run_id: int, limit: int, reason: str | None = None
) -> list[Problem]:
    """Read the first problems of a run, as `every` does, in the present transaction."""
    values = {"run_id": run_id, "after": 0, "until": sys.maxsize, "limit": limit}
    found = database.execute(SELECT_PROBLEMS, reason=reason, **values)
    return [Problem(*rest) for _, *rest in found]


def every(
    database: Database, run_id: int, reason: str | None = None
) -> Iterator[Problem]:
    """Read all problems of a run, page by page, each in a transaction of its own.

    Args:
        database: A connection, outside a transaction.
        run_id: The run.
        reason: Only those with this reason; by default all but `evidence_gone`, which
            have a figure of their own.

    Yields:
        The problems in the order in which they were found.
    """

    def read(after: int) -> Sequence:
        # The bounds keep a page small whatever the planner believes of the table.
        values = {"run_id": run_id, "after": after, "until": after + PAGE_ROWS}
        found = database.execute(
            SELECT_PROBLEMS, reason=reason, limit=PAGE_ROWS, **values
        )
        return found.fetchall()

    last = database.transaction(database.execute, SELECT_LAST_ID).scalar_one()
    for after in range(0, last, PAGE_ROWS):
        page = database.transaction(read, after)
        yield from (Problem(*rest) for _, *rest in page)


def write_refused(database: Database, kind: Kind, refused: Mapping[str, str]) -> None:
    """Write what OpenSearch refused for good, by UUID with what it said.

    A worker may be told of documents when our tables are gone; the log has to do then.
    """
    if tables.exist(database):
        database.execute_on(
            kind,
            INSERT_REFUSED,
            kind=kind.name,
            ids=list(refused),
            values=[escape(value) for value in refused.values()],
        )


def has_refused(database: Database, kind: Kind) -> bool:
    """Tell whether OpenSearch refused any documents of a kind."""
    return database.execute(HAS_REFUSED, kind=kind.name).scalar_one()


def end_refused(database: Database, kind: Kind, ids: Sequence[str]) -> None:
    """Remove what OpenSearch refused once, of documents that are right now."""
    database.execute(DELETE_REFUSED, kind=kind.name, ids=list(ids))


def end_refused_except(database: Database, kind: Kind, holding: str) -> None:
    """Remove what OpenSearch refused once, of rows that a query does not give."""
    query = f"""
    DELETE FROM kcworks_created_dates_problem AS p
    WHERE p.kind = :kind AND p.reason = 'index_refused'
      AND NOT EXISTS (SELECT FROM ({holding}) AS h WHERE h.id = p.entity_id)
    """
    database.execute(text(query), kind=kind.name)
