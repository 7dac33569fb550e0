# SPDX-FileCopyrightText: 2026 kcworks-migrations contributors
# SPDX-License-Identifier: MIT
"""The one connection of a run: its short transactions and their retries."""

from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from typing import Any, ParamSpec, TypeVar

from sqlalchemy import text
from sqlalchemy.engine import Connection, CursorResult, Engine, NestedTransaction
from sqlalchemy.exc import DBAPIError, OperationalError, TimeoutError

from . import instance
from .errors import CreatedDatesError, RefusedError, ServiceFailedError
from .interrupt import CheckStop, never, tries
from .kinds import Kind
from .text import escape

T = TypeVar("T")
P = ParamSpec("P")

PAUSES_SECONDS = (0.5, 1, 2, 4, 8)
"""How long a batch that ran into the lock timeout waits before each further try."""

LOCK_NOT_AVAILABLE = "55P03"
"""SQLSTATE of PostgreSQL when the lock timeout has passed."""

# Local to the transaction, so PostgreSQL itself puts all back at its end, whatever the
# end is. UTC makes the driver hand out UTC instants. A statement that counts or reads
# all rows takes as long as there are rows: a role's limit would fail each rerun, too.
# A limit of idle transactions stays, which frees the rows of a run that is held up.
# Of a cursor, too, all rows are read: a plan for its first ones could be slow.
# Rows that a policy hides would seem to be gone: that becomes an error. Only the limit
# of idle sessions, which counts between transactions, is set for the session.
SET_LOCALS = text(
    "SELECT pg_backend_pid(), set_config('lock_timeout', :lock_timeout, true),"
    " set_config('statement_timeout', '0', true),"
    " CASE WHEN current_setting('server_version_num')::integer >= 170000"
    " THEN set_config('transaction_timeout', '0', true) END,"
    " CASE WHEN current_setting('server_version_num')::integer >= 140000"
    " THEN set_config('idle_session_timeout', '0', false) END,"
    " set_config('cursor_tuple_fraction', '1', true),"
    " set_config('row_security', 'off', true),"
    " set_config('TimeZone', 'UTC', true)"
)

SELECT_TABLE_EXISTS = text("SELECT to_regclass(:table) IS NOT NULL")


