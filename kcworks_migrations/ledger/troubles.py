# SPDX-FileCopyrightText: 2026 kcworks-migrations contributors
# SPDX-License-Identifier: MIT
"""What our tables say of runs that need somebody: failed, killed, or hanging."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from sqlalchemy import text

from .. import locks
from ..database import Database
from .runs import IS_KILLED, KILLED

HANGS_AFTER = timedelta(hours=1)
"""How long a run, or whatever else holds the lock, may make no progress."""

AHEAD = timedelta(minutes=1)
"""How far the ledger may be ahead of the database's clock."""

# The options of `later` are those of `r`, or wider. A plan's run changes its lines
# alone, and carries them out whatever another run has done; another plan supersedes it.
_IS_AS_WIDE = """
    (later.options->'kinds') @> (r.options->'kinds')
    AND (later.options ? 'plan') = (r.options ? 'plan')
    AND coalesce(later.options->>'start_date' <= r.options->>'start_date',
                 NOT later.options ? 'start_date')
    AND coalesce(later.options->>'end_date' >= r.options->>'end_date',
                 NOT later.options ? 'end_date')
    AND coalesce(CAST(later.options->>'limit' AS integer)
                 >= CAST(r.options->>'limit' AS integer), NOT later.options ? 'limit')
    AND coalesce(later.options->>'exclude' = r.options->>'exclude',
                 NOT later.options ? 'exclude')
    AND coalesce(later.options->>'only' = r.options->>'only',
                 NOT later.options ? 'only')
"""
_IS_WHOLE = """
    jsonb_array_length(later.options->'kinds') = 2 AND NOT later.options
    ?| ARRAY['plan', 'start_date', 'end_date', 'limit', 'exclude', 'only']
"""
# Whatever was to be restored is so by a restoration of all, and given up by an update
# of all; an update that was restored, as a whole or with all others, is given up.
_IS_MADE_UP_FOR = f"""
    later.id > r.id AND later.status = 'succeeded' AND CASE
    WHEN r.action = 'revert' AND later.action = 'revert'
        THEN later.options IN ('{{}}', r.options)
    WHEN r.action = 'revert' THEN later.action = 'apply' AND {_IS_WHOLE}
    WHEN later.action = 'revert' THEN later.options = '{{}}'
        OR later.options = jsonb_build_object('run', r.id)
    ELSE later.action IN ('apply', r.action) AND {_IS_AS_WIDE} END
"""
SELECT_ENDED_EARLY = text(f"""
SELECT r.id, r.action, r.origin, r.options,
       r.status = 'running' OR r.message = :killed AS is_killed,
       coalesce(r.finished_at, r.progress_at) AS since
FROM kcworks_created_dates_run AS r
WHERE (r.status = 'failed' OR {IS_KILLED}) AND NOT EXISTS (
    SELECT FROM kcworks_created_dates_run AS later WHERE {_IS_MADE_UP_FOR})
ORDER BY r.id DESC
""")
# One that has changed something of which nothing stands was rolled back.
SELECT_STANDING = text("""
SELECT run_id, count(*) FILTER (WHERE outcome IS NULL) AS standing
FROM kcworks_created_dates_backup WHERE run_id = ANY(:ids) GROUP BY run_id
""")
SELECT_HANGING = text(f"""
SELECT r.id, r.action, r.origin, a.pid,
       coalesce(r.progress_at, a.state_change) AS since
FROM ({locks.LOCK_HOLDER}) AS h JOIN pg_stat_activity AS a ON a.pid = h.pid
LEFT JOIN kcworks_created_dates_run AS r
    ON r.status = 'running' AND r.backend_pid = a.pid
WHERE coalesce(r.progress_at, a.state_change) < clock_timestamp() - :hangs_after
""")
SELECT_AHEAD = text("""
SELECT newest, clock_timestamp() AS now FROM (SELECT greatest(
    (SELECT max(greatest(started_at, progress_at, finished_at, settled_at,
                         CAST(settling->>'written_at' AS timestamptz)))
     FROM kcworks_created_dates_run),
    (SELECT max(greatest(changed_at, queued_at, restored_at))
     FROM kcworks_created_dates_backup)) AS newest) AS n
WHERE newest > clock_timestamp() + :ahead
""")


class EndedEarly(NamedTuple):
    """A run that failed or was killed, for which no other one has made up."""

    id: int
    action: str
    origin: str
    options: Mapping[str, Any]
    is_killed: bool
    since: datetime
    standing: int
    """How many of its changes stand."""


class Hanging(NamedTuple):
    """Who holds the lock and makes no progress."""

    run_id: int | None
    """None for what is no run."""
    action: str | None
    origin: str | None
    pid: int
    """The server's process."""
    since: datetime


def ended_early(database: Database) -> EndedEarly | None:
    """Find the newest run that failed or was killed, and was not made up for.

    Returns:
        The run; none if for each a later run with the same or wider options has
        succeeded, or its changes were rolled back.
    """
    values = {"key": locks.LOCK_KEY, "killed": KILLED}
    found = database.execute(SELECT_ENDED_EARLY, **values).fetchall()
    if not found:
        return None
    rows = database.execute(SELECT_STANDING, ids=[run.id for run in found])
    standing = {row.run_id: row.standing for row in rows}
    for run in found:
        if standing.get(run.id) != 0:
            return EndedEarly(**run._mapping, standing=standing.get(run.id, 0))
    return None


def hanging(database: Database) -> Hanging | None:
    """Find who holds the lock and has made no progress for an hour."""
    values = {"key": locks.LOCK_KEY, "hangs_after": HANGS_AFTER}
    row = database.execute(SELECT_HANGING, **values).first()
    return row and Hanging(*row)


def ahead(database: Database) -> tuple[datetime, datetime] | None:
    """Find an instant in the ledger that the database's clock has not reached.

    Returns:
        The newest one and the clock's; none if the clock is right, as far as we know.
    """
    row = database.execute(SELECT_AHEAD, ahead=AHEAD).first()
    return row and (row.newest, row.now)
