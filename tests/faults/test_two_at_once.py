# SPDX-FileCopyrightText: 2026 kcworks-migrations contributors
# SPDX-License-Identifier: MIT
"""Two runs at once: one works, the other says who is working."""

import threading

import pytest
from support.faults import (
    DATA_REVISION,
    Child,
    Point,
    at,
    check_queued,
    other_connection,
    outcome,
    stamped_before_the_data,
    stop_this_process,
)
from support.instance import OURS
from support.worker import result_of

from kcworks_migrations import locks, migration
from kcworks_migrations.errors import RunInProgressError
from kcworks_migrations.locks import LOCK_KEY
from kcworks_migrations.tasks import update_record_created_dates_task

CHANGE = "INSERT INTO kcworks_created_dates_backup"
RESTORE = "UPDATE kcworks_created_dates_backup AS b"
QUEUED = "SET queued_at = clock_timestamp()"


@pytest.fixture(autouse=True)
def small_batches(app, monkeypatch):
    monkeypatch.setitem(app.config, "KCWORKS_CREATED_DATES_BATCH_SIZE", 40)


@pytest.fixture
def no_patience(monkeypatch):
    """Refuse at once, instead of waiting for the lock of a run that was killed."""
    monkeypatch.setattr(locks, "LOCK_PAUSES_SECONDS", (0,))


def stopped_child(instance, work, point: Point) -> Child:
    """Start a child and wait until it holds itself at a point."""

    def until_point() -> None:
        with at(instance.engine, point, stop_this_process):
            work()

    child = Child(instance, until_point)
    child.wait_until_stopped()
    return child


@pytest.mark.parametrize(
    ("origin", "point"),
    [
        ("alembic", Point("after", CHANGE, 2)),
        ("cli", Point("committed", QUEUED)),
        ("celery", Point("commit", CHANGE, 3)),
    ],
)
def test_everything_refuses_while_an_upgrade_is_at_work(
    filled, origin, point, no_patience
):
    filled.upgrade()
    whole = outcome(filled)
    filled.downgrade()
    filled.execute("TRUNCATE kcworks_created_dates_run CASCADE")
    child = stopped_child(filled, lambda: migration.apply(filled.engine, origin), point)
    before = filled.all_created()
    for work in (filled.upgrade, filled.downgrade, filled.send_pending):
        with pytest.raises(RunInProgressError) as error:
            work()
        run = filled.run()
        assert f"run {run.id} ({origin}), started 20" in error.value.message
        assert error.value.exit_code == 4
    assert filled.all_created() == before
    child.go_on()
    assert child.wait() == 0, child.output()
    assert outcome(filled) == whole


def test_everything_refuses_while_a_downgrade_is_at_work(filled, no_patience):
    filled.upgrade()
    child = stopped_child(filled, filled.downgrade, Point("after", RESTORE, 3))
    for work in (filled.upgrade, filled.downgrade):
        with pytest.raises(RunInProgressError, match=f"run {filled.run().id} "):
            work()
    child.go_on()
    assert child.wait() == 0, child.output()
    assert {e.outcome for e in filled.backup()} == {"restored"}


def test_second_run_names_nobody_before_the_first_has_its_row(filled, no_patience):
    begun = Point("before", "INSERT INTO kcworks_created_dates_run")
    child = stopped_child(filled, filled.upgrade, begun)
    with pytest.raises(RunInProgressError, match="work: a run holds the lock"):
        filled.upgrade()
    child.kill()


def test_holder_that_was_killed_leaves_no_lock(filled):
    child = stopped_child(filled, filled.upgrade, Point("after", CHANGE, 2))
    with pytest.raises(RunInProgressError):
        filled.upgrade()
    child.kill()
    filled.upgrade()
    assert filled.run().status == "succeeded"


def test_lock_that_is_freed_in_a_moment_is_waited_for(filled):
    # As that of a killed run whose end the server has yet to notice.
    holder = other_connection(filled)
    holder.cursor().execute("SELECT pg_advisory_lock(%s)", [LOCK_KEY])
    release = threading.Timer(0.5, holder.close)
    release.start()
    filled.upgrade()
    release.join()
    assert filled.run().status == "succeeded"


@pytest.fixture
def run_elsewhere(instance):
    """A run of an instance in another schema of the database; give what ends it."""
    instance.execute("CREATE SCHEMA other")
    instance.execute(f"CREATE TABLE other.{OURS}run (id bigint)")
    holder = other_connection(instance)
    holder.cursor().execute("SELECT pg_advisory_lock(%s)", [LOCK_KEY])
    yield holder.close
    holder.close()
    instance.execute("DROP SCHEMA other CASCADE")


