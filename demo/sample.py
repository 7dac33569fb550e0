# SPDX-FileCopyrightText: 2026 kcworks-migrations contributors
# SPDX-License-Identifier: MIT
"""The sample data: records and communities in all the shapes of the date rules.

`shapes.py` says what there is and what the migration is expected to make of it. Here it
is made through the services, as a person or an import would make it, and only what they
refuse is written with SQL afterwards.
"""

import json
import sys
from contextlib import nullcontext
from dataclasses import asdict, dataclass, field
from pathlib import Path
from unittest.mock import patch

import mark
from invenio_access.permissions import system_identity
from invenio_accounts.proxies import current_datastore
from invenio_app.factory import create_app
from invenio_communities.proxies import current_communities
from invenio_db import db
from invenio_indexer.proxies import current_indexer_registry
from invenio_oauth2server.models import Token
from invenio_rdm_records.proxies import (
    current_rdm_records_service,
    current_record_communities_service,
)
from invenio_search import current_search_client
from invenio_search.utils import prefix_index
from shapes import COMMUNITIES, RECORDS, UNSET, Community, Record
from sqlalchemy import text

TABLES = {
    "record": "rdm_records_metadata",
    "draft": "rdm_drafts_metadata",
    "community": "communities_metadata",
}
INDEXERS = {"record": "records", "draft": "records-drafts", "community": "communities"}


@dataclass(frozen=True)
class Item:
    """One row of the sample, as it stands in the instance."""

    name: str
    kind: str
    """``record``, ``draft`` or ``community``."""
    id: str
    label: str
    """PID of a record or draft, slug of a community."""
    legacy: str
    """The legacy date of a record, or the group of a community, to show."""
    expected: str | None = None
    """`created` after the upgrade; none when it stays what it is."""
    reasons: tuple[str, ...] = ()
    """The problems that the upgrade reports, sorted."""
    is_broken: bool = False
    """Written with SQL: the REST API may fail on it, and the index may refuse it."""
    is_deleted: bool = False


@dataclass
class Sample:
    """Everything that was made, by name."""

    records: dict[str, Item] = field(default_factory=dict)
    drafts: dict[str, Item] = field(default_factory=dict)
    communities: dict[str, Item] = field(default_factory=dict)
    token: str = ""
    """Of an administrator, for the REST API."""

    @property
    def items(self) -> list[Item]:
        """All records, drafts and communities."""
        groups = (self.records, self.drafts, self.communities)
        return [item for group in groups for item in group.values()]

    def add(self, item: Item) -> None:
        """Keep an item under its name."""
        {
            "record": self.records,
            "draft": self.drafts,
            "community": self.communities,
        }[item.kind][item.name] = item

    def save(self, path: Path) -> None:
        """Write the sample to a file, which `show.py` reads."""
        path.write_text(json.dumps(asdict(self), indent=1))


def fill(app=None) -> Sample:
    """Fill an empty instance with the sample and index it.

    Args:
        app: The application; none when an application context is active.

    Returns:
        What was made.

    Raises:
        RuntimeError: The sample is in this database already.
    """
    # Celery tasks that the services send would wait for a worker that may come after
    # the migration; nothing of what they do is needed, as all is indexed at the end.
    silence = patch("celery.app.task.Task.apply_async")
    with app.app_context() if app else nullcontext(), silence:
        slugs = [shape.slug for shape in COMMUNITIES]
        found = db.session.execute(
            text("SELECT slug FROM communities_metadata WHERE slug = ANY(:slugs)"),
            {"slugs": slugs},
        ).scalar()
        if found:
            raise RuntimeError(
                f"The sample is in this database already (community '{found}'):"
                " fill an instance that is new."
            )
        sample = Sample(token=create_token())
        for shape in COMMUNITIES:
            create_community(sample, shape)
        for number, shape in enumerate(RECORDS):
            show_progress(number)
            create_record(sample, shape)
        show_progress(len(RECORDS))
        add_members(sample)
        delete_some(sample)
        write_created(sample)
        index_all()  # what is refused below keeps these documents
        write_documents(sample)
        index_all()
        return sample


