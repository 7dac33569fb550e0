# SPDX-FileCopyrightText: 2026 kcworks-migrations contributors
# SPDX-License-Identifier: MIT
"""``rollback`` of a run or of chosen rows: exact, and the rest stays."""

import pytest
from sqlalchemy import text
from support.faults import Point, at
from support.instance import OURS, utc

from kcworks_migrations.errors import RunFailedError
from kcworks_migrations.migration import downgrade
from kcworks_migrations.migration.upgrade import Upgrade

IMPORTED = utc("2024-05-01T12:00:00.123456")


def set_legacy_date(instance, record, value):
    instance.execute(
        "UPDATE rdm_records_metadata SET json = jsonb_set(json,"
        " '{custom_fields,hclegacy:record_creation_date}', to_jsonb(CAST(:v AS text)))"
        " WHERE id = CAST(:id AS uuid)",
        v=value,
        id=record,
    )


@pytest.fixture
def two_runs(instance, invoke):
    """A record that two runs changed, and one that only the first did."""
    both = instance.record("2016-01-01T00:00:00Z", label="both")
    one = instance.record("2016-01-01T00:00:00Z", label="one")
    invoke("update", "--yes")
    first = instance.run().id
    set_legacy_date(instance, both, "2015-01-01T00:00:00Z")
    invoke("update", "--yes")
    return both, one, first, instance.run().id


def test_rollback_of_the_last_run_goes_back_to_the_first(instance, invoke, two_runs):
    both, one, first, last = two_runs
    assert invoke("rollback", "--yes", "--run", last).exit_code == 0
    assert instance.created(both) == instance.created(one) == utc("2016-01-01")
    assert invoke("rollback", "--yes", "--run", first).exit_code == 0
    assert instance.created(both) == instance.created(one) == IMPORTED


@pytest.mark.parametrize("rows", [(), ("--record", "both")])
def test_rollback_of_an_earlier_run_is_refused_before_the_later_one(
    instance, invoke, two_runs, rows
):
    """In that order, the row that both changed would be left at a middle value."""
    both, one, first, last = two_runs
    before = instance.all_created()
    result = invoke("rollback", "--yes", "--run", first, *rows)
    assert result.exit_code == 2
    assert f"1 by run {last}. Nothing was changed:" in result.output
    advised = f"rollback --run {last}"
    if rows:
        advised += " --record both"
    assert f"`invenio kcworks-created-dates {advised}`" in result.output
    assert instance.all_created() == before
    assert {row.outcome for row in instance.backup()} == {None}
    assert invoke("rollback", "--yes", "--run", last, *rows).exit_code == 0
    assert invoke("rollback", "--yes", "--run", first, *rows).exit_code == 0
    assert instance.created(both) == IMPORTED


def test_rollback_of_a_run_looks_again_behind_the_lock(instance, invoke, two_runs):
    """Another run may have begun since somebody was asked."""
    both, one, first, last = two_runs
    invoke("rollback", "--yes", "--run", last)

    def update(connection) -> None:
        assert invoke("update", "--yes").exit_code == 0

    before = instance.created(one)
    with at(instance.engine, Point("before", "pg_try_advisory_lock"), update):
        result = invoke("rollback", "--yes", "--run", first)
    assert result.exit_code == 2
    assert "Nothing was changed" in result.output
    assert instance.created(one) == before


def test_rollback_of_the_rows_that_only_an_earlier_run_changed(
    instance, invoke, two_runs
):
    both, one, first, last = two_runs
    result = invoke("rollback", "--yes", "--run", first, "--record", "one")
    assert result.exit_code == 0
    assert instance.created(one) == IMPORTED
    assert instance.created(both) == utc("2015-01-01")


def test_rollback_of_a_row_undoes_all_runs_on_it(instance, invoke, two_runs):
    both, one, first, last = two_runs
    assert invoke("rollback", "--yes", "--record", "both").exit_code == 0
    assert instance.created(both) == IMPORTED
    assert instance.created(one) == utc("2016-01-01")


def test_rollback_of_chosen_rows_of_both_kinds(instance, invoke):
    group = [{"group_identifier": "7"}]
    records = [
        instance.record("2016-01-01T00:00:00Z", group, label=f"pid-{n}")
        for n in range(3)
    ]
    instance.community("7", slug="slug-0")
    instance.community("7", slug="slug-1")
    invoke("update", "--yes")
    invoke(
        "rollback", "--yes", "--record", "pid-0", "--record", records[1],
        "--community", "slug-0",
    )  # fmt: skip
    restored = {row.label for row in instance.backup(outcome="restored")}
    assert restored == {"pid-0", "pid-1", "slug-0"}
    statuses = instance.execute(f"SELECT status FROM {OURS}run")
    assert {row.status for row in statuses} == {"succeeded"}


