# SPDX-FileCopyrightText: 2026 kcworks-migrations contributors
# SPDX-License-Identifier: MIT
"""The search index after the queues are drained, on records made by the services.

The tests of this file stand on each other: one instance goes up, is edited by a user,
and goes down again.
"""

import copy

import pytest
import sample as demo_sample
import snapshot
from invenio_access.permissions import system_identity
from invenio_rdm_records.proxies import current_rdm_records_service
from show import differences
from support import index
from support.index import drain, embedded, empty_index
from support.instance import utc


@pytest.fixture(scope="module")
def world(app, engine):
    """The sample, and its documents before and after the upgrade and a full reindex."""
    world = index.fill(engine)
    instance = world.instance
    world.before = snapshot.documents()
    world.tables_before = instance.checksums(without_created=False)
    world.created_before = instance.all_created()
    world.summary = instance.upgrade(batch_size=7)
    drain()
    world.after = snapshot.documents()
    demo_sample.index_all()
    world.reindexed = snapshot.documents()
    yield world
    instance.empty()
    empty_index()


def test_documents_after_the_drain_equal_a_full_reindex(world):
    assert len(world.before) > 70
    assert list(differences(world.reindexed, world.after)) == []


def test_documents_differ_from_before_in_created_alone(world):
    def without_created(documents):
        documents = copy.deepcopy(documents)
        for document in documents.values():
            document.pop("created", None)
            for owner in embedded(document):
                owner.pop("created", None)
        return documents

    assert world.before != world.after
    assert without_created(world.before) == without_created(world.after)


def test_documents_hold_the_expected_dates(world):
    found = expected = 0
    for item in world.sample.items:
        document = world.after.get(f"{item.kind} {item.id}")
        if item.expected and document:
            expected += 1
            found += utc(document["created"][:19]) == utc(item.expected[:19])
    assert found == expected > 40


def test_documents_of_sub_communities_and_drafts_embed_the_new_date(world):
    changed = {
        item.id: utc(item.expected[:19])
        for item in world.sample.communities.values()
        if item.expected
    }
    seen = set()
    for key, document in world.after.items():
        for owner in embedded(document):
            if owner["id"] in changed:
                assert utc(owner["created"][:19]) == changed[owner["id"]], key
                seen.add(key.split()[0])
    assert seen == {"record", "draft", "community"}


def test_oai_pmh_datestamps_stay(world):
    for key, document in world.before.items():
        assert document.get("updated") == world.after[key].get("updated"), key
    harvested = [d for d in world.before.values() if d.get("pids", {}).get("oai")]
    assert harvested


def test_apply_reports_the_expected_problems(world):
    found = {}
    for kind, entity_id, reason, _ in world.instance.problems():
        found.setdefault(entity_id, []).append(reason)
        assert kind in ("record", "community", "group")
    expected = {i.id: sorted(i.reasons) for i in world.sample.items if i.reasons}
    assert {entity: sorted(reasons) for entity, reasons in found.items()} == expected


@pytest.fixture(scope="module")
def edited(world):
    """A migrated record that a user edits and publishes right after the upgrade."""
    item = next(
        item
        for item in world.sample.records.values()
        if item.expected and not item.is_broken and not item.is_deleted
    )
    service = current_rdm_records_service
    draft = service.edit(system_identity, item.label)
    data = copy.deepcopy(draft.data)
    data["metadata"]["title"] = "Edited after the migration"
    service.update_draft(system_identity, item.label, data)
    service.publish(system_identity, item.label)
    return item


def test_record_edited_after_the_upgrade_keeps_its_new_date(world, edited):
    assert world.instance.created(edited.id) == utc(edited.expected[:19])
    document = snapshot.documents()[f"record {edited.id}"]
    assert document["metadata"]["title"] == "Edited after the migration"
    assert utc(document["created"][:19]) == utc(edited.expected[:19])


def test_documents_after_the_downgrade_are_as_before(world, edited):
    summary = world.instance.downgrade()
    drain()
    now = snapshot.documents()
    for key in (f"record {edited.id}", f"draft {edited.id}"):
        now.pop(key, None)
        world.before.pop(key, None)
    assert list(differences(world.before, now)) == []
    assert summary.statistics.errors == 0
    assert world.instance.all_created() == world.created_before


def test_tables_after_the_downgrade_are_as_before(world, edited):
    now = world.instance.checksums(without_created=False)
    touched_by_the_edit = {
        name for name in now if now[name] != world.tables_before[name]
    }
    edit_writes = {
        "rdm_records_metadata",
        "rdm_drafts_metadata",
        "rdm_records_metadata_version",
        "rdm_versions_state",
        "rdm_parents_metadata",
        "files_bucket",
        "transaction",
        "pidstore_pid",
    }
    assert touched_by_the_edit <= edit_writes