def show_progress(number: int) -> None:
    """Say how many records there are, on one line of a terminal."""
    if sys.stderr.isatty() or number == len(RECORDS):
        end = "\n" if number == len(RECORDS) else "\r"
        message = f"    {number} of {len(RECORDS)} records made through the services"
        print(message, end=end, file=sys.stderr, flush=True)


def create_token() -> str:
    """Create an administrator, and a token with which the REST API knows them."""
    user = current_datastore.create_user(
        email="admin@demo.example.org", password="only-for-the-demo", active=True
    )
    role = current_datastore.find_role("admin")
    if role:
        current_datastore.add_role_to_user(user, role)
    db.session.flush()
    token = Token.create_personal("demo", user.id, scopes=[], is_internal=False)
    db.session.commit()
    return token.access_token


# Through the services
# ====================


def create_community(sample: Sample, shape: Community) -> None:
    """Create a community, and put it under its parent."""
    service = current_communities.service
    visibility = "restricted" if shape.is_restricted else "public"
    data = {
        "slug": shape.slug,
        "metadata": {"title": shape.slug},
        "access": {
            "visibility": visibility,
            "member_policy": "open",
            "record_policy": "open",
        },
        "children": {"allow": shape.is_parent},
    }
    if shape.group is not None:
        data["custom_fields"] = {"kcr:commons_group_id": shape.group}
    made = service.create(system_identity, data)
    if shape.parent:
        parent = sample.communities[shape.parent].id
        service.bulk_update_parent(system_identity, [str(made.id)], parent)
    sample.add(
        Item(
            name=shape.slug,
            kind="community",
            id=str(made.id),
            label=shape.slug,
            legacy=as_shown(shape.group if shape.raw is UNSET else shape.raw),
            expected=shape.expected,
            reasons=tuple(sorted(shape.reasons)),
            is_broken=shape.raw is not UNSET or shape.fields is not UNSET,
            is_deleted=shape.is_deleted,
        )
    )


def document(shape: Record) -> dict:
    """Give the data of a record as a client of the service sends it."""
    fields = {"hclegacy:submitter_id": "1000001"}
    if shape.date is not None:
        fields["hclegacy:record_creation_date"] = shape.date
    if shape.groups:
        fields["hclegacy:groups_for_deposit"] = [
            {"group_identifier": group, "group_name": f"Group {group.strip()}"}
            for group in shape.groups
        ]
    access = "restricted" if shape.is_restricted else "public"
    person = {"type": "personal", "family_name": "Porete", "given_name": "Marguerite"}
    return {
        "access": {"record": access, "files": access},
        "files": {"enabled": False},
        "metadata": {
            "title": shape.name,
            "resource_type": {"id": "publication-article"},
            "publication_date": "2016",
            "publisher": "Knowledge Commons",
            "creators": [{"person_or_org": person}],
        },
        "custom_fields": fields,
    }


def create_record(sample: Sample, shape: Record) -> None:
    """Create a draft and publish it, unless it is to stay a draft."""
    service = current_rdm_records_service
    data = document(shape)
    if shape.version_of:
        before = sample.records[shape.version_of].label
        draft = service.new_version(system_identity, before)
        service.update_draft(system_identity, draft.id, data)
    else:
        draft = service.create(system_identity, data)
    if shape.is_draft:
        return keep_draft(sample, shape, draft)
    made = service.publish(system_identity, draft.id)
    if shape.has_open_draft:
        draft = service.edit(system_identity, made.id)
        data["metadata"]["title"] = f"{shape.name}, edited"
        service.update_draft(system_identity, draft.id, data)
        keep_draft(sample, shape, draft)
    sample.add(
        Item(
            name=shape.name,
            kind="record",
            id=str(made._record.id),
            label=made.id,
            legacy=as_shown(shape.date if shape.raw is UNSET else shape.raw),
            expected=shape.expected,
            reasons=tuple(sorted(shape.reasons)),
            is_broken=not shape.is_clean,
            is_deleted=shape.is_deleted,
        )
    )


