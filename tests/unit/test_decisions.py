# SPDX-FileCopyrightText: 2026 kcworks-migrations contributors
# SPDX-License-Identifier: MIT
"""The filter: which changes are made, and why the others are not."""

from dataclasses import replace
from datetime import UTC, date, datetime

import pytest

from kcworks_migrations.config import What
from kcworks_migrations.kinds import COMMUNITY, RECORD
from kcworks_migrations.migration.sift import sift
from kcworks_migrations.rules.values import Change, Decided, NoRecords, Problem, Skip
from kcworks_migrations.values import Line, Plan

IMPORTED = datetime(2024, 5, 1, 12, tzinfo=UTC)
CHANGE = Change("uuid", "abcde-12345", IMPORTED, IMPORTED, "2016-02-29T13:11:39Z")
DECIDED = Decided(IMPORTED, "keep", "plan.csv", "0" * 64, None)
NOT_ASKED = "created outside the days asked for"


def reason(what: What, change: Change = CHANGE, kind=RECORD, updated=0) -> str | None:
    """Give why a change is skipped; none when it is made."""
    [decision] = sift(what, kind, [change], updated)
    if isinstance(decision, Change):
        assert decision == change
        return None
    assert decision[:2] == (change.id, change.label)
    return decision.reason


@pytest.mark.parametrize(
    ("created", "is_made"),
    [
        ("2024-04-30T23:59:59.999999", False),
        ("2024-05-01T00:00:00", True),
        ("2024-05-02T12:00:00", True),
        ("2024-05-03T23:59:59.999999", True),
        ("2024-05-04T00:00:00", False),
    ],
)
def test_both_days_are_included(created, is_made):
    what = What(start_date=date(2024, 5, 1), end_date=date(2024, 5, 3))
    instant = datetime.fromisoformat(created).replace(tzinfo=UTC)
    change = CHANGE._replace(old_created=instant)

    assert reason(what, change) == (None if is_made else NOT_ASKED)
    assert reason(what, change, COMMUNITY) is None, "the days are of records only"


@pytest.mark.parametrize(
    ("days", "is_made"),
    [
        ({}, True),
        ({"start_date": date(2024, 5, 1)}, True),
        ({"start_date": date(2024, 5, 2)}, False),
        ({"end_date": date(2024, 5, 1)}, True),
        ({"end_date": date(2024, 4, 30)}, False),
    ],
)
def test_one_day_or_none(days, is_made):
    assert reason(What(**days)) == (None if is_made else NOT_ASKED)


@pytest.mark.parametrize("name", ["uuid", "abcde-12345"])
def test_names_to_leave_alone_and_to_change_only(name):
    assert reason(What(exclude=frozenset({name, "other"}))) == "excluded"
    assert reason(What(only=frozenset({name, "other"}))) is None
    assert reason(What(exclude=frozenset({"other"}))) is None
    assert reason(What(only=frozenset({"other"}))) == "not asked for"
    assert reason(What(only=frozenset())) == "not asked for"


def test_later_versions():
    later = CHANGE._replace(is_later_version=True)
    keep = What(later_versions="keep")

    assert reason(keep, later) == "later version"
    assert reason(keep) is None
    assert reason(What(), later) is None


def test_later_version_that_a_curator_has_decided():
    later = CHANGE._replace(is_later_version=True)
    keep = What(later_versions="keep")
    line = Line(2, None, None, "keep", None)

    assert reason(replace(keep, plan=Plan("f", "0", {"uuid": line})), later) is None
    assert reason(keep, later._replace(decided=DECIDED)) is None


def test_plan_keeps_others_out():
    line = Line(2, None, None, "keep", None)

    assert reason(What(plan=Plan("f", "0", {"uuid": line}))) is None
    assert reason(What(plan=Plan("f", "0", {"other": line}))) == "not in the plan"
    assert reason(What(plan=Plan("f", "0", {}))) == "not in the plan"


def test_limit_counts_what_was_changed_before():
    changes = [CHANGE._replace(id=str(n), label=str(n)) for n in range(4)]

    made = sift(What(limit=5), RECORD, changes, updated=3)

    assert made[:2] == changes[:2]
    assert [d.reason for d in made[2:]] == ["beyond the limit"] * 2


def test_limit_does_not_count_what_is_kept():
    kept = CHANGE._replace(new_created=CHANGE.old_created, decided=DECIDED)

    assert sift(What(limit=1), RECORD, [kept, CHANGE, kept], updated=0) == [
        kept,
        CHANGE,
        kept,
    ]


def test_limit_is_not_used_up_by_what_is_skipped():
    excluded = CHANGE._replace(id="x", label="x")
    what = What(limit=1, exclude=frozenset({"x"}))

    made = sift(what, RECORD, [excluded, CHANGE], updated=0)

    assert made == [Skip("x", "x", "excluded"), CHANGE]


def test_everything_else_passes_in_its_order():
    others = [
        Skip("a", "a"),
        NoRecords("b", "b", "7"),
        Problem("c", "c", "record", "empty", ""),
    ]
    what = What(only=frozenset(), limit=1, exclude=frozenset("abc"))

    assert sift(what, COMMUNITY, others, updated=1) == others
