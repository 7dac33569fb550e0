# SPDX-FileCopyrightText: 2026 kcworks-migrations contributors
# SPDX-License-Identifier: MIT
"""The Celery tasks, in real workers over RabbitMQ, with results in Redis."""

import json
import signal

import pytest
from celery import current_app as celery_app
from celery import uuid
from celery.states import READY_STATES
from support.faults import broker_at, outcome
from support.worker import QUEUE, result_of, wait_until

from kcworks_migrations import migration
from kcworks_migrations.ledger.runs import locked
from kcworks_migrations.report import results
from kcworks_migrations.tasks import RETRY_PAUSES_SECONDS
from kcworks_migrations.tasks import (
    update_community_created_dates_task as communities_task,
)
from kcworks_migrations.tasks import update_record_created_dates_task as records_task

LEGACY = "2016-02-29T13:11:39Z"
SLOW = {"batch_size": 20, "delay": 0.3}
"""Leaves time to do something to a run between two batches."""


def waiting() -> int:
    """Count the tasks that wait for a worker."""
    with celery_app.connection_for_read() as connection:
        return connection.default_channel.queue_declare(QUEUE, passive=True)[1]


def wait_for_batches(instance, task_id: str, rows: int = 40) -> None:
    """Wait until a run of this task has done some rows."""
    wait_until(
        lambda: instance.scalar(
            "SELECT count(*) FROM kcworks_created_dates_run"
            " WHERE task_id = :task_id AND (progress->>'done')::int >= :rows",
            task_id=task_id,
            rows=rows,
        ),
        "the run has done some batches",
    )


def runs(instance):
    return instance.execute("SELECT * FROM kcworks_created_dates_run ORDER BY id")


def rows_of(instance):
    """Give what must be the same however the work was done."""
    found = outcome(instance)
    return found.created, found.entries, instance.problems()


@pytest.fixture
def wanted(instance):
    """What an undisturbed update leaves behind; the instance is as before it."""
    instance.many(300, 6)
    instance.record("2016-01-01T00:00:00Z", [{"group_name": "no identifier"}])
    instance.community("no such group")
    instance.record("2016-01-01", label="bad-day")
    instance.upgrade()
    wanted = rows_of(instance)
    instance.downgrade()
    instance.execute("TRUNCATE kcworks_created_dates_run CASCADE")
    return wanted


def check_sum(result) -> None:
    parts = result["updated"] + result["skipped"] + result.get("no_records", 0)
    listed = len(result["errors"]) + result["errors_not_listed"]
    assert parts + listed == result["total_found"]


def queue(invoke, *options: str) -> dict:
    done = invoke("update", "--background", "--yes", "--json", *options)
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout)["tasks"]


# --- what comes out ------------------------------------------------------------------


def test_tasks_leave_what_one_update_leaves(instance, invoke, worker, wanted):
    ids = queue(invoke, "--batch-size", "50", "--delay", "0.3")
    assert waiting() == 1  # the communities' is behind the records'
    worker.start()
    seen = []

    def is_ready() -> bool:
        # One look: a task may end between its state and its progress.
        found = celery_app.backend.get_task_meta(ids["records"])
        if found["status"] == "PROGRESS" and found["result"] not in seen:
            seen.append(found["result"])
        return found["status"] in READY_STATES

    wait_until(is_ready, "the records are done")
    assert {"phase", "done", "total", "rate", "batch"} <= seen[-1].keys()
    of_records = [progress for progress in seen if progress["phase"] == "records"]
    assert {progress["total"] for progress in of_records} == {302}
    assert 0 < of_records[-1]["done"] <= 302
    records = result_of(ids["records"]).get()
    communities = result_of(ids["communities"]).get()
    assert rows_of(instance) == wanted
    assert [(r.task_id, r.origin, r.status) for r in runs(instance)] == [
        (ids["records"], "celery", "succeeded"),
        (ids["communities"], "celery", "succeeded"),
    ]
    assert records["total_found"] == 302
    assert records["group_errors"] == 1
    bad = next(e for e in records["errors"] if e["pid"] == "bad-day")
    assert bad["record_id"]
    assert bad["error"] == 'a date without a time: "2016-01-01"'
    assert (communities["total_found"], communities["no_records"]) == (7, 1)
    for result in (records, communities):
        check_sum(result)
        assert result["stopped_early"] is False


