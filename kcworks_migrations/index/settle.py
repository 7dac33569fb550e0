# SPDX-FileCopyrightText: 2026 kcworks-migrations contributors
# SPDX-License-Identifier: MIT
"""Settling: the look at the documents that is due, until nothing is left to write."""

import time
from contextlib import suppress
from functools import partial

from sqlalchemy.engine import Engine

from ..config import How
from ..database import Database, opened
from ..errors import CreatedDatesError, RunInProgressError, RunStoppedError
from ..interrupt import CheckStop, never
from ..ledger import looks, runs
from ..ledger.looks import Claim
from ..ledger.settling import LOOKS
from ..report import notices
from ..report.endings import close_killed, summary_of
from ..report.monitor import found_words, moment
from ..report.reporter import Reporter
from ..report.summary import Summary
from ..text import escape, logger
from .compare import compare
from .verdict import Verdict

SILENT = Reporter(is_verbose=False, is_silent=True)

RUNS_SHOWN = 10
"""Runs that a notice names, beside the newest."""

RENEW_SECONDS = 60
"""How often a look at work renews its lease."""


def look(engine: Engine, how: How, check_stop: CheckStop = never) -> Verdict | None:
    """Do the look that is due, if one is: bring right what is not, and settle.

    A crash leaves a look that is made up for after `looks.LEASE`.

    Args:
        engine: The engine of the instance's database; an app context is needed.
        how: The settings.
        check_stop: Called between two requests; may raise.

    Returns:
        What was found; none if no look is due, or somebody else has it. An OpenSearch
        that fails is told in it.

    Raises:
        CreatedDatesError: The database can't be used or failed.
        RunStoppedError: Somebody asked to stop; the look is left to others.
        MemoryError: As after a kill, nothing could be written of it.
        Exception: Something else failed, which counts as a look that found something.
    """
    is_due, has_killed = looks.due(engine)
    if has_killed:
        _tell_killed(engine, how)
    if not is_due:
        return None
    claimed = _claim(engine, how)
    if claimed is None:
        return None
    failure = None
    try:
        verdict = _compare(engine, how, claimed, check_stop)
    except RunStoppedError:
        with opened(engine, how.lock_timeout_seconds) as database:
            database.transaction(looks.give_back, database, claimed)
        raise
    except MemoryError:
        raise
    except Exception as error:
        failure, verdict = error, Verdict(error=_said(error))
    if verdict.error:
        logger.warning("The search index could not be compared: %s", verdict.error)
    _end(engine, how, claimed, verdict)
    if failure:
        raise failure
    return verdict


def _tell_killed(engine: Engine, how: How) -> None:
    """Close the runs that were killed, and send their notices."""
    summaries = []
    with suppress(RunInProgressError):  # whoever holds the lock notices as well
        with runs.locked(engine, how.lock_timeout_seconds) as database:
            summaries = database.transaction(close_killed, database)
    for summary in summaries:
        notices.send(summary, SILENT)


def _claim(engine: Engine, how: How) -> Claim | None:
    """Claim the look; tell of one before it that could not do that itself."""
    told = None
    with opened(engine, how.lock_timeout_seconds) as database:
        claimed = database.transaction(looks.claim, database)
        if claimed and claimed.died:
            began = moment(claimed.died)
            fact = f"The look at the index that began at {began} has died."
            logger.warning(fact)
            if claimed.looks == LOOKS + 1:
                ids = [claimed.run_id]
                told = database.transaction(_digest, database, ids, False, [fact])
    if told:
        notices.send(told, SILENT)
    return claimed


def _compare(
    engine: Engine, how: How, claimed: Claim, check_stop: CheckStop
) -> Verdict:
    """Make a pass, and renew the lease of its look meanwhile."""
    renewed_at = time.monotonic()

    def check(database: Database) -> None:
        nonlocal renewed_at
        check_stop()
        if time.monotonic() - renewed_at >= RENEW_SECONDS:
            database.transaction(looks.renew, database, claimed)
            renewed_at = time.monotonic()

    with opened(engine, how.lock_timeout_seconds) as database:
        check_and_renew = partial(check, database)
        return compare(database, how, None, True, check_and_renew, is_look=True)


def _said(error: Exception) -> str:
    if isinstance(error, CreatedDatesError):
        return escape(error.fact)
    return escape(f"{type(error).__name__}: {error}")


def _end(engine: Engine, how: How, claimed: Claim, verdict: Verdict) -> None:
    """End a look, and tell of the runs that are settled by it, or can't be."""
    with opened(engine, how.lock_timeout_seconds) as database:
        run_ids, has_settled = database.transaction(
            looks.end,
            database,
            claimed,
            verdict.as_dict(),
            verdict.has_written,
            verdict.is_settled,
        )
        words = f"The look has found: {found_words(verdict.as_dict())}."
        lines = [words, *verdict.examples()]
        summary = database.transaction(_digest, database, run_ids, has_settled, lines)
    if summary:
        notices.send(summary, SILENT)


def _digest(
    database: Database, run_ids: list[int], has_settled: bool, lines: list[str]
) -> Summary | None:
    """Make one summary for all runs that are settled, or can't be: the newest's.

    Returns:
        It; none if there are only rehearsals, which whoever rehearses looks at.
    """
    found = [runs.row(database, id) for id in run_ids]
    told = [run for run in found if not has_settled or run.action != "rehearse"]
    if not told:
        return None
    *others, newest = told
    summary = summary_of(database, newest.id)
    summary.has_settled, summary.index = has_settled, list(lines)
    for run in others[-RUNS_SHOWN:]:
        line = f"Settled with it: run {run.id} ({run.action}, {run.status})"
        summary.index.append(line)
    if len(others) > RUNS_SHOWN:
        summary.index.append(f"... and {len(others) - RUNS_SHOWN} earlier runs")
    return summary
