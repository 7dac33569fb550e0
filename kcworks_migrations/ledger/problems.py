# SPDX-FileCopyrightText: 2026 kcworks-migrations contributors
# SPDX-License-Identifier: MIT
"""The table of problems: what could not be changed or indexed, and why."""

from collections.abc import Iterator, Mapping, Sequence

from sqlalchemy import text

from ..database import Database
from ..kinds import Kind
from ..rules.values import Problem
from ..text import escape
from . import tables

INSERT_PROBLEMS = text("""
INSERT INTO kcworks_created_dates_problem
    (run_id, kind, entity_id, label, reason, value, group_id, found_at)
SELECT :run_id, i.*, clock_timestamp() FROM unnest(
    CAST(:kinds AS text[]), CAST(:ids AS uuid[]), CAST(:labels AS text[]),
    CAST(:reasons AS text[]), CAST(:values AS text[]), CAST(:group_ids AS text[])) AS i
""")
SELECT_LOCKED_IDS = text(
    "SELECT entity_id::text FROM kcworks_created_dates_problem"
    " WHERE run_id = :run_id AND kind = :kind AND reason = 'locked'"
    " AND (CAST(:after AS uuid) IS NULL OR entity_id > CAST(:after AS uuid))"
    " ORDER BY entity_id LIMIT :limit"
)
DELETE_LOCKED = text(
    "DELETE FROM kcworks_created_dates_problem WHERE run_id = :run_id"
    " AND kind = :kind AND reason = 'locked' AND entity_id = ANY(CAST(:ids AS uuid[]))"
)
SELECT_PROBLEMS = text("""
SELECT id, entity_id::text, label, kind, reason, value, group_id
FROM kcworks_created_dates_problem
WHERE run_id = :run_id AND (CAST(:reason AS text) IS NULL OR reason = :reason)
  AND id > :after
ORDER BY id LIMIT :limit
""")
# The problem belongs to the last run that changed the row, or, for what only embeds a
# change, to the last run. A message that is delivered twice writes it once.
INSERT_REFUSED = """
WITH i AS (
    SELECT i.*, coalesce(
        (SELECT max(b.run_id) FROM kcworks_created_dates_backup AS b
         WHERE b.entity_id = i.id AND b.kind = :kind),
        (SELECT max(id) FROM kcworks_created_dates_run)) AS run_id
    FROM unnest(CAST(:ids AS uuid[]), CAST(:values AS text[])) AS i(id, value)
)
INSERT INTO kcworks_created_dates_problem
    (run_id, kind, entity_id, label, reason, value, found_at)
SELECT i.run_id, :kind, i.id, coalesce(
        (SELECT {label} FROM {table} AS t WHERE t.id = i.id), i.id::text),
       'index_refused', i.value, clock_timestamp()
FROM i WHERE i.run_id IS NOT NULL AND NOT EXISTS (
    SELECT FROM kcworks_created_dates_problem AS p
    WHERE p.run_id = i.run_id AND p.entity_id = i.id AND p.reason = 'index_refused')
"""

PAGE_ROWS = 1000


def write(database: Database, run_id: int, problems: Sequence[Problem]) -> None:
    """Write problems of a run."""
    if problems:
        database.execute(
            INSERT_PROBLEMS,
            run_id=run_id,
            ids=[p.id for p in problems],
            labels=[p.label for p in problems],
            kinds=[p.kind for p in problems],
            reasons=[p.reason for p in problems],
            values=[p.value for p in problems],
            group_ids=[p.group_id for p in problems],
        )


def locked_ids(
    database: Database, run_id: int, kind: Kind, after: str | None, limit: int
) -> list[str]:
    """Read the next ids of rows that were locked when their batch was written."""
    rows = database.execute(
        SELECT_LOCKED_IDS, run_id=run_id, kind=kind.name, after=after, limit=limit
    )
    return [row[0] for row in rows]


def delete_locked(
    database: Database, run_id: int, kind: Kind, ids: Sequence[str]
) -> None:
    """Take back the `locked` problems of rows that are about to be decided again."""
    database.execute(DELETE_LOCKED, run_id=run_id, kind=kind.name, ids=list(ids))


def first(database: Database, run_id: int, limit: int) -> list[Problem]:
    """Read the first problems of a run, in the present transaction."""
    values = {"run_id": run_id, "reason": None, "after": 0, "limit": limit}
    return [Problem(*rest) for _, *rest in database.execute(SELECT_PROBLEMS, **values)]


def every(
    database: Database, run_id: int, reason: str | None = None
) -> Iterator[Problem]:
    """Read all problems of a run, page by page, each in a transaction of its own.

    Args:
        database: A connection, outside a transaction.
        run_id: The run.
        reason: Only those with this reason.

    Yields:
        The problems in the order in which they were found.
    """
    after = 0

    def read() -> Sequence:
        values = {"run_id": run_id, "reason": reason, "after": after}
        return database.execute(SELECT_PROBLEMS, limit=PAGE_ROWS, **values).fetchall()

    while page := database.transaction(read):
        yield from (Problem(*rest) for _, *rest in page)
        after = page[-1][0]


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
