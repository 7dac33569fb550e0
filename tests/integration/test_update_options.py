# SPDX-FileCopyrightText: 2026 kcworks-migrations contributors
# SPDX-License-Identifier: MIT
"""``update`` with its options: what is looked at, what is changed, what is told."""

import json
import subprocess
import sys
import time

import pytest
from sqlalchemy import text
from support.instance import OURS, utc

LEGACY = "2016-02-29T13:11:39Z"
IMPORTED = utc("2024-05-01T12:00:00.123456")


def count_changed(instance, kind):
    return len(instance.backup(kind=kind))


def as_if_long_ago(instance):
    """Let everything so far have happened ten days ago."""
    for column in ("started_at", "progress_at", "finished_at"):
        instance.execute(f"UPDATE {OURS}run SET {column} = {column} - interval '10 d'")
    for table in ("rdm_records_metadata", "communities_metadata"):
        instance.execute(f"UPDATE {table} SET updated = '2024-05-02'")


def edit(instance, record):
    instance.execute(
        "UPDATE rdm_records_metadata SET updated = now() AT TIME ZONE 'UTC'"
        " WHERE id = CAST(:id AS uuid)",
        id=record,
    )


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


# --- incremental ---------------------------------------------------------------------


def test_incremental_looks_only_at_what_changed_since(instance, invoke):
    instance.many(100, 10)
    invoke("update", "--yes")
    as_if_long_ago(instance)
    new = instance.record(LEGACY, [{"group_identifier": "1000003"}])
    edit(instance, new)
    result = invoke("update", "--yes", "--incremental")
    assert "Looking at what changed since" in result.output
    assert instance.created(new) == utc("2016-02-29T13:11:39")
    statistics = instance.run().statistics
    # The two refused dates are looked at again as well.
    assert statistics["records"]["total_found"] == 3
    assert statistics["communities"]["total_found"] == 10


def test_incremental_without_a_run_looks_at_everything(instance, invoke):
    instance.many(20, 2)
    result = invoke("update", "--yes", "--incremental")
    assert "looking at everything" in result.output
    assert instance.run().statistics["records"]["total_found"] == 20


def test_incremental_does_not_build_on_half_of_a_run(instance, invoke):
    instance.many(20, 2)
    for half in (["--limit", 1], ["--records-only"], ["--end-date", "2020-01-01"]):
        invoke("update", "--yes", *half)
        as_if_long_ago(instance)
    result = invoke("update", "--yes", "--incremental")
    assert "looking at everything" in result.output


def test_incremental_gives_what_a_full_run_gives(instance, invoke):
    """Rows that a filter by `updated` alone would not find."""
    in_future = instance.record("2999-01-01T00:00:00Z")
    rolled_back = instance.record(LEGACY, label="back")
    held = instance.record("2015-01-01T00:00:00Z", [{"group_identifier": "9"}])
    with instance.engine.begin() as other:
        other.execute(
            text(
                "SELECT FROM rdm_records_metadata WHERE id = CAST(:id AS uuid)"
                " FOR UPDATE"
            ),
            {"id": held},
        )
        invoke("update", "--yes")
    as_if_long_ago(instance)
    invoke("rollback", "--yes", "--record", "back")
    # Time passes: what was in the future then is in the past now.
    instance.execute(
        "UPDATE rdm_records_metadata SET json = jsonb_set(json,"
        " '{custom_fields,hclegacy:record_creation_date}', '\"2020-01-01T00:00:00Z\"')"
        " WHERE id = CAST(:id AS uuid)",
        id=in_future,
    )
    instance.execute("UPDATE rdm_records_metadata SET updated = '2024-05-02'")
    new_community = instance.community("9")
    instance.execute("UPDATE communities_metadata SET updated = now()")
    invoke("update", "--yes", "--incremental")
    assert instance.created(in_future) == utc("2020-01-01")
    assert instance.created(rolled_back) == utc("2016-02-29T13:11:39")
    assert instance.created(held) == utc("2015-01-01")
    assert instance.created(new_community, "community") == utc("2015-01-01")
    invoke("update", "--yes")
    for name in ("records", "communities"):
        assert instance.run().statistics[name]["updated"] == 0


