# SPDX-FileCopyrightText: 2026 kcworks-migrations contributors
# SPDX-License-Identifier: MIT
"""Messages that never leave their queue: too large, left behind, or poisonous."""

import re
import shutil
import uuid
from contextlib import contextmanager
from pathlib import Path

import clients
import common
import pytest
import servers
from celery import current_app as celery_app
from invenio_indexer.proxies import current_indexer_registry
from invenio_search.engine import search
from kombu import Producer
from support import deposits, index

from kcworks_migrations.index import indexer
from kcworks_migrations.kinds import RECORD

ALONE = {"max_retries": 0}
"""Settings of a client that repeats nothing by itself, which only takes time here."""

BIG = 560_000
"""Bytes of a big document."""


@pytest.fixture
def documents(instance):
    """Make many records, which the upgrade changes and sends in one message."""
    deposits.empty_index()
    instance.execute("DELETE FROM oaiserver_set")  # of communities of other tests

    def make(count: int, size: int = 0):
        with deposits.no_tasks():
            community = deposits.create_community("crowd", "77")
            record = deposits.publish("Original", "2011-02-03T04:05:06Z")
            deposits.add_to_community(str(community.id), record.id)
        index.drain()
        instance.execute(
            "UPDATE rdm_records_metadata SET json = jsonb_set(json,"
            " '{metadata,description}', to_jsonb(repeat('seven, ', :count)))",
            count=size // 7 + 1,
        )
        if count > 1:
            index.multiply(instance, count - 1)
        instance.upgrade()
        assert index.waiting() == 1, "all ids are in one message"
        return instance

    return make


def ids_in(instance, request) -> int:
    """Tell how many documents a request is about."""
    ids = instance.execute("SELECT id::text FROM rdm_records_metadata")
    return sum(row[0].encode() in request.body for row in ids)


def test_few_documents_are_read_at_once(app, documents):
    instance = documents(300)
    with index.proxied(app, 10, ALONE) as proxy:
        index.drain()
    assert not index.stale_documents(instance), "every date in the index is right"
    assert max(ids_in(instance, request) for request in proxy.seen) <= 150


def test_few_bytes_are_written_at_once(app, documents):
    instance = documents(40, BIG)
    with index.proxied(app, 30, ALONE) as proxy:
        index.drain()
    assert not index.stale_documents(instance), "every date in the index is right"
    assert max(len(request.body) for request in proxy.seen) < 15_000_000


def test_message_does_not_come_back_because_it_is_large(app, documents):
    instance = documents(300)

    def cut(request) -> str:
        return "cut" if ids_in(instance, request) > 150 else ""

    with index.proxied(app, 10, ALONE) as proxy:
        # In place of a node that such a request kills; a real one is below.
        proxy.decide = cut
        for _ in range(3):
            index.turn()
    assert index.stale_documents(instance) == []
    assert index.waiting() == 0


class SmallOpenSearch(type(servers.SERVERS["opensearch"])):
    """A node of its own, with half of the memory that the others have."""

    @property
    def folder(self) -> Path:
        return common.DATA / "opensearch-small"

    @property
    def log(self) -> Path:
        return common.DATA / "opensearch-small.log"

    def commands(self, port: int) -> list[list[str]]:
        return [
            [re.sub("^(-Xm[sx])1g$", r"\g<1>512m", word) for word in command]
            for command in super().commands(port)
        ]


@pytest.fixture
def small_opensearch():
    """An empty node which may die; gives its address."""
    small, entry = SmallOpenSearch(), {}
    process = small.start(entry)
    try:
        clients.wait_until_ready("opensearch", entry["uri"], process, small.log)
        yield entry["uri"]
    finally:
        small.stop(entry, kill=True)
        shutil.rmtree(small.folder)


