# SPDX-FileCopyrightText: 2026 kcworks-migrations contributors
# SPDX-License-Identifier: MIT
"""The upgrade on a real database: what changes, what does not, what is a problem."""

import logging
from datetime import date

import pytest
from support.instance import utc
from support.synthetic import IMPORTED

from kcworks_migrations.errors import RefusedError, RunInProgressError
from kcworks_migrations.locks import LOCK_KEY

LEGACY = "2016-02-29T13:11:39Z"


def group(identifier) -> dict:
    return {"group_identifier": identifier, "group_name": "A group"}


def test_apply_changes_created_of_a_record_and_backs_it_up(instance):
    record = instance.record(LEGACY, label="abcde-12345")
    summary = instance.upgrade()
    assert instance.created(record) == utc("2016-02-29T13:11:39")
    (entry,) = instance.backup()
    assert (entry.entity, entry.kind) == (record, "record")
    assert entry.label == "abcde-12345"
    assert entry.old_created == utc(IMPORTED)
    assert entry.new_created == utc("2016-02-29T13:11:39")
    assert entry.source_value == LEGACY
    assert summary.statistics.records.updated == 1


def test_apply_ignores_records_without_a_legacy_date(instance):
    record = instance.record()
    summary = instance.upgrade()
    assert instance.created(record) == utc(IMPORTED)
    assert summary.statistics.records.total_found == 0


def test_apply_goes_on_after_an_invalid_date(instance):
    bad = instance.record("2016-02-30T00:00:00Z")
    good = instance.record(LEGACY)
    summary = instance.upgrade()
    assert instance.created(bad) == utc(IMPORTED)
    assert instance.created(good) == utc("2016-02-29T13:11:39")
    assert instance.problems() == {
        ("record", bad, "impossible_date", "2016-02-30T00:00:00Z")
    }
    assert summary.statistics.records.errors == 1


def test_apply_counts_communities_without_records(instance):
    community = instance.community("1000610")
    summary = instance.upgrade()
    assert instance.created(community, "community") == utc(IMPORTED)
    assert summary.statistics.communities.no_records == 1


def test_apply_ignores_communities_without_a_group(instance):
    instance.community()
    assert instance.upgrade().statistics.communities.total_found == 0


def test_apply_skips_a_date_that_is_right(instance):
    instance.record(LEGACY, created="2016-02-29T13:11:39")
    summary = instance.upgrade()
    assert summary.statistics.records.skipped == 1
    assert instance.backup() == []


def test_apply_takes_the_oldest_record_of_a_group(instance):
    community = instance.community("7")
    instance.record("2018-05-05T10:00:00Z", [group("7")])
    oldest = instance.record("2015-01-02T23:59:59.5Z", [group(" 7 "), group("8")])
    instance.record("2010-01-01T00:00:00", [group("7")])  # no time zone: not valid
    instance.record("2009-01-01T00:00:00Z", [group("70")])
    instance.upgrade()
    assert instance.created(community, "community") == utc("2015-01-02")
    (entry,) = instance.backup(kind="community")
    assert str(entry.source_record_id) == oldest
    assert entry.source_value == "2015-01-02T23:59:59.5Z"


def test_apply_leaves_a_community_that_is_older_than_its_records(instance):
    community = instance.community("7", created="2012-01-01T00:00:00")
    instance.record(LEGACY, [group("7")])
    assert instance.upgrade().statistics.communities.skipped == 1
    assert instance.created(community, "community") == utc("2012-01-01")


def test_apply_dry_run_counts_the_same_and_changes_nothing(instance):
    instance.many(200, 10)
    before = instance.checksums(without_created=False)
    dry = instance.preview(batch_size=33)
    assert instance.checksums(without_created=False) == before
    assert instance.scalar("SELECT count(*) FROM kcworks_created_dates_run") == 0
    real = instance.upgrade(batch_size=50)
    assert dry.statistics == real.statistics
    assert real.statistics.records.updated > 0


