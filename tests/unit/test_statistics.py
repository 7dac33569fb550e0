# SPDX-FileCopyrightText: 2026 kcworks-migrations contributors
# SPDX-License-Identifier: MIT
"""The statistics: they count what is there, always add up, and survive storage."""

import json
from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kcworks_migrations.kinds import COMMUNITY, RECORD
from kcworks_migrations.ledger.statistics import Progress, Statistics, Tally
from kcworks_migrations.rules.values import Change, Decided, NoRecords, Problem, Skip

unhurried = settings(deadline=None)

INSTANT = datetime(2016, 2, 29, tzinfo=UTC)
CHANGE = Change("id", "label", INSTANT, INSTANT, "2016-02-29T00:00:00Z")
LATER_VERSION = CHANGE._replace(is_later_version=True)
SKIP = Skip("id", "label")
NO_RECORDS = NoRecords("id", "label", "1000610")
PROBLEM = Problem("id", "label", "record", "empty", "")
LATER_KEPT = Skip("id", "label", "later version")
DECIDED = Decided(INSTANT, "keep", "plan.csv", "0" * 64, None)
KEPT = CHANGE._replace(decided=DECIDED)
DECISIONS = [CHANGE, LATER_VERSION, SKIP, NO_RECORDS, PROBLEM, LATER_KEPT, KEPT]
COUNTS = st.integers(0, 10**9)
TALLIES = st.builds(Tally, COUNTS, COUNTS, COUNTS, COUNTS, COUNTS)


def as_counts(tally: Tally) -> dict[str, int]:
    return Statistics(records=tally).as_dict()["records"]


# Numbers name the decisions, because as tuples `SKIP` equals `NO_RECORDS`.
STEPS = st.lists(st.lists(st.integers(0, 6)), max_size=5)


@unhurried
@given(steps=STEPS)
def test_plus_of_any_decisions_adds_up(steps):
    tally = Tally()
    standing: list[int] = []
    for added in steps:
        tally = tally.plus(DECISIONS[number] for number in added)
        standing = [*added, *standing]

        assert as_counts(tally) == {
            "total_found": len(standing),
            "updated": standing.count(0) + standing.count(1),
            "skipped": standing.count(2) + standing.count(5) + standing.count(6),
            "no_records": standing.count(3),
            "errors": standing.count(4),
            "later_versions": standing.count(1),
            "kept": standing.count(6),
            "later_versions_kept": standing.count(5),
        }
        assert tally.total_found == (
            tally.updated + tally.skipped + tally.no_records + tally.errors
        )


@pytest.mark.parametrize(
    ("decision", "word"),
    [
        (CHANGE, "updated"),
        (SKIP, "skipped"),
        (NO_RECORDS, "no_records"),
        (PROBLEM, "errors"),
    ],
    ids=lambda value: value if isinstance(value, str) else type(value).__name__,
)
def test_plus_of_one_decision_counts_it_under_its_word(decision, word):
    tally = Tally().plus([decision])

    assert as_counts(tally) == {
        **dict.fromkeys(as_counts(Tally()), 0),
        "total_found": 1,
        word: 1,
    }


def test_plus_of_later_version_counts_it_as_updated_too():
    tally = Tally().plus([CHANGE, LATER_VERSION])

    assert (tally.updated, tally.later_versions) == (2, 1)


def test_plus_takes_a_generator():
    tally = Tally().plus(decision for decision in [CHANGE, SKIP])

    assert tally.total_found == 2


def test_of_each_kind_is_a_tally_of_its_own():
    statistics = Statistics().plus(RECORD, [PROBLEM]).plus(COMMUNITY, [PROBLEM] * 2)
    statistics = statistics.plus(RECORD, [], malformed_groups=3)

    assert statistics.of(RECORD).errors == statistics.records.errors == 1
    assert statistics.of(COMMUNITY).errors == statistics.communities.errors == 2
    assert statistics.groups.errors == 3


def test_plus_leaves_the_statistics_as_they_were():
    before = Statistics()

    before.plus(RECORD, [CHANGE])

    assert before == Statistics()


def test_errors_and_updated_are_sums_over_the_kinds():
    statistics = Statistics(
        records=Tally(updated=5, errors=1),
        communities=Tally(updated=2, errors=10),
        groups=Tally(errors=100),
    )

    assert statistics.errors == 111
    assert statistics.updated == 7


@unhurried
@given(st.builds(Statistics, TALLIES, TALLIES, TALLIES))
def test_from_dict_of_as_dict_through_json_is_the_same(statistics):
    kept = json.loads(json.dumps(statistics.as_dict()))

    assert Statistics.from_dict(kept) == statistics
    assert kept.pop("stopped_early") is False
    assert kept.pop("evidence_gone") == 0
    for tally in kept.values():
        assert tally["total_found"] == (
            tally["updated"] + tally["skipped"] + tally["no_records"] + tally["errors"]
        )


def test_from_dict_with_fewer_words_starts_them_at_zero():
    kept = {"records": {"total_found": 3, "updated": 3, "a_word_of_tomorrow": 1}}

    assert Statistics.from_dict(kept) == Statistics(records=Tally(updated=3))


def test_as_dict_has_the_words_of_the_design():
    statistics = Statistics(records=Tally(1, 2, 3, 4, 1))

    words = ["records", "communities", "groups", "evidence_gone", "stopped_early"]
    assert list(statistics.as_dict()) == words
    assert statistics.as_dict()["records"] == {
        "total_found": 10,
        "updated": 1,
        "skipped": 2,
        "no_records": 3,
        "errors": 4,
        "later_versions": 1,
        "kept": 0,
        "later_versions_kept": 0,
    }
    assert set(statistics.as_dict()["communities"].values()) == {0}


def test_progress_is_never_beyond_the_total():
    progress = Progress("records", 10).after(7).after(7)

    assert (progress.done, progress.batch) == (10, 2)
    assert progress.seconds_left == 0


def test_progress_of_nothing_knows_no_pace():
    progress = Progress("records", 10)

    assert progress.rate == 0
    assert progress.seconds_left is None
    assert json.loads(json.dumps(progress.as_dict()))["seconds_left"] is None
