# SPDX-FileCopyrightText: 2026 kcworks-migrations contributors
# SPDX-License-Identifier: MIT
"""A curator's file: saved, corrected, looked at, carried out, repeated, undone."""

import csv
import hashlib
import io
import json
from dataclasses import replace

import pytest
from flask import current_app
from support.instance import OURS, utc

from kcworks_migrations import migration
from kcworks_migrations.config import options_from
from kcworks_migrations.database import opened
from kcworks_migrations.migration.plan import read as read_plan

LEGACY = "2016-02-29T13:11:39Z"
IMPORTED = "2024-05-01T12:00:00.123456Z"
COLUMNS = "kind,id,label,title,link,version,old,new,source,reason,value,note".split(",")


@pytest.fixture
def plan(tmp_path):
    """Write lines as a plan, with a heading; give its path."""

    def plan(heading: str, *lines: str, name: str = "plan.csv"):
        path = tmp_path / name
        path.write_text("\n".join([heading, *lines]) + "\n")
        return path

    return plan


@pytest.fixture
def named(instance):
    """Make a record that has a PID, as published ones do; give its UUID."""

    def named(label: str, *values, **more) -> str:
        id = instance.record(*values, label=label, **more)
        instance.execute(
            "INSERT INTO pidstore_pid (pid_type, pid_value, status, object_type,"
            " object_uuid, created, updated) VALUES ('recid', :label, 'R', 'rec',"
            " CAST(:id AS uuid), now(), now()) ON CONFLICT (pid_type, pid_value)"
            " DO UPDATE SET object_uuid = excluded.object_uuid",
            label=label,
            id=id,
        )
        return id

    return named


def group(id: str) -> list[dict]:
    return [{"group_identifier": id}]


def read(path_or_text) -> list[dict]:
    text = path_or_text
    if not isinstance(text, str):
        text = path_or_text.read_bytes().decode("utf-8-sig")
    return list(csv.DictReader(io.StringIO(text.removeprefix("\ufeff"))))


def rewrite(path, **new_by_label) -> None:
    """Fill in the column `new`, as a curator does."""
    rows = read(path)
    with path.open("w", newline="", encoding="utf-8-sig") as file:
        writer = csv.DictWriter(file, COLUMNS)
        writer.writeheader()
        for row in rows:
            row["new"] = new_by_label.get(row["label"], row["new"])
            writer.writerow(row)


# --- saving --------------------------------------------------------------------------


def test_saved_plan_has_every_change_and_every_problem(instance, invoke, app, tmp_path):
    good = instance.record(LEGACY, group("7"), label="good", index=2)
    bad = instance.record("=1+1", label="bad")
    community = instance.community("7", slug="mar-2016")
    instance.execute(
        "UPDATE rdm_records_metadata SET json = json ||"
        ' \'{"metadata": {"title": "=HYPERLINK(1)"}}\' WHERE id = :id',
        id=good,
    )
    path = tmp_path / "plan.csv"
    done = invoke("update", "--dry-run", "--save-plan", path, "--with-problems")
    assert done.exit_code == 1 and "Saved the plan" in done.output
    assert path.read_bytes().startswith(b"\xef\xbb\xbfkind,id,label,")
    assert b"\r\n" in path.read_bytes()
    lines = {row["id"]: row for row in read(path)}
    site = app.config["SITE_UI_URL"]
    assert list(lines[good]) == COLUMNS
    assert list(lines[good].values()) == [
        "record", good, "good", "'=HYPERLINK(1)", f"{site}/records/good", "2",
        IMPORTED, LEGACY, "field", "", LEGACY, "",
    ]  # fmt: skip
    assert lines[bad]["new"] == "" and lines[bad]["reason"] == "invalid_format"
    assert lines[bad]["value"] == "'=1+1" and lines[bad]["old"] == IMPORTED
    assert lines[community]["new"] == "2016-02-29T00:00:00Z"
    assert lines[community]["value"] == f"{LEGACY} of record good"
    assert lines[community]["link"] == f"{site}/communities/mar-2016"
    assert not instance.execute(f"SELECT 1 FROM {OURS}run")


