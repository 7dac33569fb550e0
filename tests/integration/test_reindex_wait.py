# SPDX-FileCopyrightText: 2026 kcworks-migrations contributors
# SPDX-License-Identifier: MIT
"""`reindex --wait`: the index is right without a worker, and no message is lost."""

import json
import os
import signal
import uuid
from contextlib import contextmanager
from types import SimpleNamespace

import pytest
from celery import current_app as celery_app
from invenio_indexer.proxies import current_indexer_registry
from invenio_search import current_search_client
from support import index
from support.instance import INDEXERS

from kcworks_migrations import drain, verify
from kcworks_migrations.broker import connected, publisher, queued_messages
from kcworks_migrations.cli import created_dates
from kcworks_migrations.database import locked


@pytest.fixture(scope="module")
def sample(app, engine):
    """The sample, with real documents."""
    filled = index.fill(engine)
    filled.instance.empty_queues()
    return filled.instance


@pytest.fixture
def upgraded(sample, app, monkeypatch):
    """A migrated instance whose ids are all in the queues of the services.

    Their messages are what `reindex --wait` settles itself; ours settle theirs.
    """
    monkeypatch.setitem(app.config, "KCWORKS_CREATED_DATES_INDEXING", "full")
    sample.execute("TRUNCATE kcworks_created_dates_run CASCADE")
    sample.empty_queues()
    sample.upgrade()
    yield sample
    sample.downgrade()
    sample.empty_queues()


@pytest.fixture
def wait(app):
    """Call `reindex --wait --json`; give the exit status, document and output."""

    def wait():
        result = app.test_cli_runner().invoke(
            created_dates, ["reindex", "--wait", "--json"]
        )
        document = json.loads(result.stdout)
        return SimpleNamespace(
            status=result.exit_code, output=result.output, **document
        )

    return wait


def waiting() -> int:
    with connected() as connection:
        return sum(queued_messages(connection).values())


def is_clean(instance) -> bool:
    for name in ("rdmrecords", "communities"):
        current_search_client.indices.refresh(index=index.prefix_index(name))
    return verify.verify(instance.engine, instance.options()).is_clean


@contextmanager
def at_bulk(act):
    """Call `act` right before the first request that writes documents, once."""
    client = current_search_client._get_current_object()
    bulk = client.bulk
    calls = []

    def acting(*args, **options):
        calls.append(args)
        if len(calls) == 1:
            act()
        return bulk(*args, **options)

    client.bulk = acting
    try:
        yield
    finally:
        client.bulk = bulk


@pytest.mark.parametrize("indexing", ["full", "created-only"])
def test_wait_brings_the_index_right(sample, app, wait, monkeypatch, indexing):
    monkeypatch.setitem(app.config, "KCWORKS_CREATED_DATES_INDEXING", indexing)
    monkeypatch.setattr(drain, "CHUNK_DOCUMENTS", 5)
    sample.execute("TRUNCATE kcworks_created_dates_run CASCADE")
    sample.empty_queues()
    for run in (sample.upgrade, sample.downgrade):
        assert run().sent > 10
        assert not is_clean(sample)
        done = wait()
        assert (done.status, done.refused, done.left) == (0, 0, 0), done.output
        assert done.indexed > 10
        assert is_clean(sample)


def test_wait_does_not_hold_the_lock(upgraded, wait):
    seen = []

    def lock() -> None:
        with locked(upgraded.engine, 1):
            seen.append(True)

    with at_bulk(lock):
        assert wait().status == 0
    assert seen


def test_interrupted_wait_ends_with_3_and_goes_on(upgraded, wait, monkeypatch):
    monkeypatch.setattr(drain, "CHUNK_DOCUMENTS", 5)
    before = waiting()
    with at_bulk(lambda: os.kill(os.getpid(), signal.SIGINT)):
        done = wait()
    assert (done.status, done.indexed) == (3, 5), done.output
    assert done.left == waiting() == before - 5
    assert wait().status == 0
    assert is_clean(upgraded)


def test_a_chunk_that_is_cut_off_loses_no_message(upgraded, wait):
    before = waiting()

    def crash() -> None:
        raise KeyboardInterrupt

    with at_bulk(crash), pytest.raises((KeyboardInterrupt, ValueError)):
        wait()
    assert waiting() == before
    assert wait().status == 0
    assert is_clean(upgraded)


def test_read_only_index_stops_early_and_loses_no_message(upgraded, wait):
    names = [index.prefix_index(n) for n in ("rdmrecords-records", "communities")]

    def block(value) -> None:
        for name in names:
            current_search_client.indices.put_settings(
                index=name, body={"index.blocks.read_only_allow_delete": value}
            )

    block(True)
    try:
        done = wait()
    finally:
        block(None)
    assert done.status == 3
    assert "Still nothing gets indexed" in done.error
    assert done.left == waiting() > 0
    assert wait().status == 0
    assert is_clean(upgraded)


def test_rows_that_are_gone_are_no_failure(upgraded, wait):
    with publisher() as queues:
        queues.publish("records", [str(uuid.uuid4())])
    done = wait()
    assert (done.status, done.refused) == (0, 0)


def test_documents_that_cannot_be_built_end_with_1(upgraded, wait, monkeypatch):
    indexer = current_indexer_registry.get("communities")

    def refuse(payload):
        raise ValueError("not to be built")

    monkeypatch.setattr(indexer, "_index_action", refuse, raising=False)
    done = wait()
    assert (done.status, done.left, done.error) == (1, 0, None)
    assert done.refused > 0


def test_a_worker_may_drain_meanwhile(upgraded, wait, monkeypatch):
    monkeypatch.setattr(drain, "CHUNK_DOCUMENTS", 5)

    def work() -> None:
        # As a worker does, on a connection of its own.
        with celery_app.connection_for_read() as connection:
            queue = current_indexer_registry.get(INDEXERS[0]).mq_queue(connection)
            while message := queue.get():
                message.ack()

    with at_bulk(work):
        done = wait()
    assert (done.status, done.left) == (0, 0)


def test_nothing_to_do_is_done(upgraded, wait):
    upgraded.empty_queues()
    done = wait()
    assert (done.status, done.indexed, done.left) == (0, 0, 0)
