# SPDX-FileCopyrightText: 2026 kcworks-migrations contributors
# SPDX-License-Identifier: MIT
"""Which changes stand, which of them can be restored now, and which are decisions."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import text

from ..database import Database
from ..kinds import DATED, RECORD, Kind
from ..rules.values import Decided
from . import tables

SELECTED = """
    b.outcome IS NULL AND (CAST(:kind AS text) IS NULL OR b.kind = :kind)
    AND (CAST(:run_id AS bigint) IS NULL OR b.run_id = :run_id)
    AND (CAST(:names AS text[]) IS NULL OR b.label = ANY(CAST(:names AS text[]))
         OR b.entity_id::text = ANY(CAST(:names AS text[])))
"""
# An entry that a later one built on is out of reach until that one is restored: before
# it, it would be found changed, and the first value be lost. The entries' numbers tell
# the order, not the runs'.
BUILDS_ON_IT = """
    later.entity_id = b.entity_id AND later.kind = b.kind
    AND later.id > b.id AND later.outcome IS NULL
"""
_REACHABLE = f"""
FROM kcworks_created_dates_backup AS b WHERE {SELECTED} AND NOT EXISTS (
    SELECT FROM kcworks_created_dates_backup AS later WHERE {BUILDS_ON_IT})
"""
SELECT_REACHABLE = text(
    f"SELECT b.id {_REACHABLE}"
    " AND (CAST(:before AS bigint) IS NULL OR b.id < :before)"
    " ORDER BY b.id DESC LIMIT :limit"
)
COUNT_REACHABLE = text(f"SELECT count(*) {_REACHABLE}")
COUNT_STANDING = text(
    f"SELECT count(*) FROM kcworks_created_dates_backup AS b WHERE {SELECTED}"
)
# Rows of a run that later runs changed again, by the latest of these.
SELECT_LATER_RUNS = text(f"""
SELECT later.run_id, count(*) AS rows FROM kcworks_created_dates_backup AS b
JOIN kcworks_created_dates_backup AS later ON {BUILDS_ON_IT} WHERE {SELECTED}
GROUP BY later.run_id ORDER BY later.run_id DESC
""")
SELECT_IDS_OF_RUN = text(
    "SELECT b.entity_id::text FROM kcworks_created_dates_backup AS b"
    " WHERE b.run_id = :run_id AND b.kind = :kind"
)

_DECISION = "b.source = 'plan' AND b.outcome IS NULL"
# Fragments for queries of other rooms on a table of the instance, known as `t`. Each
# costs a look into the index for each row: `OFFSET 0` keeps the planner from hashing
# all of the ledger instead, for each page.
IS_DECIDED, IS_CHANGED = (
    {
        kind: "EXISTS (SELECT FROM kcworks_created_dates_backup AS b WHERE"
        f" b.entity_id = t.id AND b.kind = '{kind}' AND {which} OFFSET 0)"
        for kind in DATED
    }
    for which in (_DECISION, "b.outcome IS NULL")
)
SELECT_KNOWN = text(
    f"SELECT EXISTS (SELECT FROM kcworks_created_dates_backup AS b WHERE {_DECISION}),"
    " EXISTS (SELECT FROM kcworks_created_dates_backup WHERE outcome IS NULL)"
)
# Of several the last one counts. The length of the array is hidden as in `entries`.
SELECT_DECISIONS = text(f"""
SELECT DISTINCT ON (b.entity_id) b.entity_id::text AS id, b.new_created, b.source_value,
       b.source_file, b.source_sha256, b.note
FROM kcworks_created_dates_backup AS b
WHERE b.entity_id = ANY((SELECT CAST(:ids AS uuid[]))::uuid[]) AND b.kind = :kind
  AND {_DECISION}
ORDER BY b.entity_id, b.id DESC
""")

# What communities were before we changed them, and what we made them.
SELECT_ORIGINALS = text("""
SELECT b.entity_id::text AS id, (array_agg(b.old_created ORDER BY b.id))[1] AS old,
       (array_agg(b.new_created ORDER BY b.id DESC))[1] AS new
FROM kcworks_created_dates_backup AS b
WHERE b.entity_id = ANY((SELECT CAST(:ids AS uuid[]))::uuid[])
  AND b.kind = 'community' AND b.outcome IS NULL