@pytest.mark.parametrize("name", ["pid-1", "slug-1", "\x1b[31m"])
def test_rollback_of_a_row_that_was_not_changed_is_refused(instance, invoke, name):
    record = instance.record("2016-01-01T00:00:00Z", label="pid-0")
    invoke("update", "--yes")
    result = invoke("rollback", "--yes", "--record", "pid-0", "--record", name)
    assert result.exit_code == 2
    assert "\x1b" not in result.output
    assert instance.created(record) == utc("2016-01-01")


def test_a_row_held_in_the_last_run_is_not_lost_to_the_first(
    instance, two_runs, monkeypatch
):
    """The earlier entry must wait for the later one, or the first value is lost."""
    both, one, first, last = two_runs
    monkeypatch.setattr(downgrade, "PAUSES_SECONDS", (0.1,))
    with instance.engine.begin() as other:
        other.execute(
            text(
                "SELECT FROM rdm_records_metadata WHERE id = CAST(:id AS uuid)"
                " FOR UPDATE"
            ),
            {"id": both},
        )
        with pytest.raises(RunFailedError):
            instance.downgrade()
    instance.downgrade()
    assert instance.created(both) == IMPORTED


def test_status_lists_what_a_rollback_leaves_alone(instance, invoke, two_runs):
    instance.execute(
        "UPDATE rdm_records_metadata SET created = '2020-02-02'"
        " WHERE json->>'id' = 'one'"
    )
    output = invoke("status").output
    assert "Can be rolled back: 2 changes" in output
    assert "left alone: 1" in output
    assert "record one, now 2020-02-02" in output


def interrupt(*args):
    raise KeyboardInterrupt


def test_rollback_ends_at_the_first_value_of_runs_of_which_one_was_stopped(
    instance, invoke, monkeypatch
):
    record = instance.record("2016-01-01T00:00:00Z", label="both")
    with monkeypatch.context() as patch:
        patch.setattr(Upgrade, "retry_locked", interrupt)
        invoke("update", "--yes", "--records-only")
    first = instance.run()
    assert first.status == "stopped" and len(instance.backup()) == 1
    set_legacy_date(instance, record, "2015-01-01T00:00:00Z")
    invoke("update", "--yes", "--records-only")
    assert [entry.run_id for entry in instance.backup()] == [first.id, first.id + 1]
    # The later run's change built on that of the first one.
    assert invoke("rollback", "--yes", "--run", first.id).exit_code == 2
    assert invoke("rollback", "--yes").exit_code == 0
    assert instance.created(record) == IMPORTED
    assert not instance.problems()


def test_update_sets_the_dates_again_that_a_rollback_restored(
    instance, invoke, monkeypatch
):
    record = instance.record("2016-01-01T00:00:00Z", label="one")
    invoke("update", "--yes", "--limit", 1)
    limited = instance.run().id
    with monkeypatch.context() as patch:
        patch.setattr(Upgrade, "retry_locked", interrupt)
        invoke("update", "--yes")
    assert invoke("rollback", "--yes", "--run", limited).exit_code == 0
    assert instance.created(record) == IMPORTED
    assert invoke("update", "--yes").exit_code == 0
    assert instance.created(record) == utc("2016-01-01")


def test_rollback_of_everything_ends_what_an_earlier_one_left(
    instance, invoke, monkeypatch
):
    record = instance.record("2016-01-01T00:00:00Z", label="one")
    invoke("update", "--yes")
    with monkeypatch.context() as patch:
        patch.setattr(downgrade.Downgrade, "do", interrupt)
        invoke("rollback", "--yes", "--record", "one")
    assert instance.created(record) == utc("2016-01-01")
    assert invoke("rollback", "--yes").exit_code == 0
    assert instance.created(record) == IMPORTED
    statuses = instance.execute(f"SELECT status FROM {OURS}run ORDER BY id")
    assert [row[0] for row in statuses] == ["succeeded", "stopped", "succeeded"]


def test_rollback_of_a_run_without_changes_is_refused(instance, invoke):
    instance.record("2016-01-01T00:00:00Z")
    invoke("update", "--yes")
    invoke("rollback", "--yes")
    for run_id in (instance.run().id, instance.run().id + 1):
        result = invoke("rollback", "--yes", "--run", run_id)
        assert result.exit_code == 2
        assert f"Run {run_id} has no change that stands" in result.output


def test_rollback_of_a_row_and_a_run_that_did_not_change_it_is_refused(
    instance, invoke, two_runs
):
    both, one, first, last = two_runs
    result = invoke("rollback", "--yes", "--run", last, "--record", "one")
    assert result.exit_code == 2
    assert "No change of record one stands in run" in result.output
    assert instance.created(one) == utc("2016-01-01")
