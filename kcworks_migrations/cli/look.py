# SPDX-FileCopyrightText: 2026 kcworks-migrations contributors
# SPDX-License-Identifier: MIT
"""``problems``, ``show`` and ``check``, which only look."""

import os
import sys
from collections.abc import Mapping
from itertools import islice
from typing import Any

import click
from invenio_db import db

from ..checks import check as look
from ..checks.line import Line
from ..database import Database
from ..index.documents import created_in_index
from ..kinds import DATED, RECORD, kind_of
from ..ledger import history, runs
from ..ledger.problems import PAGE_ROWS, every
from ..migration.save import Writer
from ..report.lines import problem_lines
from ..rules.values import REASONS, Problem
from ..text import COMMAND, WIDTH, as_json, counted, echo, escape, is_terminal, wrapped
from ..text import show as shown
from ..values import NAME
from .common import json_option, reading, tell
from .group import created_dates

COLORS = {"fine": "green", "warning": "yellow", "stop": "red"}
INDENT = 9
"""Columns of the level, which comes first in each line of `check`."""


@created_dates.command()
@click.option("--run", "run_id", type=int, metavar="N", help="By default the last run.")
@click.option("--reason", type=click.Choice(list(REASONS)), help="Only this reason.")
@json_option
@click.option("--csv", "is_csv", is_flag=True, help="Print CSV in the form of a plan.")
def problems(
    run_id: int | None, reason: str | None, is_json: bool, is_csv: bool
) -> None:
    """List what a run could not change, read or index.

    \b
    Examples:
      invenio kcworks-created-dates problems --reason not_utc
      invenio kcworks-created-dates problems --run 3 --csv > problems.csv
    \b
    Whoever knows true dates writes them into the column `new` of the CSV form,
    and `update --plan problems.csv` carries them out.
    \f

    Raises:
        UsageError: There is no such run.
    """  # noqa: D301 - click reads the escapes
    with reading(is_json) as database:
        ids = database.transaction(history.run_ids, database)
        if run_id is None:
            run_id = max(ids, default=None)
        if run_id not in ids:
            which = "yet" if run_id is None else run_id
            known = ", ".join(map(str, ids[-10:])) or "none"
            raise click.UsageError(f"There is no run {which}; known: {known}.")
        found = every(database, run_id, reason)
        if is_json:
            echo(as_json({"run": run_id, "problems": [p._asdict() for p in found]}))
        elif is_csv:
            writer = Writer(click.get_binary_stream("stdout"))
            while some := list(islice(found, PAGE_ROWS)):
                writer.write(database, RECORD, some)
            writer.close()
        else:
            count = 0
            for problem in found:
                echo("\n".join(problem_lines(problem)))
                count += 1
            echo(f"{counted(count, 'problem')} of run {run_id}.")
            run = database.transaction(runs.row, database, run_id)
            if not reason and (gone := run.statistics.get("evidence_gone")):
                echo(f"Dates that stay though what gave them is gone: {gone}")
                echo(f"  {COMMAND} problems --run {run_id} --reason evidence_gone")


@created_dates.command()
@click.argument("name", type=NAME, metavar="PID-OR-SLUG")
@json_option
def show(name: str, is_json: bool) -> None:
    """Show the history of the date of one record or community.

    A UUID finds it, too. What the database and the index hold now comes last.

    \b
    Examples:
      invenio kcworks-created-dates show 5f5st-kvr34
      invenio kcworks-created-dates show medieval-studies --json
    \f

    Raises:
        UsageError: There is no such record or community, and never was one.
    """  # noqa: D301 - click reads the escapes
    with reading(is_json) as database:
        found = database.transaction(_history, database, name)
    if not found["present"]:
        raise click.UsageError(f"No record and no community is named {escape(name)}.")
    for now in found["present"]:
        now["index"] = created_in_index(kind_of(now["kind"]), now["entity_id"])
    tell(is_json, found, _history_lines(found))


def _history(database: Database, name: str) -> dict[str, list[dict[str, Any]]]:
    """Read what is known by a name: entries, problems, and the rows themselves."""
    entries, problems = history.named(database, name)
    present = []
    for kind in DATED:
        rows = [row for row in entries + problems if row["kind"] == kind.name]
        known = [row["entity_id"] for row in rows]
        created = history.present(database, kind, name, known)
        for id in dict.fromkeys([*known, *created]):
            text = created.get(id, "none, the row is gone")
            present.append({"kind": kind.name, "entity_id": id, "database": text})
    return {"entries": entries, "problems": problems, "present": present}


