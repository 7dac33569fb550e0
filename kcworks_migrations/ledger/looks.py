# SPDX-FileCopyrightText: 2026 kcworks-migrations contributors
# SPDX-License-Identifier: MIT
"""A look at the documents: claimed, at work, and ended.

The newest run carries the time of the next look, and how many looks in a row did not
end clean. A look claims it, so that of two at once one works. It counts from then on,
and the count is taken back when it ends clean: one that dies is seen.
"""

import json
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from sqlalchemy import text
from sqlalchemy.engine import Engine
from sqlalchemy.exc import DBAPIError

from .. import locks
from ..database import Database, said_by, sqlstate_of
from ..errors import ServiceFailedError
from . import settling
from .runs import IS_KILLED, QUIET
from .settling import LOOKS, NEWEST

UNDEFINED_TABLE = "42P01"

LEASE = timedelta(hours=1)
"""After how long a look that died is made up for; one at work renews it."""

DAILY = timedelta(days=1)
"""Between two looks at an index that does not settle, or that refused documents."""

# The whole of a tick without due work.
SELECT_DUE = text(f"""
SELECT EXISTS (SELECT FROM kcworks_created_dates_run
               WHERE {NEWEST} AND next_look_at <= clock_timestamp()) AS is_due,
       EXISTS (SELECT FROM kcworks_created_dates_run AS r WHERE {IS_KILLED})
           AS has_killed
""")
# Of two at the same moment, one claims it.
CLAIM = text("""
UPDATE kcworks_created_dates_run AS r
SET looks = r.looks + 1, look_began_at = now(),
    next_look_at = now() + CASE WHEN r.looks < :looks THEN :lease ELSE :daily END
FROM (SELECT id, look_began_at FROM kcworks_created_dates_run
      ORDER BY id DESC LIMIT 1) AS newest
WHERE r.id = newest.id AND r.next_look_at <= clock_timestamp()
RETURNING r.id, r.looks, r.look_began_at AS began_at, newest.look_began_at AS died,
          r.settled_at IS NOT NULL AS was_settled
""")
_IS_OURS = "id = :run_id AND look_began_at = :began_at"
RENEW = text(f"""
UPDATE kcworks_created_dates_run SET next_look_at = clock_timestamp() + :lease
WHERE {_IS_OURS}
""")
UPDATE_LOOK = text(f"""
UPDATE kcworks_created_dates_run
SET next_look_at = :next_look_at, looks = :looks, look_began_at = NULL
WHERE {_IS_OURS} RETURNING id
""")
# Every write and every message of ours: of runs, of the outbox and of looks.
SELECT_LAST_WRITE = text("""
SELECT greatest(
    (SELECT max(greatest(progress_at, CAST(settling->>'written_at' AS timestamptz)))
     FROM kcworks_created_dates_run),
    (SELECT max(greatest(changed_at, queued_at, restored_at))
     FROM kcworks_created_dates_backup))
""")
SELECT_UNSETTLED = text(
    "SELECT id FROM kcworks_created_dates_run WHERE settled_at IS NULL ORDER BY id"
)
UPDATE_SETTLED = text(f"""
UPDATE kcworks_created_dates_run
SET settled_at = coalesce(settled_at, clock_timestamp()), looks = 0,
    settling = CAST(:found AS jsonb),
    next_look_at = CASE WHEN {NEWEST} AND :has_refused
        THEN clock_timestamp() + :daily END
WHERE settled_at IS NULL OR {NEWEST}
""")


class Claim(NamedTuple):
    """A look that is due, and that is ours."""

    run_id: int
    looks: int
    """How many looks in a row did not end clean, if this one does not."""
    began_at: datetime
    died: datetime | None
    """When the look before it began, if that has not ended."""
    was_settled: bool
    """Whether only refused documents are to be tried again."""


def due(engine: Engine) -> tuple[bool, bool]:
    """Tell, with one query, whether a look is due, and whether a run was killed.

    Args:
        engine: The engine of the instance's database.

    Returns:
        Both; nothing is without our tables.

    Raises:
        ServiceFailedError: The database failed.
    """
    try:
        own = engine.execution_options(isolation_level="READ COMMITTED")
        with own.begin() as connection:
            found = connection.execute(SELECT_DUE, {"key": locks.LOCK_KEY}).one()
            return found.is_due, found.has_killed
    except DBAPIError as error:
        if sqlstate_of(error) == UNDEFINED_TABLE:
            return False, False  # nothing was ever changed, or the tables were dropped
        raise ServiceFailedError("The database", said_by(error)) from error


def claim(database: Database) -> Claim | None:
    """Claim the look that is due; none if none is, or somebody else has it."""
    values = {"looks": LOOKS, "lease": LEASE, "daily": DAILY}
    claimed = database.execute(CLAIM, **values).first()
    return claimed and Claim(*claimed)


def renew(database: Database, claimed: Claim) -> None:
    """Keep others from a look that is at work."""
    values = {"run_id": claimed.run_id, "began_at": claimed.began_at}
    database.execute(RENEW, lease=LEASE, **values)


def give_back(database: Database, claimed: Claim) -> None:
    """Leave a look that somebody stopped to whoever comes next."""
    _leave(database, claimed, claimed.began_at, claimed.looks - 1)


def _leave(
    database: Database, claimed: Claim, next_look_at: datetime, looks: int
) -> bool:
    """Write when to look again; tell whether the look was still ours."""
    values = {"run_id": claimed.run_id, "began_at": claimed.began_at, "looks": looks}
    left = database.execute(UPDATE_LOOK, next_look_at=next_look_at, **values)
    return left.first() is not None


def end(
    database: Database,
    claimed: Claim,
    found: Mapping[str, Any],
    has_written: bool,
    is_clean: bool,
) -> tuple[list[int], bool]:
    """End a look: settle the ledger, or keep what was found and when to look again.

    Args:
        database: A connection, in a transaction.
        claimed: The look.
        found: What it found, for the run rows.
        has_written: Whether it wrote any document.
        is_clean: Whether it had nothing to write and left nothing.

    Returns:
        The runs to tell of and whether they are settled now: all that were not so far,
        or the newest when it has just become clear that it does not settle. None if
        the look took so long that somebody else has taken it over.
    """
    now: datetime = database.execute(text("SELECT clock_timestamp()")).scalar_one()
    looks = 0 if is_clean else claimed.looks
    next_look_at = now + QUIET
    is_settled = False
    if not is_clean:
        next_look_at = now + (DAILY if looks >= LOOKS else QUIET * 2 ** (looks - 1))
    elif locks.holder(database) is None:
        last_write = database.execute(SELECT_LAST_WRITE).scalar_one()
        next_look_at = last_write + QUIET
        is_settled = next_look_at <= claimed.began_at
    if not _leave(database, claimed, next_look_at, looks):
        return [], False
    if not is_settled:
        settling.save(database, found, has_written)
        return [claimed.run_id] * (looks == LOOKS), False
    settled = list(database.execute(SELECT_UNSETTLED).scalars())
    if claimed.was_settled:  # nothing to tell: it was only withdrawn meanwhile
        settled = [id for id in settled if id != claimed.run_id]
    values = {"has_refused": bool(found["refused"]["count"]), "daily": DAILY}
    database.execute(UPDATE_SETTLED, found=json.dumps(found), **values)
    return settled, True
