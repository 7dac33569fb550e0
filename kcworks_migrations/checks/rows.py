# SPDX-FileCopyrightText: 2026 kcworks-migrations contributors
# SPDX-License-Identifier: MIT
"""What would the upgrade do with the rows? Told from a sample, by its own decisions."""

import time
from collections import Counter
from collections.abc import Iterable

from sqlalchemy.exc import DBAPIError

from ..kinds import COMMUNITY, Kind
from ..migration.decisions import Decisions, Page
from ..rules.values import REASONS, Change, Problem
from ..text import COMMAND
from .database import ReadOnly
from .line import Line, fine, stop, warning

SAMPLE_ROWS = 5000
"""The most rows of each kind that are looked at."""

SAMPLE_SECONDS = 3
"""How long rows of a kind are looked at."""

PAGE_ROWS = 500

BAD_SHARE = 0.5
"""From which share of bad values on the field is hardly the right one."""

REASONS_SHOWN = 3

# Primary keys are random, so that the first ones are as good a sample as any.
SELECT_SAMPLE_IDS = (
    "SELECT t.id::text FROM {table} AS t"
    " WHERE (CAST(:after AS uuid) IS NULL OR t.id > CAST(:after AS uuid))"
    " ORDER BY t.id LIMIT :limit"
)
# In a very large table it takes longer than a statement may: then it is left out.
COUNT_ROWS = "SELECT count(*) FROM {table}"


def rows(database: ReadOnly, decisions: Decisions, kind: Kind) -> Iterable[Line]:
    """Tell how many rows there are of a kind, and what is decided about some.

    Args:
        database: The connection.
        decisions: What decides; it remembers the records for the communities.
        kind: Records or communities.

    Yields:
        One line; the share of bad values makes it a warning or a stop.
    """
    looked_at, sample = _sample(database, decisions, kind)
    try:
        total = f"{database.execute_on(kind, COUNT_ROWS).scalar_one():,}"
    except DBAPIError:
        total = f"more than {looked_at:,}"
    with_field = len(sample.decisions)
    fact = f"Rows: {total}; looked at: {looked_at:,}; with the field: {with_field:,}"
    if not with_field:
        todo = "If some should have it, correct the setting that names the field."
        yield warning(kind.plural, f"{fact}.", todo)
        return
    changes = sum(isinstance(d, Change) for d in sample.decisions)
    # A record that was not looked at can only make more communities change.
    least = "at least " * (kind is COMMUNITY)
    fact += f"; would change: {least}{changes:,}"
    bad = [d for d in sample.decisions if isinstance(d, Problem)]
    problems = Counter(REASONS[p.reason] for p in (*bad, *sample.group_problems))
    if not problems:
        yield fine(kind.plural, f"{fact}.")
        return
    share = len(bad) / with_field
    shown = [f"{why} ({n:,})" for why, n in problems.most_common(REASONS_SHOWN)]
    more = ", and others" * (len(problems) > REASONS_SHOWN)
    yield (stop if share > BAD_SHARE else warning)(
        kind.plural,
        f"{fact}. {share:.1%} have a bad value. Problems: {', '.join(shown)}{more}.",
        "Such rows are left as they are and listed. To see all of them:"
        f" `{COMMAND} update --dry-run`.",
    )


def _sample(database: ReadOnly, decisions: Decisions, kind: Kind) -> tuple[int, Page]:
    """Decide some rows, for a few seconds at most; tell how many were looked at."""
    looked_at, sample, after = 0, Page(None, [], [], []), None
    end = time.monotonic() + SAMPLE_SECONDS
    while looked_at < SAMPLE_ROWS and time.monotonic() < end:
        found = database.execute_on(
            kind, SELECT_SAMPLE_IDS, after=after, limit=PAGE_ROWS
        )
        ids = found.scalars().all()
        page = decisions.of(kind, ids)
        decisions.note(page)
        sample.decisions.extend(page.decisions)
        sample.group_problems.extend(page.group_problems)
        looked_at += len(ids)
        if len(ids) < PAGE_ROWS:
            break
        after = ids[-1]
    return looked_at, sample
