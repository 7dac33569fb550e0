# SPDX-FileCopyrightText: 2026 kcworks-migrations contributors
# SPDX-License-Identifier: MIT
"""The indexer that changes the dates alone: always what a full reindex would give."""

import copy
import json
import signal
import time
from datetime import UTC, datetime, timedelta

import pytest
import sample as demo_sample
import snapshot
from celery import current_app as celery_app
from invenio_access.permissions import system_identity
from invenio_db import db
from invenio_indexer.proxies import current_indexer_registry
from invenio_indexer.tasks import process_bulk_queue
from invenio_rdm_records.proxies import (
    current_rdm_records_service,
    current_record_communities_service,
)
from kombu.exceptions import OperationalError
from shapes import Record
from show import differences
from support import deposits, faults, index

from kcworks_migrations.cli import created_dates
from kcworks_migrations.index import compare, correct, indexer
from kcworks_migrations.index.documents import Index
from kcworks_migrations.index.truth import Truth
from kcworks_migrations.kinds import KINDS, RECORD

OURS = [kind.own_indexer for kind in KINDS]


@pytest.fixture(scope="module")
def world(app, engine):
    """The sample, in the index as its database says."""
    world = index.fill(engine)
    world.embargoed = publish_embargoed(world)
    yield world
    world.instance.empty()
    index.empty_index()
    index.drain()


def publish_embargoed(world):
    """Publish a record whose embargo is over, in a community, but was not lifted."""
    data = demo_sample.document(
        Record("Under embargo", "2014-05-06T07:08:09Z", groups=("1000610",))
    )
    tomorrow = (datetime.now(UTC) + timedelta(days=1)).date().isoformat()
    data["access"] = {
        "record": "restricted",
        "files": "restricted",
        "embargo": {"active": True, "until": tomorrow, "reason": "not yet"},
    }
    with deposits.no_tasks():
        service = current_rdm_records_service
        draft = service.create(system_identity, data)
        made = service.publish(system_identity, draft.id)
        medieval = world.sample.communities["medieval"].id
        deposits.add_to_community(medieval, made.id)
    item = demo_sample.Item("", "record", str(made._record.id), made.id, "")
    db.session.remove()
    # The service takes no embargo that is over: this is what a day's waiting does.
    world.instance.execute(
        "UPDATE rdm_records_metadata SET json = jsonb_set(json,"
        " '{access,embargo,until}', '\"2020-01-01\"') WHERE id = :id",
        id=item.id,
    )
    current_indexer_registry.get("records").bulk_index([item.id])
    index.drain()
    return item


@pytest.fixture
def outcomes(monkeypatch):
    """What became of the ids, one outcome for each message."""
    outcomes = []
    do = indexer.correct

    def noted(*given, **more):
        outcomes.append(do(*given, **more))
        return outcomes[-1]

    monkeypatch.setattr(indexer, "correct", noted)
    return outcomes


@pytest.fixture
def made(monkeypatch):
    """The ids of the documents that the service's indexer made anew."""
    made = []
    make = correct.made

    def noted(kind, id):
        made.append(id)
        return make(kind, id)

    monkeypatch.setattr(correct, "made", noted)
    return made


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


def assert_as_indexed_now(item):
    """Check a document against what the instance's own code makes of its row."""
    snapshot.documents()  # refreshes the index
    key = f"{item.kind} {item.id}"
    found = snapshot.documents()[key]
    db.session.remove()
    name = {"record": "records", "draft": "records-drafts"}[item.kind]
    current_indexer_registry.get(name).index_by_id(item.id)
    made = snapshot.documents()[key]
    assert list(differences({key: made}, {key: found})) == []


def test_documents_equal_a_full_reindex_up_and_down(world, outcomes, made):
    before = snapshot.documents()
    for change in (world.instance.upgrade, world.instance.downgrade):
        change()
        index.drain()
        found = snapshot.documents()
        assert list(differences(after_full_reindex(), found)) == []
        if change == world.instance.upgrade:
            assert found != before
    assert list(differences(before, found)) == []
    assert sum(len(o.written) for o in outcomes) > 100
    assert not any(o.again or o.refused for o in outcomes)
    assert not made


