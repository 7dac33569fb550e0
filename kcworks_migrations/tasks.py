# SPDX-FileCopyrightText: 2026 kcworks-migrations contributors
# SPDX-License-Identifier: MIT
"""The Celery tasks: the same engine in a worker, one kind of rows each.

A message is acknowledged when its run has ended. Whatever happens to a worker before
that, the broker delivers the message again, and the task goes on with the run where it
stands, for its options are the same. Delivered again after the run has succeeded, it
makes one more that changes nothing.

RabbitMQ closes the channel of a consumer that takes longer than ``consumer_timeout``
(30 minutes) to acknowledge, Redis delivers again after ``visibility_timeout`` (1 hour).
A million rows take two minutes, but a long ``delay`` may get there: then the second
delivery meets the first at work, is retried later, and finds nothing left to do.
"""

import signal
from dataclasses import replace
from datetime import date, datetime
from typing import Any

from celery import Task, shared_task
from flask import current_app
from invenio_db import db

from . import ledger, migration
from .config import Options, options_from
from .database import opened
from .errors import (
    CreatedDatesError,
    RunInProgressError,
    RunInterruptedError,
    SettingError,
)
from .scan import check_filters
from .task_result import TaskReporter, read_problems, result_of

RETRY_PAUSES_SECONDS = (5, 10, 20, 40, 80, 160, *(300,) * 6)
"""How long to wait before each further try while another run is at work: half an hour
in all. The connection of a worker that was killed holds the lock for a moment."""

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
    verbose: bool = False,
    limit: int | None = None,
    delay: float = 0,
    exclude: list[str] | None = None,
    incremental: bool = False,
) -> dict[str, Any]:
    """Give the records their true `created`.

    Args:
        self: The task.
        start_date: Only records whose `created` is on this UTC day (``YYYY-MM-DD``)
            or later.
        end_date: Only records whose `created` is on this UTC day or before.
        batch_size: Rows of one transaction; by default what the setting says.
        dry_run: Count only, write nothing.
        verbose: Log each changed row.
        limit: The most records to change.
        delay: Seconds to wait between two batches.
        exclude: PIDs or UUIDs of records that stay as they are.
        incremental: Only what changed since the last succeeded run of the same options.

    Returns:
        ``total_found``, ``updated``, ``skipped``, ``errors`` and more, see `result_of`.
    """
    options = _options("record", batch_size, dry_run, verbose, limit, delay, exclude)
    filters = replace(
        options.filters,
        start_date=_day("start_date", start_date),
        end_date=_day("end_date", end_date),
    )
    options = replace(options, filters=filters)
    _check_flags(incremental=incremental)
    if incremental:
        with opened(db.engine, options.lock_timeout_seconds) as database:
            since = database.transaction(ledger.base_of, database, options)
        options = replace(options, since=since)
    return _run(self, options)


@shared_task(**SAFE)
def update_community_created_dates_task(
    self: Task,
    batch_size: int | None = None,
    dry_run: bool = False,
    verbose: bool = False,
    limit: int | None = None,
    delay: float = 0,
    exclude: list[str] | None = None,
) -> dict[str, Any]:
    """Give the communities the date of the oldest record of their group.

    Args:
        self: The task.
        batch_size: Rows of one transaction; by default what the setting says.
        dry_run: Count only, write nothing.
        verbose: Log each changed row.
        limit: The most communities to change.
        delay: Seconds to wait between two batches.
        exclude: Slugs or UUIDs of communities that stay as they are.

    Returns:
        ``total_found``, ``updated``, ``skipped``, ``no_records``, ``errors`` and more,
        see `result_of`.
    """
    return _run(
        self,
        _options("community", batch_size, dry_run, verbose, limit, delay, exclude),
    )


def _options(
    kind: str,
    batch_size: int | None,
    dry_run: bool,
    verbose: bool,
    limit: int | None,
    delay: float,
    exclude: list[str] | None,
) -> Options:
    """Check the parameters that the tasks share.

    Returns:
        The options of the run.

    Raises:
        SettingError: One of them can't be used; nothing was touched.
    """
    options = options_from(current_app.config)
    for name, value, largest in (
        ("batch_size", batch_size, 100_000),
        ("limit", limit, None),
    ):
        if value is not None and not (
            type(value) is int and 1 <= value <= (largest or value)
        ):
            wanted = "a whole number, " + (
                f"1 to {largest}" if largest else "1 or more"
            )
            raise SettingError(name, value, wanted)
    if not isinstance(exclude, list | tuple | None) or not all(
        isinstance(name, str) for name in exclude or ()
    ):
        raise SettingError("exclude", exclude, "a list of PIDs, slugs or UUIDs")
    if type(delay) not in {int, float} or not 0 <= delay <= 3600:
        raise SettingError("delay", delay, "from 0 to 3600 seconds")
    _check_flags(dry_run=dry_run, verbose=verbose)
    return replace(
        options,
        kinds=(kind,),
        batch_size=batch_size or options.batch_size,
        is_dry_run=dry_run,
        verbose=verbose or options.verbose,
        limit=limit,
        delay_seconds=delay,
        filters=replace(options.filters, excluded=frozenset(exclude or ())),
    )


def _check_flags(**flags: object) -> None:
    for name, value in flags.items():
        if not isinstance(value, bool):
            raise SettingError(name, value, "True or False")


def _day(name: str, value: str | None) -> date | None:
    try:
        return None if value is None else datetime.strptime(value, "%Y-%m-%d").date()
    except (ValueError, TypeError):
        raise SettingError(name, value, "a day such as 2016-02-29") from None


def _end_process() -> None:
    """Let the handler that SIGTERM has outside a run end the process.

    It tells billiard, from version 4.3 on, that the process is lost with its task. Any
    other exit is the result of the task there: the message would be acknowledged.
    """
    if callable(signal.getsignal(signal.SIGTERM)):
        signal.raise_signal(signal.SIGTERM)


def _run(task: Task, options: Options) -> dict[str, Any]:
    """Run the engine for a task.

    Returns:
        The result of the task.

    Raises:
        SystemExit: A signal stopped the run: the process ends as it would have without
            a run, only after its batch. The worker knows whether the task was revoked
            or is to be delivered again.
        CreatedDatesError: It failed or was asked to stop; the text tells the next step.
    """
    reporter = TaskReporter(task, options)
    try:
        check_filters(db.engine, options)
        summary = migration.apply(
            db.engine, "celery", options, reporter, task.request.id
        )
    except RunInProgressError as error:
        tries = task.request.retries
        if tries < len(RETRY_PAUSES_SECONDS):
            raise task.retry(countdown=RETRY_PAUSES_SECONDS[tries]) from error
        raise CreatedDatesError(error.message) from error
    except RunInterruptedError as error:
        if error.asked_by in signal.Signals.__members__:
            _end_process()
            raise SystemExit(error.message) from error
        raise CreatedDatesError(error.message) from error
    except CreatedDatesError as error:
        # The result backend makes an error again from its class and its text alone.
        raise CreatedDatesError(error.message) from error
    problems = (
        reporter.problems if options.is_dry_run else read_problems(summary, options)
    )
    return result_of(options.kinds[0], summary, problems)