def test_dry_run_tells_the_same_and_writes_nothing(instance, worker, wanted):
    before = instance.all_created()
    worker.start()
    dry = records_task.delay(dry_run=True)
    dry = result_of(dry.id).get()
    assert instance.all_created() == before
    assert not runs(instance)
    real = result_of(records_task.delay().id).get()
    for result in (dry, real):
        check_sum(result)
        result["errors"].sort(key=lambda error: error["pid"])
        del result["run"]
    assert dry == real


def test_options_reach_the_run(instance, invoke, worker, wanted, tmp_path):
    names = tmp_path / "names"
    names.write_text("syn-1\nsyn-community-1\n")
    options = ("--limit", "3", "--exclude", names, "--start-date", "2024-05-01")
    options += ("--reason", "the curators asked")
    ids = queue(invoke, *options)
    worker.start()
    assert result_of(ids["records"]).get()["updated"] == 3
    assert result_of(ids["communities"]).get()["updated"] == 3
    changed = {entry.label for entry in instance.backup()}
    assert not changed & {"syn-1", "syn-community-1"}
    of_records, of_communities = runs(instance)
    assert of_records.options["start_date"] == "2024-05-01"
    assert of_records.reason == of_communities.reason == "the curators asked"


def test_errors_beyond_the_bound_are_counted(instance, worker, monkeypatch):
    monkeypatch.setattr(results, "ERRORS_LISTED", 2)
    for _ in range(5):
        instance.record("2016-01-01")
    for dry_run in (True, False):
        result = records_task.apply(kwargs={"dry_run": dry_run}).get()
        assert (len(result["errors"]), result["errors_not_listed"]) == (2, 3)
        check_sum(result)


@pytest.mark.parametrize(
    ("parameters", "text"),
    [
        ({"start_date": "2016-02-30"}, "start_date is '2016-02-30', but must be a day"),
        ({"end_date": "yesterday"}, "end_date is 'yesterday', but must be a day"),
        (
            {"batch_size": 0},
            "batch_size is 0, but must be a whole number from 1 to 100000",
        ),
        ({"limit": 0}, "limit is 0, but must be a whole number, 1 or more"),
        ({"delay": -1}, "delay is -1, but must be a number from 0 to 3600"),
    ],
)
def test_bad_parameters_fail_at_once(instance, parameters, text):
    with pytest.raises(Exception, match=text):
        records_task.apply(kwargs=parameters).get()
    assert not runs(instance)


@pytest.mark.parametrize(
    ("task", "parameters", "text"),
    [
        (records_task, {"exclude": ["pid-0", "pid-O"]}, r"no community: pid-O\."),
        (
            communities_task,
            {"exclude": ["slug-0", "slug-O"]},
            r"no community: slug-O\.",
        ),
        (records_task, {"exclude": [7]}, r"exclude is \[7\]"),
        (
            records_task,
            {"start_date": "2024-02-02", "end_date": "2024-02-01"},
            "start date, 2024-02-02, is later than the end date, 2024-02-01",
        ),
        (records_task, {"start_date": ""}, "start_date is '', but must be a day"),
        (records_task, {"batch_size": 2.5}, "batch_size is 2.5"),
        (communities_task, {"limit": 2.5}, "limit is 2.5"),
        (communities_task, {"delay": "5"}, "delay is '5'"),
        (communities_task, {"dry_run": None}, "dry_run is None"),
        (records_task, {"verbose": "no"}, "verbose is 'no'"),
        (records_task, {"reason": ""}, "reason is ''"),
        (records_task, {"queue": 1}, "queue is 1"),
    ],
)
def test_a_task_refuses_what_the_command_would(instance, task, parameters, text):
    instance.record(LEGACY, [{"group_identifier": "7"}], label="pid-0")
    instance.community("7", slug="slug-0")
    with pytest.raises(Exception, match=text):
        task.apply(kwargs=parameters).get()
    assert not instance.backup()
    assert not runs(instance)


