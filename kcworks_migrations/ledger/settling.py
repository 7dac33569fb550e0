# SPDX-FileCopyrightText: 2026 kcworks-migrations contributors
# SPDX-License-Identifier: MIT
"""When somebody looks at the documents again, and whether the ledger is settled.

The newest run carries the time of the next look, and how many looks in a row have found
something. A look claims it, so that of two at once one works.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from sqlalchemy import text
from sqlalchemy.engine import Engine
from sqlalchemy.exc import DBAPIError

from .. import locks
from ..database import Database, said_by, sqlstate_of
from ..errors import ServiceFailedError
from ..text import counted, duration, show
from .runs import QUIET

LOOKS = 6
"""After so many looks that found something, somebody is told, and one a day follows."""

UNDEFINED_TABLE = "42P01"

LEASE = timedelta(hours=1)
"""After how long a look that was killed is made up for."""

# The whole of a tick without due work, and of every second one at the same moment.
CLAIM = text("""
UPDATE kcworks_created_dates_run SET next_look_at = clock_timestamp() + :lease
WHERE id = (SELECT max(id) FROM kcworks_created_dates_run)
  AND next_look_at <= clock_timestamp()
RETURNING id, looks, clock_timestamp() AS began_at
""")
UPDATE_NEXT_LOOK = text("""
UPDATE kcworks_created_dates_run
SET next_look_at = clock_timestamp() + :pause, looks = 0, settled_at = NULL
WHERE id = (SELECT max(id) FROM kcworks_created_dates_run)
""")
UPDATE_FOUND = text("""
UPDATE kcworks_created_dates_run
SET settling = coalesce(settling, '{}') || CAST(:found AS jsonb)
    || CASE WHEN :has_written
            THEN jsonb_build_object('written_at', clock_timestamp()) ELSE '{}' END
WHERE id = (SELECT max(id) FROM kcworks_created_dates_run)
""")
# Every write and every message of ours: of runs, of the outbox and of looks.
SELECT_LAST_WRITE = text("""
SELECT greatest(
    (SELECT max(greatest(progress_at, CAST(settling->>'written_at' AS timestamptz)))
     FROM kcworks_created_dates_run),
    (SELECT max(greatest(changed_at, queued_at, restored_at))
     FROM kcworks_created_dates_backup))
""")
UPDATE_LOOK = text("""
UPDATE kcworks_created_dates_run SET next_look_at = :next_look_at, looks = :looks
WHERE id = :run_id
""")
UPDATE_SETTLED = text("""
UPDATE kcworks_created_dates_run
SET settled_at = clock_timestamp(), settling = CAST(:found AS jsonb),
    next_look_at = NULL, looks = 0
WHERE settled_at IS NULL RETURNING id
""")
SELECT_LATEST = text(f"""
SELECT r.settled_at, r.settling, r.looks, r.next_look_at,
       EXISTS ({locks.LOCK_HOLDER}) AS is_at_work,
       (SELECT min(coalesce(b.restored_at, b.changed_at))
        FROM kcworks_created_dates_backup AS b
        WHERE b.queued_at IS NULL) AS pending_since,
       clock_timestamp() AS now
FROM kcworks_created_dates_run AS r ORDER BY r.id DESC LIMIT 1
""")


class Claim(NamedTuple):
    """A look that is due, and that is ours."""

    run_id: int
    looks: int
    """Looks before it that found something."""
    began_at: datetime


def claim(engine: Engine) -> Claim | None:
    """Claim the look that is due, with one query.

    Args:
        engine: The engine of the instance's database.

    Returns:
        The look; none if none is due, somebody else has it, or there are no tables.

    Raises:
        ServiceFailedError: The database failed.
    """
    try:
        own = engine.execution_options(isolation_level="READ COMMITTED")
        with own.begin() as connection:
            claimed = connection.execute(CLAIM, {"lease": LEASE}).first()
    except DBAPIError as error:
        if sqlstate_of(error) == UNDEFINED_TABLE:
            return None  # nothing was ever changed, or the tables were dropped
        raise ServiceFailedError("The database", said_by(error)) from error
    return claimed and Claim(*claimed)


def begin(database: Database) -> None:
    """Ask for a look, as something was written now."""
    database.execute(UPDATE_NEXT_LOOK, pause=QUIET)


def save(database: Database, found: Mapping[str, Any], has_written: bool) -> None:
    """Keep what a pass has found, with the newest run."""
    values = {"found": json.dumps(found), "has_written": has_written}
    database.execute(UPDATE_FOUND, **values)


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
        or the newest when it has just become clear that it does not settle.
    """
    looks, next_look_at = 0, claimed.began_at + QUIET
    if not is_clean:
        looks = claimed.looks + 1
        pause = timedelta(days=1) if looks >= LOOKS else QUIET * 2 ** (looks - 1)
        next_look_at = claimed.began_at + pause
    elif locks.holder(database) is None:
        last_write = database.execute(SELECT_LAST_WRITE).scalar_one()
        if last_write + QUIET <= claimed.began_at:
            settled = database.execute(UPDATE_SETTLED, found=json.dumps(found))
            return sorted(settled.scalars()), True
        next_look_at = last_write + QUIET
    save(database, found, has_written)
    values = {"next_look_at": next_look_at, "looks": looks}
    database.execute(UPDATE_LOOK, run_id=claimed.run_id, **values)
    return [claimed.run_id] * (looks == LOOKS), False


@dataclass(frozen=True)
class Settling:
    """How the index is, as far as somebody has looked."""

    settled_at: datetime | None
    found: Mapping[str, Any] | None
    """What the last pass has found; none before the first one."""
    looks: int
    next_look_at: datetime | None
    is_at_work: bool
    """Whether a run is at work."""
    pending_since: datetime | None
    """Since when the oldest pending entry waits."""
    now: datetime

    @property
    def refused(self) -> int:
        """How many documents OpenSearch refuses for good."""
        return self.found["refused"]["count"] if self.found else 0

    @property
    def is_stuck(self) -> bool:
        """Tell whether it does not settle: looks find something, or nobody looks."""
        if self.settled_at or self.is_at_work:
            return False
        is_late = self.next_look_at is None or self.now - self.next_look_at > LEASE
        return self.looks >= LOOKS or is_late

    def line(self) -> str:
        """Say it on one line."""
        found = self.found or {}
        if self.settled_at:
            refused = f", {self.refused} refused" if self.refused else ""
            right = counted(found["right"], "document")
            return f"settled at {show(self.settled_at)} ({right} right{refused})"
        if self.is_at_work:
            return "not settled, a run is at work"
        words = "settling"
        if found:
            stale = found["stale"]["count"] + found["missing"]["count"]
            words += f": {stale} of {found['documents']} stale"
        if self.next_look_at is None or self.is_stuck and self.looks < LOOKS:
            return f"{words}, and nobody looks: no worker, or no beat"
        left = max((self.next_look_at - self.now).total_seconds(), 0)
        return f"{words}, next look in {duration(left)}"

    def as_dict(self) -> dict[str, Any]:
        """Give what is printed as JSON."""
        return asdict(self) | {"is_stuck": self.is_stuck}


def latest(database: Database) -> Settling | None:
    """Read how the settling stands; none if there was no run."""
    row = database.execute(SELECT_LATEST, key=locks.LOCK_KEY).first()
    return row and Settling(*row)
