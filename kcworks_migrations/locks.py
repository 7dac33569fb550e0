# SPDX-FileCopyrightText: 2026 kcworks-migrations contributors
# SPDX-License-Identifier: MIT
"""Locks: the advisory lock that a run holds, and what others have locked."""

from sqlalchemy import text

from .database import Database
from .errors import POOLED, UNPOOL, RefusedError
from .interrupt import tries
from .text import escape, show

LOCK_KEY = 4_215_001_972_733_862_173
"""Key of the advisory lock: any number, as long as it never changes."""

LOCK_PAUSES_SECONDS = (0.1, 0.2, 0.4, 0.8)
"""How long to wait before each further try to get the advisory lock: the server needs a
moment to free the lock of a connection that was cut."""

# Held by the session that does the work: it goes with the connection, so a killed run
# leaves no lock, and a run that lost its connection can't go on without it.
TRY_LOCK = text("SELECT pg_try_advisory_lock(:key)")

# The server's process that answers; a pooler may give each transaction another one.
SELECT_BACKEND_PID = text("SELECT pg_backend_pid()")

# The view has the locks of all databases of the server, and a copy of a database has
# the same numbers for its tables.
OF_THIS_DATABASE = (
    "l.database = (SELECT oid FROM pg_database WHERE datname = current_database())"
)
LOCK_HOLDER = (
    "SELECT l.pid FROM pg_locks AS l WHERE l.locktype = 'advisory' AND l.granted"
    " AND l.objsubid = 1 AND (l.classid::bigint << 32) + l.objid::bigint = :key"
    f" AND {OF_THIS_DATABASE}"
)

# Who has a lock on the tables of dates. What others execute may hold secrets, so it is
# never shown, here and in the checks.
SELECT_HOLDERS = f"""
SELECT DISTINCT a.pid, a.application_name, a.xact_start
FROM pg_locks AS l JOIN pg_stat_activity AS a ON a.pid = l.pid
WHERE l.granted AND a.pid <> pg_backend_pid() AND {OF_THIS_DATABASE}
  AND l.relation IN (to_regclass('rdm_records_metadata'),
                     to_regclass('communities_metadata'))
"""
# A whole table, so that nobody else can change its rows.
SELECT_TABLE_LOCK_HOLDERS = text(f"""
{SELECT_HOLDERS}
  AND l.mode IN ('ShareLock', 'ShareRowExclusiveLock', 'ExclusiveLock',
                 'AccessExclusiveLock')
ORDER BY a.xact_start LIMIT 3
""")


def holder(database: Database) -> int | None:
    """Give the server's process that holds the lock of this package, if any."""
    return database.execute(text(LOCK_HOLDER), key=LOCK_KEY).scalar()


def table_holders(database: Database) -> list[tuple[int, str]]:
    """Give who has locked a whole table of dates, with a sentence about each."""
    return [
        (
            pid,
            f"Process {pid} ({escape(name, 60) or 'no application name'}) has locked a"
            f" whole table since {show(since)}; see what it does:"
            f" `SELECT query FROM pg_stat_activity WHERE pid = {pid}`.",
        )
        for pid, name, since in database.execute(SELECT_TABLE_LOCK_HOLDERS)
    ]


def take(database: Database) -> bool:
    """Take the lock of a run, trying for a moment.

    A killed process leaves nothing behind: the lock goes with its connection.

    Args:
        database: A connection, idle since its last transaction.

    Returns:
        Whether this session has it now.

    Raises:
        RefusedError: A pooler can't keep it: it gives each transaction a session of
            its choice, or shares this one with somebody who has the lock, to whom
            PostgreSQL would give it once more.
    """
    if is_pooled(database, database.pid):
        raise RefusedError(POOLED, UNPOOL)

    def try_lock() -> bool:
        if holder(database) == database.pid:
            raise RefusedError(POOLED, UNPOOL)
        is_taken = database.execute(TRY_LOCK, key=LOCK_KEY).scalar_one()
        if is_taken:
            database.locking_pid = database.pid
        return is_taken

    return any(database.transaction(try_lock) for _ in tries(LOCK_PAUSES_SECONDS))


def is_pooled(database: Database, pid: int | None) -> bool:
    """Tell whether a pooler gives each transaction a session of its choice.

    Args:
        database: A connection, idle now.
        pid: The server's process of its last transaction.

    Returns:
        Whether a second connection has the same one, which a pooler gives it.
    """
    with database.engine.connect() as second, second.begin():
        return second.execute(SELECT_BACKEND_PID).scalar() == pid
