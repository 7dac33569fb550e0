# SPDX-FileCopyrightText: 2026 kcworks-migrations contributors
# SPDX-License-Identifier: MIT
"""An unhealthy OpenSearch keeps ids in the outbox, and dates change all the same."""

import json
import os
import signal
import socket
import threading
from contextlib import ExitStack
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
from celery import current_app as celery_app
from invenio_search import current_search_client
from support import faults
from support.faults import Point, at, check_queued

from kcworks_migrations.cli import created_dates
from kcworks_migrations.errors import RunFailedError, RunStoppedError
from kcworks_migrations.index import documents, health, outbox
from kcworks_migrations.kinds import KINDS

CLOSED = "127.0.0.1:1"
QUEUED = "SET queued_at = clock_timestamp()"
NOWHERE = {"index.routing.allocation.require._name": "a node that does not exist"}


@pytest.fixture
def set_option(app, monkeypatch):
    def set_option(name, value):
        monkeypatch.setitem(app.config, f"KCWORKS_CREATED_DATES_{name}", value)

    return set_option


def make_red() -> None:
    current_search_client.indices.create(
        index="sick-red", body={"settings": NOWHERE}, wait_for_active_shards=0
    )


def make_well() -> None:
    current_search_client.indices.delete(index="sick-red")


def changed(instance) -> int:
    return len(instance.backup())


def test_look_tells_green_yellow_and_red_apart(own_search):
    assert health.look(5) == health.Health(True, "green", "Cluster status is GREEN")
    current_search_client.indices.create(
        index="sick-yellow", body={"settings": {"number_of_replicas": 1}}
    )
    seen = health.look(5)
    assert (seen.is_healthy, seen.status) == (True, "yellow")
    make_red()
    assert health.look(5) == health.Health(False, "red", "Cluster status is RED")


def test_red_index_of_another_application_is_none_of_ours(filled, own_search):
    ours = {"aliases": dict.fromkeys(map(documents.alias_of, KINDS[1:]), {})}
    current_search_client.indices.create(index="sick-ours", body=ours)
    make_red()
    # One of ours is absent, which is not waited for.
    assert health.look(30).is_healthy
    assert filled.upgrade().pending == 0
    current_search_client.indices.delete(index="sick-ours")
    current_search_client.indices.create(
        index="sick-ours", body=ours | {"settings": NOWHERE}, wait_for_active_shards=0
    )
    assert health.look(30).status == "red"


def test_look_at_a_closed_port_is_unreachable(app):
    with faults.search_at(app, CLOSED):
        seen = health.look(1)
    assert (seen.is_healthy, seen.status) == (False, "unreachable")
    assert "OpenSearch not responsive" in seen.reason and seen.reason.isprintable()


def test_look_at_a_server_that_never_answers_is_unreachable(app):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        with faults.search_at(app, f"127.0.0.1:{silent.getsockname()[1]}"):
            assert health.look(1).status == "unreachable"


def test_look_at_a_server_that_refuses_is_an_error(app):
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(403)
            self.end_headers()

        def log_message(self, *args) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        with faults.search_at(app, f"127.0.0.1:{server.server_port}"):
            seen = health.look(5)
    finally:
        server.shutdown()
        server.server_close()
    assert (seen.is_healthy, seen.status) == (False, "error")


def test_upgrade_with_a_red_cluster_keeps_the_ids(filled, own_search, app, capsys):
    make_red()
    summary = filled.upgrade()
    err = capsys.readouterr().err
    assert "OpenSearch health check failed: Cluster status is RED. Pausing for" in err
    assert "OpenSearch still unhealthy after pause: Cluster status is RED" in err
    run = filled.run()
    assert run.status == "succeeded"
    assert summary.pending == changed(filled) > 0
    assert f"processed 0 of {changed(filled)} changes" in run.message
    assert run.statistics["stopped_early"] is True
    assert run.statistics["stopped_at_record"] == 0
    assert run.statistics["stopped_at_community"] == 0
    assert not filled.queued("records")
    invoke = app.test_cli_runner().invoke
    stopped = invoke(created_dates, ["reindex", "--json"])
    assert stopped.exit_code == 3
    make_well()
    assert invoke(created_dates, ["reindex"]).exit_code == 0
    check_queued(filled)


def test_upgrade_stops_in_the_middle_and_says_where(filled, own_search, monkeypatch):
    monkeypatch.setattr(outbox, "BATCH_ROWS", 50)
    # The first batch is the communities, the second and third are records.
    point = Point("committed", QUEUED, 3)
    with at(filled.engine, point, lambda connection: make_red()):
        summary = filled.upgrade()
    statistics = filled.run().statistics
    assert statistics["stopped_at_record"] == 100
    assert statistics["stopped_at_community"] == len(filled.backup(kind="community"))
    assert summary.pending == len(filled.backup(kind="record")) - 100 > 0
    make_well()
    assert filled.send_pending().pending == 0
    check_queued(filled)


