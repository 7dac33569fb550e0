# SPDX-FileCopyrightText: 2026 kcworks-migrations contributors
# SPDX-License-Identifier: MIT
"""SIGKILL at any instant: nothing is half done, and the rerun ends it.

Each process that is killed was forked from this one; the rerun happens in another
process, as in a terminal.
"""

import os
import random
import signal
import time

import pytest
from support.faults import (
    Child,
    Point,
    at,
    at_message,
    check_ledger,
    check_queued,
    end_backend,
    fill,
    forget_runs,
    kill_this_process,
    other_connection,
    outcome,
)
from support.instance import Instance

from kcworks_migrations.ledger.runs import KILLED

BATCH_SIZE = 20
SEED = 20260101

RUN_ROW = "INSERT INTO kcworks_created_dates_run"
CLOSED = "SET status = 'failed'"
CHANGE = "INSERT INTO kcworks_created_dates_backup"
PROGRESS = "SET statistics = CAST("
LOCKED = "reason = 'locked'"
COMMUNITIES = "FROM communities_metadata AS t"
ANALYZED = "ANALYZE kcworks_created_dates_backup"
EMBEDDING = "DECLARE kcworks_created_dates_pages"
PAGE = "FROM kcworks_created_dates_pages"
QUEUED = "SET queued_at = clock_timestamp()"
RESTORE = "UPDATE kcworks_created_dates_backup AS b"
END = "'status': 'succeeded'"

POINTS_OF_QUEUEING = {
    "between the last commit and the queueing": Point("before", ANALYZED),
    "after the ledger was analyzed": Point("committed", ANALYZED),
    "after what embeds communities was found": Point("after", EMBEDDING),
    "before the commit of what embeds communities": Point("commit", EMBEDDING),
    "in the midst of what embeds communities": Point("committed", PAGE),
    "before communities are marked as queued": Point("before", QUEUED),
    "after communities are marked as queued": Point("committed", QUEUED),
    "before records are marked as queued": Point("before", QUEUED, 2),
    "before the commit of that mark": Point("commit", QUEUED, 2),
    "after the commit of that mark": Point("committed", QUEUED, 2),
    "before the end is written": Point("before", END),
    "after the end is written": Point("after", END),
    "before the end is committed": Point("commit", END),
}
POINTS_OF_UPGRADE = {
    "before the run row": Point("before", RUN_ROW),
    "after the run row": Point("after", RUN_ROW),
    "before the commit of the run row": Point("commit", RUN_ROW),
    "after the commit of the run row": Point("committed", RUN_ROW),
    "before the first change": Point("before", CHANGE),
    "after the first change and its backup": Point("after", CHANGE),
    "after a later change and its backup": Point("after", CHANGE, 4),
    "after the problems": Point("after", "INSERT INTO kcworks_created_dates_problem"),
    "after the counters of a batch": Point("after", PROGRESS, 2),
    "before the commit of a batch": Point("commit", CHANGE, 2),
    "after the commit of a batch": Point("committed", CHANGE, 2),
    "before it comes back to locked rows": Point("before", LOCKED),
    "after the last record": Point("before", COMMUNITIES),
    "between records and communities": Point("committed", COMMUNITIES),
    "after the change of communities": Point("after", "'kind': 'community'", 1),
    "before the commit of communities": Point("commit", "'kind': 'community'", 1),
    "after the commit of communities": Point("committed", "'kind': 'community'", 1),
    **POINTS_OF_QUEUEING,
}
POINTS_OF_DOWNGRADE = {
    "before the run row": Point("before", RUN_ROW),
    "after the run row": Point("after", RUN_ROW),
    "before the commit of the run row": Point("commit", RUN_ROW),
    "after the commit of the run row": Point("committed", RUN_ROW),
    "before the first restoration": Point("before", RESTORE),
    "after the first restoration": Point("after", RESTORE),
    "after the counters of a batch": Point("after", PROGRESS, 3),
    "before the commit of communities": Point("commit", RESTORE, 1),
    "between communities and records": Point("committed", RESTORE, 1),
    "before the commit of a batch": Point("commit", RESTORE, 3),
    "after the commit of a batch": Point("committed", RESTORE, 3),
    "after a later restoration": Point("after", RESTORE, 5),
    "after the last restoration": Point("after", RESTORE, 8),
    "after the commit of the last restoration": Point("committed", RESTORE, 8),
    **POINTS_OF_QUEUEING,
}


