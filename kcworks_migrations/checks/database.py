# SPDX-FileCopyrightText: 2026 kcworks-migrations contributors
# SPDX-License-Identifier: MIT
"""Can this role migrate this database now?"""

import os
from collections.abc import Generator, Iterable
from contextlib import contextmanager
from typing import Any

from sqlalchemy import text
from sqlalchemy.engine import CursorResult, Engine

from ..database import CONVERSIONS, SELECT_COLUMN_TYPE, Database
from ..errors import POOLED, UNPOOL
from ..kinds import DATED, KINDS, MEMBERSHIPS
from ..ledger.tables import NAMES
from ..locks import (
    OF_THIS_DATABASE,
    SELECT_BACKEND_PID,
    is_pooled,
    table_holders,
)
from ..text import escape, show
from .line import Line, fine, stop, warning

CONNECT_SECONDS = 5
"""How long a server may take to answer."""

STATEMENT_SECONDS = 5
"""How long any statement of a check may take."""

LONG_TRANSACTION_SECONDS = 60
"""From which age a transaction of somebody else is told."""

INSTANCE_TABLES = (*(kind.table for kind in KINDS), MEMBERSHIPS)
RIGHTS = {
    **dict.fromkeys(INSTANCE_TABLES, "SELECT"),
    **{kind.table: "SELECT UPDATE" for kind in DATED},
    **dict.fromkeys((*NAMES, "alembic_version"), "SELECT INSERT DELETE UPDATE"),
}
"""What a run and Alembic need, by table."""

# The first statement of each transaction: nothing that follows can write, and none
# takes long, neither by itself nor by waiting for a lock.
SET_READ_ONLY = text(
    "SELECT set_config('transaction_read_only', 'on', true),"
    " set_config('statement_timeout', :statement_timeout, true),"
    " set_config('lock_timeout', '1s', true), set_config('TimeZone', 'UTC', true)"
)
SELECT_SERVER = text("""
SELECT current_setting('server_version') AS version, current_user AS role,
       current_database() AS database, pg_is_in_recovery() AS is_standby,
       current_setting('default_transaction_read_only')::boolean AS is_read_only
""")
SELECT_TRIGGERS = text("""
SELECT tgrelid::regclass::text AS name, tgname::text AS trigger FROM pg_trigger
WHERE tgrelid IN (to_regclass('rdm_records_metadata'),
                  to_regclass('communities_metadata'))
  AND NOT tgisinternal AND tgenabled IN ('O', 'A') AND tgtype & 16 > 0
ORDER BY 1, 2
""")
# Rights on the column count where the whole table's are not given. Before the upgrade
# our tables are absent, and the right to make them is what counts.
SELECT_MISSING_RIGHTS = text("""
SELECT p || ' on ' || w.name
FROM unnest(CAST(:names AS text[]), CAST(:privileges AS text[])) AS w(name, privileges),
     unnest(string_to_array(w.privileges, ' ')) AS p
WHERE to_regclass(w.name) IS NOT NULL AND NOT has_table_privilege(w.name, p)
  AND (p <> 'UPDATE' OR NOT EXISTS (
    SELECT FROM pg_attribute AS a
    WHERE a.attrelid = to_regclass(w.name) AND a.attname = 'created'
      AND has_column_privilege(a.attrelid, a.attnum, p)))
UNION ALL
SELECT 'USAGE on ' || s FROM unnest(CAST(:our_names AS text[])) AS name,
    LATERAL pg_get_serial_sequence(to_regclass(name)::text, 'id') AS s
WHERE NOT has_sequence_privilege(s, 'USAGE')
UNION ALL
SELECT 'CREATE on the schema ' || coalesce(current_schema(), 'in search_path')
WHERE NOT coalesce(has_schema_privilege(current_schema(), 'CREATE'), false)
  AND EXISTS (SELECT FROM unnest(CAST(:our_names AS text[])) AS name
              WHERE to_regclass(name) IS NULL)
ORDER BY 1
""")
# These locks on a table mean that the transaction has locked or changed rows of it,
# which stay locked until its end.
SELECT_LONG_TRANSACTIONS = text(f"""
SELECT a.pid, a.application_name AS name, a.xact_start AS since, a.state, EXISTS (
    SELECT FROM pg_locks AS l
    WHERE l.pid = a.pid AND l.granted AND l.mode IN ('RowShareLock', 'RowExclusiveLock')
      AND {OF_THIS_DATABASE}
      AND l.relation IN (to_regclass('rdm_records_metadata'),
                         to_regclass('communities_metadata'))) AS has_rows
FROM pg_stat_activity AS a
WHERE a.datname = current_database() AND a.pid <> pg_backend_pid()
  AND a.backend_type = 'client backend'
  AND a.xact_start < clock_timestamp() - make_interval(secs => :seconds)
ORDER BY a.xact_start LIMIT 3
""")
SELECT_PREPARED_TRANSACTIONS = text(
    "SELECT gid, prepared FROM pg_prepared_xacts WHERE database = current_database()"
    " ORDER BY prepared LIMIT 3"
)


