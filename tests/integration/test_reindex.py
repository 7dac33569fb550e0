# SPDX-FileCopyrightText: 2026 kcworks-migrations contributors
# SPDX-License-Identifier: MIT
"""What is handed to invenio-indexer's queues, and what is pending when it can't be."""

from contextlib import contextmanager
from uuid import UUID

import pytest
from celery import current_app as celery_app

from kcworks_migrations.database import opened
from kcworks_migrations.index import outbox
from kcworks_migrations.index.broker import Publisher
from kcworks_migrations.kinds import COMMUNITY, DATED, KINDS, RECORD
from kcworks_migrations.ledger import pending

LEGACY = "2016-02-29T13:11:39Z"


def in_community(instance, community: str, **more) -> tuple[str, str]:
    """Insert a record without a legacy date in a community; give it and its parent."""
    record = instance.record(**more)
    parent = record[:-4] + "aaaa"
    instance.execute(
        "INSERT INTO rdm_parents_metadata (id, created, updated, json, version_id)"
        " VALUES (:id, now(), now(), '{}', 1)",
        id=parent,
    )
    instance.execute(
        "UPDATE rdm_records_metadata SET parent_id = :parent WHERE id = :id",
        parent=parent,
        id=record,
    )
    instance.execute(
        "INSERT INTO rdm_parents_community (community_id, record_id)"
        " VALUES (:community, :parent)",
        community=community,
        parent=parent,
    )
    return record, parent


def draft_of(instance, record: str, parent: str) -> str:
    """Insert a draft of a published record: it has the same id."""
    instance.execute(
        "INSERT INTO rdm_drafts_metadata (id, created, updated, json, version_id,"
        " parent_id) VALUES (:id, now(), now(), '{}', 1, :parent)",
        id=record,
        parent=parent,
    )
    return record


@pytest.fixture
def tree(instance):
    """A changed community, one below it and one apart, with records and drafts."""
    changed = instance.community("7")
    below = instance.community(parent=changed)
    apart = instance.community()
    instance.record(LEGACY, [{"group_identifier": "7"}])
    ids = {"changed": changed, "below": below, "apart": apart}
    for name in ("changed", "below", "apart"):
        record, parent = in_community(instance, ids[name])
        ids[f"record in {name}"] = record
        ids[f"draft in {name}"] = draft_of(instance, record, parent)
    gone = in_community(instance, changed)[0]
    instance.execute(
        "UPDATE rdm_records_metadata SET json = NULL WHERE id = :id", id=gone
    )
    return ids


def test_dispatch_sends_what_embeds_a_changed_community(instance, tree):
    source = instance.scalar(
        "SELECT id::text FROM rdm_records_metadata WHERE json->'custom_fields' ?"
        " 'hclegacy:record_creation_date'"
    )
    summary = instance.upgrade()
    expected = {source, tree["record in changed"], tree["record in below"]}
    records = instance.queued("records")
    assert (sorted(records), len(records)) == (sorted(expected), 3)
    assert set(instance.queued("records-drafts")) == {
        tree["draft in changed"],
        tree["draft in below"],
    }
    assert set(instance.queued("communities")) == {tree["changed"], tree["below"]}
    assert (summary.queued, summary.pending) == (7, 0)
    assert all(entry.queued_at for entry in instance.backup())


def test_dispatch_after_the_downgrade_sends_the_same(instance, tree):
    instance.upgrade()
    first = [sorted(instance.queued(kind.indexer)) for kind in KINDS]
    instance.downgrade()
    assert first == [sorted(instance.queued(kind.indexer)) for kind in KINDS]


def count_documents(instance) -> int:
    """Count what the changes in the ledger have made stale."""
    ids = [
        bytearray().join(UUID(e.entity).bytes for e in instance.backup(kind=kind.name))
        for kind in DATED
    ]
    with opened(instance.engine, 1) as database:
        return database.transaction(outbox.count_documents, database, *ids)


def test_documents_are_counted_before_as_they_are_sent(instance, tree):
    expected = instance.preview().documents
    assert instance.upgrade().queued == count_documents(instance) == expected == 7


