# SPDX-FileCopyrightText: 2026 kcworks-migrations contributors
# SPDX-License-Identifier: MIT
"""An editor and reader at work through the REST API while a run goes on."""

from collections import deque

import pytest
from invenio_db import db
from support import deposits
from support.faults import NOWHERE, Child, broker_at, wait_until
from support.latencies import Latencies, table

DATE = "2011-02-03T04:05:06Z"


@pytest.fixture
def person(instance, app, monkeypatch):
    """An editor and reader who works through the REST API."""
    import sample as demo_sample
    from shapes import Record

    monkeypatch.setitem(app.config, "PROPAGATE_EXCEPTIONS", True)
    instance.execute("UPDATE accounts_user SET email = id || '@example.org'")
    headers = {
        "Authorization": f"Bearer {demo_sample.create_token()}",
        "Accept": "application/json",
    }
    client = app.test_client()

    def request(latencies, name: str, method: str, path: str, **options):
        with app.app_context():  # a request must not see the login of the last
            response = latencies.measure(
                name, getattr(client, method), path, headers=headers, **options
            )
            assert response.status_code < 300, response.get_data(as_text=True)
            return response.get_json()

    paths = deque()

    def work(latencies) -> None:
        data = demo_sample.document(Record("By REST", DATE))
        draft = request(latencies, "create a draft", "post", "/records", json=data)
        paths.append(f"/records/{draft['id']}")
        request(latencies, "publish", "post", f"{paths[-1]}/draft/actions/publish")
        for _ in range(2):  # one after the other, those that the run changes as well
            path = paths[0]
            paths.rotate()
            request(latencies, "read", "get", path)
            found = {"q": "REST"}
            request(latencies, "search", "get", "/records", query_string=found)
            draft = request(latencies, "edit", "post", f"{path}/draft")
            draft["metadata"]["title"] = "By REST, edited"
            request(latencies, "save a draft", "put", f"{path}/draft", json=draft)
            request(latencies, "publish", "post", f"{path}/draft/actions/publish")

    with deposits.no_tasks():
        yield work
    db.session.remove()
    deposits.empty_index()


def check_latencies(instance, person, capsys, rows: int, rounds: int) -> None:
    instance.many(rows, 500)
    quiet, busy = Latencies(), Latencies()
    person(Latencies())  # the first of all fills caches
    for _ in range(rounds):
        person(quiet)

    def work() -> None:
        with broker_at(NOWHERE):  # queueing so many ids would take long
            instance.upgrade()

    child = Child(instance, work)
    wait_until(
        lambda: instance.scalar("SELECT count(*) FROM kcworks_created_dates_run"),
        "the run has begun",
    )
    person(busy)
    while child.poll() is None:
        person(busy)
    assert child.wait() == 0, child.output()
    with capsys.disabled():
        title = (
            f"Milliseconds of a request, without and during a run over {rows:,} rows:"
        )
        print(f"\n{table(title, quiet, busy)}")
    assert set(busy.names()) == set(quiet.names())
    edited = instance.execute(
        "SELECT created FROM rdm_records_metadata"
        " WHERE json->'metadata'->>'title' LIKE 'By REST%'"
    )
    assert len(edited) > rounds
    instance.upgrade()  # for what was published behind the cursor
    made = instance.scalar(
        "SELECT count(*) FROM rdm_records_metadata WHERE created > '2025-01-01'"
    )
    assert made == 0


def test_editor_and_reader_beside_a_run_over_20_000_rows(instance, person, capsys):
    check_latencies(instance, person, capsys, rows=20_000, rounds=2)


@pytest.mark.slow
def test_editor_and_reader_beside_a_run_over_100_000_rows(instance, person, capsys):
    check_latencies(instance, person, capsys, rows=100_000, rounds=10)
