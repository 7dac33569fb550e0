# SPDX-FileCopyrightText: 2026 kcworks-migrations contributors
# SPDX-License-Identifier: MIT
"""A curator's plan that was interrupted keeps all others out until it is dealt with."""

import json
import re
import shlex

import pytest
from support import faults
from support.instance import OURS, utc

LEGACY = "2016-02-29T13:11:39Z"
IMPORTED = "2024-05-01T12:00:00.123456"
WAIT = "KCWORKS_CREATED_DATES_ON_UPGRADE"
CHANGE = "INSERT INTO kcworks_created_dates_backup"


@pytest.fixture
def five(instance):
    """Five records that an update would change; their ids."""
    return sorted(instance.record(LEGACY) for _ in range(5))


@pytest.fixture
def plan(five, tmp_path):
    """A plan that keeps four of them and changes none."""
    path = tmp_path / "approved.csv"
    path.write_text("\n".join(["id,new", *(f"{id},keep" for id in five[:4])]) + "\n")
    return path


def failing(engine, text: str, number: int):
    """Let a statement fail, once."""

    def fail(connection) -> None:
        raise RuntimeError("failure injected")

    return faults.at(engine, faults.Point("before", text, number), fail)


@pytest.fixture
def interrupted(instance, invoke, plan):
    """Interrupt the plan in its second batch, or another one; give its run."""

    def interrupted(*options, at: int = 2, path=plan):
        with failing(instance.engine, CHANGE, at):
            command = ("update", "--yes", "--plan", path, "--batch-size", 1, *options)
            assert invoke(*command).exit_code == 3
        run = instance.run()
        assert run.status == "failed" and len(instance.backup(run_id=run.id)) == at - 1
        return run

    return interrupted


def ways_on(output: str) -> list[list[str]]:
    """Give the two commands that a refusal prints, without the program's name."""
    commands = re.findall(r"`invenio kcworks-created-dates ([^`]+)`", output)
    return [shlex.split(command) for command in commands]


def runs(instance) -> int:
    return instance.scalar(f"SELECT count(*) FROM {OURS}run")


@pytest.mark.parametrize("at", [1, 3], ids=["nothing done", "some done"])
@pytest.mark.parametrize("way", ["complete", "give up"])
def test_update_is_refused_and_both_printed_commands_lead_on(
    instance, invoke, five, interrupted, at, way
):
    run = interrupted(at=at)
    before = runs(instance)
    refused = invoke("update", "--yes")
    assert refused.exit_code == 2 and "approved.csv" in refused.output
    assert "Nothing was changed" in refused.output and runs(instance) == before
    assert instance.created(five[4]) == utc(IMPORTED)
    complete, give_up = ways_on(refused.output)
    assert give_up == ["rollback", "--run", str(run.id)]
    assert "Gives up the plan approved.csv" in invoke(*give_up, "--dry-run").output
    assert invoke(*(complete if way == "complete" else give_up), "--yes").exit_code == 0
    undo = instance.run()
    assert undo.status == "succeeded"
    assert undo.action == ("apply" if way == "complete" else "revert")
    assert invoke("update", "--yes").exit_code == 0
    kept = [utc(IMPORTED)] * 4 if way == "complete" else [utc(LEGACY[:-1])] * 4
    assert [instance.created(id) for id in five] == [*kept, utc(LEGACY[:-1])]


def test_structured_plan_in_the_run_row(instance, interrupted, plan):
    kept = interrupted().options["plan"]
    assert kept["file"] == "approved.csv" and kept["lines"] == 4
    assert len(kept["sha256"]) == 64 and kept["path"] == str(plan)


@pytest.mark.parametrize(
    "command",
    [
        ("update", "--background"),
        ("update", "--records-only", "--limit", "1"),
        ("rehearse",),
    ],
    ids=" ".join,
)
def test_every_command_without_the_plan_is_refused(
    instance, invoke, interrupted, command, monkeypatch
):
    from kcworks_migrations.cli import background

    monkeypatch.setattr(background, "queue", lambda *_: pytest.fail("it was queued"))
    interrupted()
    before = runs(instance)
    refused = invoke(*command, "--yes")
    assert refused.exit_code == 2 and "approved.csv" in refused.output
    assert runs(instance) == before