def test_apply_filters_records_by_day_but_counts_all_for_communities(instance):
    early = instance.record(LEGACY, [group("7")], created="2024-04-30T23:59:59.9")
    inside = instance.record(LEGACY, [group("7")], created="2024-05-01T00:00:00")
    late = instance.record(
        "2015-01-01T00:00:00Z", [group("7")], created="2024-05-02T00:00:00"
    )
    community = instance.community("7")
    day = date(2024, 5, 1)
    summary = instance.upgrade(start_date=day, end_date=day)
    assert instance.created(early) == utc("2024-04-30T23:59:59.9")
    assert instance.created(inside) == utc("2016-02-29T13:11:39")
    assert instance.created(late) == utc("2024-05-02")
    assert instance.created(community, "community") == utc("2015-01-01")
    assert summary.statistics.records.skipped == 2


def test_apply_counts_later_versions_and_can_leave_them(instance):
    first = instance.record(LEGACY, index=1)
    later = instance.record(LEGACY, index=2)
    summary = instance.upgrade(later_versions="keep")
    assert instance.created(first) == utc("2016-02-29T13:11:39")
    assert instance.created(later) == utc(IMPORTED)
    assert summary.statistics.records.skipped == 1
    assert summary.statistics.records.later_versions_kept == 1
    summary = instance.upgrade()
    assert instance.created(later) == utc("2016-02-29T13:11:39")
    assert summary.statistics.records.later_versions == 1


def test_apply_twice_changes_nothing_the_second_time(instance, capsys):
    instance.many(300, 20)
    instance.upgrade()
    after = instance.checksums(without_created=False)
    summary = instance.upgrade()
    assert instance.checksums(without_created=False) == after
    assert summary.statistics.updated == 0
    assert "Nothing had to be changed." in capsys.readouterr().out


def test_apply_changes_created_and_nothing_else(instance):
    instance.many(500, 30)
    before = instance.checksums(without_created=True)
    created = instance.all_created()
    instance.upgrade(batch_size=64)
    assert instance.checksums(without_created=True) == before
    changed = {
        key for key, value in instance.all_created().items() if value != created[key]
    }
    backed_up = {f"{entry.kind} {entry.entity}" for entry in instance.backup()}
    assert changed == backed_up
    assert len(changed) > 400


@pytest.mark.parametrize(
    "value, text",
    [
        (20160229, "20160229"),
        (None, "null"),
        (True, "true"),
        ([LEGACY], f'["{LEGACY}"]'),
        ({"date": LEGACY}, f'{{"date": "{LEGACY}"}}'),
    ],
)
def test_apply_lists_a_date_of_another_type(instance, value, text):
    fields = {"hclegacy:record_creation_date": value}
    record = instance.record(custom_fields=fields)
    instance.upgrade()
    (problem,) = instance.problems()
    assert problem[:3] == ("record", record, "not_a_string")
    assert problem[3] == (None if value is None else text)


@pytest.mark.parametrize("value", ["text", [1], 5, True])
def test_apply_lists_custom_fields_that_are_not_an_object(instance, value):
    record = instance.record(custom_fields=value)
    community = instance.community(custom_fields=value)
    summary = instance.upgrade()
    assert {problem[:3] for problem in instance.problems()} == {
        ("record", record, "custom_fields_not_an_object"),
        ("community", community, "custom_fields_not_an_object"),
    }
    for tally in (summary.statistics.records, summary.statistics.communities):
        assert (tally.total_found, tally.errors) == (1, 1)


@pytest.mark.parametrize(
    "groups, reason",
    [
        ("7", "groups_not_a_list"),
        ({"group_identifier": "7"}, "groups_not_a_list"),
        (["7"], "group_not_an_object"),
        ([[]], "group_not_an_object"),
        ([{}], "group_identifier_missing"),
        ([{"group_identifier": None}], "group_identifier_missing"),
        ([{"group_identifier": 7}], "group_identifier_not_a_string"),
        ([{"group_identifier": {"id": "7"}}], "group_identifier_not_a_string"),
        ([{"group_identifier": " \t"}], "group_identifier_empty"),
        ([{"group_identifier": "7" * 501}], "value_too_long"),
    ],
)
def test_apply_lists_a_malformed_group_and_changes_its_record(instance, groups, reason):
    record = instance.record(LEGACY, groups)
    community = instance.community("7")
    summary = instance.upgrade()
    assert {problem[:3] for problem in instance.problems()} == {
        ("group", record, reason)
    }
    assert instance.created(record) == utc("2016-02-29T13:11:39")
    assert instance.created(community, "community") == utc(IMPORTED)
    assert summary.statistics.groups.errors == 1
    assert summary.statistics.communities.no_records == 1


