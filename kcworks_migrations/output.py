# SPDX-FileCopyrightText: 2026 kcworks-migrations contributors
# SPDX-License-Identifier: MIT
"""Printing that never fails what it tells about."""

import logging
import os
import sys
from collections.abc import Generator
from contextlib import contextmanager, suppress
from typing import Any

import click

logger = logging.getLogger("kcworks_migrations")


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