def test_documents_that_are_right_are_not_written(upgraded, outcomes):
    index.drain()
    upgraded.instance.send_pending(is_again=True)
    del outcomes[:]
    index.drain()
    assert not any(o.written for o in outcomes)
    assert sum(o.done for o in outcomes) > 0


@pytest.fixture
def between(monkeypatch):
    """Do something once between reading and writing the document of an item."""

    def do(item, work):
        write = Index.write
        done = []

        def write_after_work(self, documents):
            found = [d for d in documents if d["_id"] == item.id]
            if found and found[0]["_index"].startswith(index_of(item)) and not done:
                done.append(True)
                work()
            return write(self, documents)

        monkeypatch.setattr(Index, "write", write_after_work)
        return done

    return do


def index_of(item) -> str:
    return index.name_of(item.kind)


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
    other = next(
        c.id
        for c in upgraded.sample.communities.values()
        if c.expected and c.id != left and not c.is_deleted and not c.is_broken
    )

    def move():
        current_record_communities_service.remove(
            system_identity, item.label, {"communities": [{"id": left}]}
        )
        deposits.add_to_community(other, item.label)

    done = between(item, move)
    index.drain()
    assert done
    document = snapshot.documents()[f"record {item.id}"]
    assert other in document["parent"]["communities"]["ids"]
    assert left not in document["parent"]["communities"]["ids"]
    assert_as_after_full_reindex()


def test_record_deleted_between_reading_and_writing_stays_deleted(upgraded, between):
    item = members(upgraded)[-1]
    done = between(item, lambda: deposits.delete(item.label))
    index.drain()
    assert done
    assert snapshot.documents()[f"record {item.id}"]["deletion_status"] == "D"
    assert_as_indexed_now(item)
    db.session.remove()
    deposits.restore(item.label)


def test_embargo_lifted_between_reading_and_writing_stays_lifted(upgraded, between):
    item = upgraded.embargoed
    lift = current_rdm_records_service.lift_embargo
    done = between(item, lambda: lift(_id=item.label, identity=system_identity))
    with deposits.no_tasks():
        index.drain()
    assert done
    access = snapshot.documents()[f"record {item.id}"]["access"]
    assert (access["record"], access["embargo"]["active"]) == ("public", False)
    assert_as_indexed_now(item)


def test_draft_deleted_between_reading_and_writing_stays_deleted(upgraded, between):
    item = next(i for i in upgraded.sample.drafts.values() if _embeds(i))
    service = current_rdm_records_service
    done = between(item, lambda: service.delete_draft(system_identity, item.label))
    index.drain()
    assert done
    assert f"draft {item.id}" not in snapshot.documents()
    assert_as_after_full_reindex()


def test_document_that_came_back_after_its_draft_was_deleted_is_removed(
    upgraded, between
):
    item = next(i for i in upgraded.sample.drafts.values() if _embeds(i))

    def delete():
        current_rdm_records_service.delete_draft(system_identity, item.label)
        time.sleep(0.5)  # the clock by which OpenSearch forgets is that coarse

    with index.forgetful():
        done = between(item, delete)
        index.drain()
    assert done
    assert f"draft {item.id}" not in snapshot.documents()


def _embeds(item):
    document = snapshot.documents().get(f"{item.kind} {item.id}", {})
    return any(True for _ in index.embedded(document))


def test_document_written_meanwhile_with_the_same_version_is_made_anew(
    upgraded, between, made
):
    item = member(upgraded)
    # As a worker would that counted other statistics: no row tells of it.
    views = {"all_versions": {"views": 5}}
    done = between(item, lambda: rewrite(item, lambda s: s.update(stats=views)))
    index.drain()
    assert done and item.id in made
    assert_as_after_full_reindex()


def rewrite(item, change, **version) -> None:
    """Write a document again, changed, with the version that it has or another."""
    client = current_indexer_registry.get("records").client
    name = index.name_of(item.kind)
    found = client.get(index=name, id=item.id)
    change(found["_source"])
    version = {"version": found["_version"], "version_type": "external_gte"} | version
    client.index(index=name, id=item.id, body=found["_source"], **version)