def test_saved_plan_without_problems_has_the_changes_alone(instance, invoke, tmp_path):
    instance.many(200, 10)
    path = tmp_path / "plan.csv"
    told = invoke("update", "--dry-run", "--json", "--save-plan", path)
    statistics = json.loads(told.stdout)["statistics"]
    rows = read(path)
    assert len(rows) == sum(
        statistics[n]["updated"] for n in ("records", "communities")
    )
    assert all(row["new"] for row in rows)


def test_plan_that_exists_is_not_replaced(instance, invoke, plan):
    path = plan("label,new", "abc,keep")
    before = path.read_bytes()
    done = invoke("update", "--dry-run", "--save-plan", path)
    assert done.exit_code == 2 and "exists already" in done.output
    assert path.read_bytes() == before


@pytest.mark.parametrize(
    "options",
    [
        ["--save-plan", "x.csv"],
        ["--dry-run", "--background", "--save-plan", "x.csv"],
        ["--dry-run", "--with-problems"],
        ["--background", "--plan", "README.md"],
    ],
)
def test_options_that_make_no_sense_are_refused(instance, invoke, options):
    assert invoke("update", "--yes", *options).exit_code == 2
    assert not instance.execute(f"SELECT 1 FROM {OURS}run")


# --- the round trip ------------------------------------------------------------------


def test_round_trip_of_a_bad_date(instance, invoke, named, tmp_path):
    bad = named("abcde-12345", "29.2.2016", group("7"))
    worse = named("fghij-67890", "", group("7"))
    good = named("klmno-13579", "2018-01-02T03:04:05Z", group("7"))
    community = instance.community("7", slug="studies")
    before = instance.all_created()
    assert invoke("update", "--yes").exit_code == 1
    path = tmp_path / "problems.csv"
    path.write_bytes(invoke("problems", "--csv").stdout_bytes)
    assert [row["new"] for row in read(path)] == ["", ""]

    rewrite(path, **{"abcde-12345": "2016-02-29"})
    shown = invoke("update", "--dry-run", "--plan", path).output
    assert "the file's own, not computed: 1" in shown
    assert "2016-02-29 00:00:00 UTC, computed: none" in shown
    assert "Lines with an empty new, which are skipped: 1" in shown
    assert "the same command without --dry-run" in shown
    assert "alembic upgrade" not in shown, "that would not be the plan"
    done = invoke("update", "--yes", "--plan", path, "--reason", "the old catalogue")
    assert done.exit_code == 0, done.output  # the empty line decides nothing
    assert instance.created(bad) == utc("2016-02-29")
    assert instance.created(worse) == utc(IMPORTED[:-1])
    assert instance.created(community, "community") == utc("2018-01-02")

    [entry] = instance.backup(source="plan")
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    assert (entry.entity, entry.source_file) == (bad, "problems.csv")
    assert entry.source_sha256 == digest and entry.source_value == "2016-02-29"
    assert instance.run().options["plan"]["sha256"] == digest
    told = invoke("show", "abcde-12345").output
    assert "2016-02-29 in problems.csv" in told

    again = invoke("update", "--yes", "--plan", path)
    assert "Nothing had to be changed." in again.output
    instance.upgrade()
    assert instance.created(bad) == utc("2016-02-29"), "every later run honours it"
    assert instance.created(community, "community") == utc("2016-02-29"), "it follows"
    assert instance.created(good) == utc("2018-01-02T03:04:05")
    instance.downgrade()
    assert instance.all_created() == before


def test_saved_plan_as_it_is_does_what_the_update_would_have_done(
    instance, invoke, tmp_path
):
    instance.many(200, 10)
    path = tmp_path / "plan.csv"
    invoke("update", "--dry-run", "--save-plan", path, "--with-problems")
    instance.upgrade()
    wanted = instance.all_created()
    instance.downgrade()
    done = invoke("update", "--yes", "--plan", path)
    assert "file's own" not in done.output
    assert instance.all_created() == wanted
    assert not instance.backup(source="plan"), "these are ordinary changes"


# --- what a line does ----------------------------------------------------------------


