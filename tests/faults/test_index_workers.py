# SPDX-FileCopyrightText: 2026 kcworks-migrations contributors
# SPDX-License-Identifier: MIT
"""Real Celery workers drain the queues of dates, and beat tells them to.

A proxy in front of OpenSearch tells when a worker is in the middle of it. Whatever
happens then, nothing is lost: another worker, or the same one later, ends the work.
"""

import ast
import os
import re

import pytest
from celery.schedules import maybe_schedule
from invenio_search import current_search_client
from support import deposits, index
from support.index import verdict_of, waiting
from support.instance import Instance
from support.worker import BEAT_TASK, Worker, forget_tasks, wait_until

from kcworks_migrations.index import indexer

COPIES = 600
MESSAGE_IDS = 100
"""So that there are some messages before and after a failure."""


@pytest.fixture(scope="module")
def crowd(app, engine):
    """Many real documents in a community, all of which the upgrade changes."""
    instance = Instance(engine)
    instance.empty()
    instance.empty_queues()
    instance.execute("DELETE FROM oaiserver_set")  # of communities of other tests
    deposits.empty_index()
    with deposits.no_tasks():
        community = deposits.create_community("crowd", "77")
        record = deposits.publish("Original", "2011-02-03T04:05:06Z", "77")
        deposits.add_to_community(str(community.id), record.id)
    index.multiply(instance, COPIES)
    yield instance
    instance.empty()
    deposits.empty_index()


@pytest.fixture
def upgrade(crowd, monkeypatch):
    """Upgrade, so that messages wait; at the end all is as before."""
    monkeypatch.setattr(indexer, "MESSAGE_IDS", MESSAGE_IDS)
    crowd.execute("TRUNCATE kcworks_created_dates_run CASCADE")
    crowd.empty_queues()

    def upgrade() -> Instance:
        crowd.upgrade()
        verdict = verdict_of(crowd)
        assert verdict.stale.count > COPIES and not verdict.is_clean
        return crowd

    yield upgrade
    crowd.empty_queues()
    crowd.downgrade()
    index.drain()


@pytest.fixture
def proxy():
    """A proxy in front of OpenSearch."""
    [host] = ast.literal_eval(os.environ["INVENIO_SEARCH_HOSTS"])
    proxy = index.Proxy(host)
    yield proxy
    proxy.stop()


@pytest.fixture
def start_worker(tmp_path, proxy):
    """Start workers with beat, which talk to OpenSearch through the proxy."""
    workers = []

    def start(*options, **environment) -> Worker:
        worker = Worker.with_beat(
            tmp_path / f"worker-{len(workers)}.log",
            *options,
            **{"INVENIO_SEARCH_HOSTS": repr([proxy.host])} | environment,
        )
        worker.start()
        workers.append(worker)
        return worker

    forget_tasks()
    yield start
    for worker in workers:
        worker.kill()
    forget_tasks()


def wait_until_clean(instance) -> None:
    # A message that a worker has got is in no queue any more.
    wait_until(lambda: not waiting(), "the queues are empty")
    wait_until(lambda: verdict_of(instance).is_clean, "every document is right")


def remove_documents(kind: str, ids: list[str]) -> None:
    """Remove documents, which Invenio's indexer then rebuilds."""
    name = index.name_of(kind)
    for id in ids:
        version = current_search_client.get(index=name, id=id)["_version"]
        current_search_client.delete(
            index=name, id=id, version=version, version_type="external_gte"
        )


def test_beat_of_the_application_has_the_queues_drained(upgrade, app, start_worker):
    schedule = app.config["CELERY_BEAT_SCHEDULE"]["indexer"]
    assert schedule["task"] == BEAT_TASK and maybe_schedule(schedule["schedule"])
    upgraded = upgrade()
    ids = [entry.entity for entry in upgraded.backup(kind="record")][:5]
    remove_documents("record", ids)
    worker = start_worker()
    wait_until_clean(upgraded)
    name = index.name_of("record")
    found = current_search_client.mget(index=name, body={"ids": ids})["docs"]
    assert all(document["found"] for document in found)
    assert "Task invenio_indexer.tasks.process_bulk_queue" in worker.log
    assert "Traceback" not in worker.log


