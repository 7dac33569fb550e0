# SPDX-FileCopyrightText: 2026 kcworks-migrations contributors
# SPDX-License-Identifier: MIT
"""A failure between any two statements: nothing is half done, and the rerun ends it."""

import pytest

from kcworks_migrations.errors import RunIncompleteError

BATCH_SIZE = 20

FAILED = (RuntimeError, RunIncompleteError)
"""Before a run has its row, an error comes out as it is."""


def fill(instance) -> None:
    instance.empty()
    instance.many(50, 4)
    with instance.engine.begin() as connection:
        # The oldest record of a group is in the first batch: a rerun that forgot what
        # is behind the cursor would date the community by a younger one.
        connection.exec_driver_sql(
            "UPDATE rdm_records_metadata SET json = jsonb_set(json, ARRAY["
            "'custom_fields', 'hclegacy:record_creation_date'],"
            " '\"2001-01-01T00:00:00Z\"') WHERE id = (SELECT min(id::text)::uuid"
            " FROM rdm_records_metadata)"
        )


def state(instance):
    """What must not depend on failures: rows, backup, problems, statistics."""
    backup = {
        (
            e.kind,
            e.entity,
            e.label,
            e.old_created,
            e.new_created,
            e.source_value,
            e.source_record_label,
            e.outcome,
            e.queued_at is not None,
        )
        for e in instance.backup()
    }
    run = instance.run()
    return (
        instance.all_created(),
        backup,
        instance.problems(),
        (run.status, run.statistics),
    )


def check_ledger(instance, before) -> None:
    """Every changed row has its backup, every standing backup its change."""
    now = instance.all_created()
    changed = {key for key in now if now[key] != before[key]}
    standing = {
        f"{e.kind} {e.entity}": str(e.old_created.timestamp())
        for e in instance.backup()
        if e.outcome is None
    }
    assert changed == set(standing)
    for key, old in standing.items():
        assert float(before[key]) == pytest.approx(float(old), abs=1e-6)


def check_stopped_run(instance) -> None:
    """The run row says that it stopped and where, in the words of the statistics."""
    for status, statistics in instance.execute(
        "SELECT status, statistics FROM kcworks_created_dates_run"
    ):
        assert status in ("errored", "succeeded"), "nothing kept it from being marked"
        assert (status == "errored") == statistics["stopped_early"]
        if statistics["stopped_early"]:
            found = statistics["records"]["total_found"]
            assert statistics["stopped_at_record"] == found


@pytest.mark.parametrize("event", ["statement", "commit"])
def test_apply_failing_anywhere_is_completed_by_the_rerun(instance, failing_at, event):
    fill(instance)
    before = instance.all_created()
    with failing_at(event, 0) as counter:
        instance.upgrade(batch_size=BATCH_SIZE)
    whole = state(instance)
    for number in range(1, counter.count + 1):
        fill(instance)
        with (
            failing_at(event, number),
            pytest.raises(FAILED),
        ):
            instance.upgrade(batch_size=BATCH_SIZE)
        check_ledger(instance, before)
        check_stopped_run(instance)
        runs = instance.scalar("SELECT count(*) FROM kcworks_created_dates_run")
        was_done = runs and instance.run().status == "succeeded"
        instance.upgrade(batch_size=BATCH_SIZE)
        if was_done:  # it failed behind its end: a second run finds nothing to do
            assert instance.run().statistics["records"]["updated"] == 0
            assert state(instance)[:3] == (*whole[:2], whole[2])
        else:
            assert state(instance) == whole, f"failed at {event} {number}"
            after = instance.scalar("SELECT count(*) FROM kcworks_created_dates_run")
            assert after == max(runs, 1), "the rerun did not go on with the same run"


@pytest.mark.parametrize("event", ["statement", "commit"])
def test_revert_failing_anywhere_is_completed_by_the_rerun(instance, failing_at, event):
    fill(instance)
    before = instance.all_created()
    instance.upgrade(batch_size=BATCH_SIZE)
    with failing_at(event, 0) as counter:
        instance.downgrade()
    for number in range(1, counter.count + 1):
        fill(instance)
        instance.upgrade(batch_size=BATCH_SIZE)
        with (
            failing_at(event, number),
            pytest.raises(FAILED),
        ):
            instance.downgrade()
        check_ledger(instance, before)
        instance.downgrade()
        assert instance.all_created() == before
        assert {e.outcome for e in instance.backup()} == {"restored"}
        assert all(e.queued_at for e in instance.backup())


def test_apply_with_other_options_begins_a_run_of_its_own(instance, failing_at):
    fill(instance)
    with failing_at("commit", 6), pytest.raises(FAILED):
        instance.upgrade(batch_size=BATCH_SIZE)
    stopped = instance.run().id
    # What it is to do is another thing, so nothing is behind it yet.
    other = instance.upgrade(batch_size=BATCH_SIZE, kinds=("record",))
    assert other.run_id != stopped
    assert other.statistics.records.total_found == 50
    assert other.statistics.communities.total_found == 0
    first = instance.upgrade(batch_size=BATCH_SIZE)
    assert first.run_id == stopped
    assert first.statistics.communities.total_found == 4


def test_apply_with_another_batch_size_goes_on(instance, failing_at):
    fill(instance)
    with failing_at("commit", 6), pytest.raises(FAILED):
        instance.upgrade(batch_size=BATCH_SIZE)
    stopped = instance.run().id
    assert instance.upgrade(batch_size=7).run_id == stopped
