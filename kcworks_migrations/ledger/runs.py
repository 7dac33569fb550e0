# SPDX-FileCopyrightText: 2026 kcworks-migrations contributors
# SPDX-License-Identifier: MIT
"""The table of runs: who is at work, how far, and how each run ended.

A run begins as `RUNNING`. Whoever does the work ends it, once:

=========  =====================================================================
succeeded  all rows were done; what could not be queued is in its message
stopped    somebody asked, by a signal or `stop`
failed     an error; also what a killed run becomes, when the next one takes the
           lock and so knows that nobody is at work on it
=========  =====================================================================

Nothing follows after that: a rerun is a run of its own. Whether a run was reverted is
read from its entries.
"""

import getpass
import json
import os
import socket
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from importlib.metadata import version
from typing import Any

from sqlalchemy import text
from sqlalchemy.engine import Engine

from .. import locks
from ..database import Database, opened
from ..errors import RunInProgressError
from ..text import escape
from . import tables
from .statistics import Progress, Statistics

RUNNING, SUCCEEDED, STOPPED, FAILED = "running", "succeeded", "stopped", "failed"

KILLED = "killed: it ended without a word"

QUIET = timedelta(minutes=10)
"""How long after our last write somebody looks at the documents: whoever made one
before that has written it by then."""

# The lock may also be held by something that has no run, beside the row of a run that
# was killed.
_IS_AT_WORK = f"status = 'running' AND backend_pid IN ({locks.LOCK_HOLDER})"

SELECT_RUNNING = text(
    f"SELECT id, origin, started_at FROM kcworks_created_dates_run WHERE {_IS_AT_WORK}"
)
IS_KILLED = (
    "r.status = 'running' AND NOT EXISTS"
    f" (SELECT FROM ({locks.LOCK_HOLDER}) AS h WHERE h.pid = r.backend_pid)"
)
# Only who holds the lock executes it: a run that is still marked as running then was
# killed, and its last progress is its last sign of life.
CLOSE_KILLED = text("""
UPDATE kcworks_created_dates_run
SET status = 'failed', message = :message, finished_at = progress_at,
    statistics = statistics || jsonb_build_object(
        'stopped_early', true,
        'stopped_at_record', statistics->'records'->'total_found',
        'stopped_at_community', statistics->'communities'->'total_found')
WHERE status = 'running' RETURNING id
""")
SELECT_RUN = text("SELECT * FROM kcworks_created_dates_run WHERE id = :run_id")
INSERT_RUN = text("""
INSERT INTO kcworks_created_dates_run
    (action, origin, started_by, reason, package_version, options, status, statistics,
     task_id, backend_pid, started_at, progress_at, next_look_at)
VALUES (:action, :origin, :started_by, :reason, :package_version,
        CAST(:options AS jsonb), 'running', CAST(:statistics AS jsonb), :task_id,
        pg_backend_pid(), clock_timestamp(), clock_timestamp(),
        clock_timestamp() + :quiet)
RETURNING id
""")
UPDATE_PROGRESS = text("""
UPDATE kcworks_created_dates_run
SET statistics = CAST(:statistics AS jsonb), progress = CAST(:progress AS jsonb),
    progress_at = clock_timestamp()
WHERE id = :run_id RETURNING stop_requested_at IS NOT NULL
""")
UPDATE_ENDED = text("""
UPDATE kcworks_created_dates_run
SET status = :status, message = :message,
    statistics = CAST(:statistics AS jsonb),
    progress_at = clock_timestamp(), finished_at = clock_timestamp(),
    next_look_at = clock_timestamp() + :quiet, looks = 0, settled_at = NULL
WHERE id = :run_id
""")
UPDATE_STOP_REQUESTED = text(
    "UPDATE kcworks_created_dates_run SET stop_requested_at = clock_timestamp()"
    f" WHERE {_IS_AT_WORK} RETURNING id"
)
# What a task that is delivered again has changed already counts for its limit.
COUNT_CHANGED_BY_TASK = text("""
SELECT count(*) FROM kcworks_created_dates_backup AS b
JOIN kcworks_created_dates_run AS r ON r.id = b.run_id
WHERE r.task_id = :task_id AND r.id <> :run_id AND b.kind = :kind
""")


