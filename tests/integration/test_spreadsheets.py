# SPDX-FileCopyrightText: 2026 kcworks-migrations contributors
# SPDX-License-Identifier: MIT
"""Plans that went through spreadsheets; ``plans/README.md`` says which."""

import csv

import pytest
from support.instance import utc
from support.plans import FILES, IDS, PLANS, make_rows


@pytest.fixture
def world(instance):
    """The rows of the plans."""
    make_rows(instance)
    return instance


@pytest.mark.parametrize("name", FILES)
def test_plan_that_went_through_a_spreadsheet(world, invoke, name):
    before = world.all_created()
    path = PLANS / f"{name}.csv"
    done = invoke("update", "--yes", "--plan", path)
    assert done.exit_code == 0, done.output
    is_windows = name in ("calc-windows-1252", "excel-german")
    assert ("read as Windows-1252" in done.output) == is_windows
    assert [world.created(id) for id in IDS[:3]] == [
        utc("2016-02-29T13:11:39"),
        utc("2016-02-29"),
        utc("2012-02-02T00:00:00.5"),
    ]
    assert world.created(IDS[3], "community") == utc("2012-02-02")
    [entry] = world.backup(source="plan")
    assert (entry.entity, entry.source_file) == (IDS[1], path.name)
    assert entry.note == "aus dem gedruckten Katalog, für „später“"
    world.downgrade()
    assert world.all_created() == before


def test_date_that_a_spreadsheet_has_made_its_own_is_not_guessed(world, invoke):
    before = world.all_created()
    done = invoke("update", "--yes", "--plan", PLANS / "calc-american.csv")
    assert done.exit_code == 2
    assert "line 3: new is '02/29/2016': not ISO 8601 in UTC" in done.output
    assert "write 2016-02-29T13:11:39Z" in done.output
    assert world.all_created() == before


def test_saved_plan_is_what_the_spreadsheets_were_given(world, invoke, tmp_path):
    """Otherwise the files here prove nothing of what is written today."""
    path = tmp_path / "plan.csv"
    invoke("update", "--dry-run", "--save-plan", path, "--with-problems")
    rows = {row["id"]: row for row in read(path)}
    for row in read(PLANS / "excel-utf-8.csv"):
        if not row["id"]:
            continue
        saved = rows[row["id"]]
        for column in set(row) - {"label", "link"}:
            if row["id"] == IDS[1] and column in ("new", "note"):
                assert saved[column] == ""  # the curator filled these in
            else:
                assert saved[column] == row[column], column


def read(path):
    with path.open(newline="", encoding="utf-8-sig") as file:
        return list(csv.DictReader(file))
