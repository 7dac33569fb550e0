# SPDX-FileCopyrightText: 2026 kcworks-migrations contributors
# SPDX-License-Identifier: MIT
"""``update --background``: hands the work to Celery workers."""

from collections.abc import Mapping, Sequence
from typing import Any

from celery import current_app as celery_app
from celery import uuid

from ..errors import ServiceFailedError
from ..index import broker
from ..kinds import COMMUNITY, RECORD, Kind
from ..tasks import (
    update_community_created_dates_task,
    update_record_created_dates_task,
)
from ..text import COMMAND, escape
from .common import tell

CELERY = "celery -A invenio_app.celery"


def queue(
    kinds: Sequence[Kind],
    given: Mapping[str, Any],
    dry_run: bool = False,
    reason: str | None = None,
) -> dict[str, str]:
    """Queue a task for each kind, the communities' behind the success of the records'.

    Args:
        kinds: Records, communities or both.
        given: The options that somebody asks for, by their names; none is the setting.
        dry_run: Count only, write nothing.
        reason: Why; kept with the runs.

    Returns:
        The id of each task, by ``records`` and ``communities``.

    Raises:
        ServiceFailedError: The broker or the result backend does not answer.
    """
    shared: dict[str, Any] = {"dry_run": dry_run, "reason": reason}
    shared |= {name: value for name, value in given.items() if value is not None}
    of_records = {"queue": COMMUNITY not in kinds}
    for name in ("start_date", "end_date"):
        if name in shared:
            of_records[name] = shared.pop(name).isoformat()
    ids = {kind.plural: uuid() for kind in kinds}
    # Immutable: the result of the records' task is no parameter of the communities'.
    records = update_record_created_dates_task.si(**shared, **of_records)
    communities = update_community_created_dates_task.si(**shared)
    first, *followers = (
        {RECORD: records, COMMUNITY: communities}[kind].set(task_id=ids[kind.plural])
        for kind in kinds
    )
    for follower in followers:
        first.link(follower)
    _send(first)
    return ids


def _send(signature: Any) -> None:
    """Send one message and wait, for a bounded time, until the broker has it.

    Raises:
        ServiceFailedError: It has not.
    """
    of_backend = getattr(celery_app.backend, "connection_errors", ())
    try:
        with broker.connected(confirm_publish=True) as connection:
            signature.apply_async(connection=connection, retry=False)
    except Exception as error:
        if not (broker.is_of_broker(error) or isinstance(error, of_backend)):
            raise
        fact = escape(str(error).rstrip(".") or type(error).__name__)
        name = "The broker or the result backend of Celery"
        raise ServiceFailedError(name, f"no task was queued: {fact}") from error


def tell_tasks(ids: dict[str, str], is_json: bool) -> None:
    """Print the ids of the tasks, and how to follow and to stop them."""
    follow = [f"{COMMAND} status", f"{CELERY} inspect active"]
    stop = {
        "pending": f"{CELERY} control revoke {' '.join(ids.values())}",
        "running": f"{COMMAND} stop",
    }
    lines = [f"Queued the {name}: task {id}" for name, id in ids.items()]
    if len(ids) > 1:
        lines.append("The communities start when the records have succeeded.")
    lines += ["Follow them (status shows a task once a worker has begun it):"]
    lines += [f"  {command}" for command in follow]
    lines += ["Stop the one that runs, after its batch:", f"  {stop['running']}"]
    lines += ["Drop what has not begun:", f"  {CELERY} control revoke \\"]
    lines.append(" \\\n".join(f"    {id}" for id in ids.values()))
    tell(is_json, {"tasks": ids, "follow": follow, "stop": stop}, lines)