@dataclass
class Run:
    """The run at work: what it has counted, and how far it is."""

    id: int
    action: str
    statistics: Statistics = field(default_factory=Statistics)
    progress: Progress | None = None
    task_id: str | None = None


@contextmanager
def locked(engine: Engine, lock_timeout_seconds: int) -> Generator[Database]:
    """Open the connection of a run, and hold the lock.

    Raises:
        RefusedError: A pooler can't keep the lock, or a table is absent.
        RunInProgressError: Another run holds the lock.
        ServiceFailedError: The database failed, and no run row says so.
    """
    with opened(engine, lock_timeout_seconds) as database:
        database.transaction(tables.check, database)
        if not locks.take(database):
            raise database.transaction(_in_progress, database)
        yield database


def close_killed(database: Database) -> list[int]:
    """Close the runs that were killed; only for who holds the lock.

    Nobody else is at work then: what is still marked as running was killed.

    Returns:
        Their numbers.
    """
    return list(database.execute(CLOSE_KILLED, message=KILLED).scalars())


def _in_progress(database: Database) -> RunInProgressError:
    """Name the run that holds the lock, or whose one it may be."""
    found = database.execute(SELECT_RUNNING, key=locks.LOCK_KEY).first()
    run_id, origin, since = found or (None, None, None)
    return RunInProgressError(run_id, origin, since, tables.shared_with(database))


def begin(
    database: Database,
    action: str,
    origin: str,
    options: Mapping[str, Any],
    reason: str | None = None,
    task_id: str | None = None,
) -> Run:
    """Begin a run.

    Args:
        database: The connection that holds the lock.
        action: ``apply``, ``revert`` or ``rehearse``.
        origin: ``alembic``, ``cli``, ``celery`` or ``python``.
        options: What the run is to do.
        reason: Why.
        task_id: The Celery task that does the work, if one does.

    Returns:
        The run.
    """
    run_id = database.execute(
        INSERT_RUN,
        action=action,
        origin=origin,
        started_by=_started_by(),
        reason=reason,
        package_version=version("kcworks-migrations"),
        options=json.dumps(options, default=str),
        statistics=json.dumps(Statistics().as_dict()),
        task_id=task_id,
        quiet=QUIET,
    ).scalar_one()
    return Run(run_id, action, task_id=task_id)


def _started_by() -> str:
    try:
        user = getpass.getuser()
    except (OSError, KeyError):  # a container may have no name for its user
        user = str(os.getuid())
    return escape(f"{user}@{socket.gethostname()}")


def save(database: Database, run: Run) -> bool:
    """Write what the run has counted; tell whether somebody asked it to stop."""
    return database.execute(
        UPDATE_PROGRESS,
        run_id=run.id,
        statistics=json.dumps(run.statistics.as_dict()),
        progress=run.progress and json.dumps(run.progress.as_dict()),
    ).scalar_one()


def end(
    database: Database,
    run_id: int,
    status: str,
    statistics: Mapping[str, Any],
    message: str | None,
) -> None:
    """Write how the run ended.

    Args:
        database: A connection.
        run_id: The run.
        status: `SUCCEEDED`, `STOPPED` or `FAILED`.
        statistics: What it has counted, and where it stopped early.
        message: Why it ended early, or what its reindexing waits for.
    """
    database.execute(
        UPDATE_ENDED,
        run_id=run_id,
        status=status,
        statistics=json.dumps(statistics),
        message=message,
        quiet=QUIET,
    )


def row(database: Database, run_id: int) -> Any:
    """Give what is kept of a run."""
    return database.execute(SELECT_RUN, run_id=run_id).one()


def request_stop(database: Database) -> int | None:
    """Ask the run that is at work to stop; give its number, none if there is none."""
    return database.execute(UPDATE_STOP_REQUESTED, key=locks.LOCK_KEY).scalar()


def changed_by_task(database: Database, run: Run, kind: str) -> int:
    """Count what earlier runs of the same Celery task have changed."""
    if run.task_id is None:
        return 0
    return database.execute(
        COUNT_CHANGED_BY_TASK, task_id=run.task_id, run_id=run.id, kind=kind
    ).scalar_one()