def test_keep_holds_for_every_later_run_until_it_is_rolled_back(
    instance, invoke, named, plan
):
    kept = named("abcde-12345", LEGACY, group("7"))
    community = instance.community("7")
    path = plan("label,new,note", 'abcde-12345,Keep,"made here\nin 2024"')
    done = invoke("update", "--yes", "--plan", path)
    assert done.exit_code == 0, done.output
    [entry] = instance.backup(kind="record")
    assert entry.old_created == entry.new_created == utc(IMPORTED[:-1])
    assert entry.note == "made here\\nin 2024"
    assert "1 row to stay at their present date" in done.output
    assert f"rollback --run {instance.run().id}" in done.output
    statistics = instance.run().statistics["records"]
    assert (statistics["updated"], statistics["skipped"]) == (0, 1)
    assert statistics["kept"] == 1
    assert entry.queued_at and "Queued for" not in done.output, "nothing is stale"
    summary = instance.upgrade()
    assert instance.created(kept) == utc(IMPORTED[:-1])
    assert instance.created(community, "community") == utc("2024-05-01")
    assert summary.statistics.records.total_found == 1
    invoke("rollback", "--yes", "--record", "abcde-12345")
    instance.upgrade()
    assert instance.created(kept) == utc("2016-02-29T13:11:39")


def test_rows_that_the_plan_lacks_stay_and_are_counted(instance, invoke, named, plan):
    named("abcde-12345", LEGACY)
    other = named("fghij-67890", LEGACY)
    path = plan("label,new", f"abcde-12345,{LEGACY}")
    shown = invoke("update", "--dry-run", "--plan", path)
    assert "Computed changes that the file lacks: 1" in shown.output
    assert "Rows that will change: 1" in shown.output
    invoke("update", "--yes", "--plan", path)
    assert instance.created(other) == utc(IMPORTED[:-1])


def test_own_dates_are_shown_with_the_computed_ones_beside(
    instance, invoke, named, plan
):
    """A column that was sorted alone misaligns dates, and none is invalid."""
    named("a-1", "2011-01-01T00:00:00Z")
    named("a-2", "2012-02-02T00:00:00Z")
    path = plan("label,new", "a-1,2012-02-02T00:00:00Z", "a-2,2011-01-01T00:00:00Z")
    done = invoke("update", "--plan", path)
    assert "the file's own, not computed: 2" in done.output
    assert "2012-02-02 00:00:00 UTC, computed: 2011-01-01 00:00:00 UTC" in done.output
    assert done.exit_code == 2, "there is nobody to ask"
    assert not instance.execute(f"SELECT 1 FROM {OURS}run")


def test_community_of_a_saved_plan_follows_the_record_that_was_corrected(
    instance, invoke, named, tmp_path
):
    """Its line says what was computed then: nobody has decided it."""
    named("abcde-12345", LEGACY, group("7"))
    community = instance.community("7", slug="studies")
    path = tmp_path / "plan.csv"
    invoke("update", "--dry-run", "--save-plan", path)
    rewrite(path, **{"abcde-12345": "2010-05-05"})
    done = invoke("update", "--yes", "--plan", path)
    assert "the file's own, not computed: 1" in done.output
    assert instance.created(community, "community") == utc("2016-02-29")
    assert [row.kind for row in instance.backup(source="plan")] == ["record"]
    instance.upgrade()
    assert instance.created(community, "community") == utc("2010-05-05")


def test_community_follows_to_a_later_day_what_we_had_made_too_early(
    instance, invoke, named, plan
):
    before = instance.all_created()
    named("abcde-12345", LEGACY, group("7"))
    named("fghij-67890", "2018-01-02T03:04:05Z", group("7"))
    community = instance.community("7")
    before = instance.all_created()
    instance.upgrade()
    for new, day in (("2019-01-01", "2018-01-02"), ("2017-01-01", "2017-01-01")):
        path = plan("label,new", f"abcde-12345,{new}")
        invoke("update", "--yes", "--plan", path)
        instance.upgrade()
        assert instance.created(community, "community") == utc(day)
    kept = plan("label,new", "abcde-12345,2024-05-02", "fghij-67890,2024-05-03")
    invoke("update", "--yes", "--plan", kept)
    instance.upgrade()
    assert instance.created(community, "community") == utc(IMPORTED[:-1])
    assert instance.upgrade().statistics.updated == 0
    instance.execute("UPDATE communities_metadata SET created = '2020-02-02'")
    instance.upgrade()
    assert instance.created(community, "community") == utc("2020-02-02")
    instance.execute(f"UPDATE communities_metadata SET created = '{IMPORTED}'")
    instance.downgrade()
    assert instance.all_created() == before


