# SPDX-FileCopyrightText: 2026 kcworks-migrations contributors
# SPDX-License-Identifier: MIT
"""What a check says."""

from typing import NamedTuple

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