OTHERS = (
    "Instances in other schemas of this database (other) take the same lock; their runs"
    " are shown by their own `status` alone."
)


def test_run_in_another_schema_is_told_of(instance, invoke, no_patience, run_elsewhere):
    def told(*command: str) -> str:
        return " ".join(invoke(*command).output.split())

    instance.record("2016-02-29T13:11:39Z")
    for command in ("update", "rollback", "reindex"):
        options = ["--yes"] * (command != "reindex")
        assert f"a run holds the lock. {OTHERS} Nothing" in told(command, *options)
    assert OTHERS in told("check")
    status = told("status")
    assert f"No run of this instance is at work. {OTHERS}" in status
    assert "status again, when the other run has ended" in status
    assert "to end it" not in status
    threading.Timer(1, run_elsewhere).start()
    assert f"waiting for its end. {OTHERS}" in told("stop")
    assert OTHERS not in told("status")
    assert invoke("update", "--yes").exit_code == 0


def test_run_of_this_schema_is_named_beside_others(filled, invoke, no_patience):
    filled.execute("CREATE SCHEMA other")
    filled.execute(f"CREATE TABLE other.{OURS}run (id bigint)")
    try:
        child = stopped_child(filled, filled.upgrade, Point("after", CHANGE, 2))
        for command in (["update", "--yes"], ["status"], ["check"]):
            assert "No run of this" not in invoke(*command).output
        assert OTHERS not in invoke("update", "--yes").output
        child.kill()
    finally:
        filled.execute("DROP SCHEMA other CASCADE")


@pytest.mark.parametrize("second", ["upgrade", "downgrade"])
def test_runs_started_together_are_as_one_after_the_other(filled, second):
    before = filled.all_created()
    filled.upgrade()
    upgraded = filled.all_created()
    filled.downgrade()
    for _ in range(5):
        children = [Child(filled, getattr(filled, w)) for w in ("upgrade", second)]
        results = [(child.wait(), child.output()) for child in children]
        assert 0 in [status for status, _ in results], results
        for status, output in results:
            assert status == 0 or "RunInProgressError: Another run" in output
        assert filled.all_created() in (before, upgraded)
        assert len({e.entity for e in filled.backup() if e.outcome is None}) in (0, 285)
        filled.downgrade()
        assert filled.all_created() == before


def test_task_and_upgrade_started_together(filled, worker):
    before = filled.all_created()
    filled.upgrade()
    upgraded = filled.all_created()
    filled.downgrade()
    worker.start()
    result_of(update_record_created_dates_task.delay(dry_run=True).id)  # it is awake
    slow = {"batch_size": 20, "delay": 0.15}  # longer than either waits for the lock
    for _ in range(2):
        filled.execute("TRUNCATE kcworks_created_dates_run CASCADE")
        task = update_record_created_dates_task.delay(**slow)
        child = Child(filled, lambda: filled.upgrade(batch_size=20, delay=0.15))
        status, output = child.wait(), child.output()
        # A task that comes second tries again, a command says who is working.
        result = result_of(task.id)
        assert result.state == "SUCCESS", result.result
        assert status == 0 or "RunInProgressError: Another run is at work: " in output
        assert {run.origin for run in runs(filled)} == {"celery", *["cli"][status:]}
        assert not runs_that_overlap(filled)
        filled.upgrade()
        assert filled.all_created() == upgraded
        filled.downgrade()
        assert filled.all_created() == before


def runs(instance):
    return instance.execute("SELECT * FROM kcworks_created_dates_run ORDER BY id")


def runs_that_overlap(instance) -> int:
    """Count the pairs of runs that were at work at the same time."""
    return instance.scalar(
        "SELECT count(*) FROM kcworks_created_dates_run AS a"
        " JOIN kcworks_created_dates_run AS b ON a.id < b.id"
        " AND b.started_at < a.finished_at"
    )


def test_alembic_upgrades_started_together(filled, app):
    alembic = app.extensions["invenio-db"].alembic
    with stamped_before_the_data(filled):
        children = [
            Child(filled, lambda: alembic.upgrade("kcworks_migrations@head"))
            for _ in range(2)
        ]
        results = [(child.wait(), child.output()) for child in children]
        stamps = filled.scalar(
            "SELECT count(*) FROM alembic_version WHERE version_num = :revision",
            revision=DATA_REVISION,
        )
    assert 0 in [status for status, _ in results], results
    assert stamps == 1
    assert len(filled.backup()) == len({e.entity for e in filled.backup()}) == 285
    check_queued(filled)
