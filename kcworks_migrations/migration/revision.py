# SPDX-FileCopyrightText: 2026 kcworks-migrations contributors
# SPDX-License-Identifier: MIT
"""What Alembic's data revision calls, beside the connection that Alembic keeps open.

Frozen: a released revision relies on both functions and on what they are given.
"""

from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from threading import Event, Thread
from typing import NamedTuple

from alembic.runtime.migration import MigrationContext
from sqlalchemy import column, select, table, text
from sqlalchemy.engine import Connection

from .. import migration
from ..database import is_lock_timeout
from ..errors import CreatedDatesError, RunInProgressError
from ..report.summary import Summary
from ..text import DOWNGRADE
from .run import said

KEEP_ALIVE_SECONDS = 30
"""How long Alembic's connection is silent: proxies cut those that are for minutes."""

SET_NO_IDLE_TIMEOUT = text(
    "SELECT CASE WHEN current_setting('server_version_num')::integer >= 140000"
    " THEN set_config('idle_session_timeout', '0', false) END"
)


class _Direction(NamedTuple):
    """What Alembic does."""

    stamp: str
    """What Alembic has recorded before it."""
    state: str
    """What is so when it stops at our revision."""
    command: str
    """What goes on from there."""


_UP = _Direction(
    "a94c06be7d15",
    "Alembic stopped at revision c51d8e2f60b7, and what comes after it in any module is"
    " not applied:",
    "invenio alembic upgrade",
)
_DOWN = _Direction(
    "c51d8e2f60b7",
    "Alembic stopped at undoing revision c51d8e2f60b7, and what comes after that is not"
    " done:",
    DOWNGRADE,
)


def apply(context: MigrationContext) -> None:
    """Change the dates; Alembic records that when this returns.

    Args:
        context: Alembic's.
    """
    _work_beside(context, _UP, migration.apply)


def revert(context: MigrationContext) -> None:
    """Restore the dates; Alembic records that when this returns.

    Args:
        context: Alembic's.
    """
    _work_beside(context, _DOWN, migration.revert)


def _work_beside(
    context: MigrationContext, direction: _Direction, work: Callable[..., Summary]
) -> None:
    """Work in transactions of its own, and hold the stamp that Alembic is to move.

    Raises:
        CreatedDatesError: The work failed or was refused, or Alembic could not record
            it; what Alembic did before stands.
    """
    assert context.connection is not None  # none where Alembic only writes SQL
    failure: CreatedDatesError | None = None
    done = ""
    try:
        with context.autocommit_block(), _kept_alive(context.connection):
            try:
                summary = work(context.connection.engine, origin="alembic")
                run = f"Run {summary.run_id} has succeeded; what it did is saved."
                done = run if summary.run_id else "No date was to be changed yet."
            except CreatedDatesError as error:
                failure = error
        if failure is None and not _hold(context, context.connection, direction.stamp):
            failure = CreatedDatesError(
                f"{done} But another process has moved Alembic's stamp meanwhile."
            )
            failure.exit_code = RunInProgressError.exit_code
    except Exception as error:
        if not (done or failure) or is_lock_timeout(error):
            raise  # not of Alembic's connection, or invenio-db tries again
        context.connection.invalidate()
        failure = failure or CreatedDatesError(
            f"{done} But Alembic can't record it: {said(error)}"
        )
    if failure is not None:
        # Other revisions may have been done before.
        fact = failure.message.replace("Nothing was changed", "No date was changed")
        failure.message = (
            f"{fact} {direction.state} `{direction.command}` goes on from there."
        )
        raise failure


def _hold(context: MigrationContext, connection: Connection, stamp: str) -> bool:
    """Lock the stamp, so that nobody else moves it; return whether it is there."""
    name, schema = context.version_table, context.version_table_schema
    versions = table(name, column("version_num"), schema=schema)
    query = select(versions.c.version_num).where(versions.c.version_num == stamp)
    return bool(connection.execute(query.with_for_update()).first())


@contextmanager
def _kept_alive(connection: Connection) -> Generator[None]:
    """Keep a connection that nobody uses from being cut by the server or a proxy."""
    connection.execute(SET_NO_IDLE_TIMEOUT)
    driver = connection.connection  # a thread may not use SQLAlchemy's
    is_over = Event()

    def keep() -> None:
        # If it is cut nevertheless, Alembic's next statement says so.
        with suppress(Exception):
            while not is_over.wait(KEEP_ALIVE_SECONDS):
                driver.cursor().execute("SELECT 1")

    thread = Thread(target=keep, daemon=True)
    thread.start()
    try:
        yield
    finally:
        is_over.set()
        thread.join()
