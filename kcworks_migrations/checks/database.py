# SPDX-FileCopyrightText: 2026 kcworks-migrations contributors
# SPDX-License-Identifier: MIT
"""Can this role migrate this database now?"""

from collections.abc import Callable, Iterable

from sqlalchemy import text

from ..database import Database
from ..errors import POOLED, UNPOOL
from ..instance import NEEDED
from ..kinds import ALSO_READ, DATED
from ..ledger.tables import NAMES
from ..locks import SELECT_HOLDERS, is_pooled, table_holders
from ..text import escape, show
from .line import Line, fine, stop, warning

CONNECT_SECONDS = 5
"""How long a server may take to answer."""

STATEMENT_SECONDS = 5
"""How long any statement of a check may take."""

LONG_TRANSACTION_SECONDS = 60
"""From which age a transaction of somebody else that holds rows is told."""

RIGHTS = {
    **dict.fromkeys((*NEEDED, *ALSO_READ), "SELECT"),
    **{kind.table: "SELECT UPDATE" for kind in DATED},
    **dict.fromkeys((*NAMES, "alembic_version"), "SELECT INSERT DELETE UPDATE"),
}
"""What a run and Alembic need, by table."""

# What follows in the transaction can neither write nor take long.
SET_READ_ONLY = text(
    "SELECT set_config('transaction_read_only', 'on', true),"
    " set_config('statement_timeout', :limit, true)"
)
SELECT_SERVER = text("""
SELECT current_setting('server_version') AS version, current_user AS role,
       current_database() AS database,
       CASE WHEN pg_is_in_recovery() THEN 'it is a standby'
            WHEN current_setting('default_transaction_read_only')::boolean
            THEN 'default_transaction_read_only is on' END AS why_read_only
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
SELECT_ROW_HOLDERS = text(f"""
{SELECT_HOLDERS}
  AND l.mode IN ('RowShareLock', 'RowExclusiveLock')
  AND a.xact_start < clock_timestamp() - make_interval(secs => :seconds)
ORDER BY a.xact_start LIMIT 3
""")


def read(
    database: Database, look: Callable[..., Iterable[Line]], *values: object
) -> list[Line]:
    """Do a check in a transaction of its own, which can neither write nor take long.

    Args:
        database: The connection.
        look: The check.
        *values: What it is given beside the connection.

    Returns:
        All that it yields; a statement that fails ends it, and harms no other check.
    """

    def do() -> list[Line]:
        database.execute(SET_READ_ONLY, limit=f"{STATEMENT_SECONDS}s")
        return list(look(database, *values))

    return database.once(do)


def server(database: Database) -> Iterable[Line]:
    """Tell which server it is, and whether it can be written."""
    found = database.execute(SELECT_SERVER).one()
    fact = f"PostgreSQL {found.version}, database {found.database}, role {found.role}"
    if found.why_read_only:
        todo = "Give the instance the address of the primary, or reset that setting."
        yield stop("database", f"{fact}: read-only, as {found.why_read_only}.", todo)
    else:
        yield fine("database", f"{fact}.")


def pooler(database: Database) -> Iterable[Line]:
    """Tell, outside a transaction, if a pooler would take the lock from a run."""
    if is_pooled(database, database.pid):
        yield stop("pooler", POOLED, UNPOOL)


def tables(database: Database) -> Iterable[Line]:
    """Tell which tables of the instance are absent."""
    missing = [name for name in NEEDED if not database.has_table(name)]
    if missing:
        todo = "Bring the instance up to date with `invenio alembic upgrade`."
        yield stop("tables", f"The database has no {', '.join(missing)}.", todo)


def rights(database: Database) -> Iterable[Line]:
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


def locks(database: Database) -> Iterable[Line]:
    """Tell what would keep the upgrade from the tables, or from some rows."""
    for pid, sentence in table_holders(database):
        todo = f"Wait for its end, or end it: `SELECT pg_terminate_backend({pid})`."
        yield stop("locks", sentence, todo)
    seconds = LONG_TRANSACTION_SECONDS
    for pid, name, since in database.execute(SELECT_ROW_HOLDERS, seconds=seconds):
        who = f"process {pid} ({escape(name, 60) or 'no application name'})"
        fact = f"A transaction of {who} holds rows since {show(since)}."
        todo = (
            "Rows it still holds at the end are skipped and listed."
            f" `SELECT query FROM pg_stat_activity WHERE pid = {pid}`."
        )
        yield warning("transactions", fact, todo)
