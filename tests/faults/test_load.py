# SPDX-FileCopyrightText: 2026 kcworks-migrations contributors
# SPDX-License-Identifier: MIT
"""Sixteen people edit and search through the REST API while the queues are drained."""

import http.client
import json
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import urlencode, urlsplit

import pytest
import sample as demo_sample
from invenio_db import db
from invenio_search import current_search_client
from shapes import Record
from support import deposits, index
from support.faults import wait_until
from support.index import verdict_of, waiting
from support.instance import Instance, utc
from support.latencies import Latencies, table
from support.worker import Worker, forget_tasks

from kcworks_migrations.kinds import KINDS

PEOPLE = 16
SERVERS = 2
"""A process serves eight people, as the pool of the database has 15 connections."""
DATE = "2011-02-03T04:05:06Z"
SERVE = Path(demo_sample.__file__).with_name("serve.py")


class Person:
    """Edits a record of their own, reads it, and searches, over and over."""

    def __init__(self, api: str, token: str) -> None:
        parts = urlsplit(api)
        self._host, self._base = parts.netloc, parts.path
        self._headers = {
            "Authorization": f"Bearer {token}",
            "Accept": "application/json",
            "Content-Type": "application/json",
        }
        self.pid = ""
        self.title = ""
        """The last title that the server has accepted."""
        self.rounds = 0

    def request(self, latencies: Latencies, name: str, method: str, path: str, body=""):
        def send():
            connection = http.client.HTTPConnection(self._host, timeout=120)
            data = json.dumps(body) if body else None
            connection.request(method, self._base + path, data, self._headers)
            response = connection.getresponse()
            content = response.read()
            connection.close()
            return response.status, content

        status, content = latencies.measure(name, send)
        assert status < 300, f"{method} {path}: {status} {content[:500]!r}"
        return json.loads(content)

    def create(self) -> None:
        """Publish the record."""
        data = demo_sample.document(Record("Crowd", DATE, groups=("77",)))
        draft = self.request(Latencies(), "create", "POST", "/records", data)
        self.pid = draft["id"]
        path = f"/records/{self.pid}/draft/actions/publish"
        self.request(Latencies(), "publish", "POST", path)

    def work(self, latencies: Latencies, least_found: int) -> None:
        """Edit and publish, read what came of it, and search for everything."""
        self.rounds += 1
        title = f"Crowd, edited {self.rounds} times"
        path = f"/records/{self.pid}"
        draft = self.request(latencies, "edit", "POST", f"{path}/draft")
        draft["metadata"]["title"] = title
        self.request(latencies, "save a draft", "PUT", f"{path}/draft", draft)
        publish = f"{path}/draft/actions/publish"
        published = self.request(latencies, "publish", "POST", publish)
        self.title = published["metadata"]["title"]
        read = self.request(latencies, "read", "GET", path)
        assert title == self.title == read["metadata"]["title"]
        query = urlencode({"q": "Crowd", "size": 5})
        found = self.request(latencies, "search", "GET", f"/records?{query}")
        assert found["hits"]["total"] >= least_found


class Crowd:
    """All people, each in a thread."""

    def __init__(self, people: list[Person], least_found: int) -> None:
        self.people = people
        self._least_found = least_found

    def create(self) -> None:
        """Let everybody publish a record."""
        self._each(Person.create)

    def work(self, latencies: Latencies, has_ended=lambda: True) -> None:
        """Let everybody work a round, and further ones until it has ended."""
        is_over = threading.Event()

        def go_on(person: Person) -> None:
            person.work(latencies, self._least_found)
            while not is_over.is_set():
                person.work(latencies, self._least_found)

        def watch() -> None:
            try:
                wait_until(has_ended, "it has ended", pause_seconds=0.2)
            finally:
                is_over.set()

        self._each(go_on, watch)

    def _each(self, work, watch=lambda: None) -> None:
        with ThreadPoolExecutor(PEOPLE) as pool:
            done = [pool.submit(work, person) for person in self.people]
            watch()
            for one in done:
                one.result()