def test_names_of_both_kinds_are_excluded_by_both_tasks(instance):
    instance.record(LEGACY, [{"group_identifier": "7"}], label="pid-0")
    instance.community("7", slug="slug-0")
    for task in (records_task, communities_task):
        result = task.apply(kwargs={"exclude": ["pid-0", "slug-0"]}).get()
        assert (result["updated"], result["skipped"]) == (0, 1)


# --- stopped -------------------------------------------------------------------------


def test_stop_fails_the_records_and_never_begins_the_communities(
    instance, invoke, worker, wanted
):
    ids = queue(invoke, "--batch-size", "20", "--delay", "0.3")
    worker.start()
    wait_for_batches(instance, ids["records"])
    assert "has ended: stopped" in invoke("stop").output
    result = result_of(ids["records"])
    assert result.state == "FAILURE"
    assert "Run the same command again" in str(result.result)
    again = queue(invoke, "--records-only")  # comes after all that was queued before
    result_of(again["records"]).get()
    assert celery_app.AsyncResult(ids["communities"]).state == "PENDING"
    assert [run.status for run in runs(instance)] == ["stopped", "succeeded"]


def test_revoked_while_it_runs_it_stops_after_its_batch(instance, worker, wanted):
    worker.start()
    task = records_task.apply_async(
        kwargs=SLOW, link=communities_task.si().set(task_id="never")
    )
    wait_for_batches(instance, task.id)
    child = worker.child
    task.revoke(terminate=True)
    wait_until(lambda: runs(instance)[0].status == "stopped", "the run stopped")
    run = runs(instance)[0]
    assert run.statistics["records"]["total_found"] % 20 == 0
    # The worker is none the worse: its next task is done by another child, which may
    # be lost without being taken for the revoked one.
    again = records_task.delay(**SLOW)
    wait_for_batches(instance, again.id, rows=run.progress["done"] + 20)
    assert worker.child != child
    worker.kill_child()
    check_sum(result_of(again.id).get())
    assert task.state == "REVOKED"
    assert celery_app.AsyncResult("never").state == "PENDING"
    assert result_of(communities_task.delay().id).state == "SUCCESS"
    assert rows_of(instance) == wanted
    statuses = [run.status for run in runs(instance)]
    assert statuses == ["stopped", "failed", "succeeded", "succeeded"]


def test_revoked_before_it_begins_it_is_dropped(instance, worker):
    instance.many(20, 2)
    worker.start()
    other = records_task.delay(batch_size=1, delay=0.3)
    wait_for_batches(instance, other.id, rows=1)
    task = communities_task.delay()
    task.revoke()
    result_of(other.id).get()
    assert result_of(task.id).state == "REVOKED"
    assert len(runs(instance)) == 1


def test_warm_shutdown_lets_it_finish(instance, worker, wanted):
    worker.start()
    task = records_task.delay(**SLOW)
    wait_for_batches(instance, task.id)
    worker.stop()
    assert task.state == "SUCCESS"
    assert waiting() == 0


# --- lost ----------------------------------------------------------------------------


def check_rerun(instance, wanted, status: str) -> None:
    """Check that the records' task ended with this status and was done again."""
    assert rows_of(instance) == wanted
    lost, rerun, communities = runs(instance)
    assert [lost.status, rerun.status] == [status, "succeeded"]
    assert lost.task_id == rerun.task_id != communities.task_id


