# SPDX-FileCopyrightText: 2026 kcworks-migrations contributors
# SPDX-License-Identifier: MIT
"""Whether a run without a plan may change dates, as far as curators are concerned."""

from ..config import How, What
from ..database import Database
from ..errors import RefusedError
from ..ledger import plans
from ..text import CARRY_OUT, SAVE_PLAN


def check_approved(database: Database, what: What, how: How) -> None:
    """Refuse a run without a plan where one was interrupted, or is asked for.

    Args:
        database: A connection, in a transaction.
        what: What the run is to do.
        how: Says whether dates are changed by approved plans alone.

    Raises:
        RefusedError: There is no plan, and one must be first.
    """
    if what.plan is not None:
        return
    plans.check(database)
    if how.on_upgrade == "wait":
        raise RefusedError(
            "KCWORKS_CREATED_DATES_ON_UPGRADE is 'wait': only an approved plan changes"
            " dates.",
            f"save a plan, `{SAVE_PLAN}`, and when it is approved, `{CARRY_OUT}`.",
        )
