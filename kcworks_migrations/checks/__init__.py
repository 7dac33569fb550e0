# SPDX-FileCopyrightText: 2026 kcworks-migrations contributors
# SPDX-License-Identifier: MIT
"""Go or no-go before the deploy, in seconds and without changing anything.

Each check is a small function that yields lines: what would stop or surprise an
operator, and a few facts that are worth reading anyway. What it looks for may be
absent: our tables before the upgrade, rights, the broker, OpenSearch. Each of these is
a line, and so is a check that itself fails.
"""

from collections.abc import Callable, Generator, Iterable

from flask import current_app
from sqlalchemy.engine import Engine
from sqlalchemy.exc import DBAPIError

from ..config import What, options_from
from ..database import said_by
from ..errors import RefusedError
from ..kinds import DATED
from ..migration.decisions import Decisions
from . import database, history, rows, services
from .line import Line, failed, stop


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
    try:
        with database.reading(engine) as connection:
            yield from _lines("database", database.server, connection)
            yield from _lines("tables", database.tables, connection)
            yield from _lines("rights", database.rights, connection)
            yield from _lines("revision", history.revision, connection)
            yield from _lines("run", history.other_runs, connection)
            yield from _lines("locks", database.locks, connection)
            decisions = Decisions(connection, what)
            for kind in DATED:
                yield from _lines(kind.plural, rows.rows, connection, decisions, kind)
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
        yield failed(name, error)
