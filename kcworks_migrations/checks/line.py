# SPDX-FileCopyrightText: 2026 kcworks-migrations contributors
# SPDX-License-Identifier: MIT
"""What a check says."""

from typing import NamedTuple

from sqlalchemy.exc import DBAPIError

from ..database import said_by
from ..errors import CreatedDatesError
from ..text import escape

LEVELS = ("fine", "warning", "stop")
"""``fine``: nothing to do; ``warning``: the upgrade works, but know this; ``stop``: it
would fail, or leave work behind."""


class Line(NamedTuple):
    """One fact, how bad it is, and what to do about it."""

    name: str
    """What was looked at: a word that never changes."""
    level: str
    """One of `LEVELS`."""
    fact: str
    what_to_do: str | None = None
    """Commands in it stand between backticks."""


def fine(name: str, fact: str, what_to_do: str | None = None) -> Line:
    """Give a line about what is as it should be."""
    return Line(name, "fine", fact, what_to_do)


def warning(name: str, fact: str, what_to_do: str) -> Line:
    """Give a line about what does not keep the upgrade from its end."""
    return Line(name, "warning", fact, what_to_do)


def stop(name: str, fact: str, what_to_do: str) -> Line:
    """Give a line about what must be fixed before the upgrade."""
    return Line(name, "stop", fact, what_to_do)


def failed(name: str, error: Exception) -> Line:
    """Give the line about a check that failed itself."""
    if isinstance(error, DBAPIError):
        said = f"the database says: {said_by(error)}"
    elif isinstance(error, CreatedDatesError):
        said = error.fact
    else:
        said = f"{type(error).__name__}: {escape(str(error), 200)}"
    todo = "Fix what the other lines name, then check again."
    return warning(name, f"This check failed: {said.rstrip('.')}.", todo)