def test_line_as_it_was_saved_is_no_decision(instance, invoke, named, tmp_path):
    """Somebody has corrected the field between the saving and the approval."""
    record = named("abcde-12345", LEGACY)
    path = tmp_path / "plan.csv"
    invoke("update", "--dry-run", "--save-plan", path)
    instance.execute(
        "UPDATE rdm_records_metadata SET json = jsonb_set(json, '{custom_fields,"
        "hclegacy:record_creation_date}', '\"2015-01-02T00:00:00Z\"')"
    )
    invoke("update", "--yes", "--plan", path)
    assert instance.created(record) == utc("2016-02-29T13:11:39"), "as approved"
    instance.upgrade()
    assert instance.created(record) == utc("2015-01-02"), "as the field says"


@pytest.mark.parametrize("new", ["2016-02-29", "2016-02-29T00:00:00Z"])
def test_day_of_a_problem_that_is_confirmed_is_a_decision(
    instance, invoke, named, tmp_path, new
):
    """Its `value` reads like the new date, but nothing was computed from it."""
    record = named("abcde-12345", "2016-02-29")
    path = tmp_path / "plan.csv"
    invoke("update", "--dry-run", "--save-plan", path, "--with-problems")
    rewrite(path, **{"abcde-12345": new})
    assert invoke("update", "--yes", "--plan", path).exit_code == 0
    assert len(instance.backup(source="plan")) == 1
    instance.execute("UPDATE rdm_records_metadata SET created = '2020-02-02'")
    instance.upgrade()
    assert instance.created(record) == utc("2016-02-29")


def test_community_line_wins_over_the_computation(instance, invoke, plan):
    instance.record(LEGACY, group("7"))
    one = instance.community("7", slug="one")
    two = instance.community("7", slug="two")
    path = plan("kind,label,new", "community,one,2010-01-01", "community,two,keep")
    invoke("update", "--yes", "--plan", path)
    instance.upgrade()
    assert instance.created(one, "community") == utc("2010-01-01")
    assert instance.created(two, "community") == utc(IMPORTED[:-1])


@pytest.mark.parametrize("first", ["decided", "computed"])
def test_communities_of_both_sources_in_one_batch(instance, invoke, plan, first):
    record = instance.record(LEGACY, group("7"), label="oldest")
    ids = ["0" * 7 + f"{n}-0000-4000-8000-000000000000" for n in (1, 2)]
    own, computed = ids if first == "decided" else reversed(ids)
    for id in ids:
        instance.community("7", id=id)
    path = plan("id,new", f"{own},2010-01-01", f"{computed},2016-02-29")
    assert invoke("update", "--yes", "--plan", path).exit_code == 0
    entries = {row.entity: row for row in instance.backup()}
    assert entries[own].source_record_id is entries[own].source_record_label is None
    assert str(entries[computed].source_record_id) == record
    assert entries[computed].source_record_label == "oldest"


def test_old_guards_and_a_plan_can_be_repeated(instance, invoke, named, plan):
    moved = named("a-1", LEGACY)
    done = named("a-2", LEGACY)
    path = plan(
        "label,old,new", f"a-1,{IMPORTED},2015-01-01", f"a-2,{IMPORTED},2015-01-01"
    )
    instance.execute(
        "UPDATE rdm_records_metadata SET created = '2020-01-01' WHERE id = :id",
        id=moved,
    )
    for _ in range(2):
        assert invoke("update", "--yes", "--plan", path).exit_code == 1
        assert instance.created(done) == utc("2015-01-01")
        assert instance.created(moved) == utc("2020-01-01")
    assert ("record", moved, "moved", "2020-01-01 00:00:00 UTC") in instance.problems()
    assert len(instance.backup()) == 1


