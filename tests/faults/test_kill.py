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

from kcworks_migrations import migration

BATCH_SIZE = 40
SEED = 20260101

CHANGE = "INSERT INTO kcworks_created_dates_backup"
PROGRESS = "SET status = 'running'"
QUEUED = "SET queued_at = clock_timestamp()"
RESTORE = "UPDATE kcworks_created_dates_backup AS b"
END = "SET status = 'succeeded'"

POINTS_OF_UPGRADE = {
    "before the run row": Point("before", "INSERT INTO kcworks_created_dates_run"),
    "after the run row": Point("after", "INSERT INTO kcworks_created_dates_run"),
    "after the commit of the run row": Point(
        "committed", "INSERT INTO kcworks_created_dates_run"
    ),
    "before the first change": Point("before", CHANGE),
    "after the first change and its backup": Point("after", CHANGE),
    "after a later change and its backup": Point("after", CHANGE, 4),
    "after the problems": Point("after", "INSERT INTO kcworks_created_dates_problem"),
    "after the counters of a batch": Point("after", PROGRESS, 2),
    "before the commit of a batch": Point("commit", CHANGE, 2),
    "after the commit of a batch": Point("committed", CHANGE, 2),
    "after the last record": Point("before", "'phase': 'communities'"),
    "between records and communities": Point("committed", "'phase': 'communities'"),
    "after the change of communities": Point("after", "'kind': 'community'", 1),
    "before the commit of communities": Point("commit", "'kind': 'community'", 1),
    "between the last commit and the queueing": Point(
        "committed", "'phase': 'reindex'"
    ),
    "before communities are marked as queued": Point("before", QUEUED),
    "after communities are marked as queued": Point("committed", QUEUED),
    "before records are marked as queued": Point("before", QUEUED, 2),
    "before the commit of that mark": Point("commit", QUEUED, 2),
    "after the commit of that mark": Point("committed", QUEUED, 2),
    "before the end is written": Point("before", END),
    "before the end is committed": Point("commit", END),
}
POINTS_OF_DOWNGRADE = {
    "before the run row": Point("before", "SET status = 'reverting'"),
    "before the commit of the run row": Point("commit", "SET status = 'reverting'"),
    "after the commit of the run row": Point("committed", "SET status = 'reverting'"),
    "before the first restoration": Point("before", RESTORE),
    "after the first restoration": Point("after", RESTORE),
    "after the counters of a batch": Point("after", PROGRESS, 3),
    "before the commit of communities": Point("commit", RESTORE, 1),
    "before the commit of a batch": Point("commit", RESTORE, 3),
    "after the commit of a batch": Point("committed", RESTORE, 3),
    "after a later restoration": Point("after", RESTORE, 5),
    "between communities and records": Point("committed", RESTORE, 1),
    "after the last record": Point("before", "SET status = 'reverted'"),
    "before the commit of the marked upgrades": Point(
        "commit", "SET status = 'reverted'"
    ),
    "between the last commit and the queueing": Point(
        "committed", "SET status = 'reverted'"
    ),
    "before communities are marked as queued": Point("before", QUEUED),
    "after communities are marked as queued": Point("committed", QUEUED),
    "before records are marked as queued": Point("before", QUEUED, 2),
    "before the commit of that mark": Point("commit", QUEUED, 2),
    "after the commit of that mark": Point("committed", QUEUED, 2),
    "before the end is written": Point("before", END),
    "before the end is committed": Point("commit", END),
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

    def has_ended(self, action: str) -> bool:
        """Tell whether the killed run was complete, all but the exit of its process."""
        return bool(
            self.instance.scalar(
                "SELECT count(*) FROM kcworks_created_dates_run"
                " WHERE action = :action AND status = 'succeeded'",
                action=action,
            )
        )

    def end_upgrade(self) -> None:
        """Check what a killed upgrade left, run it again, and check the end."""
        check_ledger(self.instance, self.before)
        had_ended = self.has_ended("apply")
        summary = self.upgrade()
        created, ledger, problems, run = outcome(self.instance)
        assert (created, ledger) == self.upgraded[:2]
        assert problems == self.upgraded[2]
        if had_ended:
            assert summary.statistics.updated == 0
        else:
            assert run == self.upgraded[3]

    def end_downgrade(self) -> None:
        """Check what a killed downgrade left, run it again, and check the end."""
        check_ledger(self.instance, self.before)
        had_ended = self.has_ended("revert")
        self.downgrade()
        created, ledger, _, run = outcome(self.instance)
        assert (created, ledger) == self.downgraded[:2]
        if not had_ended:
            assert run == self.downgraded[3]
        assert self.instance.checksums(without_created=False) == self.checksums


@pytest.fixture(scope="module")
def world_of_module(app, engine):
    instance = Instance(engine)
    instance.empty()
    instance.empty_queues()
    fill(instance)
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
            migration.send_waiting(world.instance.engine, is_again=True)

    world.upgrade()
    world.instance.empty_queues()
    child = Child(world.instance, work)
    assert child.wait() == -signal.SIGKILL, child.output()
    assert migration.send_waiting(world.instance.engine, is_again).waiting == 0
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
