# SPDX-FileCopyrightText: 2026 kcworks-migrations contributors
# SPDX-License-Identifier: MIT
"""The indexer that changes the dates alone: always what a full reindex would give."""

import ast
import copy
import json
import os
import signal
import subprocess
import sys
import time

import index
import pytest
import sample as demo_sample
import snapshot
from invenio_access.permissions import system_identity
from invenio_db import db
from invenio_indexer.proxies import current_indexer_registry
from invenio_rdm_records.proxies import (
    current_rdm_records_service,
    current_record_communities_service,
)
from invenio_search.engine import search
from show import differences

from kcworks_migrations import indexer, migration, verify
from kcworks_migrations.cli import created_dates
from kcworks_migrations.documents import Index
from kcworks_migrations.indexer import CreatedDatesIndexer
from kcworks_migrations.names import CREATED_ONLY_OF_KIND
from kcworks_migrations.truth import Truth


@pytest.fixture(scope="module")
def world(app, engine):
    """The sample, in the index as its database says."""
    app.config["KCWORKS_CREATED_DATES_INDEXING"] = "created-only"
    world = index.fill(engine)
    yield world
    app.config["KCWORKS_CREATED_DATES_INDEXING"] = "full"
    world.instance.empty()
    index.empty_index()
    index.drain()


@pytest.fixture
def outcomes(monkeypatch):
    """What became of the ids, one outcome for each message."""
    outcomes = []
    process = CreatedDatesIndexer.process

    def noted(self, database, ids):
        outcomes.append(process(self, database, ids))
        return outcomes[-1]

    monkeypatch.setattr(CreatedDatesIndexer, "process", noted)
    return outcomes


@pytest.fixture
def upgraded(world):
    """The upgrade is done and its messages wait; at the end all is as before."""
    before = snapshot.documents()
    world.instance.upgrade()
    yield world
    index.drain()
    world.instance.downgrade()
    index.drain()
    assert len(snapshot.documents()) >= len(before) - 2


def after_full_reindex():
    """Give the documents as the instance's own code makes them from the database."""
    db.session.remove()
    demo_sample.index_all()
    return snapshot.documents()


def assert_as_after_full_reindex():
    index.drain()
    found = snapshot.documents()
    assert list(differences(after_full_reindex(), found)) == []


def test_documents_equal_a_full_reindex_up_and_down(world, outcomes):
    before = snapshot.documents()
    for change in (world.instance.upgrade, world.instance.downgrade):
        change()
        index.drain()
        found = snapshot.documents()
        assert list(differences(after_full_reindex(), found)) == []
        if change == world.instance.upgrade:
            assert found != before
    assert list(differences(before, found)) == []
    assert sum(o.written for o in outcomes) > 100
    assert not any(o.again or o.refused for o in outcomes)
    assert sum(len(o.ordinary) for o in outcomes) == 0


def test_documents_that_are_right_are_not_written(upgraded, outcomes):
    index.drain()
    migration.send_waiting(upgraded.instance.engine, is_again=True)
    del outcomes[:]
    index.drain()
    assert sum(o.written for o in outcomes) == 0 < sum(o.right for o in outcomes)


@pytest.fixture
def between(monkeypatch):
    """Do something once between reading and writing the document of an item."""

    def do(item, work):
        bulk = Index.bulk
        done = []

        def bulk_after_work(self, actions):
            ids = [a["index"]["_id"] for a in actions if "index" in a]
            if self.kind == item.kind and item.id in ids and not done:
                done.append(True)
                work()
            return bulk(self, actions)

        monkeypatch.setattr(Index, "bulk", bulk_after_work)
        return done

    return do


def members(world):
    """Give the changed records in communities that are whole and published."""
    documents = snapshot.documents()
    return [
        item
        for item in world.sample.records.values()
        if item.expected
        and not item.is_broken
        and not item.is_deleted
        and f"draft {item.id}" not in documents
        and documents[f"record {item.id}"]["parent"]["communities"].get("entries")
    ]


def member(world):
    return members(world)[0]


