# SPDX-FileCopyrightText: 2026 kcworks-migrations contributors
# SPDX-License-Identifier: MIT
"""Go or no-go before the deploy, in seconds and without changing anything.

Each check is a small function that yields lines: what would stop or surprise an
operator, and a few facts that are worth reading anyway. What it looks for may be
absent: our tables before the upgrade, rights, the broker, OpenSearch. Each of these is
a line, and so is a check that itself fails.
"""

import os
from collections.abc import Callable, Generator, Iterable

from flask import current_app
from sqlalchemy.engine import Engine
from sqlalchemy.exc import DBAPIError

from ..config import What, options_from
from ..database import connected, said_by
from ..errors import RefusedError
from ..kinds import DATED
from ..migration.decisions import Decisions
from ..migration.run import said
from . import database, history, rows, services, surroundings
from .line import Line, stop, warning

OF_THE_DATABASE = (
    database.server,
    database.tables,
    database.rights,
    surroundings.row_security,
    surroundings.triggers,
    surroundings.precision,
    surroundings.session,
    history.revision,
    history.run,
    history.settling,
    database.locks,
)


def check(engine: Engine) -> Generator[Line]:
    """Look at everything that the upgrade depends on; an app context is needed.

    Args:
        engine: The engine of the instance's database.

    Yields:
        What was found, always in the same order.
    """
    try:
        what, how = options_from(current_app.config)
    except RefusedError as error:
        what, how = options_from({})
        todo = "Correct it. The other lines hold for the default settings."
        yield stop("settings", error.fact, todo)
    yield from _check_database(engine, what)
    yield from _lines("custom_fields", services.custom_fields, what)
    yield from _lines("broker", services.broker, how)
    yield from _lines("schedule", services.schedule)
    yield from _lines("search", services.search, how)


def _check_database(engine: Engine, what: What) -> Generator[Line]:
    if engine.dialect.name != "postgresql":
        fact = f"The database is {engine.dialect.name}, not PostgreSQL."
        yield stop("database", fact, "This package can only work on PostgreSQL.")
        return
    # The driver would wait for minutes for a server that says nothing.
    os.environ.setdefault("PGCONNECT_TIMEOUT", str(database.CONNECT_SECONDS))
    try:
        with connected(engine, lock_timeout_seconds=1) as opened:
            for look in OF_THE_DATABASE:
                yield from _lines(look.__name__, database.read, opened, look)
            yield from _lines("pooler", database.pooler, opened)
            values = opened, rows.rows, Decisions(opened, what)
            for kind in DATED:
                yield from _lines(kind.plural, database.read, *values, kind)
    except DBAPIError as error:
        fact = f"PostgreSQL does not answer: {said_by(error)}."
        todo = "Start it, or correct SQLALCHEMY_DATABASE_URI, then check again."
        yield stop("database", fact, todo)


def _lines(
    name: str, look: Callable[..., Iterable[Line]], *values: object
) -> Generator[Line]:
    """Give the lines of a check; its failure is one, and ends no other check."""
    try:
        yield from look(*values)
    except Exception as error:
        # The upgrade would be refused as well.
        level = stop if isinstance(error, RefusedError) else warning
        todo = "Fix what the other lines name, then check again."
        yield level(name, f"This check failed: {said(error)}", todo)
