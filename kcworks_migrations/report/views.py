# SPDX-FileCopyrightText: 2026 kcworks-migrations contributors
# SPDX-License-Identifier: MIT
"""What a person should see of the changes before they are made.

A preview gives each page of decisions to it. Nothing is refused here.
"""

from array import array
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from itertools import groupby

from ..kinds import RECORD, Kind
from ..rules.values import Change
from ..text import counted, show

MANY_ROWS = 10
"""From how many records on one instant is worth a look."""

INSTANTS_SHOWN = 3

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)


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