def edit(item):
    service = current_rdm_records_service
    draft = service.edit(system_identity, item.label)
    data = copy.deepcopy(draft.data)
    data["metadata"]["title"] = "Edited meanwhile"
    service.update_draft(system_identity, item.label, data)
    service.publish(system_identity, item.label)


def test_edit_between_reading_and_writing_wins(upgraded, between, outcomes):
    item = member(upgraded)
    done = between(item, lambda: edit(item))
    index.drain()
    assert done
    document = snapshot.documents()[f"record {item.id}"]
    assert document["metadata"]["title"] == "Edited meanwhile"
    assert_as_after_full_reindex()


def test_record_moved_between_reading_and_writing_stays_moved(upgraded, between):
    item = member(upgraded)
    document = snapshot.documents()[f"record {item.id}"]
    left = document["parent"]["communities"]["ids"][0]

    def move():
        current_record_communities_service.remove(
            system_identity, item.label, {"communities": [{"id": left}]}
        )

    done = between(item, move)
    index.drain()
    assert done
    document = snapshot.documents()[f"record {item.id}"]
    assert left not in document["parent"]["communities"].get("ids", [])
    assert_as_after_full_reindex()


def test_draft_deleted_between_reading_and_writing_stays_deleted(upgraded, between):
    item = next(i for i in upgraded.sample.drafts.values() if _embeds(i))
    service = current_rdm_records_service
    done = between(item, lambda: service.delete_draft(system_identity, item.label))
    index.drain()
    assert done
    assert f"draft {item.id}" not in snapshot.documents()
    assert_as_after_full_reindex()


def _embeds(item):
    document = snapshot.documents().get(f"{item.kind} {item.id}", {})
    return any(True for _ in index.embedded(document))


def test_document_written_meanwhile_with_the_same_version_is_made_anew(
    upgraded, between, outcomes
):
    item = member(upgraded)
    client = current_indexer_registry.get("records").client

    def write_stale():
        # As a worker would that counted other statistics: no row tells of it.
        name = index.name_of("record")
        found = client.get(index=name, id=item.id)
        found["_source"]["stats"] = {"all_versions": {"views": 5}}
        client.index(
            index=name,
            id=item.id,
            body=found["_source"],
            version=found["_version"],
            version_type="external_gte",
        )

    done = between(item, write_stale)
    index.drain()
    assert done and any(item.id in o.ordinary for o in outcomes)
    assert_as_after_full_reindex()


def remove_document(item):
    client, name = (
        current_indexer_registry.get("records").client,
        index.name_of("record"),
    )
    # With its version: else OpenSearch raises it, and remembers that for a minute.
    version = client.get(index=name, id=item.id)["_version"]
    client.delete(index=name, id=item.id, version=version, version_type="external_gte")


def test_missing_document_is_handed_to_the_ordinary_indexer(upgraded, outcomes):
    item = member(upgraded)
    remove_document(item)
    index.drain()
    assert any(item.id in o.ordinary for o in outcomes)
    assert f"record {item.id}" in snapshot.documents()
    assert_as_after_full_reindex()


def test_indexers_are_registered_with_queues_of_their_own(app):
    names = {
        current_indexer_registry.get(name).mq_queue.name
        for name in CREATED_ONLY_OF_KIND.values()
    }
    assert names == set(CREATED_ONLY_OF_KIND.values())


@pytest.fixture
def proxy(monkeypatch):
    """A proxy in front of OpenSearch, which our indexers talk to; no pauses."""
    [host] = ast.literal_eval(os.environ["INVENIO_SEARCH_HOSTS"])
    proxy = index.Proxy(host)
    client = search.OpenSearch([proxy.host], max_retries=0)
    for name in CREATED_ONLY_OF_KIND.values():
        monkeypatch.setattr(current_indexer_registry.get(name), "client", client)
    monkeypatch.setattr(indexer, "PAUSES_SECONDS", (0, 0, 0))
    yield proxy
    proxy.stop()


@pytest.mark.parametrize("failure", ["429", "item", "cut", "cut after"])
def test_passing_failures_lose_nothing(upgraded, proxy, outcomes, failure):
    proxy.failures = [failure] * 2
    index.drain()
    assert not proxy.failures
    assert not any(o.again or o.refused for o in outcomes)
    assert verified(upgraded).is_clean
    assert_as_after_full_reindex()


