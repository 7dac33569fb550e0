# SPDX-FileCopyrightText: 2026 kcworks-migrations contributors
# SPDX-License-Identifier: MIT
"""Settling: the look at the documents that is due, until nothing is left to write."""

from sqlalchemy.engine import Engine

from ..config import How
from ..database import Database, opened
from ..interrupt import never
from ..ledger import problems, runs, settling
from ..ledger.statistics import Statistics
from ..report import notices
from ..report.reporter import Reporter
from ..report.summary import PROBLEMS_SHOWN, Summary
from .compare import compare
from .verdict import Verdict


def look(engine: Engine, how: How) -> Verdict | None:
    """Do the look that is due, if one is: bring right what is not, and settle.

    A crash leaves a look that is made up for after `settling.LEASE`.

    Args:
        engine: The engine of the instance's database; an app context is needed.
        how: The settings.

    Returns:
        What was found; none if no look is due, or somebody else has it.

    Raises:
        RefusedError: The database can't be used.
        ServiceFailedError: The database failed; the look is made up for.
    """
    claimed = settling.claim(engine)
    if claimed is None:
        return None
    with opened(engine, how.lock_timeout_seconds) as database:
        verdict = compare(database, how, sample=None, is_written=True, check_stop=never)
        run_ids, has_settled = database.transaction(
            settling.end,
            database,
            claimed,
            verdict.as_dict(),
            verdict.has_written,
            verdict.is_settled,
        )
        summaries = [
            database.transaction(_summary, database, id, has_settled, verdict)
            for id in run_ids
        ]
    for summary in summaries:
        notices.send(summary, Reporter(is_verbose=False, is_silent=True))
    return verdict


def _summary(
    database: Database, run_id: int, has_settled: bool, verdict: Verdict
) -> Summary:
    """Make the summary of a run again, with how the index is after it."""
    run = runs.row(database, run_id)
    return Summary(
        run_id,
        run.action,
        run.status,
        statistics=Statistics.from_dict(run.statistics),
        problems=problems.first(database, run_id, PROBLEMS_SHOWN),
        origin=run.origin,
        message=run.message,
        has_settled=has_settled,
        index=[verdict.line(), *verdict.examples()],
    )