def test_plan_in_parts(instance, invoke, named, plan):
    ids = [named(f"a-{n}", LEGACY) for n in range(5)]
    path = plan("id,new", *(f"{id},2015-01-0{n + 1}" for n, id in enumerate(ids)))
    for _ in range(3):
        invoke("update", "--yes", "--plan", path, "--limit", 2)
    assert [instance.created(id).day for id in ids] == [1, 2, 3, 4, 5]
    assert [row.run_id for row in instance.backup()] == sorted(
        row.run_id for row in instance.backup()
    )
    assert len({row.run_id for row in instance.backup()}) == 3


@pytest.mark.parametrize("batch_size", [1, 2, 1000])
def test_table_of_dates_for_rows_without_the_field(
    instance, invoke, named, plan, batch_size
):
    """The dates of another repository, which are in no custom field at all."""
    ids = [named(f"x-{n}", groups=group("7")) for n in range(5)]
    with_field = named("x-9", LEGACY)
    community = instance.community("7", slug="seven")
    bare = instance.community(slug="bare")
    lines = [f"x-{n},2011-02-0{n + 1}T10:00:00Z" for n in range(5)]
    path = plan("label,new", *lines, "bare,2010-10-10")
    done = invoke("update", "--yes", "--plan", path, "--batch-size", batch_size)
    assert done.exit_code == 0, done.output
    assert [instance.created(id) for id in ids] == [
        utc(f"2011-02-0{n}T10:00:00") for n in range(1, 6)
    ]
    assert instance.created(with_field) == utc(IMPORTED[:-1])
    assert instance.created(bare, "community") == utc("2010-10-10")
    statistics = instance.run().statistics
    assert statistics["records"]["total_found"] == 5
    assert statistics["communities"]["total_found"] == 1
    instance.execute("UPDATE rdm_records_metadata SET created = '2022-02-02'")
    summary = instance.upgrade()
    assert summary.statistics.records.total_found == 6, "standing decisions count"
    assert instance.created(ids[0]) == utc("2011-02-01T10:00:00")
    assert instance.created(community, "community") == utc("2011-02-01")
    assert {r.source for r in instance.backup(run_id=summary.run_id)} == {
        "plan",
        "field",
    }


def test_records_of_a_plan_do_not_count_while_only_communities_are_changed(
    instance, invoke, named, plan
):
    named("a-1", LEGACY, group("7"))
    community = instance.community("7", slug="seven")
    path = plan("label,new", "a-1,2001-01-01", "seven,2016-02-29")
    invoke("update", "--yes", "--communities-only", "--plan", path)
    assert instance.created(community, "community") == utc("2016-02-29")
    assert not instance.backup(source="plan"), "the rules give that date"


def test_row_that_gets_the_field_while_its_plan_is_carried_out(
    instance, named, plan, monkeypatch
):
    record = named("a-1")
    path = plan("label,new", "a-1,2015-01-01")
    what, how = options_from(current_app.config)
    with opened(instance.engine, 5) as database:
        what = replace(what, plan=read_plan(database, path, what))
    instance.execute(
        "UPDATE rdm_records_metadata SET json = jsonb_set(json, '{custom_fields}',"
        f"""'{{"hclegacy:record_creation_date": "{LEGACY}"}}')"""
    )
    summary = migration.apply(instance.engine, "cli", what, how)
    assert instance.created(record) == utc("2015-01-01")
    assert summary.statistics.records.total_found == 1
    assert len(instance.backup()) == 1


def test_verify_and_settling_know_kept_rows(instance, invoke, named, plan):
    named("a-1", LEGACY)
    instance.upgrade()
    invoke("update", "--yes", "--plan", plan("label,new", "a-1,keep"))
    assert not instance.verify().rows_wrong.count
    invoke("rollback", "--yes", "--record", "a-1")
    assert not instance.verify().rows_wrong.count