def test_apply_escapes_and_cuts_hostile_values(instance):
    hostile = "\x1b[31m\n\u202e'; DROP TABLE x; --\u0661" + "x" * 600
    instance.record(hostile, label="\x1b]0;title\x07")
    instance.upgrade()
    (problem,) = instance.problems()
    assert problem[3].startswith("\\x1b[31m\\n\\u202e'; DROP TABLE x; --\u0661xx")
    assert len(problem[3]) <= 500
    label = instance.scalar("SELECT label FROM kcworks_created_dates_problem")
    assert label == "\\x1b]0;title\\x07"


def test_apply_takes_an_empty_label_for_none(instance):
    fields = {"hclegacy:record_creation_date": LEGACY}
    record = instance.record(document={"id": "", "custom_fields": fields})
    instance.upgrade()
    assert [entry.label for entry in instance.backup()] == [record]


def test_apply_prints_the_lines_of_a_run(instance, capsys, caplog):
    caplog.set_level(logging.DEBUG, "kcworks_migrations")
    record = instance.record(LEGACY, label="abc-123")
    for number in range(12):
        instance.record("tomorrow", label=f"bad-{number}")
    instance.upgrade(batch_size=5)
    out, err = capsys.readouterr()
    assert "Updating record created dates..." in err
    assert "Updating community created dates..." in err
    assert "Found 13 records with a legacy field" in err
    run = f"Run {instance.run().id}: "
    batches = [m for m in caplog.messages if "Processing batch" in m]
    assert batches[0] == f"{run}Processing batch 1 of 3 (5 records), 0 of 13 done"
    third = f"{run}Processing batch 3 of 3 (3 records), 10 of 13 done, "
    assert any(message.startswith(third) for message in batches)
    assert caplog.messages[-1].startswith(f"{run}apply succeeded: 1 records and 0")
    assert all(message.startswith(run) for message in caplog.messages)
    assert "Record updates complete: 1 updated, 0 skipped, 12 errors" in err
    assert "Community updates complete" in err
    assert out.count("  - record bad-") == 10
    assert "... and 2 more" in out
    undo = f"invenio kcworks-created-dates rollback --run {instance.run().id}"
    assert undo in out
    assert (
        f"{run}Updated record abc-123 from 2024-05-01 12:00:00.123456 UTC"
        " to 2016-02-29 13:11:39 UTC"
    ) in caplog.messages
    assert record in {entry.entity for entry in instance.backup()}


@pytest.mark.parametrize(
    "name, value",
    [("BATCH_SIZE", 0), ("BATCH_SIZE", "1000"), ("BATCHSIZE", 10), ("VERBOSE", 1)],
)
def test_apply_refuses_a_bad_setting_and_touches_nothing(
    instance, app, monkeypatch, name, value
):
    instance.record(LEGACY)
    before = instance.checksums(without_created=False)
    monkeypatch.setitem(app.config, f"KCWORKS_CREATED_DATES_{name}", value)
    with pytest.raises(RefusedError, match=f"KCWORKS_CREATED_DATES_{name}"):
        instance.upgrade()
    assert instance.checksums(without_created=False) == before
    assert instance.scalar("SELECT count(*) FROM kcworks_created_dates_run") == 0


def test_apply_refuses_another_database(instance, tmp_path):
    from sqlalchemy import create_engine

    from kcworks_migrations import migration

    engine = create_engine(f"sqlite:///{tmp_path}/instance.db")
    with pytest.raises(RefusedError, match="is sqlite, not PostgreSQL"):
        migration.apply(engine, "alembic")


def test_apply_refuses_an_instance_without_its_tables(instance):
    instance.execute("ALTER TABLE communities_metadata RENAME TO away")
    try:
        with pytest.raises(RefusedError, match="no table communities_metadata"):
            instance.upgrade()
    finally:
        instance.execute("ALTER TABLE away RENAME TO communities_metadata")
    assert instance.scalar("SELECT count(*) FROM kcworks_created_dates_run") == 0


