# SPDX-FileCopyrightText: 2026 kcworks-migrations contributors
# SPDX-License-Identifier: MIT
"""``status``: the runs, what stands of them, and what to do next."""

from collections.abc import Mapping
from typing import Any

import click
from flask import current_app

from .. import locks
from ..config import How, options_from
from ..database import Database
from ..index import settle
from ..interrupt import interrupt, pause
from ..kinds import DATED
from ..ledger import history, pending, plans, runs, settling, tables
from ..ledger.problems import first
from ..ledger.settling import Settling
from ..ledger.standing import count_standing
from ..ledger.statistics import Statistics
from ..ledger.troubles import hanging
from ..report import steps
from ..report.monitor import Monitor, index_line, judge
from ..text import counted, duration, escape, show, wrapped
from .common import json_option, reading, tell
from .group import created_dates

RUNS_SHOWN = 10
CHANGED_SHOWN = 10
WAIT_SECONDS = 1


@created_dates.command()
@click.option(
    "--wait", "is_waiting", is_flag=True, help="Wait until the index has settled."
)
@click.option(
    "--check", "is_check", is_flag=True, help="Print one line for a monitor instead."
)
@json_option
def status(is_waiting: bool, is_check: bool, is_json: bool) -> None:
    """Show the runs, how the index is, what is pending, and what to do next.

    Also who started each run and why, how far the one at work is, and what can be
    rolled back.

    With --wait each look at the index that is due is done here. The exit status is
    0 when the index has settled, and 1 when it does not.

    With --check the exit status is 0 when all is well or about to be, and 1 when
    somebody must act: the index does not settle, nobody looks, OpenSearch refuses
    documents (they are tried again once a day), a run failed, was killed or hangs.

    \b
    Examples:
      invenio kcworks-created-dates status --json
      invenio kcworks-created-dates status --wait
      invenio kcworks-created-dates status --check
    """  # noqa: D301 - click reads the escape
    with reading(is_json, is_check) as database:
        index = database.transaction(settling.latest, database)
        _, how = options_from(current_app.config)
        if is_waiting:
            index = _wait(database, how, index)
        found = database.transaction(judge, database, how.on_upgrade)
        if not is_check:
            state = database.transaction(_status, database, found)
    if is_check:
        more = found.index.as_dict() if found.index else {}
        tell(is_json, more | found.as_dict(), [found.line()])
    else:
        document = state | {"alembic": state["alembic"].as_dict()}
        tell(is_json, document, _status_lines(state, found))
    is_bad = is_check and not found.is_ok
    is_bad |= is_waiting and bool(index and not index.settled_at)
    click.get_current_context().exit(1 if is_bad else 0)


def _wait(database: Database, how: How, index: Settling | None) -> Settling | None:
    """Wait until the index has settled, or does not; do each look that is due."""
    with interrupt() as check_stop:
        while index and not index.settled_at and index.looks < settling.LOOKS:
            if index.is_at_work and database.transaction(hanging, database):
                break
            if settle.look(database.engine, how, check_stop) is None:
                pause(WAIT_SECONDS, check_stop)
            index = database.transaction(settling.latest, database)
    return index


def _status(database: Database, monitor: Monitor) -> dict[str, Any]:
    """Read everything else in one transaction; give what is printed as JSON."""
    latest = history.latest_runs(database, RUNS_SHOWN)
    is_at_work = locks.holder(database) is not None
    _, how = options_from(current_app.config)
    found = {
        "runs": latest,
        "is_at_work": is_at_work,
        "standing": count_standing(database),
        "changed_since": None,
        "changed_since_shown": [],
        "pending": pending.count(database),
        "problems": bool(latest and first(database, latest[0]["id"], 1)),
        "index": monitor.index and monitor.index.as_dict(),
        "check": monitor.as_dict(),
        "alembic": tables.state(database),
        "on_upgrade": how.on_upgrade,
        "unfinished_plan": None,
        "shared_lock": "",
    }
    if is_at_work and not any(run["status"] == runs.RUNNING for run in latest):
        found["shared_lock"] = tables.shared_with(database)
    if plan := plans.unfinished(database):
        found["unfinished_plan"] = plan.as_dict()
    if not is_at_work:  # it looks at every changed row
        count, rows = history.changed_since(database, CHANGED_SHOWN)
        found |= {"changed_since": count, "changed_since_shown": rows}
    return found


def _status_lines(found: Mapping[str, Any], monitor: Monitor) -> list[str]:
    lines = []
    for number, run in enumerate(found["runs"]):
        lines += _run_lines(run, is_last=number == 0)
    if found["shared_lock"]:
        lines += wrapped(f"No run of this instance is at work. {found['shared_lock']}")
    changed = found["changed_since"] or 0
    lines.append(
        f"Can be rolled back: {counted(found['standing'] - changed, 'change')}"
    )
    if changed:
        lines.append(f"Changed by somebody since, will be left alone: {changed}")
        for row in found["changed_since_shown"]:
            lines.append(f"  {row['kind']} {row['label']}, now {row['created']}")
    lines += steps.alembic_lines(found["alembic"], found["standing"])
    lines.append(f"Pending reindexing: {counted(found['pending'], 'change')}")
    if monitor.index:
        words = index_line(monitor.index)
        lines.append(f"Index: {words}")
        for trouble in monitor.troubles:
            if trouble.since and trouble.fact != words:
                lines.append(f"PROBLEM: {trouble.line()}")
    return lines + ["Next:", *(f"  {line}" for line in steps.next_steps(found))]


def _run_lines(run: Mapping[str, Any], is_last: bool) -> list[str]:
    lines = [
        f"Run {run['id']}: {run['action']} from {run['origin']}, {run['status']}",
        f"  {show(run['started_at'])} to {show(run['finished_at'])}",
        f"  started by {escape(run['started_by'])}",
    ]
    if run["task_id"]:
        lines.append(f"  Celery task {escape(run['task_id'])}")
    if run["reason"]:
        lines.append(f"  because: {escape(run['reason'])}")
    progress = run["progress"]
    if run["status"] == runs.RUNNING and progress:
        left = progress["seconds_left"]
        lines.append(
            f"  {progress['phase']}: {progress['done']} of {progress['total']} done,"
            f" {progress['rate']:.0f} a second"
            + (f", about {duration(left)} left" if left is not None else "")
        )
    if is_last or run["status"] != runs.SUCCEEDED:
        statistics = Statistics.from_dict(run["statistics"])
        verb = "restored" if run["action"] == "revert" else "updated"
        for kind in DATED:
            tally = statistics.of(kind)
            lines.append(
                f"  {kind.plural}: {tally.total_found} found, {tally.updated} {verb},"
                f" {tally.skipped} skipped, {tally.no_records} without records,"
                f" {tally.errors} errors"
            )
    return lines + [f"  {run['message']}"] * bool(run["message"])