# The last one as from Ctrl-C in the terminal of the worker.
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_lost_child_is_replaced_and_its_task_done_again(
    instance, invoke, worker, wanted, number
):
    ids = queue(invoke, "--batch-size", "20", "--delay", "0.3")
    worker.start()
    wait_for_batches(instance, ids["records"])
    worker.kill_child(number)
    result = result_of(ids["records"]).get()
    check_sum(result)
    assert result["total_found"] == 302
    result_of(ids["communities"]).get()
    check_rerun(instance, wanted, "failed" if number == signal.SIGKILL else "stopped")


@pytest.mark.parametrize("ending", ["kill", "cold"])
def test_lost_worker_is_replaced_and_its_task_done_again(
    instance, invoke, worker, wanted, ending
):
    ids = queue(invoke, "--batch-size", "20", "--delay", "0.3")
    worker.start()
    wait_for_batches(instance, ids["records"])
    if ending == "kill":
        worker.kill()
    else:
        worker.stop(signal.SIGQUIT)
    done = instance.run().progress["done"]
    wait_until(waiting, "the broker takes the message back")
    worker.start()
    result = result_of(ids["records"]).get()
    assert 0 < done < result["total_found"] == 302
    result_of(ids["communities"]).get()
    check_rerun(instance, wanted, "failed" if ending == "kill" else "stopped")


def test_another_run_at_work_is_waited_for(instance, engine, worker, wanted):
    worker.start()
    with locked(engine, 5):  # as the connection of a killed worker does
        # An id of its own: a result is kept for a day.
        then = communities_task.si().set(task_id=uuid())
        task = records_task.apply_async(link=then)
        wait_until(lambda: task.state == "RETRY", "the task waits")
    assert result_of(task.id).state == "SUCCESS"
    assert result_of(then.id).state == "SUCCESS"
    assert rows_of(instance) == wanted


def test_retry_keeps_no_worker_from_other_tasks_for_long():
    """A worker may hold the message until then, and takes a few at a time."""
    assert max(RETRY_PAUSES_SECONDS) <= 60
    assert sum(RETRY_PAUSES_SECONDS) >= 30 * 60


# --- the command ---------------------------------------------------------------------


def test_background_prints_the_ids_and_what_to_do(instance, invoke, worker):
    done = invoke("update", "--background", "--yes")
    assert done.exit_code == 0
    for text in ("Queued the records: task ", "Queued the communities: task "):
        assert text in done.output
    assert "celery -A invenio_app.celery control revoke" in done.output
    assert all(len(line) <= 80 for line in done.stdout.splitlines())
    assert "communities" not in queue(invoke, "--records-only")
    assert "records" not in queue(invoke, "--communities-only")


def test_background_without_a_broker_fails_soon(instance, invoke):
    with broker_at("amqp://guest:guest@127.0.0.1:1//"):
        done = invoke("update", "--background", "--yes")
    assert done.exit_code == 3
    assert "no task was queued" in done.output
    assert not runs(instance)


def test_broken_result_backend_does_not_fail_a_run(instance, monkeypatch, caplog):
    """A stand-in for Redis that is away: taking it away would take it from all."""
    instance.many(60, 2)

    def fail(*args, **options):
        raise ConnectionError("away")

    monkeypatch.setattr(records_task, "update_state", fail)
    assert records_task.apply(kwargs={"batch_size": 20}).get()["total_found"] == 60
    assert caplog.text.count("is not told the progress") == 1


def test_errors_of_communities_name_the_group(instance):
    """One whose group is known, and whose date can't be read."""
    instance.record(LEGACY, [{"group_identifier": "7"}])
    id = instance.community("7", slug="slug-0", created="0044-03-15 BC")
    (error,) = communities_task.apply().get()["errors"]
    assert error == {
        "community_id": id,
        "slug": "slug-0",
        "group_id": "7",
        "error": error["error"],
    }


def test_run_row_has_the_task(instance):
    instance.many(5, 1)
    result = communities_task.apply(task_id="a-task").get()
    assert instance.run().task_id == "a-task"
    assert result["run"] == instance.run().id
    assert result["unfinished"] == []
    assert migration.apply(instance.engine, "cli").run_id != result["run"]
