# SPDX-FileCopyrightText: 2026 kcworks-migrations contributors
# SPDX-License-Identifier: MIT
"""Do the application, the broker, the workers and OpenSearch do their part?"""

from collections.abc import Iterable

from flask import current_app

from ..config import How, What
from ..index import health, probe
from ..text import COMMAND, counted, escape
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
    wanted = (
        ("RDM_CUSTOM_FIELDS", what.record_date_field),
        ("RDM_CUSTOM_FIELDS", what.record_groups_field),
        ("COMMUNITIES_CUSTOM_FIELDS", what.community_group_field),
    )
    for setting, name in wanted:
        if name not in {field.name for field in current_app.config.get(setting, ())}:
            fact = f"{setting} has no {escape(name)}."
            todo = "Check that KCWORKS_CREATED_DATES_..._FIELD name the right fields."
            yield warning("custom_fields", fact, todo)


def broker(how: How) -> Iterable[Line]:
    """Tell whether the broker and the workers answer, and whether these keep up.

    Nothing stays declared that was not there before.
    """
    try:
        address, messages, workers = probe.broker(how, BROKER_SECONDS, PING_SECONDS)
        refused = {} if how.indexing == "full" else probe.refused_queues(BROKER_SECONDS)
    except Exception as error:  # each transport has errors of its own
        said = escape(str(error), 200) or type(error).__name__
        todo = f"Start it, or correct its address. {WITHOUT}"
        yield stop("broker", f"The broker does not answer: {said}.", todo)
        return
    queued = f"{messages:,} messages are in the indexing queues"
    fact = f"{escape(address)} answers; {queued}."
    if messages > BACKLOG_MESSAGES:
        todo = "Check that the workers keep up: what the upgrade queues comes after."
        yield warning("broker", fact, todo)
    else:
        yield fine("broker", fact)
    for name, said in refused.items():
        todo = (
            "Let the broker's user configure it; if it is there with other properties,"
            f" delete it, and it is made when first used. {WITHOUT}"
        )
        yield stop("queues", f"The queue {name} can't be declared: {said}.", todo)
    if workers:
        yield fine("workers", f"{counted(workers, 'Celery worker')} answered.")
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
    fact = f"{found.reason.rstrip('.')}."
    if found.is_healthy:
        yield fine("search", fact)
    else:
        yield stop("search", fact, f"Mend OpenSearch first. {WITHOUT}")
    if found.status in ("unreachable", "error"):
        return
    if missing := ", ".join(probe.missing_indices()):
        todo = "Make the indices first: `invenio index init`."
        yield stop("search_indices", f"OpenSearch lacks an index: {missing}.", todo)
    elif blocks := ", ".join(probe.blocks()):
        todo = "Free disk space if that is the reason, then take the block away."
        yield stop("search_blocks", f"Writing is blocked: {blocks}.", todo)