def _history_lines(found: Mapping[str, Any]) -> list[str]:
    lines = [line for entry in found["entries"] for line in _entry_lines(entry)]
    for row in found["problems"]:
        last = f" to {row['last_run_id']}" * (row["run_id"] != row["last_run_id"])
        found_at = shown(row["found_at"])
        lines.append(f"Run {row['run_id']}{last}: a problem, {found_at}")
        words = ("entity_id", "label", "kind", "reason", "value", "group_id")
        lines += problem_lines(Problem(*(row[word] for word in words)))
    if not found["entries"]:
        lines.append("Its date was never changed by this package.")
    for now in found["present"]:
        lines.append(f"Now: {now['kind']} {now['entity_id']}")
        lines.append(f"  in the database {now['database']}")
        lines.append(f"  in the index    {now['index']}")
    return lines


def _entry_lines(entry: Mapping[str, Any]) -> list[str]:
    source = entry["source_value"]
    if entry["source_record_id"]:
        source += f" of record {entry['source_record_label']}"
    if entry["source_file"]:
        source += f" in {entry['source_file']} (sha256 {entry['source_sha256'][:12]}…)"
    lines = [
        f"Run {entry['run_id']}: {entry['kind']} {entry['label']}"
        f" ({entry['entity_id']})",
        f"  from {shown(entry['old_created'])}",
        f"  to   {shown(entry['new_created'])}",
        f"  because of {escape(source)}",
        *([f"  note: {escape(entry['note'])}"] if entry["note"] else []),
        f"  changed {shown(entry['changed_at'])}",
        f"  queued  {shown(entry['queued_at'])}",
    ]
    if entry["outcome"]:
        restored = shown(entry["restored_at"])
        lines.append(f"  rollback: {entry['outcome']} {restored}")
    return lines


@created_dates.command()
@json_option
def check(is_json: bool) -> None:
    """Say go or no go before the deploy.

    Looks at the database, its rows, the broker, the workers and OpenSearch, for some
    seconds, and changes nothing. Each line is fine, a warning, or a stop, and says
    what to do. The exit status is 0 for go and 1 for no go, a wrong setting included.

    \b
    Examples:
      invenio kcworks-created-dates check
      invenio kcworks-created-dates check --json | jq -r '.lines[] | .level + " " + .name'
    """  # noqa: D301, E501 - click reads the escape
    lines = []
    for line in look(db.engine):
        lines.append(line)
        if not is_json:
            echo(line_text(line))
    levels = [line.level for line in lines]
    stops, warnings = levels.count("stop"), levels.count("warning")
    next_step = f"{COMMAND} check" if stops else _step_named(lines)
    document = {
        "is_go": not stops,
        "stops": stops,
        "warnings": warnings,
        "next_step": next_step,
        "lines": [line._asdict() for line in lines],
    }
    told = f", {counted(warnings, 'warning')}" if warnings else ""
    verdict = f"Go{told}. Next:"
    if stops:
        verdict = f"No go: {counted(stops, 'stop')}{told}. Fix the stops, then run:"
    tell(is_json, document, ["", verdict, f"  {next_step}"])
    click.get_current_context().exit(1 if stops else 0)


def _step_named(lines: list[Line]) -> str:
    """Give the command that the line about the revision names."""
    named = [line.what_to_do or "" for line in lines if line.name == "revision"]
    commands = [text.strip("`") for text in named if text.startswith("`")]
    return commands[0] if commands else f"{COMMAND} check"


def line_text(line: Line) -> str:
    """Give a line of `check` as text of 80 columns; no command in it is broken."""
    told = [f"{line.name.replace('_', ' ')}: {line.fact}"]
    if line.what_to_do:
        told.append(f"To do: {line.what_to_do}")
    parts = [part for text in told for part in wrapped(text, WIDTH - INDENT)]
    level = f"{line.level:<{INDENT}}"
    if is_terminal(sys.stdout) and "NO_COLOR" not in os.environ:
        level = click.style(level, fg=COLORS[line.level])
    return f"\n{' ' * INDENT}".join([level + parts[0], *parts[1:]])
