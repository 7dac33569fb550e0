# SPDX-FileCopyrightText: 2026 kcworks-migrations contributors
# SPDX-License-Identifier: MIT
"""Writes changes and problems into a file that spreadsheets read right."""

import codecs
import csv
import io
from collections.abc import Iterable, Sequence
from typing import IO, Any

from flask import current_app

from ..database import Database
from ..kinds import COMMUNITY, DRAFT, RECORD, Kind, kind_of
from ..rules.values import Change, Problem
from ..text import escape, iso
from .sheet import COLUMNS, FIELD, OF_RECORD, harmless

_DETAILS = (
    "SELECT t.id::text AS id, {created} AS created,"
    " left(t.json->'metadata'->>'title', 300) AS title, %s AS version"
    " FROM {table} AS t WHERE t.id = ANY(CAST(:ids AS uuid[]))"
)
SELECT_DETAILS = {
    kind: _DETAILS % ('t."index"' if kind is RECORD else "NULL")
    for kind in (RECORD, DRAFT, COMMUNITY)
}
PATHS = {RECORD: "records", DRAFT: "uploads", COMMUNITY: "communities"}


class Writer:
    """The file, line by line; the lines of a kind have the order of the scan."""

    def __init__(self, file: IO[bytes], has_problems: bool = True) -> None:
        """Write the heading.

        Args:
            file: Where to write; it is left open.
            has_problems: Whether problems are written, too.
        """
        self.has_problems = has_problems
        file.write(codecs.BOM_UTF8)
        self._file = io.TextIOWrapper(file, "utf-8", newline="", write_through=True)
        self._csv = csv.writer(self._file)
        self._csv.writerow(COLUMNS)

    def write(
        self, database: Database, kind: Kind, rows: Iterable[Change | Problem]
    ) -> None:
        """Write some changes, with their dates, and problems, without.

        Args:
            database: A connection, outside a transaction.
            kind: Of the changes; a problem has its own.
            rows: The changes and problems.
        """
        by_kind: dict[Kind, list[Change | Problem]] = {}
        for row in rows:
            of = kind
            if isinstance(row, Problem):
                of = RECORD if row.kind == "group" else kind_of(row.kind)
            by_kind.setdefault(of, []).append(row)
        for of, some in by_kind.items():
            details = database.transaction(_details, database, of, [r.id for r in some])
            self._csv.writerows(_line(of, row, details.get(row.id)) for row in some)

    def close(self) -> None:
        """Write what is left, and leave the file to whoever opened it."""
        self._file.detach()


def _details(database: Database, kind: Kind, ids: Sequence[str]) -> dict[str, Any]:
    found = database.execute_on(kind, SELECT_DETAILS[kind], ids=list(ids))
    return {row.id: row for row in found}


def _line(kind: Kind, row: Change | Problem, details: Any) -> list[str]:
    """Give the cells of a line, in the order of `COLUMNS`."""
    title = version = created = None
    if details is not None:
        title, version, created = details.title, details.version, details.created
    new = source = reason = note = ""
    if isinstance(row, Change):
        created, new = row.old_created, iso(row.new_created)
        source, value = FIELD, row.source_value
        if row.source_record_label:
            value += f"{OF_RECORD}{row.source_record_label}"
        if row.decided:
            source, note = "plan", row.decided.note or ""
    else:
        reason, value = row.reason, row.value or ""
    site = current_app.config.get("SITE_UI_URL") or ""
    link = f"{site}/{PATHS[kind]}/{row.label}"
    cells = (kind.name, row.id, row.label, escape(title or ""), link)
    old = iso(created) if created else ""
    more = (str(version or ""), old, new, source, reason, value, note)
    return [harmless(cell) for cell in (*cells, *more)]