@pytest.fixture
def conflicts(monkeypatch):
    """The ids whose writes were answered with 409."""
    conflicts = []
    write = Index.write

    def noted(self, documents):
        written = write(self, documents)
        conflicts.extend(w.id for w in written if w.status == 409)
        return written

    monkeypatch.setattr(Index, "write", noted)
    return conflicts


@pytest.mark.parametrize("is_stale", [False, True])
def test_newer_document_is_kept_and_its_date_is_right(
    upgraded, conflicts, between, is_stale
):
    item = member(upgraded)
    before = snapshot.documents()[f"record {item.id}"]["created"]

    def write_newer():
        edit(item)
        if is_stale:  # as an editor would who had read the row before the upgrade
            rewrite(item, lambda source: source.update(created=before))

    done = between(item, write_newer)
    index.drain()
    assert done and item.id in conflicts
    document = snapshot.documents()[f"record {item.id}"]
    assert document["metadata"]["title"] == "Edited meanwhile"
    assert document["created"] != before
    assert_as_indexed_now(item)


def test_stale_document_written_after_the_drain_is_found_and_fixed(upgraded):
    # By a worker that had built it before the upgrade and was slow to write it. Neither
    # the created-only indexer nor the ordinary one can know of it.
    item = member(upgraded)
    before = snapshot.documents()[f"record {item.id}"]["created"]
    index.drain()
    rewrite(item, lambda source: source.update(created=before))
    verdict = verified(upgraded, fix=True)
    assert verdict.stale.shown == [f"record {item.label}"]
    assert verdict.written == 1
    assert verified(upgraded).is_clean
    assert_as_indexed_now(item)


def test_document_behind_its_row_is_made_anew(upgraded, made):
    item = member(upgraded)
    upgraded.instance.execute(
        "UPDATE rdm_records_metadata SET version_id = version_id + 1 WHERE id = :id",
        id=item.id,
    )
    index.drain()
    assert item.id in made
    assert_as_indexed_now(item)


def test_document_in_an_old_mapping_is_made_anew(upgraded, made):
    item = member(upgraded)
    client = current_indexer_registry.get("records").client
    old = index.prefix_index("rdmrecords-records-record-v0.0.0")
    found = client.get(index=index.name_of("record"), id=item.id)
    remove_document(item)
    client.indices.create(
        index=old, body={"aliases": {index.prefix_index("rdmrecords"): {}}}
    )
    try:
        version = {"version": found["_version"], "version_type": "external_gte"}
        client.index(index=old, id=item.id, body=found["_source"], **version)
        index.drain()
    finally:
        client.indices.delete(index=old)
    assert item.id in made
    assert_as_indexed_now(item)


def remove_document(item):
    client, name = (
        current_indexer_registry.get("records").client,
        index.name_of("record"),
    )
    # With its version: else OpenSearch raises it, and remembers that for a minute.
    version = client.get(index=name, id=item.id)["_version"]
    client.delete(index=name, id=item.id, version=version, version_type="external_gte")


def test_missing_document_is_made_anew(upgraded, made):
    item = member(upgraded)
    remove_document(item)
    index.drain()
    assert item.id in made
    assert f"record {item.id}" in snapshot.documents()
    assert_as_after_full_reindex()


def test_indexers_are_registered_with_queues_of_their_own(app):
    names = {current_indexer_registry.get(name).mq_queue.name for name in OURS}
    assert names == set(OURS)


@pytest.fixture
def proxy(app):
    """A proxy in front of OpenSearch, which the application talks to; no pauses."""
    with index.proxied(app, 10, {"max_retries": 5, "retry_on_timeout": True}) as proxy:
        yield proxy


@pytest.mark.parametrize("failure", ["429", "item", "cut", "cut after"])
def test_passing_failures_lose_nothing(upgraded, proxy, outcomes, failure):
    proxy.failures = [failure] * 2
    for _ in range(3):  # a failure may end a turn
        index.drain()
    assert not proxy.failures
    assert not any(o.refused for o in outcomes)
    assert verified(upgraded).is_clean
    assert_as_after_full_reindex()


