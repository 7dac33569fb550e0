# SPDX-FileCopyrightText: 2026 kcworks-migrations contributors
# SPDX-License-Identifier: MIT
"""Writes changes with their backup, problems, and how far a run has come.

Every function here works in the transaction of its caller, which commits a batch as a
whole: the changes, their backup, the problems and the cursor of the run row. A crash
leaves all of a batch or nothing of it.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any, NamedTuple

from . import queries
from .database import Database
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


def begin_run(
    database: Database, action: str, origin: str, options: dict[str, Any], phase: str
) -> Run:
    """Go on with the last unfinished run of the same options, or begin one.

    Args:
        database: The connection that holds the lock: nobody else is at work, so a
            run that is still marked as running was killed.
        action: ``apply`` or ``revert``.
        origin: ``alembic``, ``cli`` or ``celery``.
        options: What the run is to do.
        phase: Where a new run begins.

    Returns:
        The run.
    """
    kept = json.dumps(options, sort_keys=True)
    found = database.execute(
        queries.SELECT_UNFINISHED_RUN, action=action, options=kept
    ).first()
    if found is not None:
        run_id, phase, cursor, statistics = found
        run = Run(run_id, phase, cursor, Statistics.from_dict(statistics), True)
        save_progress(database, run)
        return run
    run_id = database.execute(
        queries.INSERT_RUN,
        action=action,
        origin=origin,
        package_version=version("kcworks-migrations"),
        options=kept,
        phase=phase,
        statistics=json.dumps(Statistics().as_dict()),
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
    )


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


def count_standing(database: Database) -> int:
    """Count the changes that stand: neither restored nor found out of reach."""
    return database.execute(queries.COUNT_STANDING).scalar_one()


def standing_runs(database: Database) -> list[int]:
    """Give the runs with changes that stand, newest first."""
    return [row[0] for row in database.execute(queries.SELECT_RUNS_WITH_STANDING)]


def restore(
    database: Database, run_id: int, kind: str, after: int, limit: int
) -> tuple[list[Restoration], int]:
    """Restore the next standing changes of a run and close their entries.

    Args:
        database: The connection, in the transaction of the batch.
        run_id: The run whose changes are restored.
        kind: ``record`` or ``community``.
        after: The entry behind which to go on; 0 to begin.
        limit: The most entries to restore.

    Returns:
        What became of each entry, and the last entry; no entries at the end.

    Raises:
        LedgerMismatchError: Not every entry came back.
    """
    found = database.execute(
        queries.SELECT_STANDING, run_id=run_id, kind=kind, after=after, limit=limit
    )
    entry_ids = [row[0] for row in found]
    if not entry_ids:
        return [], after
    rows = database.execute_on(kind, queries.RESTORE_CREATED, entry_ids=entry_ids)
    restorations = [Restoration(*row) for row in rows]
    if len(restorations) != len(entry_ids):
        raise LedgerMismatchError(run_id, len(entry_ids), len(restorations))
    return restorations, entry_ids[-1]
