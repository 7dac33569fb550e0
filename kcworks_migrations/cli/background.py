# SPDX-FileCopyrightText: 2026 kcworks-migrations contributors
# SPDX-License-Identifier: MIT
"""``update --background``: hands the work to Celery workers."""

from typing import Any

from celery import current_app as celery_app
from celery import uuid

from .. import broker, output
from ..config import Options
from ..errors import TasksNotQueuedError
from ..rules import escape
from .common import echo_json

COMMAND = "invenio kcworks-created-dates"
CELERY = "celery -A invenio_app.celery"


def queue(options: Options, incremental: bool) -> dict[str, str]:
    """Queue a task for each kind, the communities' behind the success of the records'.

    Args:
        options: What to do; no frozen plan, which a message can't hold.
        incremental: Let the records' task find out since when.

    Returns:
        The id of each task, by ``records`` and ``communities``.

    Raises:
        TasksNotQueuedError: The broker or the result backend does not answer.
    """
    # Only here: the other commands need no tasks.
    from ..tasks import (
        update_community_created_dates_task,
        update_record_created_dates_task,
    )

    filters = options.filters
    shared = {
        "batch_size": options.batch_size,
        "dry_run": options.is_dry_run,
        "verbose": options.verbose,
        "limit": options.limit,
        "delay": options.delay_seconds,
        "exclude": sorted(filters.excluded),
    }
    days = {
        "start_date": filters.start_date and filters.start_date.isoformat(),
        "end_date": filters.end_date and filters.end_date.isoformat(),
    }
    tasks = {}
    if "record" in options.kinds:
        tasks["records"] = update_record_created_dates_task.si(
            **days, **shared, incremental=incremental
        )
    if "community" in options.kinds:
        # Immutable: the result of the records' task is no parameter of this one.
        tasks["communities"] = update_community_created_dates_task.si(**shared)
    ids = {name: uuid() for name in tasks}
    first, *others = (task.set(task_id=ids[name]) for name, task in tasks.items())
    for task in others:
        first.link(task)
    _send(first)
    return ids


def _send(signature: Any) -> None:
    """Send one message and wait, for a bounded time, until the broker has it.

    Raises:
        TasksNotQueuedError: It has not.
    """
    of_backend = getattr(celery_app.backend, "connection_errors", ())
    try:
        with broker.connected(confirm_publish=True) as connection:
            signature.apply_async(connection=connection, retry=False)
    except Exception as error:
        if not (broker.is_of_broker(error) or isinstance(error, of_backend)):
            raise
        fact = escape(str(error).rstrip(".") or type(error).__name__)
        raise TasksNotQueuedError(fact) from error


def echo(ids: dict[str, str], is_json: bool) -> None:
    """Print the ids of the tasks, and how to follow and to stop them."""
    follow = [f"{COMMAND} status", f"{CELERY} inspect active"]
    stop = {
        "waiting": f"{CELERY} control revoke {' '.join(ids.values())}",
        "running": f"{COMMAND} stop",
    }
    if is_json:
        with output.unfailing():
            echo_json({"tasks": ids, "follow": follow, "stop": stop})
        return
    lines = [f"Queued the {name}: task {id}" for name, id in ids.items()]
    if len(ids) > 1:
        lines.append("The communities start when the records have succeeded.")
    lines += ["Follow them (status shows a task once a worker has begun it):"]
    lines += [f"  {command}" for command in follow]
    lines += ["Stop the one that runs, after its batch:", f"  {stop['running']}"]
    lines.append("Drop what has not begun:")
    lines += [f"  {CELERY} control revoke \\", *_continued(list(ids.values()))]
    output.echo("\n".join(lines))


def _continued(ids: list[str]) -> list[str]:
    return [f"    {id} \\" for id in ids[:-1]] + [f"    {ids[-1]}"]
