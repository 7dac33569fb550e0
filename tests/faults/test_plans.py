# SPDX-FileCopyrightText: 2026 kcworks-migrations contributors
# SPDX-License-Identifier: MIT
"""A curator's plan that is killed, and rows that change while it is carried out."""

import json
import os
import signal
from dataclasses import replace

import pytest
from flask import current_app
from support.faults import (
    Child,
    Point,
    at,
    forget_runs,
    kill_this_process,
    other_connection,
    outcome,
)
from support.instance import utc

from kcworks_migrations import migration
from kcworks_migrations.config import options_from
from kcworks_migrations.database import opened
from kcworks_migrations.migration.plan import read

CHANGE = "INSERT INTO kcworks_created_dates_backup"
IMPORTED = "2024-05-01T12:00:00.123456"
POINTS = (
    Point("commit", CHANGE, 1),
    Point("committed", CHANGE, 2),
    Point("after", CHANGE, 3),
    Point("committed", "'kind': 'community'", 1),
    Point("before", "'status': 'succeeded'"),
)


def stop_this_process(connection) -> None:
    """Ask this process to stop after its batch."""
    os.kill(os.getpid(), signal.SIGTERM)


def carry_out(instance, path, **given):
    """Do what `update --plan` does; give its summary."""
    what, how = options_from(current_app.config, **given)
    with opened(instance.engine, how.lock_timeout_seconds) as database:
        what = replace(what, plan=read(database, path, what))
    return migration.apply(instance.engine, "cli", what, how)


@pytest.fixture
def planned(instance, column_type, tmp_path):
    """Records with and without the field, communities, and a plan for most of them."""
    group = [{"group_identifier": "7"}]
    records = [instance.record("2016-02-29T13:11:39Z", group) for _ in range(12)]
    records += [instance.record(groups=group) for _ in range(12)]
    communities = [instance.community("7") for _ in range(3)]
    cells = ("2016-02-29T13:11:39Z", "2011-11-11T11:11:11.000001Z", "keep")
    lines = ["id,old,new,note"]
    for number, id in enumerate([*records[:-1], *communities[:-1]]):
        cell = cells[number % len(cells)]
        if id not in records[:12] and cell == cells[0]:
            cell = cells[1]
        lines.append(f"{id},{IMPORTED}Z,{cell},n{number}")
    path = tmp_path / "plan.csv"
    path.write_text("\n".join(lines) + "\n")
    instance.plan = path
    instance.first = records[0]
    return instance


def entries(instance) -> list[tuple]:
    """Give what the ledger says of each row, whatever the run."""
    names = "entity old_created new_created source source_value source_sha256 note"
    return sorted(
        tuple(str(getattr(row, name)) for name in names.split())
        for row in instance.backup()
    )


@pytest.mark.parametrize("point", POINTS, ids=str)
def test_plan_that_was_killed_and_repeated(planned, point, small_messages):
    before = planned.all_created()
    carry_out(planned, planned.plan, batch_size=5)
    wanted, undisturbed = entries(planned), outcome(planned).created
    planned.downgrade()
    assert planned.all_created() == before
    forget_runs(planned)

    def work() -> None:
        with at(planned.engine, point, kill_this_process):
            carry_out(planned, planned.plan, batch_size=5)

    child = Child(planned, work)
    assert child.wait() == -signal.SIGKILL, child.output()
    carry_out(planned, planned.plan, batch_size=5)
    assert entries(planned) == wanted
    assert planned.all_created() == undisturbed
    planned.upgrade()  # everything that the plan has not decided
    decided = [e for e in entries(planned) if e[3] == "plan"]
    assert decided == [e for e in wanted if e[3] == "plan"]
    planned.downgrade()
    assert planned.all_created() == before


@pytest.mark.parametrize("end", [kill_this_process, stop_this_process])
def test_colleague_cannot_override_a_plan_that_was_interrupted(
    planned, invoke, end, small_messages
):
    command = ("update", "--yes", "--plan", planned.plan, "--batch-size", 5)
    before = planned.all_created()
    assert invoke(*command).exit_code == 0
    undisturbed = planned.all_created()
    planned.downgrade()
    forget_runs(planned)

    def work() -> None:
        with at(planned.engine, Point("after", CHANGE, 3), end):
            invoke(*command)

    child = Child(planned, work)
    assert child.wait() == (-signal.SIGKILL if end is kill_this_process else 0)
    half = planned.all_created()
    assert before != half != undisturbed
    colleague = invoke("update", "--yes")
    assert colleague.exit_code == 2 and "plan.csv" in colleague.output
    assert planned.all_created() == half
    again = invoke(*command)
    assert again.exit_code == 0, again.output
    assert planned.all_created() == undisturbed
    decided = [e for e in entries(planned) if e[3] == "plan"]
    assert invoke("update", "--yes").exit_code == 0
    assert [e for e in entries(planned) if e[3] == "plan"] == decided


@pytest.mark.parametrize("number", [0, 1, 2])
def test_row_that_changes_under_a_plan_is_left_alone(planned, number, short_pauses):
    """Whatever the line says: its `old` does not hold any more."""
    line = planned.plan.read_text().splitlines()[1 + number]
    id = line.split(",")[0]
    other = other_connection(planned)

    def edit(connection) -> None:
        other.cursor().execute(
            "UPDATE rdm_records_metadata SET created = '2020-02-02 02:02:02+00'"
            f" WHERE id = '{id}'"
        )
        other.commit()

    with at(planned.engine, Point("before", CHANGE, 1), edit):
        carry_out(planned, planned.plan)
    other.close()
    assert planned.created(id) == utc("2020-02-02T02:02:02")
    assert not planned.backup(entity_id=id)
    assert ("record", id, "moved", "2020-02-02 02:02:02 UTC") in planned.problems()


def test_row_that_is_locked_for_a_moment_gets_the_date_of_its_plan(
    planned, short_pauses
):
    holder = other_connection(planned)
    holder.cursor().execute(
        f"SELECT id FROM rdm_records_metadata WHERE id = '{planned.first}' FOR UPDATE"
    )

    def release(connection) -> None:
        holder.rollback()

    coming_back = Point("before", "DELETE FROM kcworks_created_dates_problem", 1)
    with at(planned.engine, coming_back, release):
        carry_out(planned, planned.plan)
    holder.close()
    assert planned.created(planned.first) == utc("2016-02-29T13:11:39")
    assert len(planned.backup(entity_id=planned.first)) == 1


def test_row_that_stays_locked_is_refused_once_in_the_account(
    planned, invoke, short_pauses
):
    holder = other_connection(planned)
    holder.cursor().execute(
        f"SELECT id FROM rdm_records_metadata WHERE id = '{planned.first}' FOR UPDATE"
    )
    done = invoke("update", "--yes", "--json", "--plan", planned.plan)
    told = json.loads(done.stdout)["plan"]
    assert done.exit_code == 1 and told["refused"] == 1 and told["left"] == 0
    assert told["lines"] == told["changed"] + told["kept"] + 1
    holder.close()
    again = invoke("update", "--yes", "--json", "--plan", planned.plan)
    assert again.exit_code == 0
    assert json.loads(again.stdout)["plan"]["changed"] == 1