class ReadOnly(Database):
    """A connection on which each statement is a read-only transaction of its own.

    So nothing is ever written, and a statement that fails harms no other.
    """

    def execute(self, statement: Any, /, **values: Any) -> CursorResult:
        """Execute a statement; the driver has all its rows when it returns."""
        with self._connection.begin():
            limit = {"statement_timeout": f"{STATEMENT_SECONDS}s"}
            self._connection.execute(SET_READ_ONLY, limit)
            return self._connection.execute(statement, values)


@contextmanager
def reading(engine: Engine) -> Generator[ReadOnly]:
    """Open a connection that only reads.

    Args:
        engine: The engine of the instance's database.

    Yields:
        The connection; the error of the driver says why there is none.
    """
    # The driver would wait for minutes for a server that says nothing.
    os.environ.setdefault("PGCONNECT_TIMEOUT", str(CONNECT_SECONDS))
    with engine.connect() as connection:
        yield ReadOnly(connection, lock_timeout_seconds=1)


def server(database: ReadOnly) -> Iterable[Line]:
    """Tell which server it is, and whether a run could write and keep its lock."""
    found = database.execute(SELECT_SERVER).one()
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
    if is_pooled(database, database.execute(SELECT_BACKEND_PID).scalar_one()):
        yield stop("pooler", POOLED, UNPOOL)


def tables(database: ReadOnly) -> Iterable[Line]:
    """Tell which tables of the instance are absent, or have something in the way."""
    missing = [name for name in INSTANCE_TABLES if not database.has_table(name)]
    if missing:
        todo = "Bring the instance up to date with `invenio alembic upgrade`."
        yield stop("tables", f"The database has no {', '.join(missing)}.", todo)
    for table in (kind.table for kind in DATED if kind.table not in missing):
        type = database.execute(SELECT_COLUMN_TYPE, table=table).scalar()
        if type not in CONVERSIONS:
            fact = f"created of {table} is {type or 'missing'}."
            todo = "This release knows timestamp and timestamptz only."
            yield stop("tables", fact, todo)
    for name, trigger in database.execute(SELECT_TRIGGERS):
        fact = f"{name} has the trigger {escape(trigger)}, which each change fires."
        todo = "Make sure that it changes no other column and may run for every row."
        yield warning("triggers", fact, todo)


def rights(database: ReadOnly) -> Iterable[Line]:
    """Tell what the role may not do."""
    missing = database.execute(
        SELECT_MISSING_RIGHTS,
        names=list(RIGHTS),
        privileges=list(RIGHTS.values()),
        our_names=list(NAMES),
    )
    if lacking := ", ".join(missing.scalars()):
        todo = "Grant that, or run the upgrade as the role that owns the tables."
        yield stop("rights", f"The role lacks {lacking}.", todo)


def locks(database: ReadOnly) -> Iterable[Line]:
    """Tell what would keep the upgrade from the tables, or from some rows."""
    for pid, sentence in table_holders(database):
        todo = f"Wait for its end, or end it: `SELECT pg_terminate_backend({pid})`."
        yield stop("locks", sentence, todo)
    seconds = LONG_TRANSACTION_SECONDS
    for found in database.execute(SELECT_LONG_TRANSACTIONS, seconds=seconds):
        who = f"process {found.pid} ({escape(found.name, 60) or 'no application name'})"
        what, todo = (
            ("holds rows", "Rows it still holds at the end are skipped and listed.")
            if found.has_rows
            else ("is open", "It keeps old versions of rows from being vacuumed.")
        )
        yield warning(
            "transactions",
            f"A transaction of {who} {what} since {show(found.since)} ({found.state}).",
            f"{todo} `SELECT query FROM pg_stat_activity WHERE pid = {found.pid}`.",
        )
    for gid, since in database.execute(SELECT_PREPARED_TRANSACTIONS):
        fact = f"Transaction {escape(gid, 100)} is prepared since {show(since)}."
        todo = "End it, `COMMIT PREPARED` or `ROLLBACK PREPARED`: it keeps its locks."
        yield warning("transactions", fact, todo)
