# SPDX-FileCopyrightText: 2026 kcworks-migrations contributors
# SPDX-License-Identifier: MIT
"""The Celery tasks: the same engine in a worker, one kind of rows each.

A message is acknowledged when its run has ended. Whatever happens to a worker before
that, the broker delivers the message again; the task then reads everything again and
skips what is right. Delivered again after its run has succeeded, it makes one more run
that changes nothing.

RabbitMQ closes the channel of a consumer that takes longer than ``consumer_timeout``
(30 minutes) to acknowledge, Redis delivers again after ``visibility_timeout`` (1 hour).
A million rows take two minutes, but a long ``delay`` may get there: then the second
delivery meets the first at work, is retried later, and finds nothing left to do.
"""

import signal
from collections.abc import Callable, Mapping
from typing import Any

from celery import Task, shared_task, states
from flask import current_app
from invenio_db import db

from . import migration
from .config import How, What, checked, options_from
from .database import opened
from .errors import CreatedDatesError, RunInProgressError, RunStoppedError
from .index import settle
from .kinds import COMMUNITY, RECORD, Kind
from .ledger import tables
from .ledger.problems import every
from .report.reporter import Reporter
from .report.results import ERRORS_LISTED, result_of
from .text import logger
from .values import FLAG, REASON

RETRY_PAUSES_SECONDS = (5, 10, 20, 40, *(60,) * 29)
"""How long to wait before each further try while another run is at work: half an hour
in all. The connection of a worker that was killed holds the lock for a moment. A
worker holds the message meanwhile, which may keep it from others: a minute at most."""

SAFE = {
    "bind": True,
    "ignore_result": False,
    "acks_late": True,
    "reject_on_worker_lost": True,
    "max_retries": len(RETRY_PAUSES_SECONDS),
}
"""A worker that dies gives the message back. One that is killed again and again, by a
limit of memory for example, gets a little further each time; revoking ends that."""


@shared_task(**SAFE)
def update_record_created_dates_task(
    self: Task,
    start_date: str | None = None,
    end_date: str | None = None,
    batch_size: int | None = None,
    dry_run: bool = False,
    verbose: bool | None = None,
    limit: int | None = None,
    delay: float | None = None,
    exclude: list[str] | None = None,
    reason: str | None = None,
    queue: bool = True,
) -> dict[str, Any]:
    """Set `created` of the records to their true dates.

    Args:
        self: The task.
        start_date: Only records whose `created` is on this UTC day (``YYYY-MM-DD``)
            or later.
        end_date: Only records whose `created` is on this UTC day or before.
        batch_size: Rows of one transaction; by default what the setting says.
        dry_run: Count only, write nothing.
        verbose: Log each changed row.
        limit: The most records to change.
        delay: Seconds to wait after each batch that changed rows.
        exclude: PIDs or UUIDs of records that stay as they are.
        reason: Why; kept with the run.
        queue: Queue the reindexing. False leaves it pending for the task of the
            communities, which makes some of the same documents stale.

    Returns:
        ``total_found``, ``updated``, ``skipped``, ``errors`` and more, see `result_of`.
    """
    given: dict[str, Any] = {"start_date": start_date, "end_date": end_date}
    given |= {"batch_size": batch_size, "delay": delay, "verbose": verbose}
    given |= {"limit": limit, "exclude": exclude}
    return _run(self, RECORD, given, dry_run, reason, queue)


@shared_task(**SAFE)
def update_community_created_dates_task(
    self: Task,
    batch_size: int | None = None,
    dry_run: bool = False,
    verbose: bool | None = None,
    limit: int | None = None,
    delay: float | None = None,
    exclude: list[str] | None = None,
    reason: str | None = None,
) -> dict[str, Any]:
    """Set `created` of the communities to the day of the oldest record of their group.

    Args:
        self: The task.
        batch_size: Rows of one transaction; by default what the setting says.
        dry_run: Count only, write nothing.
        verbose: Log each changed row.
        limit: The most communities to change.
        delay: Seconds to wait after each batch that changed rows.
        exclude: Slugs or UUIDs of communities that stay as they are.
        reason: Why; kept with the run.

    Returns:
        ``total_found``, ``updated``, ``skipped``, ``no_records``, ``errors`` and more,
        see `result_of`.
    """
    given: dict[str, Any] = {"batch_size": batch_size, "delay": delay}
    given |= {"verbose": verbose, "limit": limit, "exclude": exclude}
    return _run(self, COMMUNITY, given, dry_run, reason, True)


