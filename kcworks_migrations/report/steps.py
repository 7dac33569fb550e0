# SPDX-FileCopyrightText: 2026 kcworks-migrations contributors
# SPDX-License-Identifier: MIT
"""The commands that begin, go on and undo, chosen by the state of the instance."""

from collections.abc import Iterable, Mapping
from typing import Any

from ..kinds import DATED
from ..ledger.plans import PlanFile, command_of
from ..ledger.runs import SUCCEEDED
from ..ledger.tables import State
from ..text import (
    CARRY_OUT,
    COMMAND,
    DOWNGRADE,
    SAVE_PLAN,
    UPGRADE,
    WIDTH,
    counted,
    escape,
    wrapped,
)


def first_steps(is_applied: bool, on_upgrade: str) -> tuple[str, ...]:
    """Return the commands to begin with.

    Args:
        is_applied: Whether Alembic records the dates as changed, as it does in a new
            database: its upgrade would do nothing.
        on_upgrade: The setting.
    """
    check = f"{COMMAND} check"
    if on_upgrade == "wait":
        return (check, *(() if is_applied else (UPGRADE,)), SAVE_PLAN, CARRY_OUT)
    step = f"{COMMAND} update" if is_applied else UPGRADE
    return (check, f"{COMMAND} update --dry-run", step)


def alembic_lines(alembic: State, standing: int) -> list[str]:
    """Return what Alembic has recorded, and what undoes all changes that stand.

    After a mere rollback Alembic would still record the revision as applied; its
    downgrade does nothing where it has not.
    """
    changes = counted(standing, "change")
    if alembic.damage:
        return wrapped(alembic.damage[0])
    if alembic.is_applied:
        fact = f"the revision is applied, its downgrade would restore {changes}"
        undo = DOWNGRADE
    else:
        fact = "the revision is not applied, its downgrade would do nothing"
        undo = f"{COMMAND} rollback"
    lines = [f"Alembic: {fact}"]
    return [*lines, f"Undo everything: {undo}"] if standing else lines


def way_back_lines(
    action: str,
    origin: str,
    run_id: int | None,
    is_applied: bool,
    plans: Iterable[PlanFile],
    on_upgrade: str,
) -> list[str]:
    """Return how to undo a run; of a restoration, how to do its changes again.

    Args:
        action: ``apply`` or ``revert``.
        origin: Who asked for the run.
        run_id: The run.
        is_applied: Whether Alembic records the dates as changed.
        plans: The files whose dates a restoration took back.
        on_upgrade: The setting.
    """
    if action == "apply":
        if origin != "alembic":
            return [f"Undo this run: {COMMAND} rollback --run {run_id}"]
        return [
            f"Undo (and nothing else): {DOWNGRADE}",
            f"If Alembic fails after this: {COMMAND} rollback",
        ]
    lines = []
    if origin != "alembic" and is_applied:
        lines += [
            "Alembic still records the revision as applied, so that its upgrade would",
            f"not change the dates again. To take that back as well: {DOWNGRADE}",
        ]
    plans = list(plans)
    if plans:
        lines.append("Restored with the others were dates of approved plans; again:")
        lines += [f"  {plan.command}" for plan in plans]
    elif on_upgrade == "apply":
        again = UPGRADE if origin == "alembic" else f"{COMMAND} update"
        lines.append(f"Do it again: {again}")
    return lines


def taken_back_lines(plans: Iterable[PlanFile]) -> list[str]:
    """Name the curators' decisions that a restoration takes back, by their files."""
    return [
        f"Takes back {counted(plan.decisions, 'decision')} of {escape(plan.file)}"
        f" (sha256 {plan.sha256[:12]}…); to carry them out again: {plan.command}"
        for plan in plans
        if plan.decisions
    ]


def next_steps(found: Mapping[str, Any]) -> list[str]:
    """Give the next safe commands, each with what it is for."""
    alembic: State = found["alembic"]
    if alembic.damage:
        return wrapped(alembic.damage[1], WIDTH - 2)
    if found["shared_lock"]:
        return [f"{COMMAND} status    again, when the other run has ended"]
    if found["is_at_work"]:
        return [f"{COMMAND} status    to follow it", f"{COMMAND} stop      to end it"]
    if not found["runs"]:
        return list(first_steps(alembic.is_applied, found["on_upgrade"]))
    steps = []
    if plan := found["unfinished_plan"]:
        steps += [f"{plan['complete']}    to complete the plan"]
        steps += [f"{plan['give_up']}    to give it up, and restore what it changed"]
    for number, run in enumerate(() if plan else found["runs"]):
        is_done = run["status"] == SUCCEEDED and run["action"] == "apply"
        if is_done and _is_whole(run):
            break  # it has also done what earlier runs left
        steps += _ways_on(run, number == 0, alembic.is_applied, found["on_upgrade"])
    if found["pending"]:
        steps.append(f"{COMMAND} reindex")
    if found["problems"]:
        steps.append(f"{COMMAND} problems --run {found['runs'][0]['id']}")
    return [*dict.fromkeys(steps), f"{COMMAND} verify"]


def command_again(run: Mapping[str, Any], is_applied: bool, on_upgrade: str) -> str:
    """Return the command that does what a run has left, with the run's options.

    Args:
        run: What is kept of it.
        is_applied: Whether Alembic records the dates as changed.
        on_upgrade: The setting.
    """
    is_of_alembic = run["origin"] == "alembic"
    if run["action"] == "revert":
        is_its_own = is_of_alembic and is_applied
        return DOWNGRADE if is_its_own else _rollback(run["options"])
    if is_of_alembic and not is_applied:
        return UPGRADE
    is_refused = on_upgrade == "wait" and "plan" not in run["options"]
    return SAVE_PLAN if is_refused else command_of(run["options"])


def _ways_on(
    run: Mapping[str, Any], is_last: bool, is_applied: bool, on_upgrade: str
) -> list[str]:
    """Give both ways on from a run that did not finish, and nothing from any other."""
    if run["status"] == SUCCEEDED or not (run["standing"] or is_last):
        return []
    again = command_again(run, is_applied, on_upgrade)
    if run["action"] == "revert":
        return [f"{again}    to restore the rest"]
    steps = []
    if run["standing"] or run["action"] == "apply":
        if not _is_whole(run):
            again = "the same command again, with its options"
        steps.append(f"{again}    to do the rest")
    if run["standing"]:
        changes = counted(run["standing"], "change")
        undo = _rollback({"run": run["id"]})
        steps.append(f"{undo}    to undo its {changes}")
    return steps


def _is_whole(run: Mapping[str, Any]) -> bool:
    """Tell whether a run was to change all rows; a rehearsal is part of that."""
    options = run["options"]
    some = {"start_date", "end_date", "exclude", "only", "plan"}
    if run["action"] != "rehearse":
        some.add("limit")
    return not some & options.keys() and len(options["kinds"]) == len(DATED)


def _rollback(selection: Mapping[str, Any]) -> str:
    """Give the command for what a run row keeps of a selection."""
    words = [f"--run {selection['run']}"] if "run" in selection else []
    words += [f"--record {name}" for name in selection.get("records", ())]
    words += [f"--community {name}" for name in selection.get("communities", ())]
    return escape(" ".join([COMMAND, "rollback", *words]))