# --- names and errors ----------------------------------------------------------------


def test_id_wins_over_a_label_that_a_spreadsheet_has_mangled(
    instance, invoke, named, plan
):
    community = instance.community(slug="mar-2016")
    record = named("000123", LEGACY)
    path = plan(
        "label,id,new", f"Mar-16,{community},2016-03-01", f"123,{record},2016-03-02"
    )
    assert invoke("update", "--yes", "--plan", path).exit_code == 0
    assert instance.created(community, "community") == utc("2016-03-01")
    assert instance.created(record) == utc("2016-03-02")


def test_everything_wrong_is_listed_with_its_line_and_nothing_is_changed(
    instance, invoke, named, plan
):
    one, two = named("a-1", LEGACY), named("a-2", LEGACY)
    instance.community(slug="a-2")
    path = plan(
        "kind,id,label,old,new,note",
        ",,nowhere,,keep,",
        f",{one},a-2,,keep,",
        ",,a-1,,2/29/2016,",
        ",,a-1,2016,2016-02-30,",
        ",,a-1,,2199-01-01,",
        ",,a-1,,1979-12-31,",
        f"record,{two},,,keep,",
        f",{two.upper()},,,2015-01-01,",
        ",,a-2,,keep,",
        "draft,,a-1,,keep,",
        ",no-uuid,,,keep,",
        ",,a-1,,,",
        ",,nowhere,,,",
    )
    before = instance.checksums(without_created=False)
    done = invoke("update", "--yes", "--plan", path)
    assert done.exit_code == 2
    assert instance.checksums(without_created=False) == before
    assert not instance.execute(f"SELECT 1 FROM {OURS}run")
    told = [line for line in done.output.splitlines() if line.startswith("  line ")]
    assert [line.split(":")[0].strip() for line in told] == [
        *(f"line {n}" for n in (2, 3, 4, 5, 5, 6, 7, 9, 10, 11, 12)),
    ]
    for line, words in zip(
        told,
        (
            "named 'nowhere'",
            "label names another row",
            "new is '2/29/2016'",
            "old is '2016'",
            "new is '2016-02-30'",
            "in the future",
            "before EARLIEST_DATE",
            "the same row as line 8",
            "is two rows",
            "kind is 'draft'",
            "has the id 'no-uuid'",
        ),
        strict=True,
    ):
        assert words in line
    assert "write 2016-02-29T13:11:39Z" in told[2]


@pytest.mark.parametrize(
    ("heading", "words"),
    [
        ("name,date", "no heading"),
        ("label,date", "no heading"),
        ("new,note", "no heading"),
        ("label,new,new", "new twice"),
    ],
)
def test_file_without_its_columns_is_refused(instance, invoke, plan, heading, words):
    done = invoke("update", "--yes", "--plan", plan(heading, "a,b,c"))
    assert done.exit_code == 2 and words in done.output


def test_labels_that_no_row_can_have(instance, invoke, tmp_path):
    path = tmp_path / "plan.csv"
    path.write_bytes(b"label,new\na\0b,keep\n")
    done = invoke("update", "--yes", "--plan", path)
    assert done.exit_code == 2 and "no record or community is named" in done.output
    path.write_bytes(b"a\0b\n")
    done = invoke("update", "--yes", "--exclude", path)
    assert done.exit_code == 2 and "no record and no community" in done.output


def test_exclude_without_a_name_is_refused(instance, invoke, tmp_path):
    path = tmp_path / "names"
    path.write_text("# nothing yet\n")
    done = invoke("update", "--yes", "--exclude", path)
    assert done.exit_code == 2 and "names no row" in done.output


def test_windows_1252_is_named(instance, invoke, named, tmp_path):
    named("a-1", LEGACY)
    path = tmp_path / "plan.csv"
    path.write_bytes("label;new;note\r\na-1;keep;für später\r\n".encode("cp1252"))
    done = invoke("update", "--yes", "--plan", path)
    assert "read as Windows-1252" in done.output
    assert instance.backup()[0].note == "für später"


