# SPDX-FileCopyrightText: 2026 kcworks-migrations contributors
# SPDX-License-Identifier: MIT
"""`reindex --wait`: the index is right without a broker, and nothing is lost."""

import json
import os
import signal
import time
import uuid
from contextlib import contextmanager
from types import SimpleNamespace

import pytest
from invenio_indexer.proxies import current_indexer_registry
from invenio_search import current_search_client
from invenio_search.engine import search
from sqlalchemy.exc import OperationalError
from support import index
from support.faults import NOWHERE, broker_at

from kcworks_migrations.cli import created_dates
from kcworks_migrations.errors import RunInProgressError
from kcworks_migrations.index import outbox
from kcworks_migrations.kinds import COMMUNITY, RECORD
from kcworks_migrations.ledger.runs import locked

PAGE = 5


@pytest.fixture(scope="module")
def sample(app, engine):
    """The sample, with real documents."""
    filled = index.fill(engine)
    filled.instance.empty_queues()
    return filled.instance


@pytest.fixture(params=["full", "created-only"])
def indexing(request, app, monkeypatch):
    """Make documents anew, or change the dates in them; in small pages."""
    monkeypatch.setitem(app.config, "KCWORKS_CREATED_DATES_INDEXING", request.param)
    monkeypatch.setattr(outbox, "HERE_ROWS", PAGE)
    return request.param


@pytest.fixture
def no_broker():
    """A broker that nobody can reach."""
    with broker_at(NOWHERE):
        yield


@pytest.fixture
def upgraded(sample, no_broker):
    """A migrated instance whose changes are all pending; at the end as before."""
    sample.execute("TRUNCATE kcworks_created_dates_run CASCADE")
    assert sample.upgrade().pending > 2 * PAGE
    yield sample
    sample.downgrade()
    assert sample.send_pending(is_here=True).error is None


@pytest.fixture
def wait(app):
    """Call `reindex --wait --json`; give the exit status, document and output."""

    def wait():
        result = app.test_cli_runner().invoke(
            created_dates, ["reindex", "--wait", "--json"]
        )
        document = json.loads(result.stdout or "{}")
        return SimpleNamespace(
            status=result.exit_code, output=result.output, **document
        )

    return wait


def pending(instance) -> int:
    return len([entry for entry in instance.backup() if entry.queued_at is None])


@contextmanager
def at_write(act):
    """Call `act` right before the first request that writes documents, once."""
    client = search.OpenSearch
    calls = []

    def acting(write):
        def act_and_write(*args, **options):
            calls.append(args)
            if len(calls) == 1:
                act()
            return write(*args, **options)

        return act_and_write

    with pytest.MonkeyPatch.context() as patch:
        for name in ("bulk", "index"):
            patch.setattr(client, name, acting(getattr(client, name)))
        yield calls
    assert calls


def test_wait_brings_the_index_right(sample, wait, no_broker, indexing):
    sample.execute("TRUNCATE kcworks_created_dates_run CASCADE")
    for run in (sample.upgrade, sample.downgrade):
        assert run().pending == pending(sample) > 10
        assert not index.verdict_of(sample).is_clean
        done = wait()
        assert (done.status, done.refused, done.pending) == (0, 0, 0), done.output
        assert done.indexed >= len(sample.backup())
        assert pending(sample) == 0
        assert index.verdict_of(sample).is_clean


def test_wait_indexes_what_is_counted_before(sample, wait, no_broker, indexing):
    sample.execute("TRUNCATE kcworks_created_dates_run CASCADE")
    documents = sample.preview().documents
    sample.upgrade()
    assert wait().indexed == documents > pending(sample)
    sample.downgrade()
    assert wait().indexed == documents


def test_wait_holds_the_lock(upgraded, wait, indexing):
    def lock() -> None:
        with pytest.raises(RunInProgressError), locked(upgraded.engine, 1):
            pass

    with at_write(lock):
        assert wait().status == 0


def test_interrupted_wait_ends_with_3_and_goes_on(upgraded, wait, indexing):
    before = pending(upgraded)
    with at_write(lambda: os.kill(os.getpid(), signal.SIGINT)) as calls:
        done = wait()
    assert done.status == 3, done.output
    assert "stopped by SIGINT" in done.output
    assert len(calls) == 1
    assert pending(upgraded) == before
    assert wait().status == 0
    assert index.verdict_of(upgraded).is_clean


def test_page_that_is_cut_off_stays_pending(upgraded, indexing):
    before = pending(upgraded)

    def crash() -> None:
        raise KeyboardInterrupt

    with at_write(crash), pytest.raises(KeyboardInterrupt):
        upgraded.send_pending(is_here=True)
    assert pending(upgraded) == before
    assert upgraded.send_pending(is_here=True).error is None
    assert index.verdict_of(upgraded).is_clean


def test_read_only_index_stops_early_and_loses_nothing(upgraded, wait, indexing):
    names = [index.prefix_index(n) for n in ("rdmrecords-records", "communities")]

    def block(value) -> None:
        for name in names:
            current_search_client.indices.put_settings(
                index=name, body={"index.blocks.read_only_allow_delete": value}
            )

    before = pending(upgraded)
    block(True)
    try:
        done = wait()
    finally:
        block(None)
    assert done.status == 3
    assert "OpenSearch did not take" in done.error
    assert "read-only" in done.error
    assert done.pending == pending(upgraded) == before
    assert wait().status == 0
    assert index.verdict_of(upgraded).is_clean


def test_rows_that_are_gone_are_no_failure(upgraded, wait, indexing):
    gone = "UPDATE kcworks_created_dates_backup SET entity_id = :gone WHERE id = :id"
    entry = upgraded.backup(kind="record")[0]
    upgraded.execute(gone, gone=str(uuid.uuid4()), id=entry.id)
    done = wait()
    upgraded.execute(gone, gone=entry.entity, id=entry.id)
    assert (done.status, done.refused, done.pending) == (0, 0, 0)


