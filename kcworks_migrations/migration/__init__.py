# SPDX-FileCopyrightText: 2026 kcworks-migrations contributors
# SPDX-License-Identifier: MIT
"""The public functions: `apply`, `revert` and `preview`.

`apply` changes the dates, `revert` restores the old ones, `preview` tells what `apply`
would do. All of them need the context of the instance's application. One record and
one community, and nothing else::

    from flask import current_app
    from invenio_db import db
    from kcworks_migrations.config import options_from
    from kcworks_migrations.migration import Selection, apply, preview, revert

    only = ["5f5st-kvr34", "medieval-studies"]
    what, how = options_from(current_app.config, only=only)
    print(preview(db.engine, what).statistics)
    summary = apply(db.engine, what=what, reason="asked for by the curators")
    revert(db.engine, selection=Selection(run_id=summary.run_id))

`apply` and `revert` hold the lock of this package, work in short transactions, and may
be killed at any moment: the same call does the rest.
"""

from flask import current_app
from sqlalchemy.engine import Engine

from ..config import How, What, options_from, reason_of
from ..database import Database, opened
from ..errors import RunFailedError
from ..interrupt import interrupt
from ..ledger import plans, runs
from ..ledger.runs import Run
from ..ledger.standing import Selection
from ..report.reporter import Reporter
from ..report.steps import taken_back_lines
from ..report.summary import PROBLEMS_SHOWN, Summary
from ..text import CARRY_OUT, SAVE_PLAN
from .approval import check_approved
from .downgrade import Downgrade, check_selection
from .names import check_names
from .preview import look
from .run import working
from .save import Writer
from .upgrade import Upgrade
from .work import Queue, Work

WAITING = "KCWORKS_CREATED_DATES_ON_UPGRADE is 'wait': no date was changed. Next:"
TO_APPROVE = (
    f"  {SAVE_PLAN}",
    "and when somebody has read, corrected and approved it:",
    f"  {CARRY_OUT}",
)


def apply(
    engine: Engine,
    origin: str = "python",
    what: What | None = None,
    how: How | None = None,
    reporter: Reporter | None = None,
    task_id: str | None = None,
    reason: str | None = None,
    is_queued: bool = True,
) -> Summary:
    """Set `created` of records and communities to their true dates, and reindex them.

    Args:
        engine: The engine of the instance's database.
        origin: Who asks: ``alembic``, ``cli``, ``celery`` or ``python``.
        what: What to do; by default what the settings say.
        how: How to do it; by default what the settings say.
        reporter: Who is told; by default the terminal.
        task_id: The Celery task that calls, if one does.
        reason: Why, for the run row; from Alembic, what the environment says.
        is_queued: Whether to queue the reindexing; otherwise it stays pending.

    Returns:
        What was done, already printed; no run where Alembic asks and `ON_UPGRADE` says
        that a plan must be approved first.

    Raises:
        RefusedError: A setting or the database can't be used, or a plan must come
            first (a `how` with another `on_upgrade` passes); nothing was changed.
        RunInProgressError: Another run is at work; nothing was changed.
        RunFailedError: The database failed; the same call does the rest.
        RunStoppedError: Somebody asked to stop; the same call does the rest.
    """
    settings = options_from(current_app.config)
    what, how = what or settings[0], how or settings[1]
    reporter = reporter or Reporter(how.verbose)
    reason = reason_of(origin, reason)
    if origin == "alembic" and how.on_upgrade == "wait":
        with opened(engine, how.lock_timeout_seconds) as database:
            left = database.transaction(plans.unfinished, database)
        for line in (WAITING, *(left.steps if left else TO_APPROVE)):
            reporter.line(line)
        return Summary(None, "apply", "waiting")

    def begin(database: Database) -> Run:
        check_names(database, what)
        check_approved(database, what, how)
        kept = what.kept()
        return runs.begin(database, "apply", origin, kept, reason, task_id)

    with working(engine, how, reporter, origin, begin) as work:
        queue = _queue(work)
        Upgrade(work, what).do()
        work.finish(queue if is_queued else None)
    return work.summary


