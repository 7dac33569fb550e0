# SPDX-FileCopyrightText: 2026 kcworks-migrations contributors
# SPDX-License-Identifier: MIT
"""What becomes of the lines of a plan: an account that adds up."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, NamedTuple

from ..kinds import COMMUNITY, Kind
from ..rules.values import (
    AS_DECIDED,
    MATCHES,
    NOT_IN_PLAN,
    OLDER,
    REASONS,
    Change,
    Decision,
    Problem,
    Skip,
)
from ..text import counted, show, wrapped
from ..values import Plan

SHOWN = 200
"""How many rows are listed of each kind of news."""

RIGHT = {MATCHES, OLDER, AS_DECIDED}
"""Why there is nothing to do for a line."""


class Dated(NamedTuple):
    """The date that a line gives to a row, and what the rules give."""

    row: str
    new: datetime
    computed: datetime | None

    def lines(self) -> list[str]:
        """Say it to a person."""
        computed = show(self.computed) if self.computed else "none"
        return [f"    {self.row}", f"      {show(self.new)}, computed: {computed}"]


class Missed(NamedTuple):
    """A line that can't be carried out, with both dates of it."""

    row: str
    line: int
    outcome: str
    """``moved``, ``gone`` or ``refused``."""
    old: datetime | None
    """None for any."""
    new: datetime | None
    """None to keep what it is."""
    found: str | None
    """The present date of a row that was moved, or what is wrong with it."""
    run: int | None
    """The run that has moved it, where the ledger knows one."""

    def lines(self) -> list[str]:
        """Say it to a person."""
        fact = f"{self.outcome}: {self.found}"
        if self.outcome == "moved":
            fact = f"moved: now {self.found}" + f", by run {self.run}" * bool(self.run)
        old = show(self.old) if self.old else "whatever it is"
        planned = f"planned: {old}, to {show(self.new) if self.new else 'keep'}"
        parts = [part for told in (planned, fact) for part in wrapped(told, 74)]
        return [f"    {self.row} (line {self.line})", *(f"      {p}" for p in parts)]


@dataclass
class Some:
    """How many there are, and the first of them."""

    count: int = 0
    first: list[Any] = field(default_factory=list)

    def add(self, one: Dated | Missed) -> None:
        """Count one more."""
        self.count += 1
        if len(self.first) < SHOWN:
            self.first.append(one)

    def lines(self, more: str) -> list[str]:
        """List them; `more` says where all of them are."""
        lines = [line for one in self.first for line in one.lines()]
        if self.count > len(self.first):
            lines.append(f"    ... and {self.count - len(self.first)} more: {more}")
        return lines

    def as_list(self) -> list[dict[str, Any]]:
        """Give what is printed as JSON."""
        return [one._asdict() for one in self.first]


