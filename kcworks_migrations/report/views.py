# SPDX-FileCopyrightText: 2026 kcworks-migrations contributors
# SPDX-License-Identifier: MIT
"""What a person should see of the changes before they are made.

A preview gives each page of decisions to both views. Nothing is refused here.
"""

from array import array
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import groupby
from typing import Any

from ..kinds import RECORD, Kind
from ..rules.values import NOT_IN_PLAN, Change, Decision, Skip
from ..text import counted, show
from ..values import Plan

SHOWN = 200
"""The file's own dates that are listed."""

MANY_ROWS = 10
"""From how many records on one instant is worth a look."""

INSTANTS_SHOWN = 3

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)


@dataclass
class PlanView:
    """What a plan makes of the rows as they are now."""

    file: str
    sha256: str
    assumed: str
    empty: int
    changed: int = 0
    """Rows whose date changes."""
    kept: int = 0
    """Rows that stay at their present date, by a decision."""
    own: int = 0
    """Dates that are the file's own, not computed."""
    shown: list[tuple[str, datetime, datetime | None]] = field(default_factory=list)
    """Some of those: the row, the date, and what the rules give."""
    lacking: int = 0
    """Computed changes that the file lacks."""
    staying: int = 0
    """Rows that stay as they are."""

    @classmethod
    def of(cls, plan: Plan) -> "PlanView":
        """Begin without any row."""
        return cls(plan.name, plan.sha256, plan.assumed, plan.empty)

    def add(self, kind: Kind, decisions: Iterable[Decision]) -> None:
        """Look at some more rows."""
        for d in decisions:
            self.lacking += isinstance(d, Skip) and d.reason == NOT_IN_PLAN
            if not isinstance(d, Change):
                self.staying += 1
            elif d.is_kept:
                self.kept += 1
            else:
                self.changed += 1
                if d.decided and d.decided.sha256 == self.sha256:
                    self._add_own(f"{kind} {d.label}", d)

    def _add_own(self, name: str, change: Change) -> None:
        self.own += 1
        if len(self.shown) < SHOWN:
            self.shown.append((name, change.new_created, change.computed))

    def lines(self) -> list[str]:
        """Say it to a person."""
        lines = [f"The plan {self.file}, compared with the rows as they are now:"]
        if self.assumed:
            lines.append(f"  It is not UTF-8, so it was read as {self.assumed}.")
        lines.append(f"  Rows that will change: {self.changed}")
        if self.kept:
            lines.append(
                f"  Rows to stay at their present date from now on: {self.kept}"
            )
        if self.own:
            lines.append(f"  Dates that are the file's own, not computed: {self.own}")
        for name, new, computed in self.shown:
            lines += [
                f"    {name}",
                f"      {show(new)}, computed: {_or_none(computed)}",
            ]
        if self.own > len(self.shown):
            rest = self.own - len(self.shown)
            lines.append(f"    ... and {rest} more: --dry-run --verbose prints all")
        if self.empty:
            lines.append(f"  Lines with an empty new, which are skipped: {self.empty}")
        if self.lacking:
            lines.append(f"  Computed changes that the file lacks: {self.lacking}")
            lines.append("    (`update` without a plan, or another plan, makes them)")
        lines.append(f"  Rows that stay as they are: {self.staying}")
        return lines

    def as_dict(self) -> dict[str, Any]:
        """Give what is printed as JSON."""
        names = ("row", "new", "computed")
        shown = [dict(zip(names, one, strict=True)) for one in self.shown]
        return asdict(self) | {"shown": shown}


def _or_none(instant: datetime | None) -> str:
    return show(instant) if instant else "none"


class Suspicions:
    """Dates that may be right, and are worth a look: each with an example."""

    def __init__(self) -> None:
        """Begin without any change."""
        self._ends: dict[str, tuple[datetime, str]] = {}
        self._counts: dict[str, tuple[int, str]] = {}
        # Eight bytes for each record; which instants are many is known at the end.
        self._instants = array("q")

    def add(self, kind: Kind, changes: Sequence[Change]) -> None:
        """Look at some more changes."""
        for c in changes:
            name, new = f"{kind} {c.label}", c.new_created
            for end, is_further in (("oldest", min), ("newest", max)):
                known = self._ends.get(end, (new, name))
                self._ends[end] = is_further(known, (new, name))
            if new > c.old_created:
                self._count("later than the present date", name)
            if kind is RECORD:
                self._instants.append((new - EPOCH) // MICROSECOND)
                if new == datetime(new.year, 1, 1, tzinfo=UTC):
                    self._count("the first of January at midnight", name)

    def _count(self, what: str, name: str) -> None:
        count, example = self._counts.get(what, (0, name))
        self._counts[what] = count + 1, example

    def many(self) -> list[tuple[datetime, int, int]]:
        """Give the instants that many records get.

        Returns:
            The instant, how many records get it, and which change of a record was the
            first, counted from 0; most records first.
        """
        runs = (
            (n, sum(1 for _ in same)) for n, same in groupby(sorted(self._instants))
        )
        most = sorted((-count, n) for n, count in runs if count >= MANY_ROWS)
        return [
            (EPOCH + n * MICROSECOND, -count, self._instants.index(n))
            for count, n in most[:INSTANTS_SHOWN]
        ]

    def lines(self, many: Iterable[tuple[datetime, int, str]]) -> list[str]:
        """Say it to a person.

        Args:
            many: What `many` gives, with the name of a record in the last place.

        Returns:
            The lines, without a heading.
        """
        lines = []
        for end, (new, name) in self._ends.items():
            lines.append(f"{end} new date: {show(new)}, {name}")
        for what, (count, name) in self._counts.items():
            lines.append(f"{what}: {counted(count, 'row')}, such as {name}")
        for instant, count, name in many:
            lines.append(f"{show(instant)}: {count} records, such as {name}")
        return lines
