# SPDX-FileCopyrightText: 2026 kcworks-migrations contributors
# SPDX-License-Identifier: MIT
"""Is the database one that can be migrated, by this role, now?"""

import json
import os
from collections.abc import Generator, Iterable
from contextlib import contextmanager
from typing import Any

from sqlalchemy.engine import CursorResult, Engine
from sqlalchemy.exc import DBAPIError

from .. import queries
from ..config import Options
from ..database import POOLED, UNPOOL, Database, said_by
from ..dates import show
from ..errors import DatabaseFailedError
from ..rules import escape
from .line import Line, fine, stop, warning

CONNECT_SECONDS = 5
"""How long a server may take to answer."""

STATEMENT_SECONDS = 5
"""How long any statement of a check may take."""

LONG_TRANSACTION_SECONDS = 60
"""From which age a transaction of somebody else is told."""

INSTANCE_TABLES = (*queries.TABLE_OF_KIND.values(), queries.DRAFTS, queries.MEMBERSHIPS)
OUR_TABLES = tuple(
    f"kcworks_created_dates_{name}" for name in ("run", "backup", "problem")
)
RIGHTS = (
    [("SELECT", name) for name in INSTANCE_TABLES]
    + [("UPDATE", name) for name in queries.TABLE_OF_KIND.values()]
    + [
        (privilege, name)
        for privilege in ("SELECT", "INSERT", "UPDATE", "DELETE")
        for name in (*OUR_TABLES, "alembic_version")
    ]
)


class ReadOnly(Database):
    """A connection on which each statement is a read-only transaction of its own.

    So nothing is ever written, and a statement that fails harms no other.
    """

    def execute(self, statement: Any, /, **values: Any) -> CursorResult:
        """Execute a statement; psycopg2 has all its rows when it returns."""
        with self._connection.begin():
            limit = f"{STATEMENT_SECONDS}s"
            self._connection.execute(
                queries.SET_READ_ONLY, {"statement_timeout": limit}
            )
            return self._connection.execute(statement, values)

    def has_table(self, name: str) -> bool:
        """Tell whether the database has a table."""
        return self.execute(queries.SELECT_TABLE_EXISTS, table=name).scalar_one()


@contextmanager
def reading(engine: Engine) -> Generator[ReadOnly]:
    """Open a connection that only reads.

    Raises:
        DatabaseFailedError: The server did not answer.
    """
    # The driver would wait for minutes for a server that says nothing.
    os.environ.setdefault("PGCONNECT_TIMEOUT", str(CONNECT_SECONDS))
    try:
        connection = engine.connect()
    except DBAPIError as error:
        raise DatabaseFailedError(said_by(error)) from error
    with connection:
        yield ReadOnly(connection, lock_timeout_seconds=1)


def server(database: ReadOnly, options: Options) -> Iterable[Line]:
    """Look at the server: can it be written, and what does a session begin with?"""
    found = database.execute(queries.SELECT_SERVER).one()
    fact = f"PostgreSQL {found.version}, database {found.database}, role {found.role}"
    if found.is_standby:
        fact += ": a standby, which can't be written."
        yield stop("database", fact, "Give the instance the address of the primary.")
    elif found.is_read_only:
        fact += ": sessions begin read-only (default_transaction_read_only)."
        todo = "Reset that setting of the role, the database or the server."
        yield stop("database", fact, todo)
    else:
        yield fine("database", f"{fact}.")
    pid = database.execute(queries.SELECT_BACKEND_PID).scalar_one()
    if database.is_pooled(pid):
        yield stop("pooler", POOLED, UNPOOL)
    zone = f"Sessions begin with {found.time_zone}; any is fine."
    yield fine("time_zone", zone)


def tables(database: ReadOnly, options: Options) -> Iterable[Line]:
    """Look for the tables of the instance, and at the type of their `created`."""
    missing = [name for name in INSTANCE_TABLES if not database.has_table(name)]
    if missing:
        todo = "Bring the instance up to date with `invenio alembic upgrade`."
        yield stop("tables", f"The database has no {', '.join(missing)}.", todo)
    types = {
        table: database.execute(queries.SELECT_COLUMN_TYPE, table=table).scalar()
        for table in queries.TABLE_OF_KIND.values()
        if table not in missing
    }
    for table, type in types.items():
        if type not in queries.COLUMN_TYPES:
            fact = f"created of {table} is {type or 'missing'}."
            todo = "This release knows timestamp and timestamptz only."
            yield stop("tables", fact, todo)
        else:
            yield fine("tables", f"created of {table} is {type}.")
    for name, trigger in database.execute(queries.SELECT_TRIGGERS):
        yield warning(
            "triggers",
            f"{name} has the trigger {escape(trigger)}, which each change will fire.",
            "See that it changes no other column and may run for every row.",
        )


