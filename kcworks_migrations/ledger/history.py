# SPDX-FileCopyrightText: 2026 kcworks-migrations contributors
# SPDX-License-Identifier: MIT
"""What our tables say of runs and rows, for whoever only looks."""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from sqlalchemy import text

from .. import locks
from ..database import Database
from ..kinds import DATED, Kind
from ..text import show
from .runs import FAILED, KILLED, RUNNING
from .standing import SELECTED, Selection

SELECT_HISTORY = text("""
SELECT run_id, kind, entity_id::text AS entity_id, label, old_created, new_created,
       source, source_value, source_file, source_sha256, note,
       source_record_id::text AS source_record_id, source_record_label, changed_at,
       queued_at, restored_at, outcome
FROM kcworks_created_dates_backup
WHERE label = :name OR entity_id::text = :name ORDER BY id
""")
SELECT_PROBLEMS = text("""
SELECT run_id, last_run_id, kind, entity_id::text AS entity_id, label, reason, value,
       group_id, found_at
FROM kcworks_created_dates_problem
WHERE label = :name OR entity_id::text = :name ORDER BY id
""")
# What a restoration would leave alone; each row has the count of all of them.
SELECT_CHANGED_SINCE = f"""
SELECT b.label, t.created::text AS created, count(*) OVER () AS count
FROM kcworks_created_dates_backup AS b JOIN {{table}} AS t ON t.id = b.entity_id
WHERE {SELECTED} AND t.created <> (b.new_created{{convert}})
  AND NOT EXISTS (
    SELECT FROM kcworks_created_dates_backup AS later
    WHERE later.entity_id = b.entity_id AND later.kind = b.kind
      AND later.id > b.id AND later.outcome IS NULL)
ORDER BY b.id LIMIT :limit
"""
# The entry that says what its row holds now: the last one that stands, or else the one
# that was restored last. What somebody changed before a restoration is none of ours.
SELECT_ENTRIES_AND_ROWS = """
SELECT b.id, b.label, t.id IS NOT NULL AND {created} IS DISTINCT FROM
    CASE WHEN b.outcome IS NULL THEN b.new_created ELSE b.old_created END AS is_wrong
FROM kcworks_created_dates_backup AS b LEFT JOIN {table} AS t ON t.id = b.entity_id
WHERE b.kind = :kind AND b.id > :after
  AND (b.outcome IS NULL OR b.outcome = 'restored')
  AND NOT EXISTS (
    SELECT FROM kcworks_created_dates_backup AS later
    WHERE later.entity_id = b.entity_id AND later.kind = b.kind
      AND (later.outcome IS NULL AND (b.outcome IS NOT NULL OR later.id > b.id)
           OR later.outcome = 'changed_since' AND later.id > b.id
           OR b.outcome IS NOT NULL AND later.restored_at > b.restored_at))
ORDER BY b.id LIMIT :limit
"""
# The rows that have a name now, and those that are known to have had it.
SELECT_PRESENT = """
SELECT t.id::text AS id, {created} AS created, t.created::text AS text
FROM {table} AS t
WHERE {label} = :name OR t.id::text = :name OR t.id = ANY(CAST(:ids AS uuid[]))
"""

SELECT_RUNS = text("""
SELECT r.id, r.action, r.origin, r.started_by, r.reason, r.status, r.statistics,
       r.progress, r.message, r.task_id, r.backend_pid, r.options, r.started_at,
       r.progress_at, r.stop_requested_at, r.finished_at, r.settled_at,
       coalesce(b.standing, 0) AS standing
FROM kcworks_created_dates_run AS r LEFT JOIN (
    SELECT run_id, count(*) AS standing FROM kcworks_created_dates_backup
    WHERE outcome IS NULL GROUP BY run_id
) AS b ON b.run_id = r.id
ORDER BY r.id DESC LIMIT :limit
""")
SELECT_RUN_IDS = text("SELECT id FROM kcworks_created_dates_run ORDER BY id")
# What a run left unfinished, and what of it stands. One that is still marked as running
# was killed: whoever looks knows that nobody is at work.
SELECT_UNFINISHED = text("""
SELECT r.id, r.action, CASE r.status WHEN 'stopped' THEN r.status ELSE 'failed' END,
       count(*) AS standing
FROM kcworks_created_dates_run AS r
JOIN kcworks_created_dates_backup AS b ON b.run_id = r.id AND b.outcome IS NULL
WHERE r.status <> 'succeeded'
  AND (CAST(:before AS bigint) IS NULL OR r.id < CAST(:before AS bigint))
GROUP BY r.id ORDER BY r.id
""")
HAS_SUCCEEDED = text(
    "SELECT EXISTS (SELECT FROM kcworks_created_dates_run"
    " WHERE action = 'apply' AND status = 'succeeded')"
)

