# SPDX-FileCopyrightText: 2026 kcworks-migrations contributors
# SPDX-License-Identifier: MIT
"""The broker dies before, during and after the queueing: no id is ever lost."""

import os
import re
import signal
import threading
from contextlib import contextmanager
from uuid import uuid4

import processes
import pytest
from celery import current_app as celery_app
from invenio_indexer.proxies import current_indexer_registry
from invenio_records_resources.tasks import manage_indexer_queues
from kombu import Queue
from support.faults import Point, at, at_message, check_queued
from support.worker import QUEUE

from kcworks_migrations.checks import check, services
from kcworks_migrations.index import broker, outbox
from kcworks_migrations.kinds import KINDS, RECORD

QUEUED = "SET queued_at = clock_timestamp()"


@pytest.fixture
def working(filled, own_broker, small_messages):
    """A filled instance with a broker that may be killed."""
    filled.empty_queues()
    return filled


def changed(instance) -> int:
    return len(instance.backup())


def pending(instance) -> int:
    return len([e for e in instance.backup() if e.queued_at is None])


def test_apply_with_the_broker_dead_before(working, own_broker, capsys):
    own_broker.stop(kill=True)
    try:
        summary = working.upgrade()
    finally:
        own_broker.start()
    assert working.run().status == "succeeded"
    assert summary.pending == pending(working) == changed(working) > 0
    assert "invenio kcworks-created-dates reindex" in capsys.readouterr().out
    assert working.send_pending().pending == 0
    check_queued(working)


@pytest.mark.parametrize("number", [1, 150])
@pytest.mark.parametrize("action", ["upgrade", "downgrade"])
def test_runs_with_the_broker_killed_before_a_message(
    working, own_broker, action, number
):
    if action == "downgrade":
        working.upgrade()
        working.empty_queues()
    try:
        with at_message(number, lambda: own_broker.stop(kill=True)):
            summary = getattr(working, action)()
    finally:
        own_broker.start()
    assert working.run().status == "succeeded"
    assert summary.queue_error
    assert 0 < summary.pending == pending(working) <= changed(working)
    assert working.send_pending().pending == 0
    check_queued(working)


def test_apply_with_the_broker_killed_between_two_batches(
    working, own_broker, monkeypatch
):
    monkeypatch.setattr(outbox, "BATCH_ROWS", 50)
    point = Point("committed", QUEUED, 3)
    try:
        with at(working.engine, point, lambda connection: own_broker.stop(kill=True)):
            summary = working.upgrade()
    finally:
        own_broker.start()
    assert summary.pending == pending(working) == changed(working) - 6 - 2 * 50
    assert working.send_pending().pending == 0
    check_queued(working)


def test_queued_ids_survive_a_broker_that_is_killed_after(working, own_broker):
    summary = working.upgrade()
    assert summary.pending == 0
    own_broker.stop(kill=True)
    own_broker.start()
    check_queued(working)


def test_apply_with_a_broker_that_hangs_ends_in_bounded_time(
    working, own_broker, monkeypatch
):
    monkeypatch.setattr(broker, "BROKER_TIMEOUT_SECONDS", 2)
    family = [own_broker.pid, *processes.descendants(own_broker.pid)]

    def send(signal_number) -> None:
        for pid in family:
            os.kill(pid, signal_number)

    rescues = []

    def rescue_run() -> None:
        rescues.append(True)
        send(signal.SIGCONT)

    rescue = threading.Timer(40, rescue_run)
    rescue.start()
    try:
        with at_message(20, lambda: send(signal.SIGSTOP)):
            summary = working.upgrade()
    finally:
        rescue.cancel()
        send(signal.SIGCONT)
    assert not rescues, "nothing bounded the waiting"
    assert summary.queue_error
    assert summary.pending == pending(working) > 0
    assert working.send_pending().pending == 0
    check_queued(working)


@contextmanager
def full_queues(own_broker):
    """Let the broker refuse what comes once ten messages wait in a queue."""
    full = '{"max-length": 10, "overflow": "reject-publish"}'
    own_broker.ctl("set_policy", "--apply-to", "queues", "full", ".*", full)
    try:
        yield
    finally:
        own_broker.ctl("clear_policy", "full")


def test_apply_with_a_broker_that_refuses(working, own_broker):
    with full_queues(own_broker):
        summary = working.upgrade()
    assert summary.queue_error == "the broker refused messages"
    assert 0 < summary.pending == pending(working)
    assert working.send_pending().pending == 0
    check_queued(working)


def test_reindex_sends_again_what_a_broker_lost(working, own_broker):
    working.upgrade()
    working.empty_queues()
    assert working.send_pending().sent == 0
    sent = working.send_pending(is_again=True)
    assert (sent.pending, sent.error) == (0, None)
    check_queued(working)


def test_reindex_with_the_broker_dead_says_so(working, own_broker):
    own_broker.stop(kill=True)
    try:
        working.upgrade()
        sent = working.send_pending()
    finally:
        own_broker.start()
    assert (sent.sent, sent.pending) == (0, changed(working))
    assert sent.error and sent.error.isprintable()


@pytest.fixture(params=["another type", "no right"])
def refused_queues(request, own_broker):
    """Queues of ours that the broker refuses to declare; all their names."""
    names = [kind.own_indexer for kind in KINDS]
    with celery_app.connection_for_write() as connection:
        for name in names:
            queue = Queue(name)(connection)
            queue.delete()
            if request.param == "another type":
                queue.queue_arguments = {"x-queue-type": "quorum"}
                queue.declare()
    if request.param == "no right":
        own_broker.ctl("set_permissions", "guest", "^(?!kcworks).*", ".*", ".*")
    yield names
    own_broker.ctl("set_permissions", "guest", ".*", ".*", ".*")
    with celery_app.connection_for_write() as connection:
        for name in names:
            Queue(name)(connection).delete()


def test_queue_that_is_refused_leaves_the_others_alone(
    filled, own_broker, refused_queues, monkeypatch
):
    monkeypatch.setattr(services, "PING_SECONDS", 0.1)
    current_indexer_registry.get(RECORD.indexer).bulk_index([str(uuid4())])
    manage_indexer_queues()
    with celery_app.connection_for_write() as connection:
        task = Queue(QUEUE)(connection).get(no_ack=True)
        assert task.headers["kwargsrepr"] == "{'indexer_name': 'records'}"
        assert Queue(QUEUE)(connection).get(no_ack=True) is None
    stops = [line for line in check(filled.engine) if line.level == "stop"]
    assert {line.name for line in stops} == {"queues"}
    assert [line.fact.split()[2] for line in stops] == refused_queues
    summary = filled.upgrade()
    assert summary.pending == changed(filled) > 0
    assert re.search("PRECONDITION_FAILED|ACCESS_REFUSED", summary.queue_error)