def rights(database: ReadOnly, options: Options) -> Iterable[Line]:
    """Look for what the role may not do."""
    privileges, names = zip(*RIGHTS, strict=True)
    rows = database.execute(
        queries.SELECT_MISSING_RIGHTS,
        privileges=list(privileges),
        names=list(names),
        our_names=list(OUR_TABLES),
    )
    missing = [f"{privilege} on {name}" for privilege, name in rows]
    if not database.has_table(OUR_TABLES[0]):
        schema, can_create = database.execute(queries.SELECT_CAN_CREATE).one()
        if not can_create:
            missing.append(f"CREATE on the schema {schema or 'in search_path'}")
    if missing:
        todo = "Grant that, or run the upgrade as the role that owns the tables."
        yield stop("rights", f"The role lacks {', '.join(missing)}.", todo)
    else:
        yield fine("rights", "The role may do all that the upgrade does.")


def other_runs(database: ReadOnly, options: Options) -> Iterable[Line]:
    """Look for a run that is at work, and for ones that are not complete."""
    if database.lock_holder():
        todo = "Wait for its end: `invenio kcworks-created-dates status`."
        yield stop("run", "Another run is at work.", todo)
        return
    unfinished = []
    if database.has_table(OUR_TABLES[0]):
        kept = json.dumps(options.of_run())
        unfinished = database.execute(
            queries.SELECT_UNFINISHED_RUNS, options=kept
        ).fetchall()
    is_first = True
    for id, action, is_same in unfinished:
        fact = f"Run {id} ({action}) is not complete."
        if action == "apply" and is_same and is_first:
            yield fine("run", f"{fact} The next one goes on where it stopped.")
            is_first = False
        elif action == "revert":
            todo = "Complete it first: `invenio kcworks-created-dates rollback`."
            yield warning("run", fact, todo)
        else:
            todo = "It is left as it is: a run goes on only with the same options."
            yield warning("run", fact, todo)
    if not unfinished:
        yield fine("run", "No other run is at work.")


def locks(database: ReadOnly, options: Options) -> Iterable[Line]:
    """Look for what would keep the upgrade from the tables, or from some rows."""
    lines = []
    for pid, name, since in database.execute(queries.SELECT_TABLE_LOCK_HOLDERS):
        lines.append(
            stop(
                "locks",
                f"Process {pid} ({escape(name, 60) or 'no application name'}) has"
                f" locked a whole table since {show(since)}.",
                f"See what it does: `{queries.HOW_TO_SEE_STATEMENT.format(pid=pid)}`."
                " Wait for its end, or end it:"
                f" `SELECT pg_terminate_backend({pid})`.",
            )
        )
    for pid, name, since, state, has_rows in database.execute(
        queries.SELECT_LONG_TRANSACTIONS, seconds=LONG_TRANSACTION_SECONDS
    ):
        what = "holds rows" if has_rows else "is open"
        todo = (
            "Rows that it still holds then are left out and listed as locked."
            if has_rows
            else "It keeps the old versions of the rows from being vacuumed."
        )
        lines.append(
            warning(
                "transactions",
                f"A transaction of process {pid} ({state},"
                f" {escape(name, 60) or 'no application name'}) {what}"
                f" since {show(since)}.",
                f"{todo} See what it does:"
                f" `{queries.HOW_TO_SEE_STATEMENT.format(pid=pid)}`.",
            )
        )
    for gid, prepared in database.execute(queries.SELECT_PREPARED_TRANSACTIONS):
        lines.append(
            warning(
                "transactions",
                f"The transaction {escape(gid, 100)} is prepared since"
                f" {show(prepared)} and holds its locks until somebody ends it.",
                "Find out who left it: `COMMIT PREPARED` or `ROLLBACK PREPARED`.",
            )
        )
    yield from lines
    if "locks" not in {line.name for line in lines}:
        yield fine("locks", "Nobody has locked a whole table.")
    if "transactions" not in {line.name for line in lines}:
        yield fine("transactions", f"None is older than {LONG_TRANSACTION_SECONDS} s.")
