# SPDX-FileCopyrightText: 2026 kcworks-migrations contributors
# SPDX-License-Identifier: MIT
"""The account of a plan's lines: it adds up, and names what it must."""

from datetime import UTC, datetime

from kcworks_migrations.kinds import COMMUNITY, RECORD
from kcworks_migrations.report.plan import PlanView
from kcworks_migrations.rules.values import Change, Decided, Problem, Skip
from kcworks_migrations.values import Line, Plan

OLD = datetime(2024, 5, 1, 12, tzinfo=UTC)
NEW = datetime(2016, 2, 29, 13, 11, 39, tzinfo=UTC)
WORDS = ("changed", "kept", "right", "moved", "gone", "refused", "left")


def change(id="id", new=NEW, **more) -> Change:
    return Change(id, f"pid-{id}", OLD, new, "2016-02-29T13:11:39Z", **more)


def decided(id="id", new=NEW, computed=None) -> Change:
    decision = Decided(new, "x", "plan.csv", "0" * 64, None)
    return change(id, new, decided=decision, computed=computed)


def approved(id="id", computed=None) -> Change:
    line = Decided(NEW, "x", "plan.csv", "0" * 64, None)
    return change(id, approved=line, computed=computed)


def view(*decisions, kind=RECORD, runs=(), **more) -> PlanView:
    lines = {
        d.id: Line(number, OLD, NEW, "x", None)
        for number, d in enumerate(decisions, start=2)
    }
    lines |= more.pop("others", {})
    seen = PlanView(Plan("plan.csv", "0" * 64, lines, **more))
    seen.add(kind, decisions, dict(runs))
    return seen


def test_account_adds_up_and_names_what_was_not_carried_out():
    seen = view(
        change("1"),
        decided("2", computed=OLD),
        decided("3"),
        decided("4", new=OLD),
        Skip("5", "pid-5"),
        Skip("6", "pid-6", "as decided in a plan"),
        Skip("7", "pid-7", "beyond the limit"),
        Problem("8", "pid-8", "record", "moved", "2020-01-01 00:00:00 UTC"),
        Problem("9", "pid-9", "record", "gone", None),
        Problem("10", "pid-10", "record", "locked", None),
        others={"x": Line(99, None, None, "keep", None)},
        runs={"8": 7},
        empty=2,
        assumed="Windows-1252",
    )

    document = seen.as_dict()
    assert [document[word] for word in WORDS] == [3, 1, 2, 1, 1, 1, 2]
    assert document["lines"] == 11 == sum(document[word] for word in WORDS)
    assert not seen.is_carried_out
    assert document["missed"][0] == {
        "row": "record pid-8", "line": 9, "outcome": "moved", "old": OLD, "new": NEW,
        "found": "2020-01-01 00:00:00 UTC", "run": 7,
    }  # fmt: skip
    text = "\n".join(seen.account())
    assert " ".join(text.split()).startswith(
        "11 lines: 3 changed, 1 kept, 2 right already, 1 moved, 1 gone, 1 refused,"
        " 2 not asked for"
    )
    assert "record pid-8 (line 9)" in text
    assert "planned: 2024-05-01 12:00:00 UTC, to 2016-02-29 13:11:39 UTC" in text
    assert "moved: now 2020-01-01 00:00:00 UTC, by run 7" in text
    assert "gone: the row is gone since the plan was read" in text
    assert "refused: locked by another session at every attempt" in text
    told = "\n".join(seen.lines())
    assert text in told
    assert "Rows that will change: 3" in told
    assert "Rows to stay at their present date from now on: 1" in told
    assert "Dates that are the file's own, not computed: 2" in told
    assert "2016-02-29 13:11:39 UTC, computed: 2024-05-01 12:00:00 UTC" in told
    assert "2016-02-29 13:11:39 UTC, computed: none" in told
    assert "Lines with an empty new, which are skipped: 2" in told
    assert "read as Windows-1252" in told
    assert all(len(line) <= 80 for line in seen.lines())


def test_what_is_right_or_carried_out_is_all_that_there_is_to_do():
    assert view(change("1"), decided("2", new=OLD), Skip("3", "3")).is_carried_out
    assert not view(Skip("1", "1", "excluded")).is_carried_out


def test_approved_dates_that_a_later_run_moves():
    lines = [approved("1", OLD), approved("2"), Skip("3", "3")]
    saved = {"3": Line(9, None, NEW, "x", None, is_as_saved=True)}
    now = Change("3", "pid-3", NEW, OLD, "x")
    records, communities = (
        view(*lines, kind=kind, others=saved) for kind in (RECORD, COMMUNITY)
    )
    for seen, kind in ((records, RECORD), (communities, COMMUNITY)):
        seen.compare(kind, [now, Skip("4", "4", "not in the plan"), Skip("5", "5")])
        assert seen.lacking == 1
    assert (records.alone.count, records.moving.count) == (3, 0)
    assert (communities.alone.count, communities.moving.count) == (1, 2)
    assert "community pid-3" in "\n".join(communities.lines())


def test_lists_are_bounded():
    many = [decided(str(n)) for n in range(1000)]
    problems = [Problem(f"p{n}", "p", "record", "gone", None) for n in range(500)]
    seen = view(*many, *problems)

    assert seen.own.count == 1000 and len(seen.as_dict()["shown"]) == 200
    assert len(seen.as_dict()["missed"]) == 200
    assert "... and 800 more" in "\n".join(seen.lines())
    assert "... and 300 more" in "\n".join(seen.account())
