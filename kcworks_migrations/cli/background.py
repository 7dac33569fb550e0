# SPDX-FileCopyrightText: 2026 kcworks-migrations contributors
# SPDX-License-Identifier: MIT
"""``update --background``: hands the work to Celery workers."""

from collections.abc import Mapping, Sequence
from datetime import date
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
from ..text import COMMAND, as_json, echo, escape

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
    for name, value in given.items():
        if value is not None:
            shared[name] = value.isoformat() if isinstance(value, date) else value
    ids = {kind.plural: uuid() for kind in kinds}
    signatures = []
    if RECORD in kinds:
        of_records = shared | {"queue": COMMUNITY not in kinds}
        signatures.append(update_record_created_dates_task.si(**of_records))
    if COMMUNITY in kinds:
        days = {"start_date", "end_date"}
        others = {name: shared[name] for name in shared.keys() - days}
        # Immutable: the result of the records' task is no parameter of this one.
        signatures.append(update_community_created_dates_task.si(**others))
    first, *followers = (
        signature.set(task_id=id)
        for signature, id in zip(signatures, ids.values(), strict=True)
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


def echo_tasks(ids: dict[str, str], is_json: bool) -> None:
    """Print the ids of the tasks, and how to follow and to stop them."""
    follow = [f"{COMMAND} status", f"{CELERY} inspect active"]
    stop = {
        "pending": f"{CELERY} control revoke {' '.join(ids.values())}",
        "running": f"{COMMAND} stop",
    }
    if is_json:
        echo(as_json({"tasks": ids, "follow": follow, "stop": stop}))
        return
    lines = [f"Queued the {name}: task {id}" for name, id in ids.items()]
    if len(ids) > 1:
        lines.append("The communities start when the records have succeeded.")
    lines += ["Follow them (status shows a task once a worker has begun it):"]
    lines += [f"  {command}" for command in follow]
    lines += ["Stop the one that runs, after its batch:", f"  {stop['running']}"]
    lines += ["Drop what has not begun:", f"  {CELERY} control revoke \\"]
    lines.append(" \\\n".join(f"    {id}" for id in ids.values()))
    echo("\n".join(lines))