def keep_draft(sample: Sample, shape: Record, draft) -> None:
    """Remember a draft that stays open: its own `created` must never change."""
    legacy = as_shown(shape.date)
    draft_id = str(draft._record.id)
    sample.add(Item(shape.name, "draft", draft_id, draft.id, legacy))


def as_shown(value) -> str:
    """Give a value as text, on one line."""
    if value is None or value is UNSET:
        return "-"
    return value if isinstance(value, str) else json.dumps(value)


def add_members(sample: Sample) -> None:
    """Put the records into their communities, one community after the other."""
    for slug, community in sample.communities.items():
        members = [
            sample.records[shape.name].label
            for shape in RECORDS
            if slug in shape.communities and not shape.version_of
        ]
        for pid in members:  # one by one: some releases mix up a list's defaults
            errors = current_record_communities_service.bulk_add(
                system_identity, community.id, [pid]
            )
            if errors:
                raise RuntimeError(f"{pid} was not added to {slug}: {errors}")


def delete_some(sample: Sample) -> None:
    """Delete what is to be deleted, leaving tombstones."""
    tombstone = {"removal_reason": {"id": "spam"}, "note": "", "is_visible": True}
    for item in sample.records.values():
        if item.is_deleted:
            current_rdm_records_service.delete_record(
                system_identity, item.label, dict(tombstone)
            )
    for item in sample.communities.values():
        if item.is_deleted:
            current_communities.service.delete_community(
                system_identity, item.id, dict(tombstone)
            )


# With SQL
# ========


def write_created(sample: Sample) -> None:
    """Write the present `created` of some rows."""
    for shape in RECORDS:
        if not shape.is_draft:
            set_created(sample.records[shape.name], shape.created)
    for shape in COMMUNITIES:
        set_created(sample.communities[shape.slug], shape.created)
    db.session.commit()


def write_documents(sample: Sample) -> None:
    """Write the values that the services refuse."""
    date, groups = "hclegacy:record_creation_date", "hclegacy:groups_for_deposit"
    for shape in RECORDS:
        if not shape.is_draft:
            item = sample.records[shape.name]
            set_json(item, ["custom_fields"], shape.fields)
            set_json(item, ["custom_fields", date], shape.raw)
            set_json(item, ["custom_fields", groups], shape.raw_groups)
    for shape in COMMUNITIES:
        item = sample.communities[shape.slug]
        set_json(item, ["custom_fields"], shape.fields)
        set_json(item, ["custom_fields", "kcr:commons_group_id"], shape.raw)
    db.session.commit()


def set_json(item: Item, path: list[str], value) -> None:
    """Put any JSON value into a row's document."""
    if value is not UNSET:
        statement = f"""
            UPDATE {TABLES[item.kind]}
            SET json = jsonb_set(json, :path, CAST(:value AS jsonb))
            WHERE id = CAST(:id AS uuid)"""
        values = {"id": item.id, "path": path, "value": json.dumps(value)}
        db.session.execute(text(statement), values)


def set_created(item: Item, created: str | None) -> None:
    """Put a date into a row's `created`, in a column of either type."""
    if created:
        db.session.execute(text("SET LOCAL TimeZone = 'UTC'"))
        statement = f"UPDATE {TABLES[item.kind]} SET created = :created WHERE id = :id"
        db.session.execute(text(statement), {"id": item.id, "created": created})


# The index
# =========


def index_all() -> None:
    """Bring the index to what the database says, and leave all queues empty.

    Of malformed rows, OpenSearch refuses some and keeps the document of before.
    """
    for kind, name in INDEXERS.items():
        statement = f"SELECT id::text FROM {TABLES[kind]} WHERE json IS NOT NULL"
        ids = [row[0] for row in db.session.execute(text(statement))]
        current_indexer_registry.get(name).bulk_index(ids)
    db.session.rollback()
    for indexer in current_indexer_registry.all().values():
        indexer.process_bulk_queue(search_bulk_kwargs={"raise_on_error": False})
    current_search_client.indices.refresh(index=prefix_index("*"))


def main() -> None:
    """Fill the instance in use and write the sample to a file."""
    mark.require()
    app = create_app()
    fill(app).save(Path(sys.argv[1]))


if __name__ == "__main__":
    main()
