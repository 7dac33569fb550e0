# SPDX-FileCopyrightText: 2026 kcworks-migrations contributors
# SPDX-License-Identifier: MIT
"""The engine: `apply` changes the dates, `revert` puts the old ones back.

Both hold the advisory lock, work in short transactions, and leave a run row from
which the same call goes on after any failure.
"""

import gc
import logging
import traceback
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import replace

from flask import current_app
from sqlalchemy.engine import Engine
from sqlalchemy.exc import DBAPIError

from . import health, ledger, notices, queries, reindex
from .config import Options, options_from
from .database import Database, is_lock_timeout, locked, opened, said_by
from .dates import show
from .downgrade import Downgrade, Selection
from .dry_run import compare_with_plan, try_out
from .errors import CreatedDatesError, RunIncompleteError, RunInterruptedError
from .interrupt import interrupt
from .report import Reporter
from .rules import Problem, escape
from .summary import PROBLEMS_SHOWN, Summary
from .upgrade import Upgrade


def apply(
    engine: Engine,
    origin: str,
    options: Options | None = None,
    reporter: Reporter | None = None,
    task_id: str | None = None,
) -> Summary:
    """Give every record and community its true `created`, and queue the reindexing.

    Args:
        engine: The engine of the instance's database; an app context is needed.
        origin: Who asks: ``alembic``, ``cli`` or ``celery``.
        options: What to do; by default what the settings say.
        reporter: Who is told; by default the terminal.
        task_id: The Celery task that calls, if one does.

    Returns:
        What was done, already printed.

    Raises:
        SettingError: A setting can't be used; nothing was touched.
        InstanceError: The database can't be migrated; nothing was touched.
        PlanError: The present is not what a frozen plan says; nothing was touched.
        RunInProgressError: Another run is at work; nothing was touched.
        RunIncompleteError: The database failed; the same call goes on.
    """
    options = options or options_from(current_app.config)
    reporter = reporter or Reporter(options.verbose)
    if options.is_dry_run:
        return try_out(engine, options, reporter)
    with locked(engine, options.lock_timeout_seconds) as database:
        kept = options.of_run()
        if options.filters.planned is not None and not database.transaction(
            ledger.unfinished_run, database, "apply", kept
        ):
            with interrupt(None) as asked:
                compare_with_plan(database, options, reporter, asked.check)
        run = database.transaction(
            ledger.begin_run,
            database,
            "apply",
            origin,
            kept,
            "records",
            task_id,
        )
        summary = Summary(run.id, "apply", "running", run.statistics, origin=origin)
        with _working(engine, database, summary, reporter) as check_interrupt:
            if run.is_resumed:
                reporter.line(f"Run {run.id} goes on where it stopped ({run.phase})")
            between = health.between_batches(options, run.id, reporter, check_interrupt)
            work = Upgrade(database, options, run, reporter, between)
            work.do()
            gate = health.Gate(options, reporter, check_interrupt)
            _finish(database, work.run, summary, reporter, gate, check_interrupt)
    # Behind the lock: nobody waits for a mail server.
    notices.send(summary, reporter)
    return summary


def revert(
    engine: Engine,
    origin: str,
    selection: Selection | None = None,
    reporter: Reporter | None = None,
) -> Summary:
    """Put back every `created` that still is what the migration made it.

    Newest change first. Rows that somebody changed since are left alone and become
    problems; rows that are gone are counted as skipped.

    Args:
        engine: The engine of the instance's database; an app context is needed.
        origin: Who asks: ``alembic``, ``cli`` or ``celery``.
        selection: Which changes are put back; by default all.
        reporter: Who is told; by default the terminal.

    Returns:
        What was done, already printed.

    Raises:
        SettingError: A setting can't be used; nothing was touched.
        InstanceError: The database can't be migrated; nothing was touched.
        RunInProgressError: Another run is at work; nothing was touched.
        LaterRunsError: Later runs changed rows of the run again; nothing was touched.
        RehearsalOvertakenError: Another run relies on the rows of the rehearsal.
        RunIncompleteError: The database failed, or somebody held rows all the time;
            the same call goes on.
    """
    options = options_from(current_app.config)
    reporter = reporter or Reporter(options.verbose)
    selection = selection or Selection()
    with locked(engine, options.lock_timeout_seconds) as database:

        def begin() -> ledger.Run:
            selection.check(database)
            if selection.is_of_whole_runs:
                database.execute(queries.MARK_RUNS_REVERTING, only=selection.run_id)
            database.execute(queries.MARK_UNFINISHED_SUPERSEDED)
            kept = selection.of_run()
            return ledger.begin_run(database, "revert", origin, kept, "records")

        run = database.transaction(begin)
        summary = Summary(run.id, "revert", "running", run.statistics, origin=origin)
        with _working(engine, database, summary, reporter) as check_interrupt:
            between = health.between_batches(options, run.id, reporter, check_interrupt)
            work = Downgrade(database, options, run, reporter, between, selection)
            standing = work.do()
            database.transaction(database.execute, queries.MARK_RUNS_REVERTED)
            if standing:
                raise RunIncompleteError(
                    run.id, f"{standing} rows were held by somebody each time."
                )
            if selection == Selection():
                everything = queries.MARK_REVERTS_SUPERSEDED
                database.transaction(database.execute, everything, run_id=run.id)
            gate = health.Gate(options, reporter, check_interrupt)
            _finish(database, work.run, summary, reporter, gate, check_interrupt)
    # Behind the lock: nobody waits for a mail server.
    notices.send(summary, reporter)
    return summary


