# SPDX-FileCopyrightText: 2026 kcworks-migrations contributors
# SPDX-License-Identifier: MIT
"""Dates that stand although what gave them is gone, so that nothing gives them now.

The rules leave such a row alone: its field was removed or can't be read any more, or
its group has no dated record left. What a plan dated rests on the plan.
"""

from collections.abc import Sequence

from ..database import Database
from ..kinds import Kind
from ..rules.values import Problem
from .standing import BUILDS_ON_IT

REASON = "evidence_gone"

# The length of the array is hidden as in `entries`.
SELECT_STANDING = f"""
SELECT t.id::text AS id, b.label, b.source_value, b.source_record_label
FROM kcworks_created_dates_backup AS b JOIN {{table}} AS t ON t.id = b.entity_id
WHERE b.kind = :kind AND b.outcome IS NULL AND b.source_file IS NULL
  AND t.created = (b.new_created{{convert}}) AND NOT EXISTS (
    SELECT FROM kcworks_created_dates_backup AS later WHERE {BUILDS_ON_IT})
  AND b.entity_id = ANY((SELECT CAST(:ids AS uuid[]))::uuid[]) ORDER BY b.id
"""


def of_rows(database: Database, kind: Kind, ids: Sequence[str]) -> list[Problem]:
    """Find the dates that stand of rows to which the rules give none.

    Args:
        database: A connection, in a transaction.
        kind: Records or communities.
        ids: Those rows.

    Returns:
        A problem for each such date.
    """
    if not ids:
        return []
    found = database.execute_on(kind, SELECT_STANDING, kind=kind.name, ids=list(ids))
    return [_problem(kind, *row) for row in found]


def _problem(
    kind: Kind, id: str, label: str, value: str, record_label: str | None
) -> Problem:
    source = f"{value} of record {record_label}" if record_label else value
    return Problem(id, label, kind.name, REASON, source)
