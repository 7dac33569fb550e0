# SPDX-FileCopyrightText: 2026 kcworks-migrations contributors
# SPDX-License-Identifier: MIT
"""The filter: which changes were asked for."""

from collections.abc import Sequence

from ..config import What
from ..kinds import RECORD, Kind
from ..rules.values import LATER_VERSION, NOT_IN_PLAN, Change, Decision, Skip


def sift(
    what: What, kind: Kind, decisions: Sequence[Decision], updated: int
) -> list[Decision]:
    """Skip the changes that were not asked for.

    This is the one place where options choose rows. Every record counts for the
    communities all the same.

    Args:
        what: What was asked for.
        kind: Records or communities.
        decisions: What the rules say.
        updated: Rows of this kind that were changed so far, for the limit.

    Returns:
        The decisions, in the same order.
    """
    sifted = []
    for decision in decisions:
        if isinstance(decision, Change):
            reason = _reason_to_skip(what, kind, decision, updated)
            if reason is None:
                updated += not decision.is_kept
            else:
                decision = Skip(decision.id, decision.label, reason)
        sifted.append(decision)
    return sifted


def _reason_to_skip(what: What, kind: Kind, change: Change, updated: int) -> str | None:
    names = {change.id, change.label}
    if what.exclude and not names.isdisjoint(what.exclude):
        return "excluded"
    if what.only is not None and names.isdisjoint(what.only):
        return "not asked for"
    if what.plan is None or change.id not in what.plan.lines:
        is_left_alone = what.later_versions == "keep" and change.decided is None
        if change.is_later_version and is_left_alone:
            return LATER_VERSION
        if what.plan is not None:
            return NOT_IN_PLAN
    if kind is RECORD:
        day = change.old_created.date()
        if not (what.start_date or day) <= day <= (what.end_date or day):
            return "created outside the days asked for"
    if what.limit is not None and updated >= what.limit and not change.is_kept:
        return "beyond the limit"
    return None
