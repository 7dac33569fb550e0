# SPDX-FileCopyrightText: 2026 kcworks-migrations contributors
# SPDX-License-Identifier: MIT
"""Text for people and programs: safe to print, and printed without failing a run."""

import json
import logging
import os
import re
import sys
import textwrap
from collections.abc import Generator
from contextlib import contextmanager, suppress
from datetime import UTC, date, datetime
from typing import Any

import click

logger = logging.getLogger("kcworks_migrations")
# Lines for a person are printed by the reporter; without this, Python would print
# warnings a second time when the instance configures no handler.
logger.addHandler(logging.NullHandler())

COMMAND = "invenio kcworks-created-dates"
UPGRADE = "invenio alembic upgrade kcworks_migrations@head"
DOWNGRADE = "invenio alembic downgrade a94c06be7d15"

SAVE_PLAN = f"{COMMAND} update --dry-run --save-plan plan.csv --with-problems"
CARRY_OUT = f"{COMMAND} update --plan plan.csv"

VALUE_LIMIT = 500
"""Characters of an offending value that are kept; of any other text that is read."""

WIDTH = 80


def escape(text: str, limit: int = VALUE_LIMIT) -> str:
    r"""Make foreign text safe to print, to log and to store.

    Control, format (bidirectional) and unassigned characters become escapes such as
    ``\x1b``, so that no terminal and no log line interprets them.

    Args:
        text: Any text.
        limit: The most characters to give back.

    Returns:
        Printable text, cut at the limit.
    """
    text = text[:limit]
    if text.isprintable():
        return text
    return "".join(
        c if c.isprintable() else c.encode("unicode_escape").decode() for c in text
    )[:limit]


def is_storable(text: str) -> bool:
    """Tell whether PostgreSQL takes a text: one without NUL, of whole characters."""
    try:
        return b"\0" not in text.encode()
    except UnicodeEncodeError:  # such as half of one, which stands for a foreign byte
        return False


def wrapped(text: str, width: int = WIDTH) -> list[str]:
    """Break text into lines; what stands between backticks is never broken."""
    glued = re.sub("`[^`]*`", lambda found: found[0].replace(" ", "\xa0"), text)
    parts = textwrap.wrap(glued, width, break_on_hyphens=False, break_long_words=False)
    return [part.replace("\xa0", " ") for part in parts]


def show(instant: datetime | None) -> str:
    """Format an instant for people: UTC, to the second, microseconds if there are any.

    Args:
        instant: An aware datetime, or none.

    Returns:
        Text such as ``2016-02-29 13:11:39 UTC``, or ``-`` for none.
    """
    if instant is None:
        return "-"
    return instant.astimezone(UTC).isoformat(" ").removesuffix("+00:00") + " UTC"


def iso(instant: datetime) -> str:
    """Format an aware instant for programs, such as ``2016-02-29T13:11:39Z``."""
    return instant.astimezone(UTC).isoformat().removesuffix("+00:00") + "Z"


def as_json(document: Any) -> str:
    """Format a document as JSON, with every instant in the form of `iso`."""
    return json.dumps(document, default=_plain, indent=2)


def _plain(value: Any) -> Any:
    if isinstance(value, datetime):
        return iso(value)
    if isinstance(value, date):
        return value.isoformat()
    return sorted(value) if isinstance(value, set | frozenset) else str(value)


def counted(number: int, noun: str) -> str:
    """Give a number with its noun, such as ``1 change`` or ``2 changes``."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def duration(seconds: float) -> str:
    """Give a duration in the unit that a person would choose."""
    for unit, length in (("h", 3600), ("min", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:.0f} {unit}"
    return f"{max(seconds, 1):.0f} s"


@contextmanager
def unfailing() -> Generator[None]:
    """Log what goes wrong while something is told, instead of raising it.

    The reader of a pipe may have ended, the terminal may be gone, the disk be full. A
    stream that can't be written is replaced by the null device from then on; otherwise
    Python would fail at its end, on what is still in the buffer.
    """
    try:
        yield
    except Exception as error:
        for stream in (sys.stdout, sys.stderr):
            try:
                stream.flush()
            except Exception:
                _discard(stream)
        with suppress(Exception):
            logger.warning("Not printed: %s: %s", type(error).__name__, error)


def _discard(stream: Any) -> None:
    """Discard what is written to a stream, now and from now on."""
    with suppress(Exception), open(os.devnull, "wb") as nowhere:
        os.dup2(nowhere.fileno(), stream.fileno())


def echo(message: str = "", err: bool = False, nl: bool = True) -> None:
    """Print as click does, if it can be; characters that the stream lacks, escaped."""
    with unfailing():
        try:
            click.echo(message, err=err, nl=nl)
        except UnicodeEncodeError as error:
            known = message.encode(error.encoding, "backslashreplace")
            click.echo(known.decode(error.encoding), err=err, nl=nl)


def is_terminal(stream: Any) -> bool:
    """Tell whether a standard stream is a terminal; it is none when it was closed."""
    try:
        return stream.isatty()
    except (AttributeError, ValueError):
        return False