@pytest.mark.slow
def test_message_of_500_big_documents_does_not_kill_opensearch(
    app, instance, documents, small_opensearch, monkeypatch
):
    deposits.empty_index()
    monkeypatch.setitem(app.config, "SEARCH_CLIENT_CONFIG", dict(ALONE))
    with index.indices_at(app, small_opensearch):
        documents(500, BIG)
        for _ in range(2):
            index.turn()
        # First what needs no answer of a node that may be about to die.
        assert index.waiting() == 0
        client = search.OpenSearch([small_opensearch], timeout=60)
        assert client.ping(), "OpenSearch has died"
        assert stale_records(client, instance) == 0


def stale_records(client, instance) -> int:
    """Count the records with another date, reading no whole documents."""
    name = index.name_of("record")
    client.indices.refresh(index=name)
    found = search.helpers.scan(client, index=name, size=20, _source=["created"])
    dates = {hit["_id"]: index.instant(hit["_source"]) for hit in found}
    rows = instance.execute("SELECT id::text FROM rdm_records_metadata")
    return sum(dates.get(row[0]) != instance.created(row[0]) for row in rows)


@pytest.mark.parametrize("through", ["rollback", "downgrade"])
def test_undo_says_when_the_package_may_be_removed(documents, invoke, capsys, through):
    instance = documents(1)
    index.drain()
    capsys.readouterr()
    if through == "rollback":
        output = invoke("rollback", "--yes").output
    else:  # what Alembic calls
        instance.downgrade()
        output = capsys.readouterr().out
    # Without the package nobody takes them, and the documents keep their dates.
    assert index.waiting(), "messages wait for a worker that has the package"
    assert re.search(r"(?i)\b(remov|uninstall)", output)


@contextmanager
def tables_away(instance):
    """Do without our tables, as after the downgrade that drops them."""
    names = [
        row[0]
        for row in instance.execute(
            r"SELECT tablename FROM pg_tables WHERE tablename LIKE 'kcworks\_%'"
        )
    ]
    assert names, "our tables are there"
    for name in names:
        instance.execute(f"ALTER TABLE {name} RENAME TO away_{name}")
    try:
        yield
    finally:
        for name in names:
            instance.execute(f"ALTER TABLE away_{name} RENAME TO {name}")


def test_refused_document_without_our_tables_is_no_poison(app, documents):
    instance = documents(1)
    index.drain()
    instance.downgrade()
    assert index.waiting() == 1, "a message waits"
    with tables_away(instance), index.proxied(app, 10, ALONE) as proxy:
        proxy.largest_bytes = 1000  # refused for good
        failures = [index.turn() for _ in range(3)]
    assert failures[-1] == []
    assert index.waiting() == 0


@pytest.mark.parametrize(
    "payload",
    [
        {"op": "index", "id": "0b8e4f3c-0000-4000-8000-000000000000"},
        {"op": "index", "ids": ["no-uuid"]},
        {"ids": None},
        ["ids"],
        "",
    ],
)
def test_message_that_is_not_ours_is_thrown_away(app, documents, caplog, payload):
    documents(1)
    ours = current_indexer_registry.get(RECORD.own_indexer)
    with celery_app.connection_for_write() as connection:
        Producer(connection).publish(
            payload, exchange=ours.mq_exchange, routing_key=ours.mq_routing_key
        )
    assert index.waiting() == 2
    assert index.turn() == []
    assert index.waiting() == 0
    assert "Thrown away" in caplog.text


def test_work_that_fails_goes_to_the_end_of_the_queue(app, documents, monkeypatch):
    """So that it keeps nobody from the others, however often it fails."""
    instance = documents(1)
    others, do = [], indexer.correct

    def fail(database, kind, ids):
        if ids != others:
            raise RuntimeError("the first message can't be done")
        return do(database, kind, ids)

    monkeypatch.setattr(indexer, "correct", fail)
    others.append(str(uuid.uuid4()))
    current_indexer_registry.get(RECORD.own_indexer).bulk_index(others)
    failures = index.turn()
    assert [str(f) for f in failures] == ["the first message can't be done"]
    assert index.waiting() == 2
    index.turn()  # the other one comes first now
    monkeypatch.undo()
    for _ in range(2):
        index.turn()
    assert index.waiting() == 0
    assert index.stale_documents(instance) == []
