# SPDX-FileCopyrightText: 2026 kcworks-migrations contributors
# SPDX-License-Identifier: MIT
"""Plans that went through spreadsheets; ``plans/README.md`` says which."""

import csv
from pathlib import Path

import pytest
from support.instance import utc

PLANS = Path(__file__).parent / "plans"
FILES = (
    "calc-utf-8",
    "calc-tabs",
    "calc-windows-1252",
    "excel-utf-8",
    "excel-german",
)
IDS = [f"{n * 8}-{n * 4}-4{n * 3}-8{n * 3}-{n * 12}" for n in "1234"]
GROUP = [{"group_identifier": "7"}]
IMPORTED = "2024-05-01T12:00:00.123456"


@pytest.fixture
def world(instance):
    """The rows of the plans."""
    instance.record("2016-02-29T13:11:39Z", id=IDS[0], label="000123")
    instance.record("29.2.2016", id=IDS[1], label="1e5-7")
    instance.record(
        "2012-02-02T00:00:00.5Z",
        GROUP,
        id=IDS[2],
        label="abcde-12345",
        index=2,
        created="2024-05-01T12:00:00",
    )
    instance.community("7", id=IDS[3], slug="mar-2016")
    for id, title in zip(
        IDS,
        ('=HYPERLINK("x")', "Été à “Zürich”, 2 % – ½", "TRUE", "March"),
        strict=True,
    ):
        for table in ("rdm_records_metadata", "communities_metadata"):
            instance.execute(
                f"UPDATE {table} SET json = json || jsonb_build_object('metadata',"
                " jsonb_build_object('title', CAST(:title AS text))) WHERE id = :id",
                id=id,
                title=title,
            )
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
