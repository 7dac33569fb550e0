# SPDX-FileCopyrightText: 2026 kcworks-migrations contributors
# SPDX-License-Identifier: MIT
"""OpenSearch fails while the workers drain: one command later the index is right."""

import os
import signal
from contextlib import contextmanager

import pytest
from invenio_indexer.tasks import process_bulk_queue
from invenio_search import current_search_client
from invenio_search.engine import search
from invenio_search.utils import prefix_index
from support import deposits, index
from support.faults import Child, search_at, wait_until
from support.index import (
    INDICES,
    read_only,
    set_on_indices,
    stale_documents,
    waiting,
)
from support.instance import INDEXERS
from support.worker import result_of

from kcworks_migrations.cli import created_dates
from kcworks_migrations.index import correct
from kcworks_migrations.tasks import update_record_created_dates_task as records_task


@pytest.fixture
def indexed(instance):
    """Real records in a community of their group, and their documents."""
    deposits.empty_index()
    instance.execute("DELETE FROM oaiserver_set")  # of communities of other tests
    with deposits.no_tasks():
        community = deposits.create_community("faults", "77")
        for number in range(3):
            record = deposits.publish(
                f"Record {number}", f"201{number}-02-03T04:05:06Z", "77"
            )
            deposits.add_to_community(str(community.id), record.id)
    index.drain()  # the documents are as new as their rows
    instance.empty_queues()
    yield instance
    deposits.empty_index()


@contextmanager
def red():
    """Leave the shards without a node that may have them."""
    setting = "index.routing.allocation.require._name"
    names = [prefix_index(name) for name in INDICES]
    try:
        for name in names:
            current_search_client.indices.close(index=name)
        set_on_indices({setting: "a node that does not exist"})
        for name in names:
            current_search_client.indices.open(index=name, wait_for_active_shards=0)
        assert health_of(names) == "red"
        yield
    finally:
        set_on_indices({setting: None})
        wait_until(lambda: health_of(names) != "red", "the indices have recovered")


def health_of(names) -> str:
    health = current_search_client.cluster.health(index=",".join(names))
    return health["status"]


@contextmanager
def busy():
    """Let OpenSearch break the circuit as when it is short of memory: 429."""
    limit = "network.breaker.inflight_requests.limit"

    def set_limit(value) -> None:
        current_search_client.cluster.put_settings(body={"transient": {limit: value}})

    try:
        set_limit("1kb")
        with pytest.raises(
            search.TransportError, match="circuit_breaking_exception"
        ) as error:
            current_search_client.bulk(body="\n" * 2000)
        assert error.value.status_code == 429
        yield
    finally:
        set_limit(None)


def down(app):
    """Let nobody listen where OpenSearch should be."""
    return search_at(app, "127.0.0.1:1")


@pytest.fixture(params=["read-only", "busy", "red", "down"])
def broken_search(request, app, monkeypatch):
    monkeypatch.setitem(app.config, "INDEXER_BULK_REQUEST_TIMEOUT", 1)
    # The fault outlasts all tries, however long the pauses between them are.
    monkeypatch.setattr(correct, "PAUSES_SECONDS", (0.1, 0.1, 0.1))
    faults = {
        "read-only": read_only,
        "busy": busy,
        "red": red,
        "down": lambda: down(app),
    }
    return faults[request.param]


def drain(instance) -> None:
    """Let a worker drain the queues: a new process, as after a restart.

    A Celery process whose task failed can't reach the broker any more with Kombu 5.6.
    """
    child = Child(instance, deposits.drain)
    assert child.wait() == 0, child.output()


@pytest.mark.parametrize("indexing", ["created-only", "full"])
def test_index_is_right_after_the_search_has_recovered(
    indexed, app, broken_search, indexing, monkeypatch
):
    monkeypatch.setitem(app.config, "KCWORKS_CREATED_DATES_INDEXING", indexing)
    for run in (indexed.upgrade, indexed.downgrade):
        run()
        with broken_search():
            drain(indexed)
        drain(indexed)
        if indexing == "full" and stale_documents(indexed):  # one command later
            result = app.test_cli_runner().invoke(created_dates, ["reindex", "--all"])
            assert result.exit_code == 0, result.output
            drain(indexed)
        assert stale_documents(indexed) == []


