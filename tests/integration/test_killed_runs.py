# SPDX-FileCopyrightText: 2026 kcworks-migrations contributors
# SPDX-License-Identifier: MIT
"""A killed run is noticed by the next tick or run, which tells of it."""

import signal

import pytest
from support import faults, index
from support.settling import later, lose_messages, settle, tick

from kcworks_migrations.ledger.runs import locked
from kcworks_migrations.report import notices

CHANGE = "INSERT INTO kcworks_created_dates_backup"


@pytest.fixture
def told(app, monkeypatch):
    """Keep run, status and subject of each notice, those of settling as well."""
    monkeypatch.setitem(app.config, "KCWORKS_CREATED_DATES_NOTICE_WHEN", "both")
    found = []

    def tell(app, summary):
        found.append(summary)

    with notices.run_ended.connected_to(tell):
        yield found


@pytest.fixture
def killed(instance):
    """An instance whose run was killed after its first batch; the run's number."""
    instance.many(30, 2)

    def work() -> None:
        point = faults.Point("committed", CHANGE)
        with faults.at(instance.engine, point, faults.kill_this_process):
            instance.upgrade()

    child = faults.Child(instance, work)
    assert child.wait() == -signal.SIGKILL, child.output()
    assert instance.run().status == "running"
    return instance.run().id


def check_told(told, run_id: int) -> None:
    [summary] = told
    assert (summary.run_id, summary.status) == (run_id, "failed")
    assert summary.statistics.updated > 20
    assert "its process ended without a word" in summary.message
    assert notices.subject_of(summary).endswith(f"run {run_id}: failed")


def test_tick_notices_a_killed_run(instance, killed, told):
    tick()
    check_told(told, killed)
    assert instance.run().status == "failed"
    tick()
    assert len(told) == 1


@pytest.mark.parametrize(
    "command", [("update", "--yes"), ("rollback", "--yes"), ("reindex",)]
)
def test_next_run_notices_a_killed_run(instance, killed, told, invoke, command):
    assert invoke(*command).exit_code in (0, 1)
    check_told(told[:1], killed)
    assert len(told) == (1 if command == ("reindex",) else 2)


def test_run_at_work_was_not_killed(instance, engine, told):
    instance.many(3, 1)
    instance.upgrade()
    told.clear()
    with locked(engine, 1):
        instance.execute(
            "UPDATE kcworks_created_dates_run SET status = 'running', backend_pid ="
            " (SELECT pid FROM pg_locks WHERE locktype = 'advisory' LIMIT 1)"
        )
        tick()
    assert told == []
    assert instance.run().status == "running"


def test_killed_run_is_noticed_while_something_else_holds_the_lock(
    instance, engine, killed, told
):
    with locked(engine, 1) as database:
        database.transaction(
            database.execute,
            faults.text("UPDATE kcworks_created_dates_run SET status = 'running'"),
        )
        tick()  # it can't be closed now
    tick()
    check_told(told, killed)


def test_settling_sends_one_notice_for_all_runs(world, told):
    for options in ({"limit": 3}, {"limit": 5}, {}):
        world.upgrade(**options)
    lose_messages(world)
    assert len(told) == 3  # each when it ended
    told.clear()
    first, second, third = (
        row.id
        for row in world.execute("SELECT id FROM kcworks_created_dates_run ORDER BY 1")
    )
    settle(world)
    [summary] = told
    assert summary.has_settled and summary.run_id == third
    assert [line for line in summary.index if "Settled with it" in line] == [
        f"Settled with it: run {first} (apply, succeeded)",
        f"Settled with it: run {second} (apply, succeeded)",
    ]
    later(world, 5)
    world.downgrade()
    told.clear()
    index.drain()
    settle(world)
    [summary] = told
    assert summary.run_id == world.run().id
    assert not any("Settled with it" in line for line in summary.index)