def test_incremental_dates_a_new_community_by_records_that_did_not_change(
    instance, invoke
):
    instance.record(LEGACY, [{"group_identifier": "9"}])
    invoke("update", "--yes")
    as_if_long_ago(instance)
    later = instance.record("2020-01-01T00:00:00Z", [{"group_identifier": "9"}])
    edit(instance, later)
    community = instance.community("9")
    told = json.loads(invoke("update", "--dry-run", "--incremental", "--json").stdout)
    invoke("update", "--yes", "--incremental")
    assert instance.run().statistics == told["statistics"]
    assert instance.run().statistics["records"]["total_found"] == 1
    assert instance.created(community, "community") == utc("2016-02-29")


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
    assert told["estimate"]["rows"] == len(instance.backup())
    assert len(told["sample"]["record"]) == 5
    for kind, changes in told["sample"].items():
        for change in changes:
            (row,) = instance.backup(kind=kind, entity_id=change["id"])
            assert change["new_created"] == str(row.new_created)
            assert change["source_record_label"] == row.source_record_label


def test_dry_run_counts_the_documents_that_are_then_sent(instance, invoke):
    instance.many(200, 10)
    parent = instance.community("1000001", slug="parent")
    instance.community(slug="child", parent=parent)
    told = json.loads(invoke("update", "--dry-run", "--json").stdout)
    done = json.loads(invoke("update", "--yes", "--json").stdout)
    assert told["estimate"]["documents"] == done["queued"] > 200


def test_dry_run_needs_no_table_of_ours(instance, invoke, tmp_path):
    """An operator looks before the upgrade, which makes the tables."""
    instance.many(40, 4)
    told = json.loads(invoke("update", "--dry-run", "--json").stdout)
    names = ("run", "backup", "problem")
    for name in names:
        instance.execute(f"ALTER TABLE {OURS}{name} RENAME TO hidden_{name}")
    try:
        plan = tmp_path / "plan.jsonl"
        result = invoke("update", "--dry-run", "--json", "--save-plan", plan)
        refused = [invoke("update", "--yes"), invoke("rehearse", "--yes")]
    finally:
        for name in names:
            instance.execute(f"ALTER TABLE hidden_{name} RENAME TO {OURS}{name}")
    document = json.loads(result.stdout)
    assert document["statistics"] == told["statistics"]
    assert document["estimate"]["rows"] == len(plan.read_text().splitlines()) > 0
    for refusal in refused:
        assert refusal.exit_code == 2
        assert "invenio alembic upgrade a94c06be7d15` makes the" in refusal.output


# --- plans ---------------------------------------------------------------------------


@pytest.fixture
def plan(instance, invoke, tmp_path):
    """A plan for two records and a community."""
    group = [{"group_identifier": "7"}]
    instance.record(LEGACY, group, label="pid-0")
    instance.record("2015-01-02T03:04:05.000006Z", group, label="pid-1")
    instance.community("7", slug="medieval")
    path = tmp_path / "plan.jsonl"
    assert invoke("update", "--dry-run", "--save-plan", path).exit_code == 0
    assert list(tmp_path.iterdir()) == [path]
    return path


def lines_of(plan):
    return [json.loads(line) for line in plan.read_text().splitlines()]


def test_a_plan_has_a_line_for_each_row(instance, plan):
    lines = lines_of(plan)
    assert {line["label"] for line in lines} == {"pid-0", "pid-1", "medieval"}
    community = next(line for line in lines if line["kind"] == "community")
    assert community["new"] == "2015-01-02T00:00:00+00:00"
    assert community["source_record"] == "pid-1"


def test_a_plan_changes_just_the_rows_that_are_left_in_it(instance, invoke, plan):
    left = [line for line in lines_of(plan) if line["label"] != "pid-1"]
    plan.write_text("".join(json.dumps(line) + "\n" for line in left))
    assert invoke("update", "--yes", "--plan", plan).exit_code == 0
    assert {row.label for row in instance.backup()} == {"pid-0", "medieval"}
    for row in instance.backup():
        line = next(line for line in left if line["id"] == row.entity)
        assert row.new_created.isoformat() == line["new"]


@pytest.mark.parametrize(
    "moved",
    [
        "UPDATE rdm_records_metadata SET created = '2024-06-01'",
        "UPDATE rdm_records_metadata SET json = jsonb_set(json,"
        " '{custom_fields,hclegacy:record_creation_date}', '\"2011-01-01T00:00:00Z\"')",
        "UPDATE rdm_records_metadata SET json = jsonb_set(json,"
        " '{custom_fields,hclegacy:record_creation_date}', '7')",
        "UPDATE rdm_records_metadata SET json = json #- '{custom_fields}'",
        "DELETE FROM rdm_records_metadata",
    ],
)
def test_a_plan_is_refused_when_a_row_has_moved(instance, invoke, plan, moved):
    instance.execute(f"{moved} WHERE json->>'id' = 'pid-0'")
    before = instance.all_created()
    result = invoke("update", "--yes", "--plan", plan)
    assert result.exit_code == 2
    assert "of its rows have moved since" in result.output
    assert instance.all_created() == before
    assert not instance.execute(f"SELECT 1 FROM {OURS}run")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "names no row"),
        ("[]\n", "Line 1"),
        (
            '{"id": "00000000-0000-0000-0000-000000000000",'
            ' "old": "2024-05-01", "new": "2016-01-01"}\n',
            "time zone",
        ),
        ("\x1b]0;title\x07\n", "Line 1"),
    ],
)
def test_a_plan_that_is_none_is_refused(instance, invoke, plan, text, said):
    plan.write_text(text)
    result = invoke("update", "--yes", "--plan", plan)
    assert result.exit_code == 2
    assert said in result.output and "\x1b" not in result.output
    assert not instance.backup()