def test_what_fails_at_every_try_waits_in_the_queue(upgraded, proxy, outcomes):
    proxy.failures = ["429"] * 4
    our = current_indexer_registry.get(CREATED_ONLY_OF_KIND["record"])
    our.process_bulk_queue()
    assert len(outcomes) == 1 and outcomes[0].again and not proxy.failures
    verdict = verified(upgraded)
    assert verdict.queued and verdict.lagging.count and not verdict.wrong.count
    index.drain()
    assert verified(upgraded).is_clean


def test_document_refused_for_good_becomes_a_problem(upgraded, monkeypatch):
    item = member(upgraded)
    correct = Truth.correct

    def spoil(self, document):
        if document["_id"] == item.id:
            document["_source"]["metadata"] = "not an object"
        return correct(self, document)

    monkeypatch.setattr(Truth, "correct", spoil)
    index.drain()
    found = {p[1] for p in upgraded.instance.problems() if p[2] == "index_refused"}
    assert found == {item.id}
    verdict = verified(upgraded)
    assert verdict.wrong.shown == [f"record {item.id}"]
    monkeypatch.undo()
    assert verified(upgraded, fix=True).fixed == 1
    index.drain()
    assert verified(upgraded).is_clean


KILLED = """
import os, signal, sys
from invenio_app.factory import create_api
from invenio_indexer.tasks import process_bulk_queue
from kcworks_migrations.documents import Index

bulk = Index.bulk

def killed(self, actions):
    if sys.argv[1] == "after":
        bulk(self, actions)
    os.kill(os.getpid(), signal.SIGKILL)

Index.bulk = killed
with create_api().app_context():
    process_bulk_queue(indexer_name=sys.argv[2])
"""


@pytest.mark.parametrize("when", ["before", "after"])
def test_killed_worker_loses_nothing(upgraded, when):
    name = CREATED_ONLY_OF_KIND["record"]
    command = [sys.executable, "-c", KILLED, when, name]
    assert subprocess.run(command, capture_output=True).returncode == -signal.SIGKILL
    waiting_until_given_back(upgraded)
    index.drain()
    assert verified(upgraded).is_clean
    assert_as_after_full_reindex()


def waiting_until_given_back(world):
    """The broker gives the message back when it sees that its connection is gone."""
    for _ in range(50):
        if verified(world).queued > 2:
            return
        time.sleep(0.1)


def verified(world, **more):
    snapshot.documents()  # refreshes the index
    db.session.remove()
    instance = world.instance
    return verify.verify(instance.engine, instance.options(), **more)


def test_verify_tells_missing_wrong_and_rows_and_fixes(upgraded):
    index.drain()
    assert verified(upgraded).is_clean
    assert verified(upgraded, sample=5).right < verified(upgraded).right
    item, other = members(upgraded)[:2]
    client = current_indexer_registry.get("records").client
    name = index.name_of("record")
    remove_document(item)
    found = client.get(index=name, id=other.id)
    found["_source"]["created"] = "2001-01-01T00:00:00+00:00"
    client.index(
        index=name,
        id=other.id,
        body=found["_source"],
        version=found["_version"],
        version_type="external_gte",
    )
    verdict = verified(upgraded, fix=True)
    assert verdict.missing.shown == [f"record {item.id}"]
    assert verdict.wrong.shown == [f"record {other.id}"]
    assert verdict.fixed == 2
    index.drain()
    assert verified(upgraded).is_clean


@pytest.mark.parametrize("is_json", [False, True])
def test_verify_command_exits_with_0_only_when_all_is_right(upgraded, app, is_json):
    runner = app.test_cli_runner()
    command = ["verify", "--json"] if is_json else ["verify"]
    result = runner.invoke(created_dates, command)
    assert result.exit_code == 1
    index.drain()
    snapshot.documents()
    result = runner.invoke(created_dates, command)
    assert result.exit_code == 0
    if is_json:
        assert json.loads(result.output)["is_clean"]
    else:
        assert "0 lagging, 0 wrong, 0 missing" in result.output
