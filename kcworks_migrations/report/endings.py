# SPDX-FileCopyrightText: 2026 kcworks-migrations contributors
# SPDX-License-Identifier: MIT
"""The summary of a run that has ended, made by somebody else than the run."""

from ..database import Database
from ..errors import RunFailedError
from ..kinds import DATED
from ..ledger import history, pending, problems, runs
from ..ledger.statistics import Statistics
from .summary import PROBLEMS_SHOWN, Summary


def summary_of(database: Database, run_id: int) -> Summary:
    """Make the summary of a run again, from what is kept of it."""
    run = runs.row(database, run_id)
    return Summary(
        run_id,
        run.action,
        run.status,
        statistics=Statistics.from_dict(run.statistics),
        problems=problems.first(database, run_id, PROBLEMS_SHOWN),
        pending=pending.count(database),
        origin=run.origin,
        message=run.message,
        unfinished=history.unfinished_runs(database, run_id),
    )


def close_killed(database: Database) -> list[Summary]:
    """Close the runs that were killed.

    Args:
        database: The connection that holds the lock, in a transaction.

    Returns:
        What is to be told of each.
    """
    summaries = [summary_of(database, id) for id in runs.close_killed(database)]
    for summary in summaries:
        found = summary.statistics
        summary.stopped_at = {kind.name: found.of(kind).total_found for kind in DATED}
        fact = "its process ended without a word."
        summary.message = RunFailedError(summary.run_id, fact).message
    return summaries