PAGE_ROWS = 1000

ALL = Selection()


class Unfinished(NamedTuple):
    """A run that stopped or failed, with changes that stand."""

    id: int
    action: str
    status: str
    standing: int
    """How many of its changes stand."""


def latest_runs(database: Database, limit: int) -> list[dict[str, Any]]:
    """Read the newest runs, as dictionaries.

    Returns:
        The newest first, with the number of its changes that stand. One that is marked
        as running while nobody is at work on it is `FAILED`.
    """
    holder = locks.holder(database)
    runs = [dict(row) for row in database.execute(SELECT_RUNS, limit=limit).mappings()]
    for run in runs:
        if run.pop("backend_pid") != holder and run["status"] == RUNNING:
            run |= {"status": FAILED, "message": KILLED}
    return runs


def run_ids(database: Database) -> list[int]:
    """Give the numbers of all runs, the oldest first."""
    return list(database.execute(SELECT_RUN_IDS).scalars())


def unfinished_runs(database: Database, before: int | None = None) -> list[Unfinished]:
    """Find the runs that stopped, failed or were killed, and whose changes stand.

    Args:
        database: A connection, while no other run is at work.
        before: Only runs before this one.

    Returns:
        The runs, the oldest first.
    """
    return [
        Unfinished(*row) for row in database.execute(SELECT_UNFINISHED, before=before)
    ]


def has_succeeded(database: Database) -> bool:
    """Tell whether an update has ever come to its end."""
    return database.execute(HAS_SUCCEEDED).scalar_one()


def named(
    database: Database, name: str
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Give what is known of a row by its PID, slug or UUID.

    Returns:
        Its entries and its problems, the oldest first.
    """
    entries = database.execute(SELECT_HISTORY, name=name).mappings()
    problems = database.execute(SELECT_PROBLEMS, name=name).mappings()
    return [*map(dict, entries)], [*map(dict, problems)]


def present(
    database: Database, kind: Kind, name: str, ids: Sequence[str]
) -> dict[str, str]:
    """Read the present date of rows, as text for people.

    Args:
        database: The connection.
        kind: Records or communities.
        name: A PID, slug or UUID.
        ids: UUIDs of further rows.

    Returns:
        The dates by UUID; a row that is gone is not among them.
    """
    rows = database.execute_on(kind, SELECT_PRESENT, name=name, ids=list(ids))
    return {row.id: show(row.created) if row.created else row.text for row in rows}


def changed_since(
    database: Database, limit: int, selection: Selection = ALL
) -> tuple[int, list[dict[str, Any]]]:
    """Count the changed rows that somebody changed again; looks at every one.

    Args:
        database: The connection.
        limit: How many rows of each kind to give.
        selection: Only among these changes.

    Returns:
        How many, and some of each kind.
    """
    total, shown = 0, []
    for kind in DATED:
        rows = database.execute_on(
            kind, SELECT_CHANGED_SINCE, **selection.values(kind), limit=limit
        ).fetchall()
        total += rows[0].count if rows else 0
        shown += [
            {"kind": kind.name, "label": row.label, "created": row.created}
            for row in rows
        ]
    return total, shown


def wrong_rows(database: Database, kind: Kind) -> Iterator[str]:
    """Find the rows whose date is not the one that their last entry says.

    Args:
        database: A connection, outside a transaction.
        kind: Records or communities.

    Yields:
        Their labels.
    """
    after = 0

    def read() -> Sequence[Any]:
        values = {"kind": kind.name, "after": after, "limit": PAGE_ROWS}
        return database.execute_on(kind, SELECT_ENTRIES_AND_ROWS, **values).fetchall()

    while page := database.transaction(read):
        yield from (row.label for row in page if row.is_wrong)
        after = page[-1].id
