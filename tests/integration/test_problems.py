# SPDX-FileCopyrightText: 2026 kcworks-migrations contributors
# SPDX-License-Identifier: MIT
"""Problems over several runs: the same row, told of each run that met it."""

import json

import pytest
from support.instance import OURS

from kcworks_migrations.kinds import COMMUNITY, RECORD

BAD = "2016-02-30T00:00:00Z"
RIGHT = "2016-02-29T13:11:39Z"
SET_DATE = (
    "UPDATE rdm_records_metadata SET json = jsonb_set(json, ARRAY['custom_fields',"
    " 'hclegacy:record_creation_date'], to_jsonb(CAST(:value AS text))) WHERE id = :id"
)


@pytest.fixture
def update(instance, invoke):
    """Update with some options; give the number of the run."""

    def update(*options: str) -> int:
        assert invoke("update", "--yes", *options).exit_code in (0, 1)
        return instance.run().id

    return update


@pytest.fixture
def listed(invoke):
    """What `problems` lists of a run: reason and value of each, sorted."""

    def listed(run_id: int):
        found = json.loads(invoke("problems", "--run", run_id, "--json").output)
        return sorted((p["reason"], p["value"] or "") for p in found["problems"])

    return listed


def rows(instance):
    return instance.execute(
        f"SELECT reason, run_id, last_run_id FROM {OURS}problem ORDER BY id"
    )


def fill(instance) -> str:
    """Make problems of every kind, some of them alike; give the record's UUID."""
    bad = instance.record(BAD, ["x", "x", 7, {"group_identifier": " "}], label="bad")
    instance.community(7)
    return bad


PROBLEMS = [
    ("group_identifier_empty", " "),
    ("group_not_an_object", '"x"'),
    ("group_not_an_object", '"x"'),
    ("group_not_an_object", "7"),
    ("impossible_date", BAD),
    ("not_a_string", "7"),
]


def test_problem_that_later_runs_meet_again_is_the_same_row(
    instance, update, listed, invoke
):
    fill(instance)
    runs = [update() for _ in range(3)]
    assert {tuple(row[1:]) for row in rows(instance)} == {(runs[0], runs[2])}
    assert len(rows(instance)) == len(PROBLEMS)
    for run in runs:
        assert listed(run) == PROBLEMS
    assert f"Run {runs[0]} to {runs[2]}: a problem" in invoke("show", "bad").output


def test_problems_of_runs_of_one_kind_each(instance, update, listed):
    fill(instance)
    runs = [update(f"--{kind.plural}-only") for kind in (RECORD, COMMUNITY) * 3]
    assert len(rows(instance)) == len(PROBLEMS)
    for records, communities in zip(runs[::2], runs[1::2], strict=True):
        assert listed(records) == PROBLEMS[:-1]
        assert listed(communities) == PROBLEMS[-1:]


def test_problem_that_comes_back_is_none_of_the_runs_that_did_not_meet_it(
    instance, update, listed
):
    bad = instance.record(BAD)
    first = update()
    instance.execute(SET_DATE, value=RIGHT, id=bad)
    right = update()
    instance.execute(SET_DATE, value=BAD, id=bad)
    back, last = update(), update()
    assert [listed(run) for run in (first, right, back, last)] == [
        [("impossible_date", BAD)],
        [],
        [("impossible_date", BAD)],
        [("impossible_date", BAD)],
    ]
    met = [tuple(row[1:]) for row in rows(instance) if row[0] == "impossible_date"]
    assert met == [(first, first), (back, last)]


def test_problem_with_another_value_is_another_one(instance, update, listed):
    bad = instance.record(BAD)
    first = update()
    instance.execute(SET_DATE, value="soon", id=bad)
    second = update()
    assert listed(first) == [("impossible_date", BAD)]
    assert listed(second) == [("invalid_format", "soon")]


def test_runs_that_look_at_some_rows_list_only_what_they_met(
    instance, update, listed, invoke, tmp_path
):
    fill(instance)
    good = instance.record(RIGHT, label="good")
    first = update()
    plan = tmp_path / "plan.csv"
    plan.write_text(f"id,new\n{good},2011-01-01\n")
    invoke("update", "--yes", "--plan", plan)
    with_plan = instance.run().id
    invoke("rollback", "--yes", "--run", with_plan)
    back = instance.run().id
    last = update()
    assert listed(first) == listed(last) == PROBLEMS
    assert listed(back) == []
    assert len(rows(instance)) == len(PROBLEMS)
