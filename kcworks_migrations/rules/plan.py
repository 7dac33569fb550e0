# SPDX-FileCopyrightText: 2026 kcworks-migrations contributors
# SPDX-License-Identifier: MIT
"""What a line of a curator's plan makes of a row: the plan is the authority."""

from datetime import datetime

from ..text import show
from ..values import Line, Plan
from .decide import is_later_version
from .values import (
    AS_DECIDED,
    NOT_IN_RULES,
    Change,
    CommunityRow,
    Decided,
    Decision,
    Problem,
    RecordRow,
    Skip,
)

KEEP = "keep"
"""The word for: this row stays at its present date."""


def carry_out(
    plan: Plan, line: Line, row: RecordRow | CommunityRow, decision: Decision
) -> Decision:
    """Decide a row that has a line in the plan.

    A date that the rules give, or gave when the plan was saved, makes an ordinary
    change, which names the file if it rests on that alone; any other, and `KEEP`, are
    decisions of the curator, which stand from then on.

    Args:
        plan: The file, which the decision names.
        line: Of this row.
        row: As it stands in the database.
        decision: What the rules, or a decision that stands, say.

    Returns:
        The decision; a problem if the row is no longer what the line says it was.
    """
    created = row.created
    kind = "record" if isinstance(row, RecordRow) else "community"
    if created is None:  # nobody can tell whether it is what the line says it was
        return Problem(row.id, row.label, kind, "current_created_unreadable", None)
    new = created if line.new is None else line.new
    if line.old is not None and created not in (line.old, new if line.new else None):
        return Problem(row.id, row.label, kind, "moved", show(created))
    computed = _computed(row, decision)
    if line.new is not None and new == computed:
        return decision
    if row.decided is not None and row.decided.created == created == new:
        return Skip(row.id, row.label, AS_DECIDED)
    # Nobody has decided it: a community whose record was corrected follows later.
    is_ordinary = line.is_as_saved and row.decided is None
    if is_ordinary and new == created:
        return Skip(row.id, row.label)
    approved = Decided(new, line.text, plan.name, plan.sha256, line.note)
    return Change(
        row.id,
        row.label,
        created,
        new,
        line.text,
        is_later_version=is_later_version(row),
        decided=None if is_ordinary else approved,
        computed=computed,
        approved=approved if is_ordinary else None,
    )


def _computed(row: RecordRow | CommunityRow, decision: Decision) -> datetime | None:
    """Give the date of a row without its line; none where nothing gives one."""
    if isinstance(decision, Change):
        return decision.new_created
    if isinstance(decision, Skip) and decision.reason != NOT_IN_RULES:
        return row.created
    return None
