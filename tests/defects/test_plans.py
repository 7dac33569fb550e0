# SPDX-FileCopyrightText: 2026 kcworks-migrations contributors
# SPDX-License-Identifier: MIT
"""A plan that is carried out more than once, or bit by bit."""

import pytest
from support.rebuild import given, rebuild

LABELS = {"pid-0", "pid-1", "pid-2", "medieval"}


@pytest.fixture
def update(instance, invoke, tmp_path):
    """Carry out a plan for three records and a community, with some options."""
    group = [{"group_identifier": "7"}]
    for number in range(3):
        label = f"pid-{number}"
        instance.record(f"201{number}-02-03T04:05:06Z", group, label=label)
    instance.community("7", slug="medieval")
    plan = tmp_path / "plan"
    done = invoke("update", "--dry-run", "--save-plan", plan)
    given(done.exit_code == 0 and plan.exists(), done.output)
    return lambda *options: invoke("update", "--yes", "--plan", plan, *options)


def changed(instance) -> set[str]:
    """Give the labels of the changed rows."""
    return {entry.label for entry in instance.backup()}


@rebuild("a row that is what the plan says is right, and no difference")
def test_plan_carried_out_twice_changes_nothing_more(instance, update):
    done = update()
    given(done.exit_code == 0 and changed(instance) == LABELS, done.output)
    again = update()
    given(len(instance.backup()) == len(LABELS), "a row was changed again")
    assert again.exit_code == 0, again.output


@rebuild("a row that is what the plan says is right, and no difference")
def test_plan_with_limit_twice_goes_on_with_the_next_rows(instance, update):
    limit = ("--records-only", "--limit", 1)
    done = update(*limit)
    given(done.exit_code == 0 and len(instance.backup()) == 1, done.output)
    again = update(*limit)
    assert again.exit_code == 0, again.output
    assert len(changed(instance)) == 2


@rebuild("a row that is what the plan says is right, and no difference")
def test_plan_for_the_records_and_then_for_the_communities(instance, update):
    done = update("--records-only")
    given(done.exit_code == 0, done.output)
    given(changed(instance) == LABELS - {"medieval"}, "not just the records")
    then = update("--communities-only")
    assert then.exit_code == 0, then.output
    assert changed(instance) == LABELS