def test_killed_workers_and_a_busy_opensearch_lose_nothing(
    upgrade, proxy, start_worker
):
    upgraded = upgrade()
    killed = []

    def kill(failure: str) -> str:
        worker.kill()
        killed.append(worker)
        return failure

    # Before a request is done and after it, and then more failures in a row than the
    # indexer has tries, so that messages go back to their queue.
    proxy.failures = ["", lambda: kill("cut"), "", lambda: kill("")]
    proxy.failures += [*["429"] * 4, "item", "cut", "cut after"]
    # With the settings of the instance the client itself would send again, and take
    # the failures that are meant for the indexer.
    once = {"INVENIO_SEARCH_CLIENT_CONFIG": repr({"max_retries": 0})}
    for number in (1, 2):
        worker = start_worker(**once)
        wait_until(lambda number=number: len(killed) == number, "it is killed")
        assert not verdict_of(upgraded).is_clean
    worker = start_worker(**once)
    wait_until_clean(upgraded)
    assert not proxy.failures
    assert "they stay queued" in worker.log
    assert not [p for p in upgraded.problems() if p[2] == "index_refused"]


def test_broker_killed_in_the_middle_loses_nothing(
    own_broker, upgrade, proxy, start_worker
):
    restarted = []

    def restart() -> str:
        own_broker.stop(kill=True)
        own_broker.start()
        restarted.append(True)
        return "cut"

    proxy.failures = ["", "", restart]
    upgraded = upgrade()
    names = ("INVENIO_BROKER_URL", "INVENIO_CELERY_BROKER_URL")
    start_worker(**dict.fromkeys(names, own_broker.uri))
    wait_until(lambda: restarted, "the broker is back")
    wait_until_clean(upgraded)


def test_opensearch_killed_in_the_middle_loses_nothing(
    own_opensearch, app, upgrade, start_worker
):
    restarted = []

    def restart() -> str:
        own_opensearch.stop(kill=True)
        own_opensearch.start()
        restarted.append(True)
        return "cut"

    proxy = index.Proxy(own_opensearch.uri)
    proxy.failures = ["", "", restart]
    try:
        with index.indices_at(app, own_opensearch.uri):
            upgraded = upgrade()
            start_worker(INVENIO_SEARCH_HOSTS=repr([proxy.host]))
            wait_until(lambda: restarted, "OpenSearch is back")
            wait_until_clean(upgraded)
    finally:
        proxy.stop()


@pytest.fixture
def eager_module(tmp_path):
    """An installed module that uses the search client while the application is made.

    That is before Celery forks, so that the children inherit its open connection.
    """
    (tmp_path / "eager.py").write_text(
        "from invenio_search import current_search_client\n\n\n"
        "def ask(app):\n"
        "    with app.app_context():\n"
        "        current_search_client.info()\n"
    )
    installed = tmp_path / "eager-1.dist-info"
    installed.mkdir()
    (installed / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: eager\nVersion: 1"
    )
    entry_point = "[invenio_base.finalize_app]\neager = eager:ask\n"
    (installed / "entry_points.txt").write_text(entry_point)
    return {"PYTHONPATH": str(tmp_path)}


def test_children_of_a_worker_read_their_own_answers(
    upgrade, crowd, eager_module, start_worker
):
    copies = [row[0] for row in crowd.execute(index.SELECT_COPIES)]
    index.draft(crowd, copies)
    try:
        upgraded = upgrade()
        for kind in ("record", "draft"):
            remove_documents(kind, copies[::20])
        worker = start_worker("--concurrency", "2", **eager_module)
        wait_until_clean(upgraded)
        wrong = index.stale_documents(upgraded)
    finally:
        crowd.execute("DELETE FROM rdm_drafts_metadata")
        current_search_client.delete_by_query(
            index=index.name_of("draft"), body={"query": {"match_all": {}}}
        )
    children = set(re.findall(r"ForkPoolWorker-\d+", worker.log))
    assert len(children) == 2, "both have worked"
    assert "Traceback" not in worker.log and "stay queued" not in worker.log
    assert not wrong and not upgraded.problems()
