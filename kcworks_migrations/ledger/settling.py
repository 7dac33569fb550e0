# SPDX-FileCopyrightText: 2026 kcworks-migrations contributors
# SPDX-License-Identifier: MIT
"""Whether the ledger is settled, what was found last, and who asks for a look.

All of it stands in the newest run.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import text

from .. import locks
from ..database import Database
from .runs import QUIET

LOOKS = 6
"""After so many looks that did not end clean somebody is told; one a day follows."""

NEWEST = "id = (SELECT max(id) FROM kcworks_created_dates_run)"

UPDATE_NEXT_LOOK = text(f"""
UPDATE kcworks_created_dates_run
SET next_look_at = clock_timestamp() + :pause, looks = 0, settled_at = NULL
WHERE {NEWEST}
""")
# A look at work keeps its lease, and needs nothing else: what it writes is long over
# when one that died is made up for.
UPDATE_WITHDRAWN = text(f"""
UPDATE kcworks_created_dates_run
SET settled_at = NULL,
    settling = CASE WHEN :is_look THEN settling ELSE coalesce(settling, '{{}}')
        || jsonb_build_object('written_at', clock_timestamp()) END,
    next_look_at = CASE WHEN :is_look OR look_began_at IS NOT NULL
        THEN next_look_at ELSE least(next_look_at, clock_timestamp() + :pause) END
WHERE {NEWEST}
""")
UPDATE_FOUND = text(f"""
UPDATE kcworks_created_dates_run
SET settling = coalesce(settling, '{{}}') || CAST(:found AS jsonb)
    || CASE WHEN :has_written
            THEN jsonb_build_object('written_at', clock_timestamp()) ELSE '{{}}' END
WHERE {NEWEST} AND (:has_tried OR settling->>'error' IS NULL
    AND coalesce(CAST(settling->'refused'->>'count' AS integer), 0) = 0)
""")
SELECT_LATEST = text(f"""
SELECT r.settled_at, r.settling, r.looks, r.next_look_at, r.look_began_at,
       EXISTS ({locks.LOCK_HOLDER}) AS is_at_work,
       (SELECT min(coalesce(b.restored_at, b.changed_at))
        FROM kcworks_created_dates_backup AS b
        WHERE b.queued_at IS NULL) AS pending_since,
       clock_timestamp() AS now
FROM kcworks_created_dates_run AS r ORDER BY r.id DESC LIMIT 1
""")


def begin(database: Database) -> None:
    """Ask for a look, as something is written now; nothing is settled from then on."""
    database.execute(UPDATE_NEXT_LOOK, pause=QUIET)


def withdraw(database: Database, is_look: bool = False) -> None:
    """Ask for a look, as documents are not right; nothing is settled from then on.

    Before they are written, so that a crash leaves a look that is made up for.

    Args:
        database: A connection, in a transaction.
        is_look: Whether this is in a look, which asks for the next one at its end.
    """
    database.execute(UPDATE_WITHDRAWN, pause=QUIET, is_look=is_look)


def save(
    database: Database,
    found: Mapping[str, Any],
    has_written: bool,
    has_tried: bool = True,
) -> None:
    """Keep what a pass has found, with the newest run.

    Args:
        database: A connection, in a transaction.
        found: What it found.
        has_written: Whether it wrote any document.
        has_tried: Whether it was to. One that was not keeps nothing where OpenSearch
            failed or refused documents before: reading alone can't tell of that.
    """
    values = {"has_written": has_written, "has_tried": has_tried}
    database.execute(UPDATE_FOUND, found=json.dumps(found), **values)


@dataclass(frozen=True)
class Settling:
    """How the index is, as far as somebody has looked."""

    settled_at: datetime | None
    found: Mapping[str, Any] | None
    """What the last pass has found; none before the first one."""
    looks: int
    next_look_at: datetime | None
    look_began_at: datetime | None
    """Of a look that is at work, or that died."""
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
    def overdue(self) -> timedelta:
        """For how long a look has been due; less than nothing before."""
        return self.now - (self.next_look_at or self.now)

    @property
    def is_stuck(self) -> bool:
        """Tell whether it does not settle: looks find something, or nobody looks."""
        if self.settled_at or self.is_at_work:
            return False
        is_late = self.next_look_at is None or self.overdue > QUIET
        return self.looks >= LOOKS or is_late

    def as_dict(self) -> dict[str, Any]:
        """Give what is printed as JSON."""
        return asdict(self) | {"is_stuck": self.is_stuck}


def latest(database: Database) -> Settling | None:
    """Read how the settling stands; none if there was no run."""
    row = database.execute(SELECT_LATEST, key=locks.LOCK_KEY).first()
    if row is None:
        return None
    # Before the first look there is only when it was asked for.
    found = row.settling if row.settling and "documents" in row.settling else None
    return Settling(row.settled_at, found, *row[2:])
