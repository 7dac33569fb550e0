# SPDX-FileCopyrightText: 2026 kcworks-migrations contributors
# SPDX-License-Identifier: MIT
"""The form of a curator's file: CSV as spreadsheets read and write it."""

import csv
import io
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple

from ..errors import RefusedError
from ..kinds import DRAFT
from ..rules.dates import parse_legacy_date
from ..text import escape

COLUMNS = (
    "kind",
    "id",
    "label",
    "title",
    "link",
    "version",
    "old",
    "new",
    "source",
    "reason",
    "value",
    "note",
)
NAMES = {"id", "label"}
"""The columns that name a row; one of them must be there."""

WANTED = "2016-02-29T13:11:39Z, 2016-02-29 13:11:39 UTC, or 2016-02-29"

DELIMITERS = ",;\t"
ENCODINGS = ("utf-8-sig", "cp1252")
"""Tried in this order; the second is what Excel writes unless asked for UTF-8."""

FIELD = "field"
"""What `source` says of a date that the rules give."""

OF_RECORD = " of record "
"""Stands in `value` between the date of a community's oldest record and its name."""

# A spreadsheet runs what begins like this, at the start of a cell or behind what may
# separate cells where it is opened. An apostrophe before it is shown, and one more lets
# a text that has it already come back as it was.
_RUNS = r"(?='*[=+\-@\t\r\N{FULLWIDTH EQUALS SIGN}\N{FULLWIDTH PLUS SIGN}"
_RUNS += r"\N{FULLWIDTH HYPHEN-MINUS}\N{FULLWIDTH COMMERCIAL AT}])"
_BEFORE = r"(^|[;,\t\r\n])"
_UNSAFE = re.compile(_BEFORE + _RUNS)
_SAFE = re.compile(f"{_BEFORE}'{_RUNS}")

# What this package prints, and a day alone.
_PRINTED = re.compile(
    r"([0-9]{4}-[0-9]{2}-[0-9]{2})(?: ([0-9:.]+) UTC)?", re.ASCII
).fullmatch


def harmless(text: str) -> str:
    """Keep a spreadsheet from running a text; `as_it_was` undoes that."""
    return _UNSAFE.sub(r"\1'", text)


def as_it_was(cell: str) -> str:
    """Give the text that `harmless` made a cell of."""
    return _SAFE.sub(r"\1", cell)


def date_in(cell: str) -> datetime:
    """Read a date in one of the forms of `WANTED`; nothing is guessed.

    Args:
        cell: The text; a day alone means its start in UTC.

    Returns:
        The instant, aware, in UTC; a LegacyDateError if it has another form.
    """
    if found := _PRINTED(cell):
        day, time = found.groups()
        cell = f"{day}T{time or '00:00:00'}Z"
    return parse_legacy_date(cell)


class Cells(NamedTuple):
    """The cells of a line that say something; empty where the column is absent."""

    number: int
    """Of the line in the file, or of its first one."""
    kind: str = ""
    id: str = ""
    label: str = ""
    old: str = ""
    new: str = ""
    source: str = ""
    value: str = ""
    note: str = ""


@dataclass(frozen=True)
class Sheet:
    """A file that was read."""

    name: str
    data: bytes
    encoding: str
    delimiter: str
    columns: tuple[str, ...]
    """In lower case, in the order of the file."""

    @classmethod
    def read(cls, path: Path) -> "Sheet":
        """Read a file, and find out in which form it is.

        Args:
            path: The file.

        Returns:
            The sheet; whether it has the right columns is for the caller to say.

        Raises:
            RefusedError: It is not text in any encoding that is read here.
        """
        data, name = path.read_bytes(), escape(path.name)
        for encoding in ENCODINGS:
            try:
                delimiter, columns = _form_of(_heading(data, encoding))
            except UnicodeDecodeError:
                continue
            return cls(name, data, encoding, delimiter, columns)
        raise RefusedError(
            f"{name} is neither UTF-8 nor Windows-1252.",
            "save it as CSV in UTF-8 and try again.",
        )

    @property
    def sha256(self) -> str:
        """The digest of its bytes, in hexadecimal."""
        return sha256(self.data).hexdigest()

    def __iter__(self) -> Iterator[Cells]:
        """Give the lines behind the heading, except blank ones.

        Raises:
            RefusedError: It is no CSV.
        """
        file = io.TextIOWrapper(io.BytesIO(self.data), self.encoding, newline="")
        # Strict: a quote that is never closed would swallow the lines behind it.
        reader = csv.reader(file, delimiter=self.delimiter, strict=True)
        known = [name for name in Cells._fields[1:] if name in self.columns]
        where = {name: self.columns.index(name) for name in known}
        is_heading = True
        number = 1
        try:
            for row in reader:
                if any(cell.strip() for cell in row):
                    if not is_heading:
                        found = {n: row[i] for n, i in where.items() if i < len(row)}
                        yield _cells(number, found)
                    is_heading = False
                number = reader.line_num + 1
        except csv.Error as error:
            raise RefusedError(
                f"{self.name}, line {number}: {error}.", "correct that and try again."
            ) from error


def _heading(data: bytes, encoding: str) -> str:
    """Give the first line that is not blank; decode all, so that it fails now or never.

    Returns:
        The line; nothing of a file that begins with a comment.
    """
    file = io.TextIOWrapper(io.BytesIO(data), encoding)
    lines = (line for line in file if line.strip(f" \n{DELIMITERS}"))
    heading = next(lines, "")
    for _ in file:
        pass
    return "" if heading.startswith("#") else heading


def _form_of(heading: str) -> tuple[str, tuple[str, ...]]:
    """Give the delimiter and the columns of a heading; none if it is none."""
    forms = []
    for delimiter in DELIMITERS:
        try:
            row = next(csv.reader([heading], delimiter=delimiter), [])
        except csv.Error:
            row = []
        forms.append((delimiter, tuple(cell.strip().lower() for cell in row)))
    return max(forms, key=lambda form: len(set(COLUMNS).intersection(form[1])))


def _cells(number: int, found: dict[str, str]) -> Cells:
    note = found.pop("note", "")
    stripped = {name: as_it_was(cell.strip()) for name, cell in found.items()}
    return Cells(number, **stripped, note=as_it_was(note).strip())


def names_in(path: Path) -> list[str]:
    """Read the names of rows: of a sheet, or one a line except ``#`` lines.

    Returns:
        UUIDs, PIDs and slugs; of a line with a UUID, that alone.
    """
    sheet = Sheet.read(path)
    if NAMES.intersection(sheet.columns):
        # Drafts, which OpenSearch may have refused, are not changed in any case.
        names = [c.id or c.label for c in sheet if c.kind != DRAFT.name]
    else:
        names = [s.strip() for s in sheet.data.decode(sheet.encoding).splitlines()]
    return [name for name in names if name and not name.startswith("#")]
