# SPDX-FileCopyrightText: 2026 kcworks-migrations contributors
# SPDX-License-Identifier: MIT
"""Real records and communities, made, edited and deleted through the services."""

import copy
from unittest.mock import patch

import sample as demo_sample
from invenio_access.permissions import system_identity
from invenio_communities.proxies import current_communities
from invenio_db import db
from invenio_indexer.proxies import current_indexer_registry
from invenio_rdm_records.proxies import (
    current_rdm_records_service,
    current_record_communities_service,
)
from invenio_search import current_search_client
from invenio_search.utils import prefix_index
from shapes import Record

from kcworks_migrations.kinds import KINDS

TOMBSTONE = {"removal_reason": {"id": "spam"}, "note": "", "is_visible": True}


def no_tasks():
    """Keep the services from sending Celery tasks that no worker would take."""
    return patch("celery.app.task.Task.apply_async")


def publish(title: str, date: str, group: str | None = None):
    """Publish a record with a legacy date; give it."""
    shape = Record(title, date, groups=(group,) if group else ())
    draft = current_rdm_records_service.create(
        system_identity, demo_sample.document(shape)
    )
    return current_rdm_records_service.publish(system_identity, draft.id)


def edit(pid: str, title: str) -> None:
    """Edit a record and publish the change."""
    draft = current_rdm_records_service.edit(system_identity, pid)
    data = copy.deepcopy(draft.data)
    data["metadata"]["title"] = title
    current_rdm_records_service.update_draft(system_identity, pid, data)
    current_rdm_records_service.publish(system_identity, pid)


def new_version(pid: str, date: str):
    """Publish a new version of a record; give it."""
    draft = current_rdm_records_service.new_version(system_identity, pid)
    data = demo_sample.document(Record("A new version", date))
    current_rdm_records_service.update_draft(system_identity, draft.id, data)
    return current_rdm_records_service.publish(system_identity, draft.id)


def delete(pid: str) -> None:
    """Delete a record, leaving a tombstone."""
    current_rdm_records_service.delete_record(system_identity, pid, dict(TOMBSTONE))


def restore(pid: str) -> None:
    """Take a deleted record back."""
    current_rdm_records_service.restore_record(system_identity, pid)


def create_community(slug: str, group: str):
    """Create a community of a group; give it."""
    data = {
        "slug": slug,
        "metadata": {"title": slug},
        "access": {"visibility": "public", "member_policy": "open"},
        "custom_fields": {"kcr:commons_group_id": group},
    }
    return current_communities.service.create(system_identity, data)


def edit_community(community_id: str, title: str) -> None:
    """Give a community another title."""
    service = current_communities.service
    data = copy.deepcopy(service.read(system_identity, community_id).data)
    data["metadata"]["title"] = title
    service.update(system_identity, community_id, data)


def delete_community(community_id: str) -> None:
    """Delete a community, leaving a tombstone."""
    service = current_communities.service
    service.delete_community(system_identity, community_id, dict(TOMBSTONE))


def restore_community(community_id: str) -> None:
    """Take a deleted community back."""
    current_communities.service.restore_community(system_identity, community_id)


def add_to_community(community_id: str, pid: str) -> None:
    """Put a record into a community."""
    errors = current_record_communities_service.bulk_add(
        system_identity, community_id, [pid]
    )
    assert not errors


def drain() -> None:
    """Do what the workers do, each task in a session of its own.

    A task that fails is logged and not repeated, as by Celery.
    """
    for name in (*(k.own_indexer for k in KINDS), *(k.indexer for k in KINDS)):
        db.session.remove()
        try:
            current_indexer_registry.get(name).process_bulk_queue(
                search_bulk_kwargs={"raise_on_error": False}
            )
        except Exception as error:
            print(f"the task of {name} failed: {error!r}")


def empty_index() -> None:
    """Remove every document of records, drafts and communities."""
    for name in map(prefix_index, ("rdmrecords", "communities")):
        # Only what can be found can be deleted.
        current_search_client.indices.refresh(index=name)
        current_search_client.delete_by_query(
            index=name,
            body={"query": {"match_all": {}}},
            refresh=True,
            conflicts="proceed",
        )