class World:
    """The instance, and how undisturbed runs leave it."""

    def __init__(self, instance) -> None:
        self.instance = instance
        self.before = instance.all_created()
        self.checksums = instance.checksums(without_created=False)
        self.upgrade_seconds = self._measured(self.upgrade)
        self.upgraded = outcome(instance)
        self.downgrade_seconds = self._measured(self.downgrade)
        self.downgraded = outcome(instance)
        forget_runs(instance)

    @staticmethod
    def _measured(work) -> float:
        began = time.monotonic()
        work()
        return time.monotonic() - began

    def upgrade(self):
        return self.instance.upgrade()

    def downgrade(self):
        return self.instance.downgrade()

    def runs(self, action: str):
        """Give the runs of a kind, and how many changes each has that stand."""
        return self.instance.execute(
            "SELECT r.*, (SELECT count(*) FROM kcworks_created_dates_backup AS b"
            " WHERE b.run_id = r.id AND b.outcome IS NULL) AS standing"
            " FROM kcworks_created_dates_run AS r WHERE action = :action ORDER BY id",
            action=action,
        )

    def end_upgrade(self) -> None:
        """Check what killed upgrades left, run it again, and check the end."""
        check_ledger(self.instance, self.before)
        killed = self.runs("apply")
        summary = self.upgrade()
        assert outcome(self.instance) == self.upgraded
        self._check_closed("apply", killed)
        assert summary.unfinished == [
            (run.id, "apply", "failed", run.standing)
            for run in killed
            if run.status != "succeeded" and run.standing
        ]

    def end_downgrade(self) -> None:
        """Check what killed downgrades left, run it again, and check the end."""
        check_ledger(self.instance, self.before)
        killed = self.runs("revert")
        self.downgrade()
        assert outcome(self.instance) == self.downgraded
        assert self.instance.checksums(without_created=False) == self.checksums
        self._check_closed("revert", killed)

    def _check_closed(self, action: str, killed) -> None:
        """Check that the rerun was a run of its own and closed those before it."""
        *closed, rerun = self.runs(action)
        assert rerun.status == "succeeded"
        assert [run.id for run in closed] == [run.id for run in killed]
        for before, after in zip(killed, closed, strict=True):
            if before.status == "running":  # until the rerun came
                assert (after.status, after.message) == ("failed", KILLED)
                assert after.finished_at == before.progress_at
                counted = before.statistics
                assert after.statistics == counted | {
                    "stopped_early": True,
                    "stopped_at_record": counted["records"]["total_found"],
                    "stopped_at_community": counted["communities"]["total_found"],
                }
                assert after.standing == before.standing
            else:
                assert after == before


@pytest.fixture(scope="module")
def world_of_module(app, engine):
    instance = Instance(engine)
    instance.empty()
    instance.empty_queues()
    fill(instance, records=150)
    app.config["KCWORKS_CREATED_DATES_BATCH_SIZE"] = BATCH_SIZE
    yield World(instance)
    app.config["KCWORKS_CREATED_DATES_BATCH_SIZE"] = 1000


@pytest.fixture
def world(world_of_module, small_messages):
    """The instance as it was before the migration: each test leaves it so."""
    yield world_of_module
    forget_runs(world_of_module.instance)


@pytest.mark.parametrize("name", POINTS_OF_UPGRADE)
def test_apply_killed_at_a_point(world, name):
    def work() -> None:
        with at(world.instance.engine, POINTS_OF_UPGRADE[name], kill_this_process):
            world.upgrade()

    child = Child(world.instance, work)
    assert child.wait() == -signal.SIGKILL, child.output()
    world.end_upgrade()
    check_queued(world.instance)
    world.end_downgrade()


@pytest.mark.parametrize("name", POINTS_OF_DOWNGRADE)
def test_revert_killed_at_a_point(world, name):
    def work() -> None:
        with at(world.instance.engine, POINTS_OF_DOWNGRADE[name], kill_this_process):
            world.downgrade()

    world.upgrade()
    world.instance.empty_queues()
    child = Child(world.instance, work)
    assert child.wait() == -signal.SIGKILL, child.output()
    world.end_downgrade()
    check_queued(world.instance)


@pytest.mark.parametrize("action", ["upgrade", "downgrade"])
@pytest.mark.parametrize(
    "point",
    [
        Point("before", CLOSED),
        Point("after", CLOSED),
        Point("commit", CLOSED),
        Point("committed", CLOSED),
    ],
    ids=lambda point: point.when,
)
def test_rerun_killed_where_it_closes_the_killed_run(world, action, point):
    def killed_at(point) -> None:
        def work() -> None:
            with at(world.instance.engine, point, kill_this_process):
                getattr(world, action)()

        child = Child(world.instance, work)
        assert child.wait() == -signal.SIGKILL, child.output()

    if action == "downgrade":
        world.upgrade()
    killed_at(Point("after", {"upgrade": CHANGE, "downgrade": RESTORE}[action], 3))
    killed_at(point)
    if action == "upgrade":
        world.end_upgrade()
    world.end_downgrade()
    check_queued(world.instance)