def test_a_plan_that_names_a_row_twice_is_refused(instance, invoke, plan):
    text = plan.read_text()
    plan.write_text(text + text)
    assert invoke("update", "--yes", "--plan", plan).exit_code == 2
    assert not instance.backup()


def test_a_plan_is_not_refused_for_what_is_left_for_later(
    instance, invoke, plan, tmp_path
):
    names = tmp_path / "names"
    names.write_text("pid-1\n")
    common = ("update", "--yes", "--plan", plan)
    assert invoke(*common, "--communities-only").exit_code == 0
    assert count_changed(instance, "community") == 1
    assert invoke("rollback", "--yes").exit_code == 0
    assert invoke(*common, "--exclude", names).exit_code == 0
    standing = {row.label for row in instance.backup() if row.outcome is None}
    assert standing == {"pid-0", "medieval"}
    assert invoke("rollback", "--yes").exit_code == 0
    assert invoke(*common, "--limit", 1).exit_code == 0
    assert len([row for row in instance.backup() if row.outcome is None]) == 2


def test_a_plan_with_an_id_that_is_none_is_refused(instance, invoke, plan):
    plan.write_text(plan.read_text() + '{"id": [1], "old": "", "new": ""}\n')
    result = invoke("update", "--yes", "--plan", plan)
    assert result.exit_code == 2 and "is not one of a plan" in result.output


def test_a_plan_that_was_stopped_goes_on(instance, invoke, plan, monkeypatch):
    """What is done already is unlike the plan, and no reason to refuse its rest."""
    from kcworks_migrations import upgrade

    def fail(*args):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(upgrade.Upgrade, "_retry_locked", fail)
        invoke("update", "--yes", "--plan", plan)
    assert instance.run().status == "interrupted" and len(instance.backup()) == 2
    assert invoke("update", "--yes", "--plan", plan).exit_code == 0
    assert len(instance.backup()) == 3


def test_a_row_that_moves_behind_the_comparison_is_left_alone(instance, plan):
    from dataclasses import replace

    from kcworks_migrations.plan import read

    planned = read(plan)
    first = next(iter(planned))
    planned[first] = planned[first]._replace(new_created=utc("2001-01-01"))
    options = instance.options()
    summary = instance.upgrade(
        filters=replace(options.filters, planned=planned), is_dry_run=True
    )
    assert summary.statistics.errors == 1


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
    for said in ("created of records to", "from 2024-05-01", "at most 7", "1 excluded"):
        assert said in result.output
    assert "communities" not in result.output
    assert instance.created(record) == IMPORTED


def test_save_plan_needs_dry_run(instance, invoke, tmp_path):
    assert invoke("update", "--yes", "--save-plan", tmp_path / "p").exit_code == 2


# --- stop ----------------------------------------------------------------------------

UPDATE_SLOWLY = """
from invenio_app.factory import create_api
with (app := create_api()).app_context():
    from kcworks_migrations.cli import created_dates
    created_dates(["update", "--yes", "--batch-size", "5", "--delay", "0.2"])
"""


def test_stop_ends_a_run_of_another_process_after_its_batch(instance, invoke):
    assert "No run is at work" in invoke("stop").output
    instance.many(1000, 5)
    other = subprocess.Popen(
        [sys.executable, "-W", "ignore", "-c", UPDATE_SLOWLY],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    try:
        while not instance.backup():
            assert other.poll() is None, other.stdout.read()
            time.sleep(0.1)
        status = invoke("status").output
        assert "apply from cli, running" in status
        assert "of 1000 done" in status and "left" in status
        result = invoke("stop")
        assert "has stopped; the same command goes on" in result.output
        assert other.wait(60) == 3
    finally:
        other.kill()
        other.stdout.close()
    run = instance.run()
    assert run.status == "interrupted" and "command stop" in run.message
    changed = len(instance.backup())
    assert 0 < changed < 1000
    invoke("update", "--yes")
    assert instance.run().id == run.id
    assert instance.run().statistics["records"]["total_found"] == 1000
