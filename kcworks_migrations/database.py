# SPDX-FileCopyrightText: 2026 kcworks-migrations contributors
# SPDX-License-Identifier: MIT
"""The one connection of a run: its lock, its short transactions, their retries."""

import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Any, ParamSpec, TypeVar

from sqlalchemy.engine import Connection, CursorResult, Engine
from sqlalchemy.exc import DBAPIError, OperationalError, TimeoutError

from . import queries
from .errors import (
    DatabaseFailedError,
    InstanceError,
    RunInProgressError,
    SessionLostError,
)
from .rules import escape

T = TypeVar("T")
P = ParamSpec("P")

LOCK_KEY = 4_215_001_972_733_862_173
"""Key of the advisory lock: any number, as long as it never changes."""

PAUSES_SECONDS = (0.5, 1, 2, 4, 8)
"""How long a batch that ran into the lock timeout waits before each further try."""

LOCK_PAUSES_SECONDS = (0.1, 0.2, 0.4, 0.8)
"""How long to wait before each further try to get the advisory lock."""

TABLES_REVISION = "a94c06be7d15"
"""The revision that makes the tables of this package, and changes no date."""

POOLED = (
    "The database is reached through a pooler in transaction mode, which can't keep the"
    " lock of a run."
)
UNPOOL = (
    "SQLALCHEMY_DATABASE_URI must have the address of PostgreSQL itself, or of a pool"
    " in session mode."
)

LOCK_NOT_AVAILABLE = "55P03"
"""SQLSTATE of PostgreSQL when the lock timeout has passed."""