class Database:
    """One connection, on which one transaction follows the other."""

    def __init__(self, connection: Connection, lock_timeout_seconds: int) -> None:
        """Keep the connection.

        Args:
            connection: A connection that nobody else uses.
            lock_timeout_seconds: How long a transaction waits for a locked table.
        """
        self._connection = connection
        self.engine = connection.engine
        self._lock_timeout = f"{lock_timeout_seconds}s"
        self._conversions: dict[str, str] = {}
        self.locking_pid: int | None = None
        """The server's process that holds the lock of a run for this connection."""
        self.pid: int | None = None
        """The server's process of the last transaction."""
        self.check_stop: CheckStop = never
        """Called while a transaction waits to be tried again; may raise."""

    def transaction(
        self, work: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Do the work in one transaction, again after a pause if a lock was in the way.

        Args:
            work: What to do; it must be safe to do again after a rollback.
            *args: Passed on.
            **kwargs: Passed on.

        Returns:
            What the work returns, committed.

        Raises:
            OperationalError: The lock was still held at the last try, or the
                database failed.
            RunStoppedError: Somebody asked to stop during a pause.
        """
        pauses = tries(PAUSES_SECONDS, self.check_stop)
        while True:
            is_last = next(pauses)
            try:
                return self.once(work, *args, **kwargs)
            except OperationalError as error:
                if is_last or not is_lock_timeout(error):
                    raise

    def once(self, work: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """Do the work in one transaction, without a second try.

        Returns:
            What the work returns, committed.

        Raises:
            CreatedDatesError: A pooler has moved the run to another session than the
                one with its lock; nothing was done.
        """
        with self._connection.begin():
            locals = self.execute(SET_LOCALS, lock_timeout=self._lock_timeout)
            self.pid = pid = locals.scalar_one()
            if self.locking_pid not in (None, pid):
                raise CreatedDatesError(
                    "The run was ended: a pooler in transaction mode has moved it to"
                    " another session of the database than the one with its lock. What"
                    " was committed is saved.",
                    f"Free the lock with `SELECT pg_terminate_backend("
                    f"{self.locking_pid})`, give SQLALCHEMY_DATABASE_URI the address"
                    " of PostgreSQL itself, and run the same command again.",
                )
            return work(*args, **kwargs)

    def execute(self, statement: Any, /, **values: Any) -> CursorResult:
        """Execute a statement in the present transaction."""
        return self._connection.execute(statement, values)

    def execute_on(self, kind: Kind, query: str, /, **values: Any) -> CursorResult:
        """Execute a query on the table of a kind; give its result.

        Args:
            kind: What fills in ``{table}``, which the query knows as ``t``,
                ``{label}``, ``{created}`` (an instant, none outside the years that
                Python has) and ``{convert}``, which stands behind an instant to make
                it the type of the column, or the reverse.
            query: A constant of this package.
            **values: Its parameters.

        Returns:
            The result; a RefusedError if the table or its `created` is absent.
        """
        convert = self._conversion(kind)
        created = (
            "CASE WHEN t.created >= '0001-01-01' AND t.created < '10000-01-01'"
            f" THEN t.created{convert} END"
        )
        filled = query.format(
            table=kind.table, label=kind.label, created=created, convert=convert
        )
        return self.execute(text(filled), **values)

    def _conversion(self, kind: Kind) -> str:
        """Read what converts `created`; no other revision changes it meanwhile."""
        if kind.table not in self._conversions:
            self._conversions[kind.table] = instance.conversion(self, kind.table)
        return self._conversions[kind.table]

    def has_table(self, name: str) -> bool:
        """Tell whether the database has a table, in the present transaction."""
        return self.execute(SELECT_TABLE_EXISTS, table=name).scalar_one()

    def held(self, query: str, limit: int) -> Generator[Sequence[Any]]:
        """Read the rows of a query page by page, each in a short transaction.

        The server keeps the result (`WITH HOLD`) until it is read or this session
        ends: one pass over the tables, whatever the number of pages, and bounded
        memory here.

        Args:
            query: A constant of this package, without parameters.
            limit: The most rows of a page.

        Yields:
            The pages; none is empty.
        """
        name = "kcworks_created_dates_pages"
        fetch = text(f"FETCH {limit:d} FROM {name}")
        cursor = f"DECLARE {name} NO SCROLL CURSOR WITH HOLD FOR {query}"
        self.transaction(self.execute, text(cursor))
        try:
            while page := self.transaction(lambda: self.execute(fetch).fetchall()):
                yield page
        finally:
            if not self._connection.invalidated:
                self.transaction(self.execute, text(f"CLOSE {name}"))

    def savepoint(self) -> NestedTransaction:
        """Begin a part of the present transaction that can be given up alone."""
        return self._connection.begin_nested()

    def close(self) -> None:
        """Close the connection for good, with its lock, whatever state it is in."""
        self._connection.invalidate()


def is_lock_timeout(error: BaseException) -> bool:
    """Tell whether the database gave up waiting for a lock."""
    return sqlstate_of(error) == LOCK_NOT_AVAILABLE


def sqlstate_of(error: BaseException) -> str | None:
    """Give PostgreSQL's code of an error, as psycopg 3 or 2 has it."""
    cause = getattr(error, "orig", None)
    return getattr(cause, "sqlstate", None) or getattr(cause, "pgcode", None)


def said_by(error: DBAPIError) -> str:
    """Give what the database said, on one line and safe to print."""
    lines = str(error.orig).strip().splitlines() or [type(error).__name__]
    return escape(lines[0].rstrip("."))


@contextmanager
def connected(engine: Engine, lock_timeout_seconds: int) -> Generator[Database]:
    """Open a connection of its own, whose session ends with its settings and its lock.

    Each statement sees what is committed by then, whatever the default is: a batch that
    isolates itself more fails as soon as somebody saves one of its rows.
    """
    options = {"isolation_level": "READ COMMITTED"}
    with engine.connect().execution_options(**options) as connection:
        database = Database(connection, lock_timeout_seconds)
        try:
            yield database
        finally:
            database.close()


@contextmanager
def opened(engine: Engine, lock_timeout_seconds: int) -> Generator[Database]:
    """Open a connection of its own for reading and short writes, without the lock.

    Raises:
        RefusedError: The database is not PostgreSQL, lacks a table or hides rows.
        ServiceFailedError: The database failed, and no run row says so.
    """
    if engine.dialect.name != "postgresql":
        raise RefusedError(
            f"The database is {engine.dialect.name}, not PostgreSQL.",
            "this package can only work on PostgreSQL.",
        )
    try:
        with connected(engine, lock_timeout_seconds) as database:
            database.transaction(instance.check_tables, database)
            yield database
    except DBAPIError as error:
        raise ServiceFailedError("The database", said_by(error)) from error
    except TimeoutError as error:
        fact = "no connection is left in the pool of this process"
        raise ServiceFailedError("The database", fact) from error
