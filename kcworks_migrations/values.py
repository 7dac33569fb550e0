# SPDX-FileCopyrightText: 2026 kcworks-migrations contributors
# SPDX-License-Identifier: MIT
"""What a setting or an option may be, wherever it is given."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, datetime
from math import inf
from typing import Any

import click

from .kinds import DATED


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
    return isinstance(value, str) and bool(value.strip())


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


FLAG = Value("True or False", lambda value: isinstance(value, bool))
FIELD_NAME = Value("the name of a custom field", _is_text)
DAY = Value("a day such as 2016-02-29", lambda value: type(value) is date, day)
NAMES = Value("a list of PIDs, slugs or UUIDs", _is_list)
REASON = Value("a text", _is_text_or_none)
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