@dataclass
class PlanView:
    """What became of a plan's lines, or what would as the rows are now."""

    plan: Plan
    counts: Counter[str] = field(default_factory=Counter)
    """Lines by what became of them."""
    missed: Some = field(default_factory=Some)
    own: Some = field(default_factory=Some)
    """Dates that are the file's own, not computed."""
    alone: Some = field(default_factory=Some)
    """Dates that were approved as saved, where the rules give another by now."""
    moving: Some = field(default_factory=Some)
    """Communities of that sort: their records say otherwise, by this file or now."""
    lacking: int | None = None
    """Computed changes that the file lacks; none where nobody has looked."""

    @property
    def left(self) -> int:
        """Lines that were not asked for, or not looked at."""
        return len(self.plan.lines) - sum(self.counts.values())

    @property
    def is_carried_out(self) -> bool:
        """Tell whether every line that decides something is."""
        return not self.left + self.missed.count

    def add(
        self, kind: Kind, decisions: Iterable[Decision], runs: Mapping[str, int]
    ) -> None:
        """Count what was decided about some lines.

        Args:
            kind: Records or communities.
            decisions: What was decided.
            runs: Which run has moved a row, by its id.
        """
        for d in decisions:
            if isinstance(d, Problem):
                self._add_missed(d, runs.get(d.id))
            elif isinstance(d, Change):
                self.counts["kept" if d.is_kept else "changed"] += 1
                dated = Dated(f"{kind} {d.label}", d.new_created, d.computed)
                if d.approved:
                    self._add_alone(kind, dated)
                elif d.decided and d.decided.sha256 == self.plan.sha256:
                    if not d.is_kept:
                        self.own.add(dated)
            elif isinstance(d, Skip) and d.reason in RIGHT:
                self.counts["right"] += 1

    def compare(self, kind: Kind, decisions: Iterable[Decision]) -> None:
        """Look at what the rules give to all rows, whatever the lines say."""
        self.lacking = self.lacking or 0
        for d in decisions:
            if isinstance(d, Skip):
                self.lacking += d.reason == NOT_IN_PLAN
            elif isinstance(d, Change) and not d.decided:
                line = self.plan.lines.get(d.id)
                # Nothing is to be done for it now, and a later run would move it.
                if line and line.is_as_saved and line.new == d.old_created:
                    dated = Dated(f"{kind} {d.label}", line.new, d.new_created)
                    self._add_alone(kind, dated)

    def _add_missed(self, problem: Problem, run: int | None) -> None:
        line = self.plan.lines[problem.id]
        outcome = problem.reason if problem.reason in {"moved", "gone"} else "refused"
        found = REASONS[problem.reason]
        if problem.value is not None:
            found = problem.value if outcome == "moved" else f"{found}: {problem.value}"
        self.counts[outcome] += 1
        name = f"{problem.kind} {problem.label}"
        self.missed.add(
            Missed(name, line.number, outcome, line.old, line.new, found, run)
        )

    def _add_alone(self, kind: Kind, dated: Dated) -> None:
        is_moving = kind is COMMUNITY and dated.computed is not None
        (self.moving if is_moving else self.alone).add(dated)

    def account(self, more: str = "the log has all") -> list[str]:
        """Say what became of the lines, those that were not carried out by name."""
        n, lines = self.counts, counted(len(self.plan.lines), "line")
        left = f", {self.left} not asked for" if self.left else ""
        return [
            f"  {lines}: {n['changed']} changed, {n['kept']} kept,"
            f" {n['right']} right already,",
            f"    {n['moved']} moved, {n['gone']} gone, {n['refused']} refused{left}",
            *self.missed.lines(more),
        ]

    def lines(self) -> list[str]:
        """Say it all to a person, before anything is changed."""
        n, plan = self.counts, self.plan
        lines = [f"The plan {plan.name}, compared with the rows as they are now:"]
        if plan.assumed:
            lines.append(f"  It is not UTF-8, so it was read as {plan.assumed}.")
        lines += [*self.account(), f"  Rows that will change: {n['changed']}"]
        for some, fact in (
            (n["kept"], "Rows to stay at their present date from now on"),
            (plan.empty, "Lines with an empty new, which are skipped"),
            (self.lacking, "Computed changes that the file lacks"),
        ):
            lines += [f"  {fact}: {some}"] * bool(some)
        for listed, fact in (
            (self.own, "Dates that are the file's own, not computed"),
            (self.alone, "Approved as saved, though computed otherwise by now"),
            (
                self.moving,
                "Communities whose records are dated otherwise, in this file or by now",
            ),
        ):
            if listed.count:
                lines.append(f"  {fact}: {listed.count}")
                lines += listed.lines("--dry-run --verbose prints all")
        if self.alone.count or self.moving.count:
            lines.append("    (no decisions: a later update or plan may move these)")
        return lines

    def as_dict(self) -> dict[str, Any]:
        """Give what is printed as JSON."""
        words = ("changed", "kept", "right", "moved", "gone", "refused")
        plan = self.plan
        return {
            "file": plan.name,
            "sha256": plan.sha256,
            "assumed": plan.assumed,
            "lines": len(plan.lines),
            **{word: self.counts[word] for word in words},
            "left": self.left,
            "missed": self.missed.as_list(),
            "empty": plan.empty,
            "own": self.own.count,
            "shown": self.own.as_list(),
            "alone": self.alone.as_list(),
            "moving": self.moving.as_list(),
            "lacking": self.lacking,
        }
