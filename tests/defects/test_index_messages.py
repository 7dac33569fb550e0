# SPDX-FileCopyrightText: 2026 kcworks-migrations contributors
# SPDX-License-Identifier: MIT
"""Messages that never leave their queue: too large, left behind, or poisonous."""

import re
import shutil
from contextlib import contextmanager
from pathlib import Path

import clients
import common
import pytest
import servers
from invenio_search.engine import search
from support import deposits, index
from support.rebuild import given, preparing, rebuild

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
            with preparing("the record is in the community"):
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
        given(index.waiting() == 1, "all ids are in one message")
        return instance

    return make


def ids_in(instance, request) -> int:
    """Tell how many documents a request is about."""
    ids = instance.execute("SELECT id::text FROM rdm_records_metadata")
    return sum(row[0].encode() in request.body for row in ids)


@rebuild("messages are worked on in slices of about 100 documents and 10 MB")
def test_few_documents_are_read_at_once(app, documents):
    instance = documents(300)
    with index.proxied(app, 10, ALONE) as proxy:
        index.drain()
    given(not index.stale_documents(instance), "every date in the index is right")
    assert max(ids_in(instance, request) for request in proxy.seen) <= 150


@rebuild("messages are worked on in slices of about 100 documents and 10 MB")
def test_few_bytes_are_written_at_once(app, documents):
    instance = documents(40, BIG)
    with index.proxied(app, 30, ALONE) as proxy:
        index.drain()
    given(not index.stale_documents(instance), "every date in the index is right")
    assert max(len(request.body) for request in proxy.seen) < 15_000_000


@rebuild("messages are worked on in slices of about 100 documents and 10 MB")
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
@rebuild("messages are worked on in slices of about 100 documents and 10 MB")
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


@rebuild("the end of a rollback says when the package may be removed")
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
    given(index.waiting(), "messages wait for a worker that has the package")
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
    given(names, "our tables are there")
    for name in names:
        instance.execute(f"ALTER TABLE {name} RENAME TO away_{name}")
    try:
        yield
    finally:
        for name in names:
            instance.execute(f"ALTER TABLE away_{name} RENAME TO {name}")


@rebuild("a message is acknowledged and logged where our tables are absent")
def test_refused_document_without_our_tables_is_no_poison(app, documents):
    instance = documents(1)
    index.drain()
    instance.downgrade()
    given(index.waiting() == 1, "a message waits")
    with tables_away(instance), index.proxied(app, 10, ALONE) as proxy:
        proxy.largest_bytes = 1000  # refused for good
        failures = [index.turn() for _ in range(3)]
    assert failures[-1] == []
    assert index.waiting() == 0
