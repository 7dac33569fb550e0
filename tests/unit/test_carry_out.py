# SPDX-FileCopyrightText: 2026 kcworks-migrations contributors
# SPDX-License-Identifier: MIT
"""What a line of a plan makes of a row."""

from datetime import UTC, datetime

import pytest

from kcworks_migrations.rules.decide import decide_community, decide_record
from kcworks_migrations.rules.plan import carry_out
from kcworks_migrations.rules.values import (
    Change,
    CommunityRow,
    Decided,
    Problem,
    RecordRow,
    Skip,
)
from kcworks_migrations.values import Line, Plan

EARLIEST = datetime(1980, 1, 1, tzinfo=UTC)
NOW = datetime(2026, 1, 31, tzinfo=UTC)
IMPORTED = datetime(2024, 5, 1, 12, tzinfo=UTC)
LEGACY = datetime(2016, 2, 29, 13, 11, 39, tzinfo=UTC)
OWN = datetime(2015, 3, 4, tzinfo=UTC)
PLAN = Plan("plan.csv", "0" * 64, {})
KEPT = None


def record(text="2016-02-29T13:11:39Z", created=IMPORTED, decided=None) -> RecordRow:
    kind = None if text is None else "string"
    return RecordRow(
        "uuid", "pid", created, "object", None, kind, text, 1, *[None] * 5, decided
    )


def line(new=OWN, old=None, note=None) -> Line:
    return Line(2, old, new, "keep" if new is KEPT else new.isoformat(), note)


def carried(line, row):
    decision, _ = decide_record(row, EARLIEST, NOW)
    return carry_out(PLAN, line, row, decision)


def test_date_of_the_rules_is_an_ordinary_change():
    decision = carried(line(LEGACY), record())

    assert decision == decide_record(record(), EARLIEST, NOW)[0]
    assert decision.decided is None


def test_another_date_is_a_decision_with_the_computed_one_beside():
    decision = carried(line(OWN, note="a letter"), record())

    assert (decision.old_created, decision.new_created) == (IMPORTED, OWN)
    assert decision.computed == LEGACY
    assert decision.decided == Decided(
        OWN, OWN.isoformat(), "plan.csv", "0" * 64, "a letter"
    )
    assert not decision.is_kept


@pytest.mark.parametrize("text", [None, "nonsense", ""])
def test_date_for_a_row_to_which_the_rules_give_none(text):
    decision = carried(line(OWN), record(text))

    assert decision.new_created == OWN and decision.computed is None
    assert decision.decided


def test_keep_is_a_decision_for_the_present_date():
    decision = carried(line(KEPT), record())

    assert decision.is_kept and decision.new_created == IMPORTED
    assert decision.decided.text == "keep"


def test_date_that_the_row_has_already_is_decided_all_the_same():
    """Otherwise the next run would change it to what the rules give."""
    assert carried(line(IMPORTED), record()).is_kept


def test_date_of_the_rules_that_the_row_has_already_is_done():
    assert carried(line(LEGACY), record(created=LEGACY)) == Skip("uuid", "pid")


@pytest.mark.parametrize("new", [OWN, KEPT])
def test_decision_that_stands_is_done(new):
    decided = Decided(OWN, "2015-03-04", "earlier.csv", "1" * 64, None)

    decision = carried(line(new), record(created=OWN, decided=decided))

    assert isinstance(decision, Skip)


def test_date_of_the_rules_after_another_decision_is_a_decision():
    decided = Decided(OWN, "2015-03-04", "earlier.csv", "1" * 64, None)

    decision = carried(line(LEGACY), record(created=OWN, decided=decided))

    assert decision.new_created == LEGACY and decision.computed == OWN
    assert decision.decided.file == "plan.csv"


def test_decision_that_stands_wins_over_the_rules_and_is_made_again():
    decided = Decided(OWN, "2015-03-04", "earlier.csv", "1" * 64, "why")

    decision, instant = decide_record(record(decided=decided), EARLIEST, NOW)

    assert instant == OWN
    assert (decision.new_created, decision.decided) == (OWN, decided)


@pytest.mark.parametrize(
    ("new", "old", "created", "is_moved"),
    [
        (OWN, IMPORTED, IMPORTED, False),
        (OWN, IMPORTED, LEGACY, True),
        (OWN, IMPORTED, OWN, False),
        (OWN, None, LEGACY, False),
        (LEGACY, IMPORTED, LEGACY, False),
        (LEGACY, IMPORTED, OWN, True),
        (KEPT, IMPORTED, IMPORTED, False),
        (KEPT, IMPORTED, OWN, True),
    ],
)
def test_old_guards(new, old, created, is_moved):
    decision = carried(line(new, old), record(created=created))

    assert (isinstance(decision, Problem) and decision.reason == "moved") == is_moved


def test_row_whose_created_nobody_can_read_stays_a_problem():
    decision = carried(line(OWN), record(created=None))

    assert decision.reason == "current_created_unreadable"


def test_line_of_a_community_wins_over_the_computation():
    row = CommunityRow("uuid", "slug", IMPORTED, "object", None, "string", "7")
    decision = carry_out(PLAN, line(OWN), row, decide_community(row, {}))

    assert isinstance(decision, Change) and decision.new_created == OWN
    assert decision.group_id is None