def test_documents_of_a_record_and_its_community_are_counted_once(instance):
    instance.many(5000, 3)
    expected = instance.preview().documents
    sent = instance.upgrade().queued
    assert sent == count_documents(instance) == expected == 5003


def test_dispatch_sends_a_changed_record_of_a_changed_community_once(instance):
    instance.many(5000, 3)
    instance.upgrade()
    records = instance.queued("records")
    assert len(records) == len(set(records)) == 5000


def test_dispatch_holds_a_page_of_what_embeds_a_large_community(instance, monkeypatch):
    instance.many(5000, 1)
    sizes = []
    publish = Publisher.publish

    def noted(self, indexer_id, ids):
        sizes.append(len(ids))
        publish(self, indexer_id, ids)

    monkeypatch.setattr(Publisher, "publish", noted)
    summary = instance.upgrade(kinds=(COMMUNITY,))
    assert summary.queued == sum(sizes) == 5001
    assert max(sizes) <= outbox.BATCH_ROWS < 5000


def test_communities_are_marked_slice_by_slice(instance, monkeypatch):
    """What was handed on is not handed on again when the rest fails."""
    for number in range(3):
        instance.community(str(number))
        group = [{"group_identifier": str(number)}]
        instance.record("2016-02-29T13:11:39Z", group)
    instance.upgrade(is_queued=False)
    monkeypatch.setattr(outbox, "BATCH_ROWS", 1)
    mark, marked = pending.mark_queued, []

    def fail_at_the_third(database, entry_ids):
        marked.append(entry_ids)
        if len(marked) == 3:
            raise RuntimeError("in the middle")
        mark(database, entry_ids)

    monkeypatch.setattr(pending, "mark_queued", fail_at_the_third)
    with pytest.raises(RuntimeError):
        instance.send_pending()
    left = [e.queued_at for e in instance.backup(kind="community")].count(None)
    assert left == 1


def test_dispatch_lets_the_planner_know_what_waits(instance):
    # A table that had been empty when it was looked at last; without statistics the
    # search for what embeds a large community takes hours.
    instance.execute("ANALYZE kcworks_created_dates_backup")
    instance.many(3000, 1)
    instance.upgrade()
    known = instance.scalar(
        "SELECT reltuples FROM pg_class WHERE relname = 'kcworks_created_dates_backup'"
    )
    assert known == len(instance.backup()) > 2500


@contextmanager
def broker_at(uri: str):
    """Let Celery look for its broker elsewhere."""
    before = celery_app.conf.broker_url, celery_app.conf.broker_write_url
    celery_app.conf.broker_url = celery_app.conf.broker_write_url = uri
    try:
        yield
    finally:
        celery_app.conf.broker_url, celery_app.conf.broker_write_url = before


def test_apply_with_the_broker_down_succeeds_and_says_what_is_pending(instance, capsys):
    instance.many(200, 5)
    with broker_at("amqp://guest:guest@127.0.0.1:1//"):
        summary = instance.upgrade()
    changed = len(instance.backup())
    assert instance.run().status == "succeeded"
    assert (summary.queued, summary.pending) == (0, changed)
    assert not any(entry.queued_at for entry in instance.backup())
    out = capsys.readouterr().out
    assert f"WARNING: {changed} changes not queued for reindexing yet" in out
    assert "invenio kcworks-created-dates reindex" in out

    sent = instance.send_pending()
    assert (sent.pending, sent.error) == (0, None)
    assert len(set(instance.queued("records"))) == 200
    assert all(entry.queued_at for entry in instance.backup())


def test_apply_with_a_refusing_broker_marks_nothing(instance, small_messages):
    name = RECORD.own_indexer
    instance.many(50, 1)
    with celery_app.connection_for_write() as connection:
        channel = connection.channel()
        channel.queue_delete(name)
        channel.queue_declare(
            name,
            durable=True,
            auto_delete=False,
            arguments={"x-max-length": 10, "x-overflow": "reject-publish"},
        )
        channel.exchange_declare("indexer", "direct", durable=True, auto_delete=False)
        channel.queue_bind(name, "indexer", name)
        try:
            summary = instance.upgrade()
        finally:
            channel.queue_delete(name)
    assert summary.pending == 47 + 1
    assert not any(entry.queued_at for entry in instance.backup(kind="record"))
