# SPDX-FileCopyrightText: 2026 kcworks-migrations contributors
# SPDX-License-Identifier: MIT
"""Writes changes with their backup, problems, and how far a run has come.

Every function here works in the transaction of its caller, which commits a batch as a
whole: the changes, their backup, the problems and the cursor of the run row. A crash
leaves all of a batch or nothing of it.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from importlib.metadata import version
from typing import Any, NamedTuple

from . import queries
from .config import Options, Since
from .database import LOCK_KEY, Database
from .errors import LedgerMismatchError
from .rules import Change, Problem
from .statistics import Statistics


@dataclass
class Run:
    """The run row at work: where it stands, and what it counted."""

    id: int
    phase: str
    cursor: str | None
    statistics: Statistics
    is_resumed: bool = False
    progress: dict[str, Any] | None = None
    """How far the phase is, for whoever asks from outside."""


class Restoration(NamedTuple):
    """What became of one entry that was to be restored; no outcome: it is locked."""

    id: str
    label: str
    old_created: Any
    new_created: Any
    present_created: str | None
    outcome: str | None


class StoredProblem(NamedTuple):
    """A problem with its number in the table."""

    number: int
    problem: Problem


def unfinished_run(database: Database, action: str, options: dict[str, Any]) -> Any:
    """Find the last run with the same options that did not come to its end."""
    return database.execute(
        queries.SELECT_UNFINISHED_RUN, action=action, options=json.dumps(options)
    ).first()


def begin_run(
    database: Database,
    action: str,
    origin: str,
    options: dict[str, Any],
    phase: str,
    task_id: str | None = None,
) -> Run:
    """Go on with the last unfinished run of the same options, or begin one.

    Args:
        database: The connection that holds the lock: nobody else is at work, so a
            run that is still marked as running was killed.
        action: ``apply`` or ``revert``.
        origin: ``alembic``, ``cli`` or ``celery``.
        options: What the run is to do.
        phase: Where a new run begins.
        task_id: The Celery task that does the work, if one does.

    Returns:
        The run.
    """
    found = unfinished_run(database, action, options)
    # A rehearsal is its own: another run may rely on the rows of one that was killed.
    if found is not None and (action, origin) != ("apply", "rehearse"):
        run_id, phase, cursor, statistics = found
        run = Run(run_id, phase, cursor, Statistics.from_dict(statistics), True)
        database.execute(queries.UPDATE_RUN_RESUMED, run_id=run_id, task_id=task_id)
        return run
    run_id = database.execute(
        queries.INSERT_RUN,
        action=action,
        origin=origin,
        package_version=version("kcworks-migrations"),
        options=json.dumps(options),
        phase=phase,
        statistics=json.dumps(Statistics().as_dict()),
        task_id=task_id,
    ).scalar_one()
    return Run(run_id, phase, None, Statistics())


def save_progress(database: Database, run: Run) -> None:
    """Write the phase, the cursor and the statistics into the run row."""
    database.execute(
        queries.UPDATE_RUN_PROGRESS,
        run_id=run.id,
        phase=run.phase,
        cursor=run.cursor,
        statistics=json.dumps(run.statistics.as_dict()),
        progress=run.progress and json.dumps(run.progress),
    )


def base_of(database: Database, options: Options) -> Since | None:
    """Find the run that an incremental one can build on.

    Rows may be committed long after their `updated` was set, so a day is added.

    Returns:
        The last succeeded run that did the same for all rows, or none.
    """
    wanted = replace(options, limit=None, since=None).of_run()
    found = database.execute(
        queries.SELECT_BASE_RUN, options=json.dumps(wanted)
    ).first()
    return found and Since(found.id, found.started_at - timedelta(days=1))


def is_stop_requested(database: Database, run_id: int) -> bool:
    """Tell whether somebody asked the run to stop."""
    return database.execute(
        queries.SELECT_STOP_IS_REQUESTED, run_id=run_id
    ).scalar_one()


def request_stop(database: Database) -> int | None:
    """Ask the run that is at work to stop; give its number, none if there is none."""
    return database.execute(queries.UPDATE_STOP_REQUESTED, key=LOCK_KEY).scalar()


def statistics_of(database: Database, run_id: int) -> Statistics:
    """Give what a run has counted."""
    kept = database.execute(queries.SELECT_STATISTICS, run_id=run_id).scalar_one()
    return Statistics.from_dict(kept)


def status_of(database: Database, run_id: int) -> str:
    """Give the status of a run."""
    return database.execute(queries.SELECT_STATUS, run_id=run_id).scalar_one()


def end_run(database: Database, run_id: int, message: str | None) -> None:
    """Write that the run has succeeded, and what it has to say."""
    database.execute(queries.UPDATE_RUN_SUCCEEDED, run_id=run_id, message=message)


def stop_run(database: Database, run_id: int, status: str, message: str) -> None:
    """Write that the run stopped early, and why."""
    database.execute(
        queries.UPDATE_RUN_STOPPED, run_id=run_id, status=status, message=message
    )


def write(
    database: Database, run_id: int, kind: str, changes: Sequence[Change]
) -> set[str]:
    """Change `created` of the rows, and back each one up, in one statement.

    Args:
        database: The connection, in the transaction of the batch.
        run_id: The run.
        kind: ``record`` or ``community``.
        changes: The changes; the old value of each guards it.

    Returns:
        The ids of the rows that were changed. The others are held by somebody, gone,
        or no longer what they were when the decision was made.

    Raises:
        LedgerMismatchError: Other rows than asked for were written.
    """
    if not changes:
        return set()
    written = database.execute_on(
        kind,
        queries.UPDATE_CREATED_AND_BACK_UP,
        run_id=run_id,
        kind=kind,
        ids="\n".join([c.id for c in changes]),
        labels="\n".join([c.label for c in changes]),
        old_created="\n".join([c.old_created.isoformat() for c in changes]),
        new_created="\n".join([c.new_created.isoformat() for c in changes]),
        source_values="\n".join([c.source_value for c in changes]),
        source_record_ids=_lines([c.source_record_id for c in changes]),
        source_record_labels=_lines([c.source_record_label for c in changes]),
    )
    ids = {row[0] for row in written.fetchall()}
    if not ids <= {c.id for c in changes}:
        raise LedgerMismatchError(run_id, len(changes), len(ids))
    return ids


def _lines(values: list[str | None]) -> str | None:
    """Join values that all changes of a batch have, or none of them."""
    return None if values[0] is None else "\n".join([value or "" for value in values])


def write_problems(
    database: Database, run_id: int, problems: Sequence[Problem]
) -> None:
    """Write problem rows."""
    if problems:
        database.execute(
            queries.INSERT_PROBLEMS,
            run_id=run_id,
            ids=[p.id for p in problems],
            labels=[p.label for p in problems],
            kinds=[p.kind for p in problems],
            reasons=[p.reason for p in problems],
            values=[p.value for p in problems],
        )


def locked_ids(
    database: Database, run_id: int, kind: str, after: str | None, limit: int
) -> list[str]:
    """Read the next ids of rows that somebody held when their batch was written."""
    rows = database.execute(
        queries.SELECT_LOCKED_IDS, run_id=run_id, kind=kind, after=after, limit=limit
    )
    return [row[0] for row in rows]


def delete_locked(
    database: Database, run_id: int, kind: str, ids: Sequence[str]
) -> None:
    """Take back the `locked` problems of rows that are about to be decided again."""
    database.execute(queries.DELETE_LOCKED, run_id=run_id, kind=kind, ids=list(ids))


def problems(
    database: Database,
    run_id: int,
    reason: str | None = None,
    after: int = 0,
    limit: int = 1000,
) -> list[StoredProblem]:
    """Read the next problems of a run, all or those with one reason."""
    rows = database.execute(
        queries.SELECT_PROBLEMS, run_id=run_id, reason=reason, after=after, limit=limit
    )
    return [StoredProblem(number, Problem(*rest)) for number, *rest in rows]


def count_waiting(database: Database) -> int:
    """Count the entries of the outbox that are still to be queued."""
    return database.execute(queries.COUNT_UNQUEUED).scalar_one()


def count_standing(
    database: Database,
    kind: str | None = None,
    run_id: int | None = None,
    labels: list[str] | None = None,
) -> int:
    """Count the changes that stand: neither restored nor found out of reach.

    Args:
        database: The connection.
        kind: ``record`` or ``community``; none for both.
        run_id: Only those of this run, and only where no later run built on them.
        labels: Only those of the rows with these names or UUIDs.

    Returns:
        How many.
    """
    return database.execute(
        queries.COUNT_STANDING, kind=kind, run_id=run_id, labels=labels
    ).scalar_one()


def later_runs(
    database: Database, run_id: int, labels: dict[str, list[str] | None]
) -> dict[int, int]:
    """Find the runs that changed rows of a run again, and whose changes stand.

    Args:
        database: The connection.
        run_id: The earlier run.
        labels: By kind, only the rows with these names or UUIDs; none for all.

    Returns:
        How many rows, by the later run.
    """
    found: dict[int, int] = {}
    for kind, names in labels.items():
        for later in database.execute(
            queries.SELECT_LATER_RUNS, run_id=run_id, kind=kind, labels=names
        ):
            found[later.run_id] = found.get(later.run_id, 0) + later.rows
    return found


def run_since(database: Database, rehearsal_id: int) -> tuple[int, str] | None:
    """Find a run that has found the rows of a rehearsal right since.

    Returns:
        Its number and origin; none if there is none, or it was no rehearsal.
    """
    found = database.execute(queries.SELECT_RUN_SINCE, run_id=rehearsal_id).first()
    return found and (found.id, found.origin)


def restore(
    database: Database,
    run_id: int | None,
    kind: str,
    before: int | None,
    limit: int,
    labels: list[str] | None = None,
) -> tuple[list[Restoration], int | None]:
    """Restore the next standing changes, newest first, and close their entries.

    Args:
        database: The connection, in the transaction of the batch.
        run_id: The run whose changes are restored; none for all.
        kind: ``record`` or ``community``.
        before: The entry below which to go on; none to begin.
        limit: The most entries to restore.
        labels: Only the rows with these names or UUIDs.

    Returns:
        What became of each entry, and the lowest entry; no entries at the end.

    Raises:
        LedgerMismatchError: Not every entry came back.
    """
    found = database.execute(
        queries.SELECT_STANDING,
        run_id=run_id,
        kind=kind,
        before=before,
        limit=limit,
        labels=labels,
    )
    entry_ids = [row[0] for row in found]
    if not entry_ids:
        return [], before
    rows = database.execute_on(kind, queries.RESTORE_CREATED, entry_ids=entry_ids)
    restorations = [Restoration(*row) for row in rows]
    if len(restorations) != len(entry_ids):
        raise LedgerMismatchError(None, len(entry_ids), len(restorations))
    return restorations, entry_ids[-1]
