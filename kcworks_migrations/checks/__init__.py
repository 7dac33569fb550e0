# SPDX-FileCopyrightText: 2026 kcworks-migrations contributors
# SPDX-License-Identifier: MIT
"""One go or no-go before the deploy, in seconds and without changing anything.

Each check is a small function that yields lines. What it looks for may be absent: the
tables of this package before the upgrade, rights, the broker, OpenSearch. Each of these
is a line, and so is a check that itself fails.
"""

from collections.abc import Callable, Generator, Iterable

from flask import current_app
from sqlalchemy.engine import Engine

from ..config import Options, options_from
from ..errors import DatabaseFailedError, SettingError
from . import database, fields, queues, revision, rows, search
from .line import Line, failed, fine, stop

DATABASE_CHECKS = {
    "database": database.server,
    "tables": database.tables,
    "rights": database.rights,
    "revision": revision.revision,
    "run": database.other_runs,
    "locks": database.locks,
    "rows": rows.rows,
}
SERVICE_CHECKS = {
    "custom_fields": fields.fields,
    "broker": queues.broker,
    "schedule": queues.schedule,
    "search": search.search,
}


def check(engine: Engine) -> Generator[Line]:
    """Look at everything that the upgrade depends on; an app context is needed.

    Args:
        engine: The engine of the instance's database.

    Yields:
        What was found, in an order that stays.
    """
    try:
        options = options_from(current_app.config)
        yield fine("settings", "All settings can be used.")
    except SettingError as error:
        options = options_from({})
        todo = "Correct it. The other lines are told for the default settings."
        yield stop("settings", error.fact, todo)
    yield from _check_database(engine, options)
    for name, look in SERVICE_CHECKS.items():
        yield from _lines(name, look, options)


def _check_database(engine: Engine, options: Options) -> Generator[Line]:
    if engine.dialect.name != "postgresql":
        fact = f"The database is {engine.dialect.name}, not PostgreSQL."
        yield stop("database", fact, "This package can only work on PostgreSQL.")
        return
    try:
        with database.reading(engine) as connection:
            for name, look in DATABASE_CHECKS.items():
                yield from _lines(name, look, connection, options)
    except DatabaseFailedError as error:
        todo = "Start it, or correct its address, then check again."
        yield stop("database", error.message, todo)


def _lines(
    name: str, look: Callable[..., Iterable[Line]], *values: object
) -> Generator[Line]:
    """Give the lines of a check; its failure is one, and ends no other check."""
    try:
        yield from look(*values)
    except Exception as error:
        yield failed(name, error)