@pytest.fixture
def apis(app, tmp_path):
    """Real servers of the REST API; gives their addresses."""
    paths = [tmp_path / f"api-{number}.url" for number in range(SERVERS)]
    servers = []
    for path in paths:
        with path.with_suffix(".log").open("w") as log:
            command = [sys.executable, str(SERVE), str(path)]
            servers.append(subprocess.Popen(command, stdout=log, stderr=log))
    for path, server in zip(paths, servers, strict=True):
        wait_until(
            lambda path=path, server=server: path.exists() or server.poll(),
            "the REST API answers",
        )
    yield [path.read_text() for path in paths]
    for server in servers:
        server.terminate()
        server.wait(30)


@pytest.fixture
def worker(tmp_path):
    forget_tasks()
    worker = Worker.with_beat(tmp_path / "worker.log")
    yield worker
    worker.kill()
    forget_tasks()


@pytest.fixture
def empty(app, engine):
    """An instance with a community, to be filled."""
    instance = Instance(engine)
    instance.empty()
    instance.empty_queues()
    instance.execute("DELETE FROM oaiserver_set")
    instance.execute("UPDATE accounts_user SET email = id || '@example.org'")
    deposits.empty_index()
    with deposits.no_tasks():
        community = deposits.create_community("crowd", "77")
    yield instance, str(community.id)
    instance.empty_queues()
    instance.empty()
    deposits.empty_index()


def check_load(empty, apis, worker, capsys, copies: int) -> None:
    instance, community = empty
    token = demo_sample.create_token()
    people = [Person(apis[n % SERVERS], token) for n in range(PEOPLE)]
    crowd = Crowd(people, least_found=copies)
    crowd.create()
    with deposits.no_tasks():
        for person in people:
            deposits.add_to_community(community, person.pid)
    index.drain()
    index.multiply(instance, copies)
    db.session.remove()
    quiet, busy = Latencies(), Latencies()
    crowd.work(quiet)
    worker.start()
    wait_until(lambda: " ready." in worker.log, "the worker is ready")

    runs = []

    def is_drained() -> bool:
        if not runs:  # people are at work during the upgrade, too
            runs.append(instance.upgrade())
        return not waiting(kind.own_indexer for kind in KINDS)

    crowd.work(busy, is_drained)
    worker.stop()
    index.drain()  # what edits have sent to the ordinary indexer
    assert verdict_of(instance).is_clean
    with capsys.disabled():
        title = f"Milliseconds of a request of {PEOPLE} people, without and during a"
        title += f" drain of {copies:,} documents:"
        print(f"\n{table(title, quiet, busy)}")
    assert set(busy.names()) == set(quiet.names())
    # No edit is lost, and every date is true: in the row, the document, the answer.
    rows = {
        row.pid: (row.id, row.title)
        for row in instance.execute(
            "SELECT id::text, json->>'id' AS pid, json->'metadata'->>'title' AS title"
            " FROM rdm_records_metadata WHERE json->>'id' = ANY(:pids)",
            pids=[person.pid for person in people],
        )
    }
    for person in people:
        id, title = rows[person.pid]
        document = current_search_client.get(index=index.name_of("record"), id=id)
        source = document["_source"]
        assert title == source["metadata"]["title"] == person.title
        assert instance.created(id) == utc(DATE[:19])
        assert utc(source["created"][:19]) == utc(DATE[:19])
        answer = person.request(Latencies(), "read", "GET", f"/records/{person.pid}")
        assert utc(answer["created"][:19]) == utc(DATE[:19])
    # The ordinary tasks fail when an editor was faster; ours do not.
    assert "kcworks_migrations/index/" not in worker.log


def test_people_beside_a_drain_of_2_000_documents(empty, apis, worker, capsys):
    check_load(empty, apis, worker, capsys, copies=2_000)


@pytest.mark.slow
def test_people_beside_a_drain_of_20_000_documents(empty, apis, worker, capsys):
    check_load(empty, apis, worker, capsys, copies=20_000)