def test_exclude_takes_a_plan(instance, invoke, named, plan):
    kept = named("a-1", LEGACY)
    changed = named("a-2", LEGACY)
    path = plan("id,label,new", f"{kept},mangled,keep")
    assert invoke("update", "--yes", "--exclude", path).exit_code == 0
    assert {row.entity for row in instance.backup()} == {changed}


# --- later versions, approval, what is worth a look ----------------------------------


def test_line_of_a_later_version_holds_where_later_versions_are_kept(
    app, instance, invoke, named, plan, monkeypatch
):
    monkeypatch.setitem(app.config, "KCWORKS_CREATED_DATES_LATER_VERSIONS", "keep")
    first, later = named("v-1", LEGACY), named("v-2", LEGACY, index=2)
    told = invoke("update", "--dry-run").output
    assert "1 of the skipped records is a later version" in told
    invoke("update", "--yes", "--plan", plan("label,new", f"v-2,{LEGACY}"))
    assert instance.created(later) == utc("2016-02-29T13:11:39")
    assert instance.created(first) == utc(IMPORTED[:-1])


def test_saved_plan_without_later_versions_lacks_nothing(
    app, instance, invoke, named, tmp_path, monkeypatch
):
    monkeypatch.setitem(app.config, "KCWORKS_CREATED_DATES_LATER_VERSIONS", "keep")
    named("v-1", LEGACY)
    named("v-2", LEGACY, index=2)
    path = tmp_path / "plan.csv"
    invoke("update", "--dry-run", "--save-plan", path)
    assert "lacks" not in invoke("update", "--dry-run", "--plan", path).output


@pytest.mark.parametrize("batch_size", [2, 1000])
def test_limit_of_a_plan_that_keeps_some(instance, invoke, named, plan, batch_size):
    ids = [named(f"a-{n}", LEGACY) for n in range(6)]
    lines = [f"{id},{'keep' if n % 2 else LEGACY}" for n, id in enumerate(sorted(ids))]
    command = ["update", "--plan", plan("id,new", *lines), "--limit", 2, "--json"]
    command += ["--batch-size", batch_size]
    told = json.loads(invoke(*command, "--dry-run").stdout)
    done = json.loads(invoke(*command, "--yes").stdout)
    assert told["statistics"] == done["statistics"]
    assert done["statistics"]["records"]["updated"] == 2


def test_upgrade_that_waits_for_an_approval(
    app, instance, invoke, named, tmp_path, monkeypatch, capsys
):
    monkeypatch.setitem(app.config, "KCWORKS_CREATED_DATES_ON_UPGRADE", "wait")
    record = named("a-1", LEGACY)
    instance.upgrade()
    assert "update --plan plan.csv" in capsys.readouterr().err
    for command in ("status", "check"):
        told = invoke(command).output
        assert "update --dry-run --save-plan plan.csv" in told, command
    assert instance.created(record) == utc(IMPORTED[:-1])
    assert not instance.execute(f"SELECT 1 FROM {OURS}run")
    path = tmp_path / "plan.csv"
    invoke("update", "--dry-run", "--save-plan", path)
    assert invoke("update", "--yes", "--plan", path).exit_code == 0
    assert instance.created(record) == utc("2016-02-29T13:11:39")
    instance.downgrade()
    assert instance.created(record) == utc(IMPORTED[:-1])


def test_dry_run_ends_with_what_is_worth_a_look(instance, invoke, named):
    for n in range(12):
        named(f"same-{n}", "2012-03-04T05:06:07Z")
    named("midnight", "1999-01-01T00:00:00Z")
    named("younger", "2025-01-01T00:00:01Z")
    told = invoke("update", "--dry-run").output
    assert "oldest new date: 1999-01-01 00:00:00 UTC, record midnight" in told
    assert "newest new date: 2025-01-01 00:00:01 UTC, record younger" in told
    assert "later than the present date: 1 row, such as record younger" in told
    assert "2012-03-04 05:06:07 UTC: 12 records, such as record same-" in told
    assert "January at midnight: 1 row, such as record midnight" in told
    document = json.loads(invoke("update", "--dry-run", "--json").stdout)
    assert len(document["suspicious"]) == 5
