# SPDX-FileCopyrightText: 2026 kcworks-migrations contributors
# SPDX-License-Identifier: MIT
"""The result of a Celery task, in the words of the statistics."""

from collections.abc import Iterable
from itertools import islice
from typing import Any

from ..kinds import COMMUNITY, Kind
from ..rules.values import REASONS, Problem
from .lines import quoted
from .summary import Summary

ERRORS_LISTED = 10_000
"""Errors that a result lists; the others are counted in ``errors_not_listed``. The
table of problems has all of them."""


def result_of(
    kind: Kind, summary: Summary, problems: Iterable[Problem]
) -> dict[str, Any]:
    """Make the result of a task.

    Args:
        kind: Records or communities.
        summary: How the run ended.
        problems: Those that were found; the first `ERRORS_LISTED` are listed.

    Returns:
        The words of the statistics, where ``total_found`` is ``updated + skipped +
        no_records + len(errors) + errors_not_listed``; the last is 0 up to
        `ERRORS_LISTED`. All rows are done when there is a result: ``stopped_early``
        says that handing them to the indexing queues stopped, ``stopped_at_record``
        (or ``_community``) after how many of the updated rows. ``group_errors``
        counts malformed groups of records, apart from the records. ``unfinished`` names
        earlier runs that did not finish, with what stands of each; ``evidence_gone``
        counts dates that stand although what gave them is gone.
    """
    tally, gone = summary.statistics.of(kind), summary.statistics.evidence_gone
    has_stopped = summary.queue_error is not None
    of_rows = (
        p for p in problems if p.kind == kind.name and p.reason != "index_refused"
    )
    errors = [_error_of(kind, p) for p in islice(of_rows, ERRORS_LISTED)]
    result = {
        "run": summary.run_id,
        "total_found": tally.total_found,
        "updated": tally.updated,
        "skipped": tally.skipped,
        "errors": errors,
        "errors_not_listed": tally.errors - len(errors),
        "stopped_early": has_stopped,
        f"stopped_at_{kind}": max(tally.updated - summary.pending, 0)
        if has_stopped
        else None,
        "pending": summary.pending,
        "queue_error": summary.queue_error,
        "unfinished": [run._asdict() for run in summary.unfinished],
        "evidence_gone": gone,
    }
    if kind is COMMUNITY:
        return result | {"no_records": tally.no_records}
    return result | {"group_errors": summary.statistics.groups.errors}


def _error_of(kind: Kind, problem: Problem) -> dict[str, str | None]:
    name = "slug" if kind is COMMUNITY else "pid"
    text = f"{REASONS[problem.reason]}{quoted(problem.value)}"
    error = {f"{kind}_id": problem.id, name: problem.label, "error": text}
    return error | ({"group_id": problem.group_id} if kind is COMMUNITY else {})