def test_queueing_goes_on_when_the_pause_has_helped(filled, own_search, monkeypatch):
    make_red()

    def recover(seconds, check_stop) -> None:
        if seconds:
            make_well()

    monkeypatch.setattr(health, "pause", recover)
    summary = filled.upgrade()
    assert (summary.pending, summary.queue_error) == (0, None)
    assert filled.run().statistics["stopped_early"] is False
    check_queued(filled)


def test_yellow_is_said_once_and_stops_nothing(filled, own_search, monkeypatch, capsys):
    monkeypatch.setattr(outbox, "BATCH_ROWS", 50)
    current_search_client.indices.create(
        index="sick-yellow", body={"settings": {"number_of_replicas": 1}}
    )
    assert filled.upgrade().pending == 0
    assert capsys.readouterr().err.count("Cluster status is YELLOW") == 1


def test_delay_stands_between_two_batches_only(
    filled, own_search, monkeypatch, set_option
):
    set_option("QUEUE_DELAY_SECONDS", 7)
    monkeypatch.setattr(outbox, "BATCH_ROWS", 200)
    events = []
    look = health.look

    def looked(seconds):
        events.append("look")
        return look(seconds)

    monkeypatch.setattr(health, "look", looked)
    monkeypatch.setattr(health, "pause", lambda seconds, check: events.append(seconds))
    filled.upgrade()
    looks = events.count("look")
    assert looks > 2
    assert events == ["look", *[7, "look"] * (looks - 1)]


def test_pause_ends_when_somebody_asks_to_stop(filled, own_search, set_option):
    make_red()
    set_option("HEALTH_PAUSE_SECONDS", 60)
    # An alarm for the time when the run is in its pause.
    timer = threading.Timer(5, os.kill, (os.getpid(), signal.SIGTERM))
    timer.start()
    try:
        with pytest.raises(RunStoppedError):
            filled.upgrade()
    finally:
        timer.cancel()
    assert filled.run().status == "stopped"
    make_well()
    assert filled.upgrade().pending == 0


def test_broker_connection_outlives_a_pause(filled, own_search, set_option):
    """A server closes a connection whose heartbeat nobody keeps."""
    set_option("HEALTH_PAUSE_SECONDS", 5)
    heartbeat = celery_app.conf.broker_heartbeat
    celery_app.conf.broker_heartbeat = 1
    make_red()
    pause = health.pause

    def wait(seconds, check_stop) -> None:
        pause(seconds, check_stop)
        if seconds:
            make_well()

    patch = pytest.MonkeyPatch()
    patch.setattr(health, "pause", wait)
    try:
        summary = filled.upgrade()
    finally:
        patch.undo()
        celery_app.conf.broker_heartbeat = heartbeat
    assert (summary.pending, summary.queue_error) == (0, None)


@pytest.mark.parametrize("action", ["upgrade", "downgrade"])
def test_database_is_held_up_if_the_setting_asks(filled, app, set_option, action):
    set_option("BATCH_SIZE", 50)
    if action == "downgrade":
        filled.upgrade()
        filled.empty_queues()
    before = filled.all_created()
    set_option("HEALTH_GATES_DATABASE", True)
    with faults.search_at(app, CLOSED):
        with pytest.raises(RunFailedError, match="unhealthy") as raised:
            getattr(filled, action)()
    assert raised.value.exit_code == 3
    run = filled.run()
    assert run.status == "failed"
    done = filled.all_created()
    assert 0 < sum(done[key] != before[key] for key in done) <= 50
    summary = getattr(filled, action)()
    assert summary.pending == 0


def test_search_that_fails_behind_the_last_row_fails_no_run(filled, app, set_option):
    """The dates are right then, whatever the setting says of the database."""
    set_option("HEALTH_GATES_DATABASE", True)
    with ExitStack() as closed:

        def close(connection) -> None:
            closed.enter_context(faults.search_at(app, CLOSED))

        with at(filled.engine, Point("before", "ANALYZE"), close):
            summary = filled.upgrade()
    assert summary.status == filled.run().status == "succeeded"
    assert "unhealthy" in summary.queue_error
    assert summary.pending == len(filled.backup())


def test_database_is_not_held_up_by_default(filled, app, capsys):
    with faults.search_at(app, CLOSED):
        summary = filled.upgrade(batch_size=50)
        assert filled.downgrade().status == "succeeded"
    assert summary.statistics.updated > 50
    assert "OpenSearch not responsive" in capsys.readouterr().err


def test_reindex_json_says_why_it_stopped(filled, app):
    with faults.search_at(app, CLOSED):
        filled.upgrade()
        result = app.test_cli_runner().invoke(created_dates, ["reindex", "--json"])
    assert result.exit_code == 3
    document = json.loads(result.stdout)
    assert document["pending"] == changed(filled)
    assert "not responsive" in document["error"]
