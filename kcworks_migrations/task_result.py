# SPDX-FileCopyrightText: 2026 kcworks-migrations contributors
# SPDX-License-Identifier: MIT
"""What a Celery task tells: its progress while it runs, its result at the end."""

from typing import Any

from celery import Task, states
from invenio_db import db

from . import ledger
from .config import Options
from .database import opened
from .report import LogReporter, logger
from .rules import REASONS, Decision, Problem
from .summary import Summary

ERRORS_LISTED = 10_000
"""Errors that a result lists; the others are counted in ``errors_not_listed``. The
table of problems has all of them."""


class TaskReporter(LogReporter):
    """Logs instead of printing, tells Celery the progress, and keeps the problems."""

    def __init__(self, task: Task, options: Options) -> None:
        """Report for a task."""
        super().__init__(options.verbose, on_progress=self._tell)
        self._task: Task | None = task
        self.problems: list[Problem] = []
        """Of a dry run, which has none in the table; as many as are listed."""

    def decisions(
        self, kind: str, decisions: list[Decision], is_dry_run: bool = False
    ) -> None:
        """Log each decision of a batch."""
        super().decisions(kind, decisions, is_dry_run)
        if is_dry_run:
            found = [d for d in decisions if isinstance(d, Problem)]
            self.problems += found[: ERRORS_LISTED - len(self.problems)]

    def _tell(self, progress: dict[str, Any]) -> None:
        if self._task is None:
            return
        try:
            # A revoked task finishes its batch, but stays revoked for who asks.
            if self._task.AsyncResult(self._task.request.id).state == states.REVOKED:
                return
            self._task.update_state(state="PROGRESS", meta=progress)
        except Exception as error:
            # Whoever follows is not worth a run; the run row has the progress, too.
            logger.warning("The progress can't be told any more: %s", error)
            self._task = None


def read_problems(summary: Summary, options: Options) -> list[Problem]:
    """Read the problems of the rows, as many as are listed."""
    problems: list[Problem] = []
    after = 0
    with opened(db.engine, options.lock_timeout_seconds) as database:
        while len(problems) < ERRORS_LISTED:
            page = database.transaction(
                ledger.problems, database, summary.run_id, None, after
            )
            if not page:
                break
            after = page[-1].number
            problems += [
                p
                for _, p in page
                if p.kind == options.kinds[0] and p.reason != "index_refused"
            ]
    return problems[:ERRORS_LISTED]


def result_of(kind: str, summary: Summary, problems: list[Problem]) -> dict[str, Any]:
    """Make the result of a task.

    Args:
        kind: ``record`` or ``community``.
        summary: How the run ended.
        problems: Those of its rows, as many as are listed.

    Returns:
        The words of the statistics, where ``total_found`` is ``updated + skipped +
        no_records + len(errors) + errors_not_listed``; the last is 0 up to
        `ERRORS_LISTED`. All rows are done when there is a result: ``stopped_early``
        says that handing them to the indexing queues stopped, ``stopped_at_record``
        (or ``_community``) after how many of the updated rows. ``group_errors``
        counts malformed groups of records, apart from the records.
    """
    tally = summary.statistics.of(kind)
    name = "pid" if kind == "record" else "slug"
    has_stopped = summary.queue_error is not None
    sent = max(tally.updated - summary.waiting, 0) if has_stopped else None
    result = {
        "run": summary.run_id or None,
        "total_found": tally.total_found,
        "updated": tally.updated,
        "skipped": tally.skipped,
        "errors": [
            {f"{kind}_id": p.id, name: p.label, "error": _text_of(p)} for p in problems
        ],
        "errors_not_listed": tally.errors - len(problems),
        "stopped_early": has_stopped,
        f"stopped_at_{kind}": sent,
        "waiting": summary.waiting,
        "queue_error": summary.queue_error,
    }
    if kind == "community":
        return result | {"no_records": tally.no_records}
    return result | {"group_errors": summary.statistics.groups.errors}


def _text_of(problem: Problem) -> str:
    reason = REASONS[problem.reason]
    return reason if problem.value is None else f"{reason}: {problem.value}"
