# SPDX-FileCopyrightText: 2026 kcworks-migrations contributors
# SPDX-License-Identifier: MIT
"""The rows of the plans that went through spreadsheets, and where these are."""

from pathlib import Path

PLANS = Path(__file__).parents[1] / "integration" / "plans"
FILES = (
    "calc-utf-8",
    "calc-tabs",
    "calc-windows-1252",
    "excel-utf-8",
    "excel-german",
)
IDS = [f"{n * 8}-{n * 4}-4{n * 3}-8{n * 3}-{n * 12}" for n in "1234"]
TITLES = ('=HYPERLINK("x")', "Été à “Zürich”, 2 % – ½", "TRUE", "March")
GROUP = [{"group_identifier": "7"}]


def make_rows(instance) -> None:
    """Make three records, one with a bad date, and a community."""
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
    for id, title in zip(IDS, TITLES, strict=True):
        for table in ("rdm_records_metadata", "communities_metadata"):
            instance.execute(
                f"UPDATE {table} SET json = json || jsonb_build_object('metadata',"
                " jsonb_build_object('title', CAST(:title AS text))) WHERE id = :id",
                id=id,
                title=title,
            )
