# SPDX-FileCopyrightText: 2026 kcworks-migrations contributors
# SPDX-License-Identifier: MIT
"""Which rows are rehearsed: some of all shapes."""

from collections.abc import Iterable, Sequence
from itertools import zip_longest
from typing import Any

from ..config import How, What
from ..database import Database
from ..kinds import COMMUNITY, MEMBERSHIPS, RECORD, Kind
from ..migration.decisions import Decisions
from ..rules.values import Change

CANDIDATES = 1000
"""Changes of each shape among which the rows are chosen."""

COMMUNITY_SHARE = 5
"""One chosen row in so many is a community: with it come all documents that hold it."""

COUNT_MEMBERS = f"""
SELECT t.id::text AS id, count(m.community_id) AS count FROM {{table}} AS t
LEFT JOIN {MEMBERSHIPS} AS m ON m.community_id = t.id
WHERE t.id = ANY(CAST(:ids AS uuid[])) GROUP BY t.id
"""
Chosen = dict[Kind, list[Change]]


def choose(database: Database, what: What, how: How, limit: int) -> tuple[Chosen, int]:
    """Choose from all changes that an update would make.

    Args:
        database: A connection, outside a transaction.
        what: What the update is to do.
        how: How many rows are read at a time.
        limit: The most rows to choose.

    Returns:
        The changes by kind, those of all shapes in turn; of communities those with the
        fewest records, whose documents come with them. And how many changes there are.
    """
    shapes: dict[Kind, dict[Any, list[Change]]] = {RECORD: {}, COMMUNITY: {}}
    count = 0
    for kind, page in Decisions(database, what).every(how.batch_size):
        count += len(page.changes)
        for change in page.changes:
            seen = shapes[kind].setdefault(_shape(change), [])
            seen += [change] * (len(seen) < CANDIDATES)
    members = _count_members(database, shapes[COMMUNITY].values())
    for alike in shapes[COMMUNITY].values():
        alike.sort(key=lambda change: members[change.id])
    most = max(limit // COMMUNITY_SHARE, 1)
    communities = _in_turn([*shapes[COMMUNITY].values()], most)
    records = _in_turn([*shapes[RECORD].values()], limit - len(communities))
    return {RECORD: records, COMMUNITY: communities}, count


def _count_members(
    database: Database, shapes: Iterable[Sequence[Change]]
) -> dict[str, int]:
    """Count the records in each community."""
    ids = [change.id for alike in shapes for change in alike]
    count = database.execute_on
    rows = database.transaction(count, COMMUNITY, COUNT_MEMBERS, ids=ids)
    return {row.id: row.count for row in rows}


def _shape(change: Change) -> tuple[bool, ...]:
    """Give what makes changes alike, for a choice of all shapes."""
    new = change.new_created
    is_odd = (new.microsecond > 0, new.year < 1990, change.label == change.id)
    return (change.is_later_version, *is_odd)


def _in_turn(shapes: Sequence[Sequence[Change]], limit: int) -> list[Change]:
    """Take one of each shape in turn, up to a limit."""
    turns = zip_longest(*shapes)
    return [change for turn in turns for change in turn if change is not None][:limit]
