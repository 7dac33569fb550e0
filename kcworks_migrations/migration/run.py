# SPDX-FileCopyrightText: 2026 kcworks-migrations contributors
# SPDX-License-Identifier: MIT
"""A run around its work: beginning, stopping, failing, and ending in one place."""

import gc
import logging
import traceback
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from functools import partial

from sqlalchemy.engine import Engine
from sqlalchemy.exc import DBAPIError, OperationalError

from .. import locks
from ..database import Database, is_lock_timeout, opened, said_by
from ..errors import CreatedDatesError, RunFailedError, RunStoppedError
from ..interrupt import CheckStop, interrupt
from ..kinds import DATED
from ..ledger import runs
from ..ledger.runs import Run
from ..ledger.statistics import Statistics
from ..options import How
from ..report import notices
from ..report.endings import close_killed
from ..report.reporter import Reporter
from ..report.summary import Summary
from ..text import escape
from .work import Work

STOPS = RunStoppedError | KeyboardInterrupt


@contextmanager
def working(
    engine: Engine,
    how: How,
    reporter: Reporter,
    origin: str,
    begin: Callable[[Database], Run],
) -> Generator[Work]:
    """Hold the lock, begin a run, and write into its row why it ended early.

    That only informs: a run that could not be marked is closed by the next one.

    Args:
        engine: The engine of the instance's database; an app context is needed.
        how: How to work.
        reporter: Is told how it goes.
        origin: Who asks.
        begin: Refuses, or begins the run, in a transaction; gives it.

    Yields:
        What the work needs.

    Raises:
        RefusedError: The database can't be used; nothing was changed.
        RunInProgressError: Another run is at work; nothing was changed.
        RunFailedError: The database failed, or something else.
    """
    with runs.locked(engine, how.lock_timeout_seconds) as database:
        for killed in database.transaction(close_killed, database):
            notices.send(killed, reporter)
        run = database.transaction(begin, database)
        reporter.run_id = run.id
        summary = Summary(run.id, run.action, runs.RUNNING, origin=origin)
        work = Work(database, run, summary, how, reporter)
        # The loaded application is hundreds of thousands of objects that live as long
        # as the process. Taking them out of the collector's sight while rows stream
        # through makes a run about a fifth faster.
        gc.freeze()
        try:
            with interrupt() as check_signals:
                work.between = check_signals
                database.check_stop = partial(_check_stop, work, check_signals)
                yield work
        except BaseException as error:
            told = _end_early(engine, work, error)
            if told is error:
                raise
            raise told from error
        finally:
            gc.unfreeze()
    # Behind the lock: nobody waits for a mail server.
    notices.send(summary, reporter)


def _check_stop(work: Work, check_signals: CheckStop) -> None:
    check_signals()
    try:
        row = work.database.once(runs.row, work.database, work.run.id)
    except OperationalError as error:
        if not is_lock_timeout(error):
            raise
        return  # the table of runs is locked; the next look may tell
    if row.stop_requested_at:
        raise RunStoppedError(work.run.id, "the command stop")


def _end_early(engine: Engine, work: Work, error: BaseException) -> BaseException:
    """Close the run row, free the lock and tell everybody; give the error to raise."""
    run, summary = work.run, work.summary
    told = _told(run.id, error, work.reporter)
    is_stop = isinstance(told, STOPS) or isinstance(error.__cause__, STOPS)
    summary.status = runs.STOPPED if is_stop else runs.FAILED
    summary.statistics = run.statistics
    # Whatever the transaction holds is given up first, the run's row too.
    work.database.close()
    with suppress(CreatedDatesError):
        with opened(engine, lock_timeout_seconds=1) as marking:
            told = marking.transaction(_close, marking, work, told, error)
    summary.message = _message(told)
    work.reporter.ended(summary, summary.message)
    notices.send(summary, work.reporter)
    return told


def _told(run_id: int, error: BaseException, reporter: Reporter) -> BaseException:
    """Give the error that tells the next safe step."""
    if isinstance(error, RunStoppedError):
        return RunStoppedError(run_id, error.asked_by)
    if isinstance(error, DBAPIError):
        return RunFailedError(run_id, said(error))
    if isinstance(error, KeyboardInterrupt):
        return RunStoppedError(run_id, "Ctrl-C")
    if isinstance(error, CreatedDatesError) or not isinstance(error, Exception):
        return error
    # A defect of this package, or of what it calls: whoever reports it needs the trace.
    trace = "".join(traceback.format_exception(error)).splitlines()
    reporter.line("\n".join(map(escape, trace)), logging.ERROR)
    return RunFailedError(run_id, said(error))


def said(error: BaseException) -> str:
    """Give what an error says: a sentence on one line, safe to print."""
    if isinstance(error, DBAPIError):
        return f"the database says: {said_by(error)}."
    if isinstance(error, CreatedDatesError):
        return escape(error.message, 2000)
    parts = type(error).__name__, escape(str(error)).rstrip(".")
    return f"{': '.join(filter(None, parts))}."


def _close(
    database: Database, work: Work, told: BaseException, error: BaseException
) -> BaseException:
    """Write that the run ended early and why; complete the summary.

    Returns:
        The error, with who holds a lock if that was in the way.
    """
    run_id, summary = work.run.id, work.summary
    if is_lock_timeout(error):
        holders = [sentence for _, sentence in locks.table_holders(database)]
        who = " ".join(holders) or "Whoever held the table has ended since."
        told = RunFailedError(run_id, f"a table stayed locked. {who}")
    # The row knows better than this process whether its last commit was done.
    summary.statistics = Statistics.from_dict(runs.row(database, run_id).statistics)
    summary.stopped_at = {
        kind.name: summary.statistics.of(kind).total_found for kind in DATED
    }
    work.close(database, _message(told))
    return told


def _message(told: BaseException) -> str:
    return escape(str(told), 2000) or type(told).__name__