def test_what_fails_at_every_try_waits_in_the_queue(upgraded, proxy, outcomes):
    proxy.failures = ["429"] * 2  # for three documents, then for one
    our = current_indexer_registry.get(RECORD.own_indexer)
    messages = index.waiting([RECORD.own_indexer])
    our.process_bulk_queue()
    assert len(outcomes) == 1 and outcomes[0].again and not proxy.failures
    assert index.waiting([RECORD.own_indexer]) == messages
    index.drain()
    assert verified(upgraded).is_clean


def test_what_cannot_be_handed_on_stays_in_the_queue(upgraded, outcomes, monkeypatch):
    def refuse(kind, id):
        return 503, Exception("no")

    remove_document(member(upgraded))
    monkeypatch.setattr(correct, "made", refuse)
    messages = index.waiting([RECORD.own_indexer])
    monkeypatch.setitem(celery_app.conf, "broker_write_url", faults.NOWHERE)
    our = current_indexer_registry.get(RECORD.own_indexer)
    with pytest.raises(OperationalError):
        our.process_bulk_queue()
    monkeypatch.undo()
    *done, last = outcomes
    assert last.again and not any(o.again for o in done)
    wait_until_given_back(messages - len(done))
    index.drain()
    assert verified(upgraded).is_clean


def test_too_large_requests_are_made_smaller(upgraded, proxy, outcomes):
    proxy.largest_bytes = 30_000
    index.drain()
    assert not any(o.again or o.refused for o in outcomes)
    assert verified(upgraded).is_clean


@pytest.fixture
def unfit(upgraded, monkeypatch):
    """A record whose document, as it stands in the index, does not fit the mapping."""
    item = member(upgraded)
    put = Truth.correct

    def spoil(self, document):
        if document["_id"] == item.id:
            document["_source"]["metadata"] = "not an object"
        return put(self, document)

    monkeypatch.setattr(Truth, "correct", spoil)
    return item


def test_document_that_does_not_fit_the_mapping_is_made_anew(upgraded, unfit, made):
    index.drain()
    assert unfit.id in made
    assert verified(upgraded).is_clean
    assert_as_after_full_reindex()


def test_document_refused_for_good_becomes_a_problem(upgraded, unfit, monkeypatch):
    item, make = unfit, correct.made

    def refuse(kind, id):
        return (400, "no") if id == item.id else make(kind, id)

    monkeypatch.setattr(correct, "made", refuse)
    index.drain()
    found = {p[1] for p in upgraded.instance.problems() if p[2] == "index_refused"}
    assert found == {item.id}
    named = "SELECT label FROM kcworks_created_dates_problem WHERE entity_id = :id"
    assert upgraded.instance.scalar(named, id=item.id) == item.label
    verdict = verified(upgraded)
    assert verdict.stale.shown == [f"record {item.label}"]
    monkeypatch.undo()
    assert verified(upgraded, fix=True).written == 1
    assert verified(upgraded).is_clean


def test_document_that_is_too_large_becomes_a_problem(upgraded, proxy):
    proxy.largest_bytes = 1_000
    index.drain()
    found = {p[1] for p in upgraded.instance.problems() if p[2] == "index_refused"}
    assert member(upgraded).id in found
    proxy.largest_bytes = 0
    verdict = verified(upgraded, fix=True)
    assert 0 < verdict.written == verdict.stale.count >= len(found)
    assert verified(upgraded).is_clean


@pytest.mark.parametrize("when", ["before", "after"])
def test_killed_worker_loses_nothing(upgraded, when):
    def work_until_killed() -> None:
        write = Index.write

        def killed(self, documents):
            if when == "after":
                write(self, documents)
            faults.kill_this_process()

        Index.write = killed
        process_bulk_queue(indexer_name=RECORD.own_indexer)

    messages = index.waiting([RECORD.own_indexer])
    child = faults.Child(upgraded.instance, work_until_killed)
    assert child.wait() == -signal.SIGKILL, child.output()
    wait_until_given_back(messages)
    index.drain()
    assert verified(upgraded).is_clean
    assert_as_after_full_reindex()


