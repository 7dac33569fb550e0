# SPDX-FileCopyrightText: 2026 kcworks-migrations contributors
# SPDX-License-Identifier: MIT
"""``status``: the runs, what stands of them, and what to do next."""

from collections.abc import Mapping
from typing import Any

import click
from flask import current_app
from flask.cli import with_appcontext
from invenio_db import db

from .. import ledger, queries
from ..config import options_from
from ..database import Database, opened
from ..dates import show
from ..report import seconds_left
from ..statistics import Statistics
from ..summary import counted, duration
from .common import echo_json

RUNS_SHOWN = 10
CHANGED_SHOWN = 10
COMMAND = "invenio kcworks-created-dates"


@click.command()
@click.option("--json", "is_json", is_flag=True, help="Print one JSON document.")
@with_appcontext
def status(is_json: bool) -> None:
    """Show the runs, what waits, and what to do next.

    Also whether a run is at work and how far it is, and what can be rolled back.

    \b
    Example:
      invenio kcworks-created-dates status --json
    """  # noqa: D301 - click reads the escape
    with opened(db.engine, options_from(current_app.config).lock_timeout_seconds) as d:
        found = d.transaction(_read, d)
    if is_json:
        echo_json(found)
    else:
        click.echo("\n".join(_lines(found)))


def _read(database: Database) -> dict[str, Any]:
    """Read everything in one transaction; give what is printed as JSON."""
    holder = database.lock_holder()
    rows = database.execute(queries.SELECT_RUNS, limit=RUNS_SHOWN).mappings().all()
    runs = [dict(row) for row in rows]
    for run in runs:
        if run.pop("backend_pid") != holder and run["status"] == "running":
            run["status"] = "killed"
    # Looks at every changed row: not while somebody asks again and again.
    changed = [
        {"kind": kind, **row}
        for kind in ({} if holder else queries.TABLE_OF_KIND)
        for row in database.execute_on(
            kind, queries.SELECT_CHANGED_SINCE, kind=kind, limit=CHANGED_SHOWN
        ).mappings()
    ]
    return {
        "runs": runs,
        "is_at_work": holder is not None,
        "standing": ledger.count_standing(database),
        "changed_since": None
        if holder
        else sum(row.pop("count") for row in _firsts(changed)),
        "changed_since_shown": [
            {key: row[key] for key in ("kind", "label", "created")} for row in changed
        ],
        "waiting": ledger.count_waiting(database),
        "problems": bool(runs and ledger.problems(database, runs[0]["id"], limit=1)),
    }


def _firsts(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Give the first row of each kind, which has the count of all of them."""
    return list({row["kind"]: row for row in reversed(rows)}.values())


def _lines(found: Mapping[str, Any]) -> list[str]:
    lines = []
    for number, run in enumerate(found["runs"]):
        lines += _run_lines(run, is_last=number == 0)
    standing, changed = found["standing"], found["changed_since"] or 0
    lines.append(f"Can be rolled back: {counted(standing - changed, 'change')}")
    if changed:
        lines.append(f"Changed by somebody since, to be left alone: {changed}")
        for row in found["changed_since_shown"]:
            lines.append(f"  {row['kind']} {row['label']}, now {row['created']}")
    lines.append(f"Waiting for reindexing: {counted(found['waiting'], 'change')}")
    return lines + ["Next:", *(f"  {line}" for line in _next(found))]


def _run_lines(run: Mapping[str, Any], is_last: bool) -> list[str]:
    task = f" (task {run['task_id']})" if run["task_id"] else ""
    origin = f" from {run['origin']}" if run["origin"] != run["action"] else ""
    lines = [f"Run {run['id']}: {run['action']}{origin}, {run['status']}"]
    if task:
        lines.append(f"  Celery{task}")
    lines.append(f"  {show(run['started_at'])} to {show(run['finished_at'])}")
    progress = run["progress"]
    if run["status"] == "running" and progress:
        left = seconds_left(progress)
        lines.append(
            f"  {progress['phase']}: {progress['done']} of {progress['total']} done,"
            f" {progress['rate']:.0f} a second"
            + (f", about {duration(left)} left" if left is not None else "")
        )
    if is_last or run["status"] != "succeeded":
        statistics = Statistics.from_dict(run["statistics"])
        verb = "restored" if run["action"] == "revert" else "updated"
        for name in ("records", "communities"):
            tally = getattr(statistics, name)
            lines.append(
                f"  {name}: {tally.total_found} found, {tally.updated} {verb},"
                f" {tally.skipped} skipped, {tally.no_records} without records,"
                f" {tally.errors} errors"
            )
    return lines + [f"  {run['message']}"] * bool(run["message"])


def _next(found: Mapping[str, Any]) -> list[str]:
    """Tell the next safe step."""
    runs = [run for run in found["runs"] if run["action"] != "rehearse"]
    updates = [run for run in runs if run["action"] == "apply"]
    at_work = [r["progress_at"] for r in updates if r["origin"] != "rehearse"]
    for run in updates:
        # An update since has found the rows of a killed rehearsal right.
        is_relied_on = any(instant > run["started_at"] for instant in at_work)
        is_left = run["origin"] == "rehearse" and run["status"] != "reverted"
        if is_left and not is_relied_on and not found["is_at_work"]:
            return [f"{COMMAND} rollback --run {run['id']}    the rehearsal was killed"]
    if found["is_at_work"]:
        return [f"{COMMAND} status    to follow it", f"{COMMAND} stop      to end it"]
    if not runs:
        return [
            f"{COMMAND} check",
            f"{COMMAND} update --dry-run",
            f"{COMMAND} rehearse",
            "invenio alembic upgrade kcworks_migrations@head",
        ]
    last = runs[0]
    if last["status"] in ("killed", "interrupted", "errored"):
        return ["the same command again; it goes on where the run stopped"]
    steps = []
    if found["waiting"]:
        steps.append(f"{COMMAND} reindex")
    if found["problems"]:
        steps.append(f"{COMMAND} problems --run {last['id']}")
    return [*steps, f"{COMMAND} verify"]
