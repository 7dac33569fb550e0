# SPDX-FileCopyrightText: 2026 kcworks-migrations contributors
# SPDX-License-Identifier: MIT
"""Tasks in real workers: one that is delivered again, and one after the other."""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from support.faults import wait_until
from support.worker import Worker, forget_tasks, result_of

from kcworks_migrations.tasks import update_record_created_dates_task as records_task

LEGACY = "2016-02-29T13:11:39Z"

LIMIT = 3
SETTING = "INVENIO_KCWORKS_CREATED_DATES_"


class Webhook(ThreadingHTTPServer):
    """A web server that is told the end of each run, and answers when it may.

    That is where a worker can be killed behind its run and before its message is
    acknowledged.
    """

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.was_told, self.may_answer = threading.Event(), threading.Event()
        self.may_answer.set()


class Handler(BaseHTTPRequestHandler):
    """Takes what is posted."""

    def log_message(self, *args) -> None:
        pass

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.server.was_told.set()
        self.server.may_answer.wait()
        self.send_response(204)
        self.end_headers()


@pytest.fixture(scope="module")
def webhook():
    """The web server that the worker's runs tell their end to."""
    server = Webhook()
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.may_answer.set()
    server.shutdown()
    server.server_close()


@pytest.fixture(scope="module")
def worker(app, webhook, tmp_path_factory):
    """A worker at work, the same for all tests here: it takes long to start."""
    forget_tasks()
    settings = {
        f"{SETTING}WEBHOOK_URL": f"http://127.0.0.1:{webhook.server_port}/",
        f"{SETTING}WEBHOOK_SECRET": "a secret",
        f"{SETTING}WEBHOOK_TIMEOUT_SECONDS": "60",
    }
    worker = Worker(tmp_path_factory.mktemp("worker") / "worker.log", **settings)
    worker.start()
    yield worker
    worker.kill()


def queue(invoke, *options) -> dict[str, str]:
    done = invoke("update", "--background", "--yes", "--json", *options)
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout)["tasks"]


def test_task_delivered_again_keeps_to_its_limit(instance, invoke, webhook, worker):
    instance.many(20, 2)
    webhook.may_answer.clear()
    id = queue(invoke, "--records-only", "--limit", LIMIT)["records"]
    wait_until(webhook.was_told.is_set, "the run has told its end")
    assert instance.run().status == "succeeded"
    assert len(instance.backup()) == LIMIT
    worker.kill_child()
    webhook.may_answer.set()
    result_of(id).get()
    assert worker.log.count(f"{id}] received") == 2, worker.log
    assert len(instance.backup()) == LIMIT


def test_background_sends_no_record_twice(instance, invoke, worker):
    instance.many(20, 2)
    for id in queue(invoke).values():
        result_of(id).get()
    changed = {entry.entity for entry in instance.backup(kind="record")}
    assert changed and instance.backup(kind="community")
    queued = instance.queued("records")
    assert changed <= set(queued)
    twice = {id for id in queued if queued.count(id) > 1}
    assert not twice, f"{len(twice)} of {len(set(queued))} records were sent twice"


@pytest.mark.parametrize("kind", ["records", "communities"])
def test_one_task_alone_queues_by_itself(instance, invoke, worker, kind):
    instance.many(20, 2)
    (id,) = queue(invoke, f"--{kind}-only").values()
    result_of(id).get()
    assert instance.backup()
    assert all(entry.queued_at for entry in instance.backup())


def test_what_the_records_leave_pending_is_told(instance, invoke):
    """The task of the communities that follows may be dropped by somebody."""
    instance.record(LEGACY)
    assert records_task.apply(kwargs={"queue": False}).get()["pending"] == 1
    assert not instance.queued("records")
    assert "Pending reindexing: 1 change" in invoke("status").output