def wait_until_given_back(messages):
    """The broker gives the message back when it sees that its connection is gone."""
    is_back = "the broker has given the message back"
    faults.wait_until(
        lambda: index.waiting([RECORD.own_indexer]) == messages,
        is_back,
        pause_seconds=0.1,
    )


def verified(world, **more):
    snapshot.documents()  # refreshes the index
    db.session.remove()
    return world.instance.verify(**more)


def test_verify_tells_missing_wrong_and_rows_and_fixes(upgraded):
    index.drain()
    assert verified(upgraded).is_clean
    assert verified(upgraded, sample=5).right < verified(upgraded).right
    item, other = members(upgraded)[:2]
    remove_document(item)
    wrong = "2001-01-01T00:00:00+00:00"
    rewrite(other, lambda source: source.update(created=wrong))
    verdict = verified(upgraded, fix=True)
    assert verdict.missing.shown == [f"record {item.label}"]
    assert verdict.stale.shown == [f"record {other.label}"]
    assert verdict.written == 2
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
        assert "0 stale, 0 missing" in result.output


def test_verify_looks_twice_at_what_somebody_publishes(upgraded, monkeypatch):
    index.drain()
    item = member(upgraded)
    # The row is committed, and its document is only written after the first look.
    remove_document(item)
    looks = []

    def write(seconds, check_stop) -> None:
        looks.append(seconds)
        current_indexer_registry.get("records").index_by_id(item.id)

    monkeypatch.setattr(compare, "pause", write)
    assert verified(upgraded).is_clean
    assert looks == [compare.SECOND_LOOK_SECONDS]


def test_verify_tells_what_to_do_within_80_columns(upgraded, app):
    def lines(*options: str) -> list[str]:
        runner = app.test_cli_runner()
        return runner.invoke(created_dates, ["verify", *options]).output.splitlines()

    busy = lines()
    assert busy[0].startswith("Not all right: documents:")
    assert busy[-2].startswith("The index settles by itself")
    assert busy[-1] == "  invenio kcworks-created-dates verify --fix"
    index.drain()
    remove_document(member(upgraded))
    snapshot.documents()
    fixed = lines("--fix")
    assert fixed[0].endswith("0 stale, 1 missing, 1 of these brought right")
    snapshot.documents()
    right = lines()
    assert len(right) == 1 and right[0].startswith("All right: documents:")
    assert max(map(len, [*busy, *fixed, *right])) <= 80


def check_generated(world, outcomes, made, count: int, seed: int) -> None:
    broken = {item.id for item in world.sample.items if item.is_broken}

    def whole(documents):  # OpenSearch refuses the others
        return {k: d for k, d in documents.items() if k.split()[1] not in broken}

    index.generate(world.instance, world.sample, count, seed)
    before = whole(after_full_reindex())
    for change in (world.instance.upgrade, world.instance.downgrade):
        change()
        del outcomes[:], made[:]
        index.drain()
        found = whole(snapshot.documents())
        changed = [key for key in found if found[key] != before[key]]
        with index.forgetful():
            index.empty_index()
            fresh = whole(after_full_reindex())
        assert list(differences(fresh, found)) == []
        if change == world.instance.upgrade:
            kinds = {key.split()[0] for key in changed}
            assert kinds == {"record", "draft", "community"}
            assert len(changed) > count
        assert sum(len(o.written) for o in outcomes) >= len(changed)
        assert not made and not any(o.again or o.refused for o in outcomes)
    assert list(differences(before, found)) == []


# The last ones, as they leave what they have generated.


def test_generated_documents_equal_a_fresh_full_reindex(world, outcomes, made):
    check_generated(world, outcomes, made, count=30, seed=20261124)


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_many_generated_documents_equal_a_fresh_full_reindex(
    world, outcomes, made, seed
):
    world.instance.execute("TRUNCATE kcworks_created_dates_run CASCADE")
    check_generated(world, outcomes, made, count=200, seed=seed)
