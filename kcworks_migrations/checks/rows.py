# SPDX-FileCopyrightText: 2026 kcworks-migrations contributors
# SPDX-License-Identifier: MIT
"""What would the upgrade do with the rows? Told from a sample, by its own decisions."""

from collections import Counter
from collections.abc import Iterable

from ..database import Database
from ..kinds import COMMUNITY, Kind
from ..migration.decisions import Decisions
from ..rules.values import REASONS, Change, Problem
from ..text import COMMAND
from .line import Line, fine, stop, warning

SAMPLE_ROWS = 1000
"""The most rows of each kind that are looked at."""

BAD_SHARE = 0.5
"""From which share of bad values on the field is hardly the right one."""

# Primary keys are random, so that the first ones are as good a sample as any.
SELECT_SAMPLE_IDS = "SELECT t.id::text FROM {table} AS t ORDER BY t.id LIMIT :limit"


def rows(database: Database, decisions: Decisions, kind: Kind) -> Iterable[Line]:
    """Tell what is decided about some rows of a kind.

    Args:
        database: The connection.
        decisions: What decides; it remembers the records for the communities.
        kind: Records or communities.

    Yields:
        One line; the share of bad values makes it a warning or a stop.
    """
    found = database.execute_on(kind, SELECT_SAMPLE_IDS, limit=SAMPLE_ROWS)
    ids = found.scalars().all()
    sample = decisions.of(kind, ids)
    decisions.note(sample)
    with_field = len(sample.decisions)
    fact = f"Rows looked at: {len(ids):,}; with the field: {with_field:,}"
    if not with_field:
        todo = "If some should have it, correct the setting that names the field."
        yield warning(kind.plural, f"{fact}.", todo)
        return
    changes = sum(isinstance(d, Change) for d in sample.decisions)
    # A record that was not looked at can only make more communities change.
    least = "at least " * (kind is COMMUNITY)
    fact += f"; would change: {least}{changes:,}."
    bad = [d for d in sample.decisions if isinstance(d, Problem)]
    problems = Counter(REASONS[p.reason] for p in (*bad, *sample.group_problems))
    if not problems:
        yield fine(kind.plural, fact)
        return
    share = len(bad) / with_field
    reasons = ", ".join(f"{why} ({n:,})" for why, n in problems.most_common())
    yield (stop if share > BAD_SHARE else warning)(
        kind.plural,
        f"{fact} {share:.1%} have a bad value. Problems: {reasons}.",
        "Such rows are left as they are and listed. To see all of them:"
        f" `{COMMAND} update --dry-run`.",
    )