def test_dry_run_is_not_refused(instance, invoke, interrupted):
    interrupted()
    assert invoke("update", "--dry-run").exit_code == 0


def test_tasks_and_python_are_refused(app, instance, interrupted):
    from kcworks_migrations import migration
    from kcworks_migrations.errors import CreatedDatesError
    from kcworks_migrations.tasks import update_record_created_dates_task

    run = interrupted()
    for call in (
        lambda: migration.apply(instance.engine),
        lambda: update_record_created_dates_task.apply(throw=True),
    ):
        with pytest.raises(CreatedDatesError, match=f"rollback --run {run.id}"):
            call()


def test_alembic_is_refused_under_apply_and_goes_on_under_wait(
    app, instance, five, interrupted, monkeypatch, capsys
):
    from kcworks_migrations.errors import RefusedError

    run = interrupted()
    with pytest.raises(RefusedError, match=f"rollback --run {run.id}"):
        instance.upgrade()
    monkeypatch.setitem(app.config, WAIT, "wait")
    assert instance.upgrade().run_id is None
    told = capsys.readouterr().err
    assert "update --plan" in told and f"rollback --run {run.id}" in told
    assert instance.run().id == run.id


def test_check_names_both_ways_on(app, instance, invoke, interrupted, monkeypatch):
    run = interrupted()
    for setting, level in (("apply", "stop"), ("wait", "warning")):
        monkeypatch.setitem(app.config, WAIT, setting)
        lines = json.loads(invoke("check", "--json").stdout)["lines"]
        [line] = [line for line in lines if line["name"] == "plan"]
        assert line["level"] == level
        complete, give_up = ways_on(line["what_to_do"])
        assert complete[:2] == ["update", "--plan"]
        assert give_up == ["rollback", "--run", str(run.id)]
        assert not [line for line in lines if "The next run does" in str(line)]
        [line] = [line for line in lines if line["name"] == "revision"]
        assert ways_on(line["what_to_do"]) == [complete]


def test_status_names_both_ways_on_and_no_other(instance, invoke, interrupted):
    run = interrupted()
    output = invoke("status").output
    steps = [
        shlex.split(line.split("    ")[0])[2:]
        for line in output[output.index("Next:") :].splitlines()[1:]
        if line.startswith("  invenio kcworks")
    ]
    steps = [line for line in steps if line[0] in {"update", "rollback"}]
    assert [line[0] for line in steps] == ["update", "rollback"]
    assert steps[0][1] == "--plan" and steps[1][1:] == ["--run", str(run.id)]
    found = json.loads(invoke("status", "--json").stdout)["unfinished_plan"]
    assert found["run"] == run.id and found["plan"]["file"] == "approved.csv"
    assert invoke(*steps[0], "--yes").exit_code == 0
    assert json.loads(invoke("status", "--json").stdout)["unfinished_plan"] is None
    assert "--plan" not in invoke("status").output


# --- what ends it --------------------------------------------------------------------


def test_rollback_of_everything_and_the_downgrade_give_it_up(
    instance, invoke, interrupted
):
    interrupted()
    assert invoke("rollback", "--yes").exit_code == 0
    assert invoke("update", "--yes").exit_code == 0
    invoke("rollback", "--yes")
    interrupted(at=1)
    instance.downgrade()
    assert invoke("update", "--yes").exit_code == 0


def test_rollback_of_one_row_gives_nothing_up(instance, invoke, interrupted, five):
    run = interrupted(at=3)
    for more in ((), ("--run", run.id)):
        label = instance.scalar(
            f"SELECT label FROM {OURS}backup WHERE outcome IS NULL LIMIT 1"
        )
        assert invoke("rollback", "--yes", "--record", label, *more).exit_code == 0
        assert invoke("update", "--yes").exit_code == 2