@pytest.mark.parametrize("is_held", [True, False], ids=["held", "released"])
@pytest.mark.parametrize("when", ["after", "commit", "committed"])
def test_apply_killed_when_it_comes_back_to_held_rows(world, when, is_held):
    coming_back = "DELETE FROM kcworks_created_dates_problem"
    holder = other_connection(world.instance)
    holder.cursor().execute(
        "SELECT id FROM rdm_records_metadata ORDER BY id LIMIT 3 FOR UPDATE"
    )

    def release(connection) -> None:
        if not is_held:
            pid = holder.info.backend_pid
            end_backend(world.instance, pid)

    def work() -> None:
        with (
            at(world.instance.engine, Point("before", coming_back), release),
            at(world.instance.engine, Point(when, coming_back), kill_this_process),
        ):
            world.upgrade()

    child = Child(world.instance, work)
    assert child.wait() == -signal.SIGKILL, child.output()
    holder.close()
    world.end_upgrade()
    world.end_downgrade()


@pytest.mark.parametrize("number", [1, 2, 5, 100])
@pytest.mark.parametrize("action", ["upgrade", "downgrade"])
def test_queueing_killed_before_a_message(world, action, number):
    def work() -> None:
        with at_message(number, kill_this_process):
            getattr(world, action)()

    if action == "downgrade":
        world.upgrade()
        world.instance.empty_queues()
    child = Child(world.instance, work)
    assert child.wait() == -signal.SIGKILL, child.output()
    if action == "upgrade":
        world.end_upgrade()
        check_queued(world.instance)
    world.end_downgrade()
    check_queued(world.instance)


def test_second_signal_ends_a_run_at_once(world):
    def ask_twice(connection) -> None:
        for _ in range(2):
            os.kill(os.getpid(), signal.SIGTERM)

    def work() -> None:
        with at(world.instance.engine, Point("after", CHANGE, 2), ask_twice):
            world.upgrade()

    child = Child(world.instance, work)
    assert child.wait() == -signal.SIGTERM, child.output()
    world.end_upgrade()
    world.end_downgrade()


@pytest.mark.parametrize("when", ["before", "after", "commit"])
def test_run_killed_where_it_writes_that_it_was_stopped(world, when):
    def ask(connection) -> None:
        os.kill(os.getpid(), signal.SIGTERM)

    def work() -> None:
        marking = Point(when, "'status': 'stopped'")
        with (
            at(world.instance.engine, Point("after", CHANGE, 2), ask),
            at(world.instance.engine, marking, kill_this_process),
        ):
            world.upgrade()

    child = Child(world.instance, work)
    assert child.wait() == -signal.SIGKILL, child.output()
    assert world.instance.run().status == "running"
    world.end_upgrade()
    world.end_downgrade()


@pytest.mark.parametrize(
    ("point", "is_again"),
    [
        (Point("commit", "SET queued_at = NULL"), True),  # nothing was kept of it
        (Point("committed", "SET queued_at = NULL"), False),
        (Point("before", QUEUED), False),
        (Point("committed", QUEUED), False),
        (Point("commit", QUEUED, 2), False),
    ],
)
def test_reindexing_of_all_killed_at_a_point(world, point, is_again):
    def work() -> None:
        with at(world.instance.engine, point, kill_this_process):
            world.instance.send_pending(is_again=True)

    world.upgrade()
    world.instance.empty_queues()
    child = Child(world.instance, work)
    assert child.wait() == -signal.SIGKILL, child.output()
    assert world.instance.send_pending(is_again=is_again).pending == 0
    check_queued(world.instance)
    world.end_downgrade()


def kill_at_random(world, chance, action: str, seconds: float) -> bool:
    """Let a child work and kill it at some instant; tell whether it was at work."""
    child = Child(world.instance, getattr(world, action))
    time.sleep(chance.uniform(0, seconds))
    child.kill()
    return child.status == -signal.SIGKILL


def check_random_kills(world, wanted: int, seed: int) -> None:
    chance = random.Random(seed)
    kills = 0
    while kills < wanted:
        while kill_at_random(world, chance, "upgrade", world.upgrade_seconds):
            kills += 1
            check_ledger(world.instance, world.before)
            if chance.random() < 0.5:  # else it is killed once more
                break
        world.end_upgrade()
        check_queued(world.instance)
        while kill_at_random(world, chance, "downgrade", world.downgrade_seconds):
            kills += 1
            check_ledger(world.instance, world.before)
            if chance.random() < 0.5:
                break
        world.end_downgrade()
        check_queued(world.instance)
        forget_runs(world.instance)


def test_run_killed_at_random_instants(world):
    check_random_kills(world, 50, SEED)


@pytest.mark.slow
def test_run_killed_at_500_random_instants(world):
    check_random_kills(world, 500, SEED + 1)


def test_apply_killed_and_reverted_instead_of_rerun(world):
    chance = random.Random(SEED + 2)
    for _ in range(5):
        kill_at_random(world, chance, "upgrade", world.upgrade_seconds)
        world.downgrade()
        check_ledger(world.instance, world.before)
        assert world.instance.checksums(without_created=False) == world.checksums
        forget_runs(world.instance)