GROUP BY b.entity_id
""")


class Known(NamedTuple):
    """What the ledger has to say of rows."""

    has_ledger: bool
    """Whether its table is there."""
    has_decisions: bool
    """Whether any decision of a curator stands."""
    has_changes: bool = False
    """Whether any change stands."""


@dataclass(frozen=True)
class Selection:
    """Which changes are restored: all, or those of a run or of some rows."""

    run_id: int | None = None
    records: tuple[str, ...] = ()
    """PIDs or UUIDs."""
    communities: tuple[str, ...] = ()
    """Slugs or UUIDs."""

    def kept(self) -> dict[str, Any]:
        """Give what the run row keeps; nothing for all."""
        kept = {"run": self.run_id, "records": self.records}
        kept["communities"] = self.communities
        return {name: value for name, value in kept.items() if value}

    def names(self, kind: Kind) -> list[str] | None:
        """Give the names of the rows of a kind; none for all of them."""
        if not (self.records or self.communities):
            return None
        return list(self.records if kind is RECORD else self.communities)

    def values(self, kind: Kind) -> dict[str, Any]:
        """Give the values of the queries for the changes of a kind."""
        names = self.names(kind)
        return {"run_id": self.run_id, "kind": kind.name, "names": names}


def reachable(
    database: Database, selection: Selection, kind: Kind, before: int | None, limit: int
) -> list[int]:
    """Give the next entries that can be restored, the newest first.

    Args:
        database: The connection.
        selection: Which changes.
        kind: Records or communities.
        before: The entry below which to go on; none to begin.
        limit: The most entries to give.

    Returns:
        Their numbers.
    """
    values = selection.values(kind) | {"before": before, "limit": limit}
    return list(database.execute(SELECT_REACHABLE, **values).scalars())


def count_reachable(database: Database, selection: Selection, kind: Kind) -> int:
    """Count the selected changes that stand and that no later run built on."""
    return database.execute(COUNT_REACHABLE, **selection.values(kind)).scalar_one()


def count_standing(
    database: Database,
    kind: Kind | None = None,
    names: list[str] | None = None,
    run_id: int | None = None,
) -> int:
    """Count the changes that stand: neither restored nor found out of reach.

    Args:
        database: The connection.
        kind: Records or communities; none for both.
        names: Only those of the rows with these names or UUIDs.
        run_id: Only those of this run.

    Returns:
        How many.
    """
    values = {"kind": kind and kind.name, "names": names, "run_id": run_id}
    return database.execute(COUNT_STANDING, **values).scalar_one()


def later_runs(
    database: Database, selection: Selection, kinds: Sequence[Kind]
) -> dict[int, int]:
    """Find the runs that changed rows of a run again, and whose changes stand.

    Args:
        database: The connection.
        selection: The earlier run, and perhaps some of its rows.
        kinds: Records, communities or both.

    Returns:
        How many rows, by the later run.
    """
    found: dict[int, int] = {}
    for kind in kinds:
        for later in database.execute(SELECT_LATER_RUNS, **selection.values(kind)):
            found[later.run_id] = found.get(later.run_id, 0) + later.rows
    return found


def ids_of_run(database: Database, run_id: int, kind: Kind) -> set[str]:
    """Give the UUIDs of the rows of a kind that a run has changed."""
    found = database.execute(SELECT_IDS_OF_RUN, run_id=run_id, kind=kind.name)
    return set(found.scalars())


def known(database: Database) -> Known:
    """Tell what the ledger has to say of rows, in the present transaction."""
    if not tables.exist(database):
        return Known(False, False)
    return Known(True, *database.execute(SELECT_KNOWN).one())


def decisions(database: Database, kind: Kind, ids: Sequence[str]) -> dict[str, Decided]:
    """Read the curators' decisions that stand for some rows, by UUID."""
    found = database.execute(SELECT_DECISIONS, kind=kind.name, ids=list(ids))
    return {id: Decided(*rest) for id, *rest in found}


def originals(
    database: Database, ids: Sequence[str]
) -> dict[str, tuple[datetime, datetime]]:
    """Read what communities were before their changes that stand, and what after.

    Returns:
        Both dates, aware, by UUID; nothing of a community without such a change.
    """
    return {
        row.id: (row.old, row.new)
        for row in database.execute(SELECT_ORIGINALS, ids=list(ids))
    }
