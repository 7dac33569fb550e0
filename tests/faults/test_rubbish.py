# SPDX-FileCopyrightText: 2026 kcworks-migrations contributors
# SPDX-License-Identifier: MIT
"""100,000 generated rows with every JSON type everywhere the rules read."""

import io
import json
import random
import uuid
from collections import Counter
from datetime import UTC, datetime

import pytest
from support import naive
from support.faults import other_connection

from kcworks_migrations.kinds import kind_of

SEED = 20260102
RECORDS, COMMUNITIES = 95_000, 5_000
IMPORTED = "2024-05-01 12:00:00.123456+00"

RUBBISH = (
    None,
    True,
    False,
    0,
    -1,
    1.5,
    1e300,
    20160229,
    "",
    " ",
    "\t\n",
    "null",
    "text",
    "x" * 501,
    "é\u202e\x1b[31m\x07",
    "'; DROP TABLE rdm_records_metadata; --",
    "%s %(id)s {0} \\N \\",
    "𝟚𝟘𝟙𝟞",
    [],
    [[]],
    [None],
    ["2016-02-29T13:11:39Z"],
    {},
    {"": {}},
    {"custom_fields": {"hclegacy:record_creation_date": "2016-02-29T13:11:39Z"}},
    {"group_identifier": "7"},
)
DATES = (
    "2016-02-30T00:00:00Z",
    "2015-02-29T00:00:00Z",
    "2016-13-01T00:00:00Z",
    "2016-00-10T00:00:00Z",
    "2016-01-01T24:00:00Z",
    "2016-01-01T23:60:00Z",
    "2016-01-01T23:59:60Z",
    "0000-01-01T00:00:00Z",
    "0001-01-01T00:00:00Z",
    "9999-12-31T23:59:59.999999Z",
    "2199-01-01T00:00:00Z",
    "2016-01-01",
    "2016-01-01T10:00:00",
    "2016-01-01T10:00:00+01:00",
    "2016-01-01T10:00:00-00:00",
    "2016-01-01T10:00:00+0000",
    "2016-01-01T10:00Z",
    "2016-01-01 10:00:00Z",
    "2016-1-1T10:00:00Z",
    "2016-W01-1T10:00:00Z",
    "20160101T100000Z",
    "2016-01-01t10:00:00z",
    "2016-01-01T10:00:00.Z",
    "2016-01-01T10:00:00,5Z",
    "2016-01-01T10:00:00.1234567Z",
    " 2016-01-01T10:00:00Z",
    "2016-01-01T10:00:00Z\n",
    "2016-01-01T10:00:00Z" + " " * 600,
    "٢٠١٦-01-01T10:00:00Z",
    "-2016-01-01T10:00:00Z",
    "+12016-01-01T10:00:00Z",
    "1458000000",
)
# `created` of a row now; Python can hold all but the last four.
PRESENT = {
    IMPORTED: datetime(2024, 5, 1, 12, 0, 0, 123456, tzinfo=UTC),
    "2016-02-29 13:11:39+00": datetime(2016, 2, 29, 13, 11, 39, tzinfo=UTC),
    "0001-01-01 00:00:00+00": datetime(1, 1, 1, tzinfo=UTC),
    "9999-12-31 23:59:59.999999+00": datetime.max.replace(tzinfo=UTC),
    "infinity": None,
    "-infinity": None,
    "10000-01-01 00:00:00+00": None,
    "0044-03-15 12:00:00+00 BC": None,
}
WORDS = {
    "record": ("updated", "skipped", "error"),
    "community": ("updated", "skipped", "error", "no_records"),
}


class Generator:
    """Documents of records and communities: some right, most wrong somewhere."""

    def __init__(self, seed: int) -> None:
        self._chance = random.Random(seed)

    def _one_of(self, probability: float, wrong, right):
        is_wrong = self._chance.random() < probability
        return self._chance.choice(wrong) if is_wrong else right()

    def _date(self) -> str:
        chance = self._chance
        if chance.random() < 0.1:
            return "2016-02-29T13:11:39Z"  # what `created` is of some
        text = "{:04}-{:02}-{:02}T{:02}:{:02}:{:02}".format(
            *(chance.randint(*r) for r in ((1, 2024), (1, 12), (1, 29))),
            *(chance.randint(*r) for r in ((0, 23), (0, 59), (0, 59))),
        )
        digits = chance.choice((0, 0, 1, 3, 6))
        if digits:
            text += f".{chance.randrange(10**digits):0{digits}}"
        return text + chance.choice(("Z", "+00:00"))

    def _identifier(self, count: int = 3000) -> str:
        spaces = self._chance.choice(("", "", "", " ", "\t", "\u00a0"))
        return f"{spaces}{self._chance.randrange(count)}{spaces}"

    def _entry(self) -> dict:
        entry = {"group_name": "A group"}
        if self._chance.random() < 0.95:
            entry["group_identifier"] = self._one_of(0.2, RUBBISH, self._identifier)
        return entry

    def _entries(self) -> list:
        count = self._chance.choice((0, 1, 1, 1, 2, 5))
        return [self._one_of(0.1, RUBBISH, self._entry) for _ in range(count)]

    def _record_fields(self) -> dict:
        fields = {"hclegacy:total_views": 1}
        if self._chance.random() < 0.95:
            fields[naive.DATE] = self._one_of(0.4, DATES + RUBBISH, self._date)
        if self._chance.random() < 0.9:
            fields[naive.GROUPS] = self._one_of(0.15, RUBBISH, self._entries)
        return fields

    def _community_fields(self) -> dict:
        fields = {"kcr:commons_group_name": "A group"}
        if self._chance.random() < 0.95:
            fields[naive.GROUP] = self._one_of(
                0.2, RUBBISH, lambda: self._identifier(4000)
            )
        return fields

    def _document(self, make_fields) -> dict:
        document = {"metadata": {"title": "A title"}}
        if self._chance.random() < 0.95:
            document["id"] = self._one_of(0.05, RUBBISH, lambda: "abcde-12345")
        if self._chance.random() < 0.97:
            document["custom_fields"] = self._one_of(0.1, RUBBISH, make_fields)
        return document

    def row(self, kind: str) -> tuple[str, object, str]:
        """Give id, document and `created` of a row."""
        make_fields = {
            "record": self._record_fields,
            "community": self._community_fields,
        }
        return (
            str(uuid.UUID(int=self._chance.getrandbits(128))),
            self._one_of(0.05, RUBBISH, lambda: self._document(make_fields[kind])),
            self._one_of(0.3, tuple(PRESENT), lambda: IMPORTED),
        )


