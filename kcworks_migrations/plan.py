# SPDX-FileCopyrightText: 2026 kcworks-migrations contributors
# SPDX-License-Identifier: MIT
"""A frozen plan: what would change, one JSON object a line, to be read and cut down."""

import json
from collections.abc import Iterable, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any, TextIO
from uuid import UUID

from .dates import show
from .errors import PlanError
from .rules import Change, Decision, Planned, Problem, escape

SHOWN = 10
"""Differences that are listed when a plan is refused."""


def write_lines(file: TextIO, kind: str, decisions: Iterable[Decision]) -> None:
    """Write a line for each change."""
    for d in decisions:
        if isinstance(d, Change):
            line = {
                "kind": kind,
                "id": d.id,
                "label": d.label,
                "old": d.old_created.isoformat(),
                "new": d.new_created.isoformat(),
                "source_value": d.source_value,
                "source_record": d.source_record_label,
            }
            file.write(json.dumps(line) + "\n")


def read(path: Path) -> dict[str, Planned]:
    """Read a plan that may have been cut down.

    Args:
        path: The file.

    Returns:
        What is planned, by UUID; about 0.4 kB of memory for each row.

    Raises:
        PlanError: A line is not one that a dry run writes, or there is none.
    """
    planned: dict[str, Planned] = {}
    with path.open(encoding="utf-8", errors="replace") as lines:
        for number, line in enumerate(lines, 1):
            if not line.strip():
                continue
            try:
                row = json.loads(line)
                id = str(UUID(row["id"]))
                plan = Planned(_instant(row["old"]), _instant(row["new"]))
            except (ValueError, TypeError, KeyError, AttributeError) as error:
                fact = (
                    f"Line {number} is not one of a plan ({escape(repr(error), 100)})"
                )
                raise PlanError(fact + ".") from error
            if id in planned:
                raise PlanError(f"Line {number} names {escape(str(id), 50)} again.")
            planned[id] = plan
    if not planned:
        raise PlanError("It names no row.")
    return planned


def _instant(text: str) -> datetime:
    instant = datetime.fromisoformat(text)
    if instant.tzinfo is None:
        raise ValueError("an instant without a time zone")
    return instant


class Comparison:
    """Finds what has moved since a plan was made."""

    def __init__(self, planned: Mapping[str, Planned]) -> None:
        """Nothing of the plan was seen yet."""
        self._planned = planned
        self._seen: set[str] = set()
        self._differences: list[str] = []
        self._count = 0

    def note(self, kind: str, decisions: list[Decision]) -> None:
        """Compare some decisions with the plan."""
        for d in decisions:
            planned = self._planned.get(d.id)
            if planned is None:
                continue
            self._seen.add(d.id)
            if not isinstance(d, Change):
                now = "no change"
                if isinstance(d, Problem) and d.reason == "unlike_plan":
                    now = f"from {d.value}"
                self._differ(f"{kind} {d.label}", planned, now)

    def _differ(self, name: str, planned: Planned, fact: str) -> None:
        self._count += 1
        if self._count <= SHOWN:
            old, new = show(planned.old_created), show(planned.new_created)
            self._differences.append(
                f"  {name}: planned {old} to {new}, now\n    {fact}"
            )

    def refuse_differences(self) -> None:
        """Refuse the plan unless the present is just what it says.

        Raises:
            PlanError: Something has moved since; nothing was changed.
        """
        for id in self._planned.keys() - self._seen:
            self._differ(
                f"row {id}", self._planned[id], "without a legacy date or gone"
            )
        if self._count:
            more = self._count - SHOWN
            lines = self._differences + [f"  ... and {more} more"] * (more > 0)
            listed = "\n".join(lines)
            raise PlanError(f"{self._count} of its rows have moved since:\n{listed}\n")


def read_names(path: Path) -> frozenset[str]:
    """Read PIDs, slugs or UUIDs, one a line, but for empty lines and ``#`` lines."""
    lines: Any = path.read_text(encoding="utf-8", errors="replace").splitlines()
    names = (line.strip() for line in lines)
    return frozenset(name for name in names if name and not name.startswith("#"))
