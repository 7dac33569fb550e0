# SPDX-FileCopyrightText: 2026 kcworks-migrations contributors
# SPDX-License-Identifier: MIT
"""Curators' plans: the interrupted one, whose changes stand, who moved their rows.

Until it is completed or given up, no run without a plan may begin: it would override
lines that were not carried out yet.
"""

import shlex
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import text

from .. import locks
from ..database import Database
from ..errors import RefusedError
from ..kinds import DATED, Kind
from ..text import COMMAND, counted, escape
from . import tables
from .runs import RUNNING, SUCCEEDED
from .standing import SELECTED, Selection

# What a restoration has left of them: one of some rows alone gives no plan up.
SELECT_RUNS = text("""
SELECT id, action, status, options, backend_pid FROM kcworks_created_dates_run
WHERE action = 'apply' AND options ? 'plan'
   OR action = 'revert' AND status = 'succeeded'
      AND NOT options ?| ARRAY['records', 'communities']
ORDER BY id DESC
""")

# What the ledger did last to a row, and what the row became by that. A restoration has
# no run in its entry, but no two runs are at work at the same time.
SELECT_MOVERS = text("""
SELECT DISTINCT ON (b.entity_id) b.entity_id::text AS id,
    CASE WHEN b.outcome IS NULL THEN b.run_id ELSE (
        SELECT max(r.id) FROM kcworks_created_dates_run AS r
        WHERE r.action <> 'apply' AND r.started_at <= b.restored_at) END AS run_id,
    CASE WHEN b.outcome IS NULL THEN b.new_created ELSE b.old_created END AS created
FROM kcworks_created_dates_backup AS b
WHERE b.entity_id = ANY((SELECT CAST(:ids AS uuid[]))::uuid[]) AND b.kind = :kind
  AND (b.outcome IS NULL OR b.outcome = 'restored')
ORDER BY b.entity_id, greatest(b.changed_at, b.restored_at) DESC, b.id DESC
""")

# The files whose lines made the selected changes.
SELECT_PLAN_FILES = text(f"""
SELECT r.options->'plan'->>'path' AS path, r.options->'plan'->>'file' AS file,
       r.options->'plan'->>'sha256' AS sha256,
       count(*) FILTER (WHERE b.source = 'plan') AS decisions
FROM kcworks_created_dates_backup AS b
JOIN kcworks_created_dates_run AS r ON r.id = b.run_id AND r.options ? 'plan'
WHERE {SELECTED} GROUP BY 1, 2, 3
""")

NARROWING = ("start_date", "end_date", "limit", "exclude", "only")
"""Options with which a run looks at some lines alone."""


class PlanFile(NamedTuple):
    """A curator's file whose dates stand."""

    path: str
    """As it was typed."""
    file: str
    sha256: str
    decisions: int
    """How many decisions that it made stand."""

    @property
    def command(self) -> str:
        """The command that carries it out."""
        return f"{COMMAND} update --plan {shlex.quote(escape(self.path, 4096))}"


def command_of(options: Mapping[str, Any]) -> str:
    """Give the `update` that has the options which a run row keeps."""
    words = ["update"]
    if "plan" in options:
        words += ["--plan", shlex.quote(options["plan"]["path"])]
    if len(options["kinds"]) == 1:
        only = {"record": "--records-only", "community": "--communities-only"}
        words.append(only[options["kinds"][0]])
    for name in ("start_date", "end_date", "limit"):
        if name in options:
            words += [f"--{name.replace('_', '-')}", str(options[name])]
    if "exclude" in options:
        words.append("--exclude FILE")  # its names are kept as a digest
    return escape(" ".join([COMMAND, *words]), 4096)


class Unfinished(NamedTuple):
    """The run of a plan that ended before all its lines were looked at."""

    run_id: int
    options: Mapping[str, Any]
    """What the run row keeps."""

    @property
    def plan(self) -> str:
        """The file, such as ``the plan approved.csv (75 lines, sha256 0123…)``."""
        kept = self.options["plan"]
        lines = counted(kept["lines"], "line")
        return f"the plan {kept['file']} ({lines}, sha256 {kept['sha256'][:12]}…)"

    @property
    def complete(self) -> str:
        """The command that does the rest."""
        return command_of(self.options)

    @property
    def give_up(self) -> str:
        """The command that restores what the run has changed, and gives the plan up."""
        return f"{COMMAND} rollback --run {self.run_id}"

    @property
    def steps(self) -> tuple[str, ...]:
        """Both ways on, each with what it is for."""
        return (
            f"  {self.complete}",
            f"to complete {self.plan}, which was interrupted, or",
            f"  {self.give_up}",
            f"to give it up, and restore what run {self.run_id} has changed.",
        )

    def as_dict(self) -> dict[str, Any]:
        """Give what is printed as JSON."""
        commands = {"complete": self.complete, "give_up": self.give_up}
        return {"run": self.run_id, "plan": self.options["plan"], **commands}


def unfinished(database: Database) -> Unfinished | None:
    """Find the plan that was interrupted, in the present transaction.

    The last run of a plan counts: another file supersedes the one before it. A run
    that was rolled back whole, by itself or with all others, does not.

    Returns:
        The newest such run; none while it is at work, or when there is none.
    """
    if not tables.exist(database):
        return None
    holder = locks.holder(database)
    given_up: set[int] = set()
    done: list[Mapping[str, Any]] = []
    digest = None
    for run in database.execute(SELECT_RUNS):
        if run.action == "revert":
            if "run" not in run.options:
                return None  # it has given up all that were before it
            given_up.add(run.options["run"])
        elif run.id not in given_up:
            if digest not in (None, run.options["plan"]["sha256"]):
                return None
            digest = run.options["plan"]["sha256"]
            if run.status == SUCCEEDED:
                done.append(run.options)
            elif run.status == RUNNING and run.backend_pid == holder:
                return None
            elif not any(_covers(options, run.options) for options in done):
                return Unfinished(run.id, run.options)
    return None


def _covers(done: Mapping[str, Any], left: Mapping[str, Any]) -> bool:
    """Tell whether a run has looked at all the lines that another one was to."""
    return set(left["kinds"]) <= set(done["kinds"]) and all(
        done.get(name) in (None, left.get(name)) for name in NARROWING
    )


def movers(
    database: Database, kind: Kind, ids: Sequence[str]
) -> dict[str, tuple[int, datetime]]:
    """Find the runs that changed or restored rows last, and what these became."""
    if not tables.exist(database):
        return {}
    found = database.execute(SELECT_MOVERS, kind=kind.name, ids=list(ids))
    return {row.id: (row.run_id, row.created) for row in found}


def check(database: Database) -> None:
    """Refuse a run without a plan while one is unfinished.

    Raises:
        RefusedError: One is.
    """
    if left := unfinished(database):
        raise RefusedError(
            f"Run {left.run_id} of {left.plan} was interrupted, and a run without it"
            " may override what was approved.",
            f"complete the plan, `{left.complete}`, or give it up and restore what it"
            f" has changed, `{left.give_up}`.",
        )


def files(database: Database, selection: Selection) -> list[PlanFile]:
    """Read which curators' files the selected changes that stand came from."""
    found: dict[tuple[str, str, str], int] = {}
    for kind in DATED:
        for row in database.execute(SELECT_PLAN_FILES, **selection.values(kind)):
            file = (row.path, row.file, row.sha256)
            found[file] = found.get(file, 0) + row.decisions
    return [PlanFile(*file, decisions) for file, decisions in sorted(found.items())]