def revert(
    engine: Engine,
    origin: str = "python",
    selection: Selection | None = None,
    reporter: Reporter | None = None,
    reason: str | None = None,
    is_queued: bool = True,
) -> Summary:
    """Restore every `created` that still is what the migration made it.

    Newest change first. Rows that somebody changed since are left alone and become
    problems; rows that are gone are counted as skipped.

    Args:
        engine: The engine of the instance's database.
        origin: Who asks: ``alembic``, ``cli``, ``celery`` or ``python``.
        selection: Which changes; by default all.
        reporter: Who is told; by default the terminal.
        reason: Why, for the run row; from Alembic, what the environment says.
        is_queued: Whether to queue the reindexing; otherwise it stays pending.

    Returns:
        What was done, already printed.

    Raises:
        RefusedError: A setting or the database can't be used, or later runs changed
            rows of the run again; nothing was changed.
        RunInProgressError: Another run is at work; nothing was changed.
        RunFailedError: The database failed, or rows were locked all the time or did
            not take their old date; the same call does the rest.
        RunStoppedError: Somebody asked to stop; the same call does the rest.
    """
    _, how = options_from(current_app.config)
    reporter = reporter or Reporter(how.verbose)
    selection = selection or Selection()
    reason = reason_of(origin, reason)

    def begin(database: Database) -> Run:
        check_selection(database, selection)
        return runs.begin(database, "revert", origin, selection.kept(), reason)

    with working(engine, how, reporter, origin, begin) as work:
        queue = _queue(work)
        files = work.database.transaction(plans.files, work.database, selection)
        work.summary.plans = files
        for line in taken_back_lines(files):
            reporter.line(line)
        if fact := Downgrade(work, selection).do():
            raise RunFailedError(work.run.id, fact)
        work.finish(queue if is_queued else None)
    return work.summary


def preview(
    engine: Engine,
    what: What | None = None,
    how: How | None = None,
    reporter: Reporter | None = None,
    problems_kept: int = PROBLEMS_SHOWN,
    writer: Writer | None = None,
) -> Summary:
    """Tell what `apply` would do; nothing is locked, and no row is written.

    Needs no table of this package.

    Args:
        engine: The engine of the instance's database.
        what: What to do; by default what the settings say.
        how: How to do it; by default what the settings say.
        reporter: Who is told; by default the terminal.
        problems_kept: The most problems to give back.
        writer: Where all changes are written, as the lines of a plan.

    Returns:
        What would be done, already printed.

    Raises:
        RefusedError: A setting or the database can't be used.
        RunStoppedError: Somebody asked to stop.
        ServiceFailedError: The database failed.
    """
    from ..index.outbox import count_documents

    settings = options_from(current_app.config)
    what, how = what or settings[0], how or settings[1]
    reporter = reporter or Reporter(how.verbose, prefix="[DRY RUN] ")
    with opened(engine, how.lock_timeout_seconds) as database, interrupt() as check:
        database.check_stop = check
        summary = look(
            database, what, how, reporter, count_documents, problems_kept, writer
        )
    reporter.ended(summary)
    reporter.end(summary)
    return summary


def _queue(work: Work) -> Queue:
    """Make the gate of OpenSearch; let it stand between two batches if that is set.

    Returns:
        What queues the reindexing behind the gate.
    """
    # What changes dates is importable without OpenSearch and the broker, so the index
    # is imported only here, where a run is put together.
    from ..index.health import Gate
    from ..index.outbox import dispatch

    gate = Gate(work.how, work.reporter, work.database.check_stop)
    check_stop = work.between

    def between() -> None:
        check_stop()
        gate.check_database()

    if work.how.health_gates_database:
        work.between = between
    return lambda database, advance: dispatch(database, gate, advance)