def send_waiting(
    engine: Engine,
    is_again: bool = False,
    check_interrupt: Callable[[], None] = lambda: None,
) -> reindex.Dispatch:
    """Hand what still waits in the outbox to the indexing queues.

    Args:
        engine: The engine of the instance's database; an app context is needed.
        is_again: Send every entry of the ledger again: for messages that were lost
            after the broker had accepted them. Sending twice is harmless.
        check_interrupt: Raises, between two batches, when somebody asked to stop.

    Returns:
        What was sent and what waits.
    """
    options = options_from(current_app.config)
    gate = health.Gate(options, Reporter(options.verbose), check_interrupt)
    with locked(engine, options.lock_timeout_seconds) as database:
        if is_again:
            database.transaction(database.execute, queries.UPDATE_ALL_UNQUEUED)
        return reindex.dispatch(database, gate, lambda rows: check_interrupt())


@contextmanager
def _working(
    engine: Engine,
    database: Database,
    summary: Summary,
    reporter: Reporter,
) -> Generator[Callable[[], None]]:
    """Write into the run row why it stopped, if it fails and the database takes it.

    That only informs: a run that could not be marked is continued just the same.

    Raises:
        RunIncompleteError: The database failed, or something else.
    """
    run_id = summary.run_id
    # The loaded application is hundreds of thousands of objects that live as long as
    # the process. Taking them out of the collector's sight while rows stream through
    # makes a run about a fifth faster.
    gc.freeze()
    try:
        with interrupt(run_id) as asked:

            def check() -> None:
                asked.check()
                if database.transaction(ledger.is_stop_requested, database, run_id):
                    raise RunInterruptedError(run_id, "the command stop")

            yield check
    except BaseException as error:
        is_interrupt = isinstance(error, RunInterruptedError | KeyboardInterrupt)
        summary.status = "interrupted" if is_interrupt else "errored"
        fact = said_by(error) if isinstance(error, DBAPIError) else escape(str(error))
        # Whatever the transaction holds is given up first, the row of the run too.
        database.close()
        try:
            with opened(engine, lock_timeout_seconds=1) as marking:
                if is_lock_timeout(error):
                    fact += f" ({marking.transaction(_lock_holders, marking)})"
                marking.transaction(
                    ledger.stop_run, marking, run_id, summary.status, fact
                )
                marking.transaction(_find_so_far, marking, summary)
        except CreatedDatesError:
            pass
        told = _told(run_id, error, fact, reporter)
        summary.message = str(told)
        notices.send(summary, reporter)
        if told is error:
            raise
        raise told from error
    finally:
        gc.unfreeze()


def _told(
    run_id: int, error: BaseException, fact: str, reporter: Reporter
) -> BaseException:
    """Give the error that tells the next safe step."""
    if isinstance(error, DBAPIError):
        return RunIncompleteError(run_id, f"the database says: {fact}.")
    if isinstance(error, KeyboardInterrupt):
        return RunInterruptedError(run_id, "Ctrl-C")
    if isinstance(error, CreatedDatesError) or not isinstance(error, Exception):
        return error
    # A defect of this package, or of what it calls: whoever reports it needs the trace.
    trace = "".join(traceback.format_exception(error)).splitlines()
    reporter.line("\n".join(map(escape, trace)), logging.ERROR)
    name = type(error).__name__
    return RunIncompleteError(run_id, f"{name}: {fact.rstrip('.')}.")


def _find_so_far(database: Database, summary: Summary) -> None:
    stored = ledger.problems(database, summary.run_id, limit=PROBLEMS_SHOWN)
    summary.problems = [problem for _, problem in stored]
    summary.statistics = ledger.statistics_of(database, summary.run_id)
    summary.waiting = ledger.count_waiting(database)
    summary.stopped_at = {
        kind: summary.statistics.of(kind).total_found for kind in queries.TABLE_OF_KIND
    }


def _lock_holders(database: Database) -> str:
    """Say who holds a whole table, since when, and how to see its statement."""
    holders = [
        f"process {pid} ({escape(name, 60) or 'no application name'}) holds the table"
        f" since {show(since)}: `{queries.HOW_TO_SEE_STATEMENT.format(pid=pid)}`"
        for pid, name, since in database.execute(queries.SELECT_TABLE_LOCK_HOLDERS)
    ]
    return "; ".join(holders) or "whoever held the table has ended since"


def _finish(
    database: Database,
    run: ledger.Run,
    summary: Summary,
    reporter: Reporter,
    gate: health.Gate,
    check_interrupt: Callable[[], None],
) -> None:
    """Queue the reindexing, end the run and print what it did."""
    waiting = database.transaction(ledger.count_waiting, database)
    with reporter.progress("queue", waiting, 0):

        def advance(rows: int) -> None:
            reporter.advance(rows)
            check_interrupt()

        queued = reindex.dispatch(database, gate, advance)
    message = queued.error and f"{queued.waiting} changes wait: {queued.error}"

    def end() -> list[Problem]:
        ledger.save_progress(database, replace(run, phase="done"))
        ledger.end_run(database, run.id, message)
        if queued.error:
            stopped = queries.UPDATE_QUEUEING_STOPPED
            database.execute(stopped, run_id=run.id, **queued.position)
        stored = ledger.problems(database, run.id, limit=PROBLEMS_SHOWN)
        return [problem for _, problem in stored]

    summary.statistics = run.statistics
    summary.problems = database.transaction(end)
    summary.status = "succeeded"
    summary.sent, summary.waiting = queued.sent, queued.waiting
    if queued.error:
        summary.queue_error, summary.stopped_at = queued.error, queued.position
    reporter.end(summary)
