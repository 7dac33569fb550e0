# SPDX-FileCopyrightText: 2026 kcworks-migrations contributors
# SPDX-License-Identifier: MIT
"""What tables and sessions do on their own, and a run would meet."""

from collections.abc import Iterable

from sqlalchemy import text

from ..database import Database
from ..instance import NEEDED, hidden
from ..kinds import ALSO_READ, DATED
from ..ledger.tables import NAMES
from ..text import escape
from .line import Line, stop, warning

SHORT_SECONDS = 60
"""Below which a limit of idle transactions can end a batch."""

# For each row, at an update of `created`. Those of constraints change nothing.
SELECT_TRIGGERS = text("""
SELECT CAST(CAST(t.tgrelid AS regclass) AS text) AS table, t.tgname AS name,
       quote_ident(t.tgname) AS quoted, quote_literal(t.tgname) AS literal
FROM pg_trigger AS t
JOIN pg_attribute AS a ON a.attrelid = t.tgrelid AND a.attname = 'created'
WHERE t.tgrelid IN (SELECT to_regclass(n) FROM unnest(CAST(:tables AS text[])) AS n)
  AND (t.tgtype & 17) = 17 AND t.tgenabled IN ('O', 'A')
  AND NOT t.tgisinternal AND t.tgconstraint = 0
  AND (CAST(t.tgattr AS text) = '' OR a.attnum = ANY (t.tgattr))
ORDER BY 1, 2
""")
SELECT_PRECISIONS = text("""
SELECT n AS table, format_type(a.atttypid, a.atttypmod) AS type,
       format_type(a.atttypid, NULL) AS whole
FROM unnest(CAST(:tables AS text[])) AS n
JOIN pg_attribute AS a ON a.attrelid = to_regclass(n) AND a.attname = 'created'
WHERE a.atttypmod BETWEEN 0 AND 5
""")
# What the session began with, whatever was set since.
SELECT_DEFAULTS = text("""
SELECT name, reset_val AS value, quote_ident(current_user) AS role FROM pg_settings
WHERE name = 'default_transaction_isolation' AND reset_val <> 'read committed'
   OR name = 'idle_session_timeout' AND reset_val <> '0'
   OR name = 'idle_in_transaction_session_timeout'
      AND CAST(reset_val AS bigint) BETWEEN 1 AND 1000 * :seconds - 1
ORDER BY name
""")


def row_security(database: Database) -> Iterable[Line]:
    """Tell which tables hide rows from the role."""
    for fact, todo in hidden(database, (*NEEDED, *ALSO_READ, *NAMES)):
        yield stop("row_security", fact, todo[:1].upper() + todo[1:])


def triggers(database: Database) -> Iterable[Line]:
    """Tell which triggers run for each row that is changed."""
    tables = [kind.table for kind in DATED]
    for table, name, quoted, literal in database.execute(
        SELECT_TRIGGERS, tables=tables
    ):
        yield warning(
            "triggers",
            f"The trigger {escape(name, 60)} of {table} runs for each row whose date is"
            " changed. It may keep the old date, or change another column such as"
            " updated.",
            "See what it does: `SELECT prosrc FROM pg_proc JOIN pg_trigger ON tgfoid ="
            f" pg_proc.oid WHERE tgname = {literal}`. To change dates and restore them"
            f" without it, in psql: `ALTER TABLE {table} DISABLE TRIGGER {quoted}`.",
        )


def precision(database: Database) -> Iterable[Line]:
    """Tell where `created` has fewer digits than dates may have."""
    tables = [kind.table for kind in DATED]
    for table, short, whole in database.execute(SELECT_PRECISIONS, tables=tables):
        yield warning(
            "precision",
            f"The column created of {table} is {short}.",
            "Rows whose date has more digits become problems. To keep all, in psql:"
            f" `ALTER TABLE {table} ALTER created TYPE {whole}`.",
        )


def session(database: Database) -> Iterable[Line]:
    """Tell which defaults of the role are in the way of a run or of people."""
    for name, value, role in database.execute(SELECT_DEFAULTS, seconds=SHORT_SECONDS):
        if name == "default_transaction_isolation":
            yield warning(
                "session",
                f"Transactions of this role are {value} by default.",
                "A run's are read committed all the same, but whoever saves a row at"
                " the moment in which it is changed gets an error, unless"
                f" `ALTER ROLE {role} SET {name} = 'read committed'`.",
            )
        elif name == "idle_session_timeout":
            yield warning(
                "session",
                f"Sessions of this role end after {value} ms without a statement.",
                "Nothing has to be done: a run ends that limit for its own connections"
                " and Alembic's. It still holds for other modules' revisions.",
            )
        else:
            yield warning(
                "session",
                f"Transactions of this role end after {value} ms without a statement.",
                "A batch that is decided in a longer time fails, and the run with it:"
                f" `ALTER ROLE {role} SET {name} = '{SHORT_SECONDS}s'`.",
            )
