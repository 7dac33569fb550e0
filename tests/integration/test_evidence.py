# SPDX-FileCopyrightText: 2026 kcworks-migrations contributors
# SPDX-License-Identifier: MIT
"""Dates whose evidence is gone stay, and are listed under a figure of their own."""

import json

import pytest
from support.instance import OURS, utc

from kcworks_migrations.kinds import COMMUNITY, RECORD, kind_of

LEGACY = "2016-02-29T13:11:39Z"
OLDER = "2015-01-02T03:04:05Z"
DATE, GROUPS = "hclegacy:record_creation_date", "hclegacy:groups_for_deposit"
GROUP = "kcr:commons_group_id"
GONE = "evidence_gone"
NOBODY = "'7'"


def group(name: str) -> list[dict[str, str]]:
    return [{"group_identifier": name}]


def set_field(instance, kind: str, id: str, field: str, value: str | None) -> None:
    """Edit a custom field of a row; without a value, remove it."""
    path = f"ARRAY['custom_fields', '{field}']"
    new = f"json #- {path}"
    if value is not None:
        new = f"jsonb_set(json, {path}, {value})"
    table = kind_of(kind).table
    instance.execute(f"UPDATE {table} SET json = {new} WHERE id = :id", id=id)


@pytest.fixture
def dated(instance, invoke):
    """Rows that an update has dated; each loses its evidence in its own way."""
    rows = {
        "removed": ("record", instance.record(LEGACY, label="removed")),
        "unusable": ("record", instance.record(LEGACY, label="unusable")),
        "purged": ("record", instance.record(LEGACY, label="purged")),
        "right": ("record", instance.record(LEGACY, group("1"), label="right")),
        "leaver": ("record", instance.record(OLDER, group("2"), label="leaver")),
        "left": ("community", instance.community("2", slug="left")),
        "lost": ("community", instance.community("1", slug="lost")),
        "number": ("community", instance.community("1", slug="number")),
        "kept": ("community", instance.community("1", slug="kept")),
    }
    assert invoke("update", "--yes").exit_code == 0
    return rows


def lose(instance, dated) -> set[str]:
    """Take the evidence of some rows away; give their names."""
    set_field(instance, *dated["removed"], DATE, None)
    set_field(instance, *dated["unusable"], DATE, "'\"soon\"'")
    instance.execute(
        "UPDATE rdm_records_metadata SET json = NULL WHERE id = :id",
        id=dated["purged"][1],
    )
    set_field(instance, *dated["leaver"], GROUPS, None)
    set_field(instance, *dated["lost"], GROUP, None)
    set_field(instance, *dated["number"], GROUP, NOBODY)
    return {"removed", "unusable", "purged", "left", "lost", "number"}


def listed(invoke, *more: str) -> set[str]:
    result = invoke("problems", "--json", "--reason", GONE, *more)
    return {p["label"] for p in json.loads(result.stdout)["problems"]}


def test_dates_whose_evidence_is_gone_stay_and_are_listed(instance, invoke, dated):
    lost = lose(instance, dated)
    before = instance.all_created()
    dry_run = json.loads(invoke("update", "--dry-run", "--json").stdout)
    assert {p["label"] for p in dry_run["evidence_gone"]} == lost
    assert dry_run["statistics"]["evidence_gone"] == len(lost)
    assert dry_run["statistics"]["records"]["total_found"] == 3
    assert dry_run["statistics"]["communities"]["total_found"] == 3
    told = invoke("update", "--yes")
    assert instance.all_created() == before
    statistics = instance.run().statistics
    assert statistics == dry_run["statistics"]
    assert f"{len(lost)} dates of earlier runs that nothing gives any more" in (
        told.output
    )
    for name in lost:
        assert f" {name}: its date stays" in told.output
    assert listed(invoke) == lost
    # Bad values are problems as before, and nothing else is.
    assert statistics["records"]["errors"] + statistics["communities"]["errors"] == 2
    result = invoke("problems")
    assert "2 problems of run" in result.output
    assert f"what gave them is gone: {len(lost)}" in result.output


def test_rerun_lists_them_again_in_the_same_rows(instance, invoke, dated):
    lost = lose(instance, dated)
    runs = []
    for _ in range(3):
        invoke("update", "--yes")
        runs.append(str(instance.run().id))
    count = f"SELECT count(*) FROM {OURS}problem WHERE reason = '{GONE}'"
    assert instance.scalar(count) == len(lost)
    for run in runs:
        assert listed(invoke, "--run", run) == lost
    assert "Run 2 to" not in invoke("show", "right").output
    assert "its date stays" in invoke("show", "removed").output


@pytest.mark.parametrize("kind", [RECORD, COMMUNITY])
def test_run_of_one_kind_lists_those_of_its_kind(instance, invoke, dated, kind):
    lost = lose(instance, dated)
    invoke("update", "--yes", f"--{kind.plural}-only")
    assert listed(invoke) == {name for name in lost if dated[name][0] == kind.name}


def test_evidence_that_is_back_is_not_listed(instance, invoke, dated):
    lose(instance, dated)
    invoke("update", "--yes")
    set_field(instance, *dated["removed"], DATE, f"'\"{LEGACY}\"'")
    invoke("update", "--yes")
    assert "removed" not in listed(invoke)


def test_rows_that_somebody_changed_restored_or_decided_are_not_listed(
    instance, invoke, dated, tmp_path
):
    for name in ("removed", "unusable", "right"):
        set_field(instance, *dated[name], DATE, None)
    instance.execute(
        "UPDATE rdm_records_metadata SET created = '2020-02-02' WHERE id = :id",
        id=dated["removed"][1],
    )
    invoke("rollback", "--yes", "--record", "unusable")
    plan = tmp_path / "plan.csv"
    plan.write_text(f"id,new\n{dated['right'][1]},keep\n")
    assert invoke("update", "--yes", "--plan", plan).exit_code == 0
    assert listed(invoke) == set(), "a plan is about its lines alone"
    invoke("update", "--yes")
    assert listed(invoke) == set()


def test_community_follows_the_records_that_are_left(instance, invoke, dated):
    instance.record(LEGACY, group("2"))
    set_field(instance, *dated["leaver"], GROUPS, None)
    invoke("update", "--yes")
    assert instance.created(dated["left"][1], "community") == utc("2016-02-29")
    assert listed(invoke) == set()