@shared_task(ignore_result=True)
def settle_created_dates_task() -> None:
    """Look whether the index has settled, if a look is due; see `settle.look`."""
    _, how = options_from(current_app.config)
    settle.look(db.engine, how)


def _run(
    task: Task,
    kind: Kind,
    given: Mapping[str, Any],
    dry_run: bool,
    reason: str | None,
    is_queued: bool,
) -> dict[str, Any]:
    """Run the engine for a task.

    Returns:
        The result of the task.

    Raises:
        SystemExit: A signal stopped the run: the process ends as it would have without
            a run, only after its batch. The worker knows whether the task was revoked
            or will be delivered again.
        CreatedDatesError: It failed or was asked to stop; the text tells the next step.
    """
    try:
        checked("dry_run", FLAG, dry_run)
        checked("queue", FLAG, is_queued)
        checked("reason", REASON, reason)
        what, how = options_from(current_app.config, kinds=(kind,), **given)
        return _work(task, what, how, dry_run, reason, is_queued)
    except CreatedDatesError as error:
        tries, signals = task.request.retries, signal.Signals.__members__
        if isinstance(error, RunInProgressError) and tries < len(RETRY_PAUSES_SECONDS):
            raise task.retry(countdown=RETRY_PAUSES_SECONDS[tries]) from error
        if isinstance(error, RunStoppedError) and error.asked_by in signals:
            _end_process()
            raise SystemExit(error.message) from error
        # The result backend makes an error again from its class and its text alone.
        raise CreatedDatesError(error.message) from error


def _end_process() -> None:
    """Let the handler that SIGTERM has outside a run end the process.

    It tells billiard, from version 4.3 on, that the process is lost with its task. Any
    other exit is the result of the task there: the message would be acknowledged.
    """
    if callable(signal.getsignal(signal.SIGTERM)):
        signal.raise_signal(signal.SIGTERM)


def _work(
    task: Task, what: What, how: How, dry_run: bool, reason: str | None, is_queued: bool
) -> dict[str, Any]:
    """Apply or preview, and give the result of the task."""
    [kind] = what.kinds
    prefix = "[DRY RUN] " if dry_run else ""
    tell = _teller(task)
    reporter = Reporter(how.verbose, is_silent=True, prefix=prefix, on_progress=tell)
    if dry_run:
        summary = migration.preview(db.engine, what, how, reporter, ERRORS_LISTED)
        return result_of(kind, summary, summary.problems)
    tables.make(db.engine, how.lock_timeout_seconds)
    summary = migration.apply(
        db.engine, "celery", what, how, reporter, task.request.id, reason, is_queued
    )
    assert summary.run_id is not None
    with opened(db.engine, how.lock_timeout_seconds) as database:
        return result_of(kind, summary, every(database, summary.run_id))


def _teller(task: Task) -> Callable[[dict[str, Any]], None]:
    """Give what tells Celery the progress, until that fails once."""
    is_told = True

    def tell(progress: dict[str, Any]) -> None:
        nonlocal is_told
        try:
            # A revoked task finishes its batch, but stays revoked for who asks.
            if is_told and task.AsyncResult(task.request.id).state != states.REVOKED:
                task.update_state(state="PROGRESS", meta=progress)
        except Exception as error:
            # Not worth failing a run, whose row has the progress as well.
            logger.warning(
                "Celery's result backend is not told the progress: %s", error
            )
            is_told = False

    return tell