def test_another_plan_supersedes_it(instance, invoke, interrupted, five, tmp_path):
    interrupted()
    path = tmp_path / "corrected.csv"
    path.write_text(f"id,new\n{five[0]},{LEGACY}\n")
    assert invoke("update", "--yes", "--plan", path).exit_code == 0
    assert invoke("update", "--yes").exit_code == 0


def test_each_interrupted_run_of_the_plan_is_given_up_by_itself(
    instance, invoke, interrupted
):
    first, second = interrupted(at=2), interrupted(at=2)
    for run in (second, first):
        *_, give_up = ways_on(invoke("update", "--yes").output)
        assert give_up == ["rollback", "--run", str(run.id)]
        assert invoke(*give_up, "--yes").exit_code == 0
    assert invoke("update", "--yes").exit_code == 0


def test_run_that_reached_its_limit_is_not_unfinished(instance, invoke, plan):
    invoke("update", "--yes", "--plan", plan, "--limit", 1)
    assert instance.run().status == "succeeded"
    assert invoke("update", "--yes").exit_code == 0


@pytest.mark.parametrize("narrow", [("--limit", 1), ("--communities-only",)], ids=str)
def test_narrower_run_of_the_plan_does_not_end_it(
    instance, invoke, interrupted, plan, narrow
):
    interrupted()
    invoke("update", "--yes", "--plan", plan, *narrow)
    assert instance.run().status == "succeeded"
    assert invoke("update", "--yes").exit_code == 2


def test_printed_command_has_the_options_of_the_run(
    instance, invoke, interrupted, five, tmp_path
):
    path = tmp_path / "may 5's plan.csv"
    path.write_text(f"id,new\n{five[0]},keep\n{five[1]},keep\n")
    options = ["--records-only", "--start-date", "2024-01-02", "--limit", "7"]
    interrupted(*options, path=path)
    complete, _ = ways_on(invoke("update", "--yes").output)
    assert complete == ["update", "--plan", str(path), *options]
    assert invoke(*complete, "--yes").exit_code == 0
    assert invoke("update", "--yes").exit_code == 0


# --- the approval is a gate ----------------------------------------------------------


def test_nothing_without_a_plan_changes_dates_while_approvals_are_waited_for(
    app, instance, invoke, five, plan, monkeypatch
):
    from kcworks_migrations import migration
    from kcworks_migrations.config import options_from
    from kcworks_migrations.errors import CreatedDatesError
    from kcworks_migrations.tasks import update_community_created_dates_task

    monkeypatch.setitem(app.config, WAIT, "wait")
    before = instance.all_created()
    for more in ((), ("--background",), ("--communities-only", "--limit", 1)):
        refused = invoke("update", "--yes", *more)
        assert refused.exit_code == 2 and "--save-plan" in refused.output
    for call in (
        lambda: migration.apply(instance.engine),
        lambda: update_community_created_dates_task.apply(throw=True),
    ):
        with pytest.raises(CreatedDatesError, match="ON_UPGRADE is 'wait'"):
            call()
    assert instance.all_created() == before and not runs(instance)
    for command in (("status",), ("check",), ("update", "--dry-run", "--records-only")):
        told = invoke(*command).output
        assert "--save-plan" in told, command
        assert not re.search(r"created-dates update *(`|$)", told, re.MULTILINE)
    told = invoke("update", "--dry-run", "--records-only").output
    assert "--save-plan" in told and "same command without --dry-run" not in told
    assert invoke("update", "--yes", "--plan", plan).exit_code == 0
    _, how = options_from(app.config, on_upgrade="apply")
    with pytest.raises(CreatedDatesError), failing(instance.engine, CHANGE, 1):
        migration.apply(instance.engine, how=how)
    told = invoke("status").output
    assert "--save-plan" in told
    assert not re.search(r"created-dates update *(`|    |$)", told, re.MULTILINE)
    migration.apply(instance.engine, how=how)
    assert not re.search(r"update(`|$)", invoke("check").output, re.MULTILINE)
    assert instance.created(five[4]) == utc(LEGACY[:-1])