@contextmanager
def own_index(app, own_opensearch):
    """Let the application use the other OpenSearch, with the same empty indices."""
    indices = {
        name: {
            "mappings": found["mappings"],
            "aliases": found["aliases"],
            # From templates on InvenioRDM 13 and 14, which the other one lacks.
            "settings": {"analysis": found["settings"]["index"].get("analysis", {})},
        }
        for name, found in current_search_client.indices.get(
            index=[prefix_index(name) for name in ("rdmrecords", "communities")]
        ).items()
    }
    with pytest.MonkeyPatch.context() as patch, search_at(app, own_opensearch.uri):
        patch.setenv("INVENIO_SEARCH_HOSTS", repr([own_opensearch.uri]))  # of a worker
        try:
            for name, body in indices.items():
                current_search_client.indices.create(index=name, body=body)
            yield indices
        finally:
            current_search_client.indices.delete(index=",".join(indices))


def test_index_is_right_after_the_search_was_killed_under_a_worker(
    indexed, app, own_opensearch, worker, monkeypatch
):
    # Ours gives everything back, which `test_index_workers` shows.
    monkeypatch.setitem(app.config, "KCWORKS_CREATED_DATES_INDEXING", "full")
    with own_index(app, own_opensearch):
        assert indexed.upgrade().pending == 0
        worker.start()
        result_of(records_task.delay(dry_run=True).id)  # it is awake
        os.kill(own_opensearch.pid, signal.SIGSTOP)  # the worker waits for an answer
        sent = waiting(["records"])
        for name in INDEXERS:
            process_bulk_queue.delay(indexer_name=name)
        try:
            wait_until(lambda: waiting(["records"]) < sent, "the worker drains")
        finally:
            own_opensearch.stop(kill=True)
            own_opensearch.start()
        result_of(records_task.delay(dry_run=True).id)  # it comes after the others
        assert stale_documents(indexed)
        result = app.test_cli_runner().invoke(
            created_dates, ["reindex", "--all", "--wait"]
        )
        assert result.exit_code == 0, result.output
        assert stale_documents(indexed) == []


@pytest.mark.parametrize(
    ("indexing", "queue", "messages"),
    [("full", "records", 6), ("created-only", "kcworks-created-dates-records", 2)],
)
def test_ids_that_are_sent_twice_are_harmless(
    indexed, app, monkeypatch, indexing, queue, messages
):
    monkeypatch.setitem(app.config, "KCWORKS_CREATED_DATES_INDEXING", indexing)
    indexed.upgrade()
    result = app.test_cli_runner().invoke(created_dates, ["reindex", "--all"])
    assert result.exit_code == 0, result.output
    assert waiting([queue]) == messages
    drain(indexed)
    assert stale_documents(indexed) == []


def test_runs_do_not_need_the_search(indexed, app):
    with down(app):
        summary = indexed.upgrade()
    assert indexed.run().status == "succeeded"
    assert summary.pending == len(indexed.backup()) > 0
    assert not any(indexed.queued(name) for name in INDEXERS)
    result = app.test_cli_runner().invoke(created_dates, ["reindex"])
    assert result.exit_code == 0, result.output
    drain(indexed)
    assert stale_documents(indexed) == []


def test_index_that_is_gone_does_not_come_back_by_itself(indexed, app, own_opensearch):
    """OpenSearch makes an index with the name of the alias for whoever writes to it."""
    proxy = index.Proxy(own_opensearch.uri)

    def lose(request) -> str:
        if request.method == "PUT":  # a document that was missing is rebuilt
            proxy.decide = lambda request: ""
            search.OpenSearch([own_opensearch.uri]).indices.delete(index=name)
        return ""

    with own_index(app, own_opensearch) as indices, search_at(app, proxy.host):
        alias = index.name_of("record")
        [name] = current_search_client.indices.get_alias(index=alias)
        indexed.upgrade()
        proxy.decide = lose
        index.turn()
        assert not current_search_client.indices.exists(index=alias)
        assert waiting(["kcworks-created-dates-records"])
        assert not indexed.problems()
        current_search_client.indices.create(index=name, body=indices[name])
        drain(indexed)
        assert stale_documents(indexed) == []
    proxy.stop()
