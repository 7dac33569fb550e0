# SPDX-FileCopyrightText: 2026 kcworks-migrations contributors
# SPDX-License-Identifier: MIT
"""What a setting or an option may be, wherever it is given."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from math import inf
from typing import Any, NamedTuple

import click

from .kinds import DATED, Kind
from .text import is_storable


@dataclass(eq=False)
class Value(click.ParamType):
    """What a value may be; as a type of click's it reads the words of a command."""

    name = "value"

    wanted: str
    """What must be given, to follow "must be"."""
    is_good: Callable[[Any], bool]
    """Tells whether a value is that."""
    read: Callable[[str], Any] = str
    """Makes a value of a word of a command; ValueError if it can't."""
    is_hidden: bool = False
    """Whether an error leaves the value out: it may be a secret."""

    def convert(self, value: Any, param: Any, ctx: Any) -> Any:
        """Read and check a word of a command, as click asks for it."""
        try:
            if isinstance(value, str):
                value = self.read(value)
            if self.is_good(value):
                return value
        except ValueError:
            pass
        self.fail(f"{value!r} is not {self.wanted}.", param, ctx)


def whole(smallest: int, largest: float = inf) -> Value:
    """Give what a whole number may be, both bounds included."""
    wanted = f"a whole number from {smallest} to {largest}"
    if largest == inf:
        wanted = f"a whole number, {smallest} or more"

    def is_good(value: Any) -> bool:
        return type(value) is int and smallest <= value <= largest

    return Value(wanted, is_good, int)


def number(smallest: int, largest: int) -> Value:
    """Give what a number may be, with or without a fraction."""

    def is_good(value: Any) -> bool:
        return type(value) in {int, float} and smallest <= value <= largest

    return Value(f"a number from {smallest} to {largest}", is_good, float)


def word(*words: str) -> Value:
    """Give one of some words."""
    return Value(" or ".join(map(repr, words)), lambda value: value in words)


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and bool(value.strip()) and is_storable(value)


def _is_text_or_none(value: Any) -> bool:
    return value is None or _is_text(value)


def _is_url(value: Any) -> bool:
    return value is None or (
        isinstance(value, str) and value.startswith(("https://", "http://"))
    )


def _is_list(value: Any) -> bool:
    return isinstance(value, list | tuple | set | frozenset) and all(
        isinstance(item, str) for item in value
    )


def day(text: str) -> date:
    """Read a UTC day such as ``2016-02-29``; anything else is a ValueError."""
    return datetime.strptime(text, "%Y-%m-%d").date()


class Line(NamedTuple):
    """What a line of a curator's file says of one row."""

    number: int
    old: datetime | None
    """What `created` must be for the line to hold, aware, in UTC; none for anything."""
    new: datetime | None
    """What it is to become, aware, in UTC; none to keep what it is."""
    text: str
    """The cell that says so."""
    note: str | None
    is_as_saved: bool = False
    """Whether the date is the one that was computed when the plan was saved."""
    label: str = ""
    """What the row was called when the file was read."""


@dataclass(frozen=True)
class Plan:
    """A curator's file, checked: which rows, which dates, and why."""

    name: str
    """Of the file."""
    sha256: str
    """Of its bytes, in hexadecimal."""
    lines: Mapping[str, Line]
    """By the UUID of the row, those that say something."""
    ids: Mapping[Kind, Sequence[str]] = field(default_factory=dict)
    """The same UUIDs of each kind, in their order."""
    empty: int = 0
    """How many lines say nothing."""
    assumed: str = ""
    """The encoding that was assumed, as the file does not tell its own."""

    path: str = ""
    """Of the file, as it was typed."""

    def kept(self) -> dict[str, Any]:
        """Give what the run row keeps."""
        kept = {"file": self.name, "sha256": self.sha256, "path": self.path}
        return kept | {"lines": len(self.lines)}


FLAG = Value("True or False", lambda value: isinstance(value, bool))
FIELD_NAME = Value("the name of a custom field", _is_text)
DAY = Value("a day such as 2016-02-29", lambda value: type(value) is date, day)
NAMES = Value("a list of PIDs, slugs or UUIDs", _is_list)
PLAN = Value("a plan that was read and checked", lambda p: isinstance(p, Plan))
NAME = Value("a PID, slug or UUID", _is_text)
REASON = Value(
    "a text that PostgreSQL takes: not empty, without NUL, of whole characters",
    _is_text_or_none,
)
SOME_KINDS = Value(
    "records, communities or both",
    lambda value: bool(value) and all(kind in DATED for kind in value),
)
URL = Value("a URL of http or https", _is_url, is_hidden=True)
SECRET = Value("a text, or left out", _is_text_or_none, is_hidden=True)
ADDRESSES = Value(
    "a list of mail addresses",
    lambda value: isinstance(value, list | tuple)
    and all(isinstance(a, str) and "@" in a and a.isprintable() for a in value),
)