def insert(instance, rows) -> None:
    """Insert records and communities with COPY."""
    columns = {
        "record": "rdm_records_metadata (id, json, created, updated, version_id,"
        ' "index", deletion_status)',
        "community": "communities_metadata (id, json, created, updated, version_id,"
        " slug, deletion_status)",
    }
    connection = other_connection(instance)
    cursor = connection.cursor()
    cursor.execute("SET TimeZone = 'UTC'")
    for kind, into in columns.items():
        lines = io.StringIO()
        for number, (id, document, created) in enumerate(rows[kind]):
            value = json.dumps(document).replace("\\", "\\\\")
            last = 1 if kind == "record" else f"slug-{number}"
            lines.write(f"{id}\t{value}\t{created}\t{IMPORTED}\t1\t{last}\tP\n")
        lines.seek(0)
        cursor.copy_expert(f"COPY {into} FROM STDIN", lines)
    connection.commit()
    connection.close()


def expected_outcomes(rows, now: datetime):
    """Let the naive rules decide about every row; give outcomes and bad groups."""
    by_group: dict[str, list] = {}
    malformed = 0
    for _, document, _ in rows["record"]:
        fields = naive.custom_fields(document)
        if isinstance(fields, dict) and naive.DATE in fields:
            identifiers, bad = naive.groups_of(document)
            malformed += bad
            for identifier in identifiers:
                by_group.setdefault(identifier, []).append(document)
    outcomes = {}
    for id, document, created in rows["record"]:
        outcome = naive.record_outcome(document, PRESENT[created], now)
        outcomes["record", id] = outcome
    for id, document, created in rows["community"]:
        outcome = naive.community_outcome(document, PRESENT[created], by_group, now)
        outcomes["community", id] = outcome
    return outcomes, malformed


def check_statistics(instance, statistics, outcomes, malformed: int) -> None:
    for kind in ("record", "community"):
        words = Counter(
            outcome if isinstance(outcome, str) else "updated"
            for (of, _), outcome in outcomes.items()
            if of == kind and outcome is not None
        )
        tally = statistics.of(kind_of(kind))
        assert all(words[word] > 50 for word in WORDS[kind]), "some of each"
        assert tally.updated == words["updated"]
        assert tally.skipped == words["skipped"]
        assert tally.errors == words["error"]
        assert tally.no_records == words["no_records"]
        assert tally.total_found == words.total()
    assert statistics.groups.errors == malformed
    assert len(instance.problems()) <= statistics.errors
    assert statistics.errors == instance.scalar(
        "SELECT count(*) FROM kcworks_created_dates_problem"
    )


@pytest.fixture
def rubbish(instance):
    """The generated rows, by kind."""
    generator = Generator(SEED)
    rows = {
        "record": [generator.row("record") for _ in range(RECORDS)],
        "community": [generator.row("community") for _ in range(COMMUNITIES)],
    }
    insert(instance, rows)
    yield rows
    instance.empty()


def test_runs_over_rubbish_agree_with_the_naive_rules(instance, rubbish, no_broker):
    before = instance.all_created()
    outcomes, malformed = expected_outcomes(rubbish, datetime.now(UTC))
    summary = instance.upgrade()
    changed = {(e.kind, e.entity): e.new_created for e in instance.backup()}
    assert changed == {
        key: outcome
        for key, outcome in outcomes.items()
        if isinstance(outcome, datetime)
    }
    wrong = {(kind, id) for kind, id, *_ in instance.problems() if kind != "group"}
    assert wrong == {key for key, outcome in outcomes.items() if outcome == "error"}
    check_statistics(instance, summary.statistics, outcomes, malformed)
    after = instance.all_created()
    assert {k for k in after if after[k] != before[k]} == {
        f"{kind} {id}" for kind, id in changed
    }
    assert instance.upgrade().statistics.updated == 0
    instance.downgrade()
    assert instance.all_created() == before