class Database:
    """One connection, on which one transaction follows the other."""

    def __init__(self, connection: Connection, lock_timeout_seconds: int) -> None:
        """Keep the connection; the column types are read when first needed."""
        self._connection = connection
        self._lock_timeout = f"{lock_timeout_seconds}s"
        self._column_types: dict[str, str] = {}
        self._locking_pid: int | None = None
        """The server's process that holds the lock of the run."""

    def transaction(
        self, work: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Do the work in one transaction, again after a pause if a lock was in the way.

        Args:
            work: What to do; it must be safe to do again after a rollback.
            *args: What it is called with.
            **kwargs: What it is called with.

        Returns:
            What the work returns, committed.

        Raises:
            OperationalError: The lock was still held at the last try, or the
                database failed.
            SessionLostError: The transaction is not on the session with the lock.
        """
        pauses = iter(PAUSES_SECONDS)
        while True:
            try:
                with self._connection.begin():
                    pid = self.execute(
                        queries.SET_LOCALS, lock_timeout=self._lock_timeout
                    ).scalar_one()
                    if self._locking_pid not in (None, pid):
                        raise SessionLostError(self._locking_pid)
                    return work(*args, **kwargs)
            except OperationalError as error:
                pause = next(pauses, None)
                if not is_lock_timeout(error) or pause is None:
                    raise
                time.sleep(pause)

    def execute(self, statement: Any, /, **values: Any) -> CursorResult:
        """Execute a statement in the present transaction."""
        return self._connection.execute(statement, values)

    def execute_on(self, kind: str, query: str, /, **values: Any) -> CursorResult:
        """Execute a query of `queries` on the table of a kind; give its result.

        The type of ``created`` is read once a run: the application's own revisions
        change it, but not while this package's revision is at work.

        Returns:
            The result of the query.

        Raises:
            InstanceError: The table is absent.
        """
        table = queries.TABLE_OF_KIND[kind]
        if table not in self._column_types:
            found = self.execute(queries.SELECT_COLUMN_TYPE, table=table).scalar()
            if found is None:
                error = missing_table(table)
                raise error
            self._column_types[table] = found
        statement = queries.for_table(query, table, self._column_types[table])
        return self.execute(statement, **values)

    def lock_holder(self) -> int | None:
        """Give the database's process that holds the lock of this package, if any."""
        return self.execute(queries.SELECT_LOCK_HOLDER, key=LOCK_KEY).scalar()

    def try_lock(self) -> bool:
        """Try to get the lock of this package, in a transaction.

        Returns:
            Whether this session has it now.

        Raises:
            InstanceError: A pooler shares this session with somebody who has the lock:
                PostgreSQL would give it to the same session once more.
        """
        pid = self.execute(queries.SELECT_BACKEND_PID).scalar_one()
        if self.lock_holder() == pid:
            raise InstanceError(POOLED, UNPOOL)
        if self.execute(queries.TRY_LOCK, key=LOCK_KEY).scalar_one():
            self._locking_pid = pid
        return self._locking_pid is not None

    def is_pooled(self, pid: int) -> bool:
        """Tell whether a pooler gives each transaction a session of its choice.

        Args:
            pid: The server's process of the last transaction here; it is idle now.

        Returns:
            Whether a second connection has the same one, which a pooler gives it.
        """
        with self._connection.engine.connect() as second, second.begin():
            return second.execute(queries.SELECT_BACKEND_PID).scalar() == pid

    def close(self) -> None:
        """Close the connection for good instead of giving it back to the pool."""
        self._connection.invalidate()


class BatchSize:
    """How many rows the next batch takes: fewer after one that took too long."""

    def __init__(self, largest_rows: int, limit_seconds: float) -> None:
        """Begin with the largest batch."""
        self.rows = self._largest_rows = largest_rows
        self._limit_seconds = limit_seconds

    @contextmanager
    def measured(self) -> Generator[None]:
        """Measure one batch and choose the size of the next."""
        began = time.monotonic()
        yield
        if time.monotonic() - began > self._limit_seconds:
            self.rows = max(self.rows // 2, 1)
        else:
            self.rows = min(self.rows * 2, self._largest_rows)


def missing_table(table: str) -> InstanceError:
    """Make the error for a table that is absent."""
    todo = "bring the instance up to date with `invenio alembic upgrade`."
    if table == queries.RUNS:
        todo = (
            "`invenio alembic upgrade kcworks_migrations@head` makes this package's"
            " tables and changes the dates;"
            f" `invenio alembic upgrade {TABLES_REVISION}` makes the tables alone, and"
            " `invenio kcworks-created-dates update --dry-run` needs none."
        )
    return InstanceError(f"The database has no table {table}.", todo)


def is_lock_timeout(error: BaseException) -> bool:
    """Tell whether the database gave up waiting for a lock."""
    code = getattr(getattr(error, "orig", None), "pgcode", None)
    return code == LOCK_NOT_AVAILABLE


def said_by(error: DBAPIError) -> str:
    """Give what the database said, on one line and safe to print."""
    lines = str(error.orig).strip().splitlines() or [type(error).__name__]
    return escape(lines[0].rstrip("."))


@contextmanager
def opened(
    engine: Engine, lock_timeout_seconds: int, needs_ledger: bool = True
) -> Generator[Database]:
    """Open a connection of its own for reading and short writes, without the lock.

    Raises:
        InstanceError: The database is not PostgreSQL, or lacks a table.
        DatabaseFailedError: The database failed, and no run row says so.
    """
    if engine.dialect.name != "postgresql":
        raise InstanceError(
            f"The database is {engine.dialect.name}, not PostgreSQL.",
            "this package can only work on PostgreSQL.",
        )
    try:
        with engine.connect() as connection:
            database = Database(connection, lock_timeout_seconds)
            database.transaction(_check_tables, database, needs_ledger)
            yield database
    except DBAPIError as error:
        raise DatabaseFailedError(said_by(error)) from error
    except TimeoutError as error:
        fact = "no connection is left in the pool of this process"
        raise DatabaseFailedError(fact) from error


@contextmanager
def locked(engine: Engine, lock_timeout_seconds: int) -> Generator[Database]:
    """Open the connection of a run and hold the advisory lock on it.

    A killed process leaves nothing behind: the lock goes with its connection.

    Raises:
        InstanceError: A pooler can't keep the lock, or a table is absent.
        RunInProgressError: Another run holds the lock.
    """
    with opened(engine, lock_timeout_seconds) as database:
        pid = database.transaction(database.execute, queries.SELECT_BACKEND_PID)
        if database.is_pooled(pid.scalar_one()):
            raise InstanceError(POOLED, UNPOOL)

        def running() -> Any:
            found = database.execute(queries.SELECT_RUNNING, key=LOCK_KEY).first()
            return found or (None,) * 3

        try:
            # The server needs a moment to free the lock of a connection that was cut.
            for pause in (0, *LOCK_PAUSES_SECONDS):
                time.sleep(pause)
                if database.transaction(database.try_lock):
                    break
            else:
                raise RunInProgressError(*database.transaction(running))
            yield database
        finally:
            # Frees the lock, whatever state the connection is in: it must not go back
            # to the pool with it.
            database.close()


def _check_tables(database: Database, needs_ledger: bool) -> None:
    wanted = [queries.RECORDS, queries.COMMUNITIES, queries.DRAFTS, queries.MEMBERSHIPS]
    for table in wanted + [queries.RUNS] * needs_ledger:
        if not database.execute(queries.SELECT_TABLE_EXISTS, table=table).scalar():
            raise missing_table(table)
