# SPDX-FileCopyrightText: 2026 kcworks-migrations contributors
# SPDX-License-Identifier: MIT
"""``update`` with its options: what is looked at, what is changed, what is told."""

import json

import pytest
from support.instance import OURS, utc

from kcworks_migrations.text import iso

LEGACY = "2016-02-29T13:11:39Z"
IMPORTED = utc("2024-05-01T12:00:00.123456")


def count_changed(instance, kind):
    return len(instance.backup(kind=kind))


# --- limit, delay, exclude -----------------------------------------------------------


@pytest.mark.parametrize("batch_size", [1, 2, 1000])
def test_limit_changes_so_many_of_each_kind(instance, invoke, batch_size):
    instance.many(100, 10)
    result = invoke("update", "--yes", "--limit", 3, "--batch-size", batch_size)
    assert result.exit_code == 1  # a hundred records have two refused dates
    assert count_changed(instance, "record") == 3
    assert count_changed(instance, "community") == 3
    assert instance.run().statistics["records"]["total_found"] == 100
    invoke("update", "--yes", "--limit", 3)
    assert count_changed(instance, "record") == 6


def test_limit_leaves_the_dates_of_communities_what_they_would_be(instance, invoke):
    instance.many(100, 10)
    invoke("update", "--yes")
    wanted = {row.entity: row.new_created for row in instance.backup(kind="community")}
    invoke("rollback", "--yes")
    invoke("update", "--yes", "--limit", 2)
    for row in instance.backup(kind="community", run_id=instance.run().id):
        assert row.new_created == wanted[row.entity]


def test_exclude_keeps_rows_of_all_kinds_by_pid_slug_and_uuid(
    instance, invoke, tmp_path
):
    group = [{"group_identifier": "7"}]
    records = [instance.record(LEGACY, group, label=f"pid-{n}") for n in range(3)]
    communities = [instance.community("7", slug=f"slug-{n}") for n in range(2)]
    names = tmp_path / "names"
    names.write_text(f"# kept\npid-0\n\n  {records[1]}  \nslug-0\n")
    assert invoke("update", "--yes", "--exclude", names).exit_code == 0
    changed = {row.entity for row in instance.backup()}
    assert changed == {records[2], communities[1]}
    assert instance.run().statistics["records"]["skipped"] == 2


def test_exclude_refuses_a_name_that_is_none(instance, invoke, tmp_path):
    instance.record(LEGACY, label="pid-0")
    names = tmp_path / "names"
    names.write_text("pid-0\npid-O\n")
    result = invoke("update", "--yes", "--exclude", names)
    assert result.exit_code == 2
    assert "pid-O" in result.output and "pid-0," not in result.output
    assert not instance.backup()


def test_delay_waits_between_batches(instance, invoke):
    instance.many(4, 1)
    invoke("update", "--yes", "--batch-size", 2, "--delay", 0.3)
    run = instance.run()
    assert (run.finished_at - run.started_at).total_seconds() > 0.6


def test_delay_does_not_wait_after_a_batch_that_wrote_nothing(instance, invoke):
    instance.many(40, 1)
    invoke("update", "--yes")
    invoke("update", "--yes", "--batch-size", 2, "--delay", 3)
    run = instance.run()
    assert run.statistics["records"]["total_found"] == 40
    assert (run.finished_at - run.started_at).total_seconds() < 3


# --- dry run -------------------------------------------------------------------------


def test_dry_run_tells_what_the_run_then_does_and_writes_nothing(instance, invoke):
    instance.many(200, 10)
    before = instance.checksums(without_created=False)
    sequence = f"SELECT last_value, is_called FROM {OURS}backup_id_seq"
    numbers = instance.execute(sequence)
    result = invoke("update", "--dry-run", "--json")
    assert instance.checksums(without_created=False) == before
    assert instance.execute(sequence) == numbers
    assert not instance.execute(f"SELECT 1 FROM {OURS}run")
    told = json.loads(result.stdout)
    invoke("update", "--yes")
    assert told["statistics"] == instance.run().statistics
    assert told["statistics"]["records"]["updated"] > 5
    assert len(told["sample"]["record"]) == 5
    for kind, changes in told["sample"].items():
        for change in changes:
            (row,) = instance.backup(kind=kind, entity_id=change["id"])
            assert change["new_created"] == iso(row.new_created)
            assert change["source_record_label"] == row.source_record_label


def test_dry_run_counts_the_documents_that_are_then_sent(instance, invoke):
    instance.many(200, 10)
    parent = instance.community("1000001", slug="parent")
    instance.community(slug="child", parent=parent)
    told = json.loads(invoke("update", "--dry-run", "--json").stdout)
    done = json.loads(invoke("update", "--yes", "--json").stdout)
    assert told["documents"] == done["queued"] > 200


def test_dry_run_needs_no_table_of_ours(instance, invoke):
    """An operator looks before the upgrade, which makes the tables."""
    instance.many(40, 4)
    told = json.loads(invoke("update", "--dry-run", "--json").stdout)
    names = ("run", "backup", "problem")
    for name in names:
        instance.execute(f"ALTER TABLE {OURS}{name} RENAME TO hidden_{name}")
    try:
        result = invoke("update", "--dry-run", "--json")
    finally:
        for name in names:
            instance.execute(f"ALTER TABLE hidden_{name} RENAME TO {OURS}{name}")
    document = json.loads(result.stdout)
    assert document["statistics"] == told["statistics"]
    assert document["statistics"]["records"]["updated"] > 0


def test_dry_run_marks_its_lines(instance, invoke):
    instance.record(LEGACY, label="pid-0")
    output = invoke("update", "--dry-run", "--verbose").output
    assert "[DRY RUN] Would update record pid-0 from" in output


# --- asking --------------------------------------------------------------------------


def test_update_says_what_it_does_before_it_asks(instance, invoke, tmp_path):
    record = instance.record(LEGACY, label="pid-0")
    names = tmp_path / "names"
    names.write_text("pid-0")
    result = invoke(
        "update", "--records-only", "--start-date", "2024-05-01", "--limit", 7,
        "--exclude", names,
    )  # fmt: skip
    assert result.exit_code == 2
    for said in (
        "sets created of records to",
        "from 2024-05-01",
        "at most 7",
        "1 excluded",
    ):
        assert said in result.output
    assert "communities" not in result.output
    assert instance.created(record) == IMPORTED
