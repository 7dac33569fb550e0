# SPDX-FileCopyrightText: 2026 kcworks-migrations contributors
# SPDX-License-Identifier: MIT
"""Reads a curator's plan and checks all of it against the rows that it names."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from uuid import UUID

from ..config import What
from ..database import Database
from ..errors import RefusedError
from ..kinds import COMMUNITY, DATED, Kind
from ..ledger import plans
from ..report.plan import PlanView
from ..rules.dates import LegacyDateError, floor_to_day
from ..rules.decide import check_range
from ..rules.plan import KEEP
from ..rules.values import REASONS, Decision, Problem
from ..text import escape, show
from ..values import Line, Plan
from . import names
from .names import Meant
from .scan import LABEL_LIMIT
from .sheet import FIELD, NAMES, OF_RECORD, WANTED, Cells, Sheet, date_in

PAGE_LINES = 1000


def read(database: Database, path: Path, what: What) -> Plan:
    """Read a plan and check all of it, before anything is written.

    Args:
        database: A connection, outside a transaction.
        path: The file.
        what: Has the names of the fields and the first date that is accepted.

    Returns:
        The plan.

    Raises:
        RefusedError: Some line can't be used; all of those are listed.
    """
    sheet = Sheet.read(path)
    _check_columns(sheet)
    reading = _Reading(database, what, datetime.now(UTC))
    lines = iter(sheet)
    while page := list(islice(lines, PAGE_LINES)):
        database.transaction(reading.look_up, page)
        for cells in page:
            reading.take(cells)
    assumed = "" if sheet.encoding == "utf-8-sig" else "Windows-1252"
    if reading.errors:
        as_text = f", read as {assumed}," if assumed else ""
        raise RefusedError(
            f"Lines of {sheet.name}{as_text} can't be used: {len(reading.errors)}.",
            "correct the file and run the same command again.\n"
            + "\n".join(reading.errors),
        )
    return Plan(
        sheet.name,
        sheet.sha256,
        reading.lines,
        {kind: sorted(ids) for kind, ids in reading.ids.items()},
        reading.empty,
        assumed,
        str(path),
    )


def _check_columns(sheet: Sheet) -> None:
    """Refuse a file without the columns that are needed, or with one twice.

    Raises:
        RefusedError: It is such a file.
    """
    columns = sheet.columns
    twice = sorted({c for c in Cells._fields[1:] if columns.count(c) > 1})
    fact = f"the column {', '.join(twice)} twice" if twice else ""
    if "new" not in columns or not NAMES.intersection(columns):
        fact = "no heading with the columns id or label, and new"
    if fact:
        raise RefusedError(
            f"{sheet.name} has {fact}.", "correct the file and try again."
        )


@dataclass
class _Reading:
    """The lines that were read so far, and what is wrong with some."""

    database: Database
    what: What
    now: datetime
    lines: dict[str, Line] = field(default_factory=dict)
    ids: dict[Kind, list[str]] = field(
        default_factory=lambda: {kind: [] for kind in DATED}
    )
    empty: int = 0
    errors: list[str] = field(default_factory=list)
    by_id: dict[str, list[Meant]] = field(default_factory=dict)
    """What the ids of the page mean."""
    by_label: dict[str, list[Meant]] = field(default_factory=dict)
    """What its labels mean, where an id does not say so already."""

    def look_up(self, page: list[Cells]) -> None:
        """Look up what the names of a page mean, each kind by two indexes."""
        saying = [cells for cells in page if cells.new]
        ids = [id for cells in saying if (id := _uuid(cells.id))]
        self.by_id = names.look_up(self.database, ids, is_label=False)
        labels = {
            cells.label
            for cells in saying
            if cells.label
            and "\0" not in cells.label  # PostgreSQL takes none, and no row has one
            and cells.label not in {m.label for m in self._meant_by_id(cells)}
        }
        self.by_label = names.look_up(self.database, list(labels), is_label=True)

    def _meant_by_id(self, cells: Cells) -> list[Meant]:
        return self.by_id.get(_uuid(cells.id) or "", [])

    def take(self, cells: Cells) -> None:
        """Take a line, or what is wrong with it."""
        if not cells.new:
            self.empty += 1
            return
        wrong: list[str] = []
        is_kept = cells.new.casefold() == KEEP
        old = self._date("old", cells.old, wrong) if cells.old else None
        new = None if is_kept else self._date("new", cells.new, wrong)
        meant = self._meant(cells)
        if isinstance(meant, str):
            wrong.append(meant)
        elif known := self.lines.get(meant.id):
            wrong.append(f"the same row as line {known.number}")
        if wrong or isinstance(meant, str):
            self.errors += [f"  line {cells.number}: {text}" for text in wrong]
            return
        note = escape(cells.note, sys.maxsize) or None
        text = KEEP if is_kept else cells.new
        is_as_saved = new is not None and new == _computed_when_saved(meant.kind, cells)
        label = escape(meant.label, LABEL_LIMIT)
        self.lines[meant.id] = Line(
            cells.number, old, new, text, note, is_as_saved, label
        )
        self.ids[meant.kind].append(meant.id)

    def _date(self, name: str, cell: str, wrong: list[str]) -> datetime | None:
        """Read a date, or say what is wrong with it."""
        try:
            instant = date_in(cell)
            if name == "new":
                check_range(instant, self.what.earliest, self.now)
            return instant
        except LegacyDateError as error:
            told = f"{name} is '{escape(cell, 60)}': {REASONS[error.reason]}"
            is_form = error.reason not in {"in_future", "too_early"}
            wrong.append(told + (f"; write {WANTED}" if is_form else ""))
            return None

    def _meant(self, cells: Cells) -> Meant | str:
        """Give the row that a line means, or what is wrong with its name.

        The id says it: spreadsheets mangle slugs and PIDs that look like dates or
        numbers. A label that means another row is an error all the same.

        Returns:
            The row, or a sentence.
        """
        kinds = [kind for kind in DATED if cells.kind.casefold() in ("", kind.name)]
        if not kinds:
            return (
                f"kind is '{escape(cells.kind, 60)}', but must be record or community"
            )
        by_label = _of(kinds, self.by_label.get(cells.label, []))
        if not cells.id:
            if len(by_label) > 1:
                return f"{escape(cells.label, 60)} is two rows; give the kind or the id"
            what = " or ".join(kind.name for kind in kinds)
            name = escape(cells.label, 60)
            return by_label[0] if by_label else f"no {what} is named '{name}'"
        by_id = _of(kinds, self._meant_by_id(cells))
        if not by_id:
            return f"no row of that kind has the id '{escape(cells.id, 60)}'"
        if by_label and by_id[0] not in by_label:
            one, other = escape(by_id[0].label, 60), escape(cells.label, 60)
            return f"id names {one}, but label names another row: {other}"
        return by_id[0]


def _computed_when_saved(kind: Kind, cells: Cells) -> datetime | None:
    """Give the date that a saved line had; none of a problem or of a decision."""
    if cells.source != FIELD:
        return None
    try:
        instant = date_in(cells.value.partition(OF_RECORD)[0])
    except LegacyDateError:
        return None
    return floor_to_day(instant) if kind is COMMUNITY else instant


def _of(kinds: list[Kind], meant: list[Meant]) -> list[Meant]:
    return [m for m in meant if m.kind in kinds]


def _uuid(text: str) -> str | None:
    """Give a UUID as the database writes it; none if it is none."""
    try:
        return str(UUID(text))
    except ValueError:
        return None


def add_lines(
    view: PlanView, database: Database, kind: Kind, decisions: Sequence[Decision]
) -> None:
    """Add what was decided about some lines to the account of a plan.

    Args:
        view: The account.
        database: A connection, outside a transaction.
        kind: Records or communities.
        decisions: What was decided.
    """
    moved = [d.id for d in decisions if isinstance(d, Problem) and d.reason == "moved"]
    found = database.transaction(plans.movers, database, kind, moved) if moved else {}
    values = {d.id: d.value for d in decisions if isinstance(d, Problem)}
    # Whoever came after that run is not known to the ledger.
    runs = {id: run for id, (run, new) in found.items() if show(new) == values[id]}
    view.add(kind, decisions, runs)