def test_apply_beside_another_run_says_which_and_since_when(instance):
    instance.upgrade()
    run = instance.run()
    with instance.engine.connect() as holder:
        with holder.begin():
            holder.exec_driver_sql(f"SELECT pg_advisory_lock({LOCK_KEY})")
            holder.exec_driver_sql(
                "UPDATE kcworks_created_dates_run SET status = 'running',"
                " backend_pid = pg_backend_pid()"
            )
        with pytest.raises(RunInProgressError) as raised:
            instance.upgrade()
        with holder.begin():
            holder.exec_driver_sql(f"SELECT pg_advisory_unlock({LOCK_KEY})")
    since = run.started_at.strftime("%Y-%m-%d %H:%M:%S")
    assert f"run {run.id} (alembic), started {since}" in str(raised.value.message)


def test_apply_shows_its_run_row_while_it_grows(instance, monkeypatch):
    instance.many(300, 10)
    seen = []
    from kcworks_migrations.report.reporter import Reporter

    def look(self, progress):
        seen.append(instance.run().statistics["records"]["total_found"])

    monkeypatch.setattr(Reporter, "advance", look)
    instance.upgrade(batch_size=100)
    assert seen[:3] == [100, 200, 300]


def test_apply_tells_the_words_of_each_row(instance, capsys):
    instance.record(LEGACY, [group("7")], label="changed")
    instance.record(LEGACY, label="right", created="2016-02-29T13:11:39")
    instance.community("7", slug="medieval")
    instance.community("8", slug="lonely")
    instance.upgrade(verbose=True)
    err = capsys.readouterr().err
    assert "Found oldest record for group 7: 2016-02-29" in err
    assert "Skipped record right (dates already match)" in err
    assert "WARNING: No records found for community lonely (group 8)" in err


def test_apply_logs_communities_without_records_as_warnings(instance, caplog):
    instance.community("8", slug="lonely")
    instance.upgrade()
    [found] = [r for r in caplog.records if "No records found" in r.getMessage()]
    assert found.levelname == "WARNING"


def test_apply_keeps_the_group_of_a_community_with_a_problem(instance, capsys):
    instance.record(LEGACY, [group("7")])
    instance.execute("SET TimeZone = 'UTC'")
    community = instance.community("7", slug="medieval")
    instance.execute(
        "UPDATE communities_metadata SET created = '12024-01-01' WHERE id = :id",
        id=community,
    )
    instance.upgrade()
    kept = "SELECT group_id FROM kcworks_created_dates_problem"
    assert instance.scalar(kept) == "7"
    assert (
        "community medieval (group 7): the present created" in capsys.readouterr().out
    )


@pytest.mark.parametrize("legacy", ["1970-01-01T00:00:00Z", "0001-01-01T00:00:00Z"])
def test_apply_lists_a_date_before_the_earliest(instance, legacy):
    record = instance.record(legacy)
    instance.upgrade()
    assert instance.problems() == {("record", record, "too_early", legacy)}
    instance.upgrade(earliest_date=date(1, 1, 1))
    assert instance.created(record) == utc(legacy.removesuffix("Z"))


def test_run_row_knows_who_started_it_and_why(instance, monkeypatch):
    monkeypatch.setenv("KCWORKS_CREATED_DATES_REASON", "the deploy of May")
    instance.upgrade()
    run = instance.run()
    assert (run.origin, run.reason) == ("alembic", "the deploy of May")
    assert "@" in run.started_by
    instance.downgrade()
    assert instance.run().reason == "the deploy of May"
    instance.upgrade(limit=1)
    assert (instance.run().origin, instance.run().reason) == ("cli", None)


def test_apply_and_revert_of_a_single_record_and_a_single_community(instance):
    record = instance.record(LEGACY, [group("7")], label="abcde-12345")
    other = instance.record(LEGACY, label="other")
    community = instance.community("7", slug="medieval")
    only = frozenset({"abcde-12345", "medieval"})
    summary = instance.upgrade(only=only)
    assert instance.created(record) == utc("2016-02-29T13:11:39")
    assert instance.created(other) == utc(IMPORTED)
    assert instance.created(community, "community") == utc("2016-02-29")
    assert summary.statistics.updated == 2
    with pytest.raises(RefusedError, match="no record and no community: nobody"):
        instance.upgrade(only=frozenset({"nobody"}))