@pytest.mark.parametrize("indexing", ["full"], indirect=True)
def test_documents_that_cannot_be_made_end_with_1(
    upgraded, wait, indexing, monkeypatch
):
    def refuse(id):
        raise ValueError("not to be made")

    indexer = current_indexer_registry.get(COMMUNITY.indexer)
    monkeypatch.setattr(indexer, "index_by_id", refuse, raising=False)
    done = wait()
    assert (done.status, done.pending, done.error) == (1, 0, None)
    refused = upgraded.execute(
        "SELECT DISTINCT kind, label, value FROM kcworks_created_dates_problem"
        " WHERE reason = 'index_refused'"
    )
    assert done.refused == len(refused) > 0
    slugs = upgraded.execute("SELECT slug FROM communities_metadata")
    assert {row.label for row in refused} <= {row.slug for row in slugs}
    assert {(row.kind, row.value) for row in refused} == {
        ("community", "not to be made")
    }


@pytest.mark.parametrize("indexing", ["full"], indirect=True)
def test_document_that_is_newer_already_is_as_good(upgraded, wait, indexing):
    """Somebody edits a record, and the document is written, while we build ours."""
    [row] = upgraded.execute(
        "SELECT r.id::text, r.json->>'id' AS pid FROM rdm_records_metadata AS r"
        " JOIN kcworks_created_dates_backup AS b ON b.entity_id = r.id"
        " WHERE b.kind = 'record' AND r.deletion_status = 'P' ORDER BY b.id LIMIT 1"
    )
    name = index.name_of("record")
    client = current_search_client
    write = search.OpenSearch.index
    conflicts = []

    def overtaken(client, **options):
        if options["id"] == row.id and not conflicts:
            write(client, **options | {"version": options["version"] + 1})
            conflicts.append(row.id)
        return write(client, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(search.OpenSearch, "index", overtaken)
        done = wait()
    with index.forgetful():
        client.delete(index=name, id=row.id)
        time.sleep(1)  # the clock by which OpenSearch forgets is that coarse
    current_indexer_registry.get(RECORD.indexer).index_by_id(row.id)
    assert conflicts
    assert (done.status, done.refused, done.pending) == (0, 0, 0), done.output


@pytest.mark.parametrize("indexing", ["created-only"], indirect=True)
def test_missing_document_is_made_here(upgraded, wait, indexing):
    id = upgraded.backup(kind="record")[0].entity
    name = index.name_of("record")
    version = current_search_client.get(index=name, id=id)["_version"]
    version = {"version": version, "version_type": "external_gte"}
    current_search_client.delete(index=name, id=id, **version)
    assert wait().status == 0
    assert index.verdict_of(upgraded).is_clean
    assert current_search_client.exists(index=name, id=id)


@pytest.mark.parametrize("indexing", ["created-only"], indirect=True)
def test_what_is_not_taken_stays_pending_alone(upgraded, wait, indexing, monkeypatch):
    community = upgraded.backup(kind="community")
    upgraded.execute(
        "UPDATE kcworks_created_dates_backup SET queued_at = now() WHERE kind ="
        " 'community'"
    )
    records = upgraded.backup(kind="record")
    correct = outbox.correct

    def not_taken(database, kind, ids, *more):
        outcome = correct(database, kind, ids, *more)
        if records[1].entity in ids:
            outcome.again, outcome.obstacle = [records[1].entity], "too busy"
        return outcome

    monkeypatch.setattr(outbox, "correct", not_taken)
    done = wait()
    monkeypatch.undo()
    assert done.status == 3
    assert "did not take 1 document: too busy" in done.error
    assert f"processed {PAGE - 1} of {len(records)} changes" in done.error
    left = [entry.id for entry in upgraded.backup() if entry.queued_at is None]
    assert left == [entry.id for entry in [records[1], *records[PAGE:]]]
    assert community and wait().status == 0


@pytest.mark.parametrize("indexing", ["full"], indirect=True)
def test_database_that_fails_for_a_moment_is_asked_again(
    upgraded, wait, indexing, monkeypatch
):
    indexer, asked = current_indexer_registry.get(RECORD.indexer), []
    make = indexer.index_by_id

    def fail_once(id):
        asked.append(id)
        if len(asked) == 2:
            raise OperationalError("SELECT", {}, Exception("gone away"))
        return make(id)

    monkeypatch.setattr(indexer, "index_by_id", fail_once, raising=False)
    done = wait()
    assert (done.status, done.refused, done.pending) == (0, 0, 0)
    assert index.verdict_of(upgraded).is_clean


def test_nothing_to_do_is_done(upgraded, wait):
    assert wait().status == 0
    done = wait()
    assert (done.status, done.indexed, done.pending) == (0, 0, 0)


def test_session_is_as_new_as_the_rows(upgraded, wait, app, monkeypatch):
    """What the session has read before an edit makes no stale document."""
    monkeypatch.setitem(app.config, "KCWORKS_CREATED_DATES_INDEXING", "full")
    id = upgraded.backup(kind="record")[0].entity
    record_cls = current_indexer_registry.get(RECORD.indexer).record_cls
    kept = record_cls.get_record(id)
    upgraded.execute(
        "UPDATE rdm_records_metadata SET json = jsonb_set(json, '{metadata,title}',"
        " '\"Edited\"'), version_id = version_id + 1 WHERE id = :id",
        id=id,
    )
    assert wait().status == 0
    document = current_search_client.get(index=index.name_of("record"), id=id)
    assert document["_source"]["metadata"]["title"] == "Edited" != kept
