# SPDX-FileCopyrightText: 2026 kcworks-migrations contributors
# SPDX-License-Identifier: MIT
"""Do the application, the broker, the workers and OpenSearch do their part?"""

from collections.abc import Iterable

from flask import current_app

from ..config import How, What
from ..index import health, probe
from ..text import COMMAND, escape
from .line import Line, fine, stop, warning

BROKER_SECONDS = 3
"""How long the broker may take to answer."""

PING_SECONDS = 2
"""How long the workers may take to answer."""

BACKLOG_MESSAGES = 1000
"""From how many messages on the workers seem to fall behind."""

WITHOUT = (
    "Without it the dates are changed, and the documents stay pending until"
    f" `{COMMAND} reindex`."
)


def custom_fields(what: What) -> Iterable[Line]:
    """Tell which fields of the settings the application does not know."""
    wanted = {
        "RDM_CUSTOM_FIELDS": (what.record_date_field, what.record_groups_field),
        "COMMUNITIES_CUSTOM_FIELDS": (what.community_group_field,),
    }
    missing = [
        f"{setting} has no {escape(name)}"
        for setting, names in wanted.items()
        for name in names
        if name not in {field.name for field in current_app.config.get(setting, ())}
    ]
    if missing:
        todo = "Check that KCWORKS_CREATED_DATES_..._FIELD name the right fields."
        yield warning("custom_fields", f"{'; '.join(missing)}.", todo)


def broker(how: How) -> Iterable[Line]:
    """Tell whether the broker and the workers answer, and whether these keep up.

    Nothing is declared except the answer queue of the ping, which goes with it.
    """
    try:
        found = probe.broker(how, BROKER_SECONDS, PING_SECONDS)
    except Exception as error:  # each transport has errors of its own
        said = escape(str(error), 200) or type(error).__name__
        todo = f"Start it, or correct its address. {WITHOUT}"
        yield stop("broker", f"The broker does not answer: {said}.", todo)
        return
    messages = f"{found.messages:,} messages are in the indexing queues"
    yield fine("broker", f"{escape(found.address)} answers; {messages}.")
    if found.messages > BACKLOG_MESSAGES:
        todo = "Check that the workers keep up: what the upgrade queues comes after."
        yield warning("queues", f"{messages} already.", todo)
    if found.workers:
        plural = "s" * (found.workers > 1)
        yield fine("workers", f"{found.workers} Celery worker{plural} answered.")
    else:
        fact = f"No Celery worker answered within {PING_SECONDS} s."
        todo = "Start the workers: without one the queues fill and nothing is indexed."
        yield warning("workers", fact, todo)


def schedule() -> Iterable[Line]:
    """Tell if Celery's beat is not told to have the queues drained."""
    if not probe.scheduled_tasks():
        fact = "CELERY_BEAT_SCHEDULE has no task that drains the indexing queues."
        todo = "Add invenio_records_resources.tasks.manage_indexer_queues to it."
        yield warning("schedule", fact, todo)


def search(how: How) -> Iterable[Line]:
    """Tell how OpenSearch is, and whether it would take the new documents."""
    found = health.look(how.health_timeout_seconds)
    fact = f"{found.reason[:200].rstrip('.')}."
    if not found.is_healthy:
        yield stop("search", fact, f"Mend OpenSearch first. {WITHOUT}")
    elif found.status == "yellow":
        todo = "Nothing if it has one node: only copies of shards are missing."
        yield warning("search", fact, todo)
    else:
        yield fine("search", fact)
    if found.status in ("unreachable", "error"):
        return
    if missing := ", ".join(probe.missing_indices()):
        todo = "Make the indices first: `invenio index init`."
        yield stop("search_indices", f"OpenSearch lacks an index: {missing}.", todo)
    elif blocks := ", ".join(probe.blocks()):
        todo = "Free disk space if that is the reason, then take the block away."
        yield stop("search_blocks", f"Writing is blocked: {blocks}.", todo)
