# SPDX-FileCopyrightText: 2026 kcworks-migrations contributors
# SPDX-License-Identifier: MIT
"""What would the upgrade do with the rows? Told from a sample, by its own rules."""

import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime

from sqlalchemy.exc import DBAPIError

from .. import queries, rules
from ..config import Options
from ..errors import CreatedDatesError
from ..rules import REASONS, Problem, RecordRow
from ..scan import Row, Scan
from .database import ReadOnly
from .line import Line, failed, fine, stop, warning
from .room import room

SAMPLE_ROWS = 5000
"""The most rows of each kind that are looked at."""

SAMPLE_SECONDS = 3
"""How long rows of a kind are looked at."""

PAGE_ROWS = 500

BAD_SHARE = 0.5
"""From which share of refused values on the field is hardly the right one."""

REASONS_SHOWN = 3

NOUNS = {"record": "records", "community": "communities"}


@dataclass(frozen=True)
class Sample:
    """Some rows of a kind, and what the rules say to them."""

    kind: str
    looked_at: int
    with_field: int
    to_change: int
    """Rows that would change; of communities, the most that could."""
    reasons: Counter[str]
    """Problems by reason, those of groups included."""
    bad_rows: int
    total_rows: int | None
    """Rows of the table: about, if it is larger than the sample; none if unknown."""
    table_bytes: int
    """Size of the table without what is stored apart."""

    @property
    def rows_to_change(self) -> int:
        """How many rows of the table would change."""
        return self.scaled(self.to_change)

    @property
    def bytes_to_change(self) -> int:
        """The size of these rows, without what is stored apart."""
        return round(self.table_bytes * self.to_change / max(self.looked_at, 1))

    def scaled(self, rows: int) -> int:
        """Tell for the whole table what is so many rows of the sample."""
        if not self.looked_at:
            return 0
        return round(rows * (self.total_rows or self.looked_at) / self.looked_at)


def take_sample(database: ReadOnly, options: Options, kind: str) -> Sample:
    """Look at some rows of a kind, for a few seconds at most.

    Args:
        database: The connection.
        options: What the upgrade would do.
        kind: ``record`` or ``community``.

    Returns:
        The sample.
    """
    scan, now = Scan(database, options, kind, None), datetime.now(UTC)
    looked_at = with_field = to_change = bad_rows = 0
    reasons: Counter[str] = Counter()
    cursor: str | None = None
    is_whole = False
    end = time.monotonic() + SAMPLE_SECONDS
    while not is_whole and looked_at < SAMPLE_ROWS and time.monotonic() < end:
        found = database.execute_on(
            kind, queries.SELECT_SAMPLE_IDS, cursor=cursor, limit=PAGE_ROWS
        )
        ids = [row[0] for row in found]
        for row in scan.by_ids(ids) if ids else ():
            decision, problems = _decide(row, options, now)
            with_field += 1
            to_change += not isinstance(decision, Problem | rules.Skip)
            bad_rows += isinstance(decision, Problem)
            reasons.update(problem.reason for problem in problems)
        looked_at += len(ids)
        is_whole = len(ids) < PAGE_ROWS
        cursor = ids[-1] if ids else cursor
    total, table_bytes = _total(database, kind, looked_at)
    return Sample(
        kind,
        looked_at,
        with_field,
        to_change,
        reasons,
        bad_rows,
        looked_at if is_whole else total,
        table_bytes,
    )


def _decide(
    row: Row, options: Options, now: datetime
) -> tuple[rules.Decision, list[Problem]]:
    if isinstance(row, RecordRow):
        decision, _ = rules.decide_record(row, options.filters, now)
        groups = rules.read_groups(row)[1] if row.legacy_date.type else []
    else:
        # Without all records nobody knows the oldest one of a group.
        decision, groups = rules.decide_community(row, {}), []
    return decision, [*([decision] if isinstance(decision, Problem) else []), *groups]


def _total(database: ReadOnly, kind: str, looked_at: int) -> tuple[int | None, int]:
    table = queries.TABLE_OF_KIND[kind]
    rows, size = database.execute(queries.SELECT_ESTIMATES, table=table).one()
    if rows > looked_at:
        return rows, size
    # Never analysed, or long ago: counting is bounded by the statement timeout.
    try:
        return database.execute_on(kind, queries.COUNT_ROWS).scalar_one(), size
    except DBAPIError:
        return None, size


def rows(database: ReadOnly, options: Options) -> Iterable[Line]:
    """Look at a sample of each kind, and at the room for what it foretells."""
    samples = []
    for kind, noun in NOUNS.items():
        try:
            sample = take_sample(database, options, kind)
        except (DBAPIError, CreatedDatesError) as error:
            yield failed(noun, error)
            continue
        samples.append(sample)
        yield _rows_line(sample)
        if sample.with_field:
            yield _values_line(sample)
    yield room(database, samples)


def _rows_line(sample: Sample) -> Line:
    noun = NOUNS[sample.kind]
    about = "about "
    if sample.total_rows is None:
        fact = f"More than {sample.looked_at:,} {noun}"
    elif sample.total_rows > sample.looked_at:
        fact = f"About {sample.total_rows:,} {noun}"
    else:
        about, fact = "", f"{sample.looked_at:,} {noun}"
    if not sample.with_field:
        if sample.looked_at:
            fact += f"; none of the {sample.looked_at:,} looked at has the field"
        return warning(
            noun,
            f"{fact}.",
            "There may be nothing to do, or the setting names another field.",
        )
    verb = "would change" if sample.kind == "record" else "could change at most"
    return fine(
        noun,
        f"{fact}, {about}{sample.scaled(sample.with_field):,} with the field;"
        f" {about}{sample.rows_to_change:,} {verb}.",
    )


def _values_line(sample: Sample) -> Line:
    noun = NOUNS[sample.kind]
    if not sample.reasons:
        fact = f"The values of all {sample.with_field:,} {noun} looked at are good."
        return fine(f"{noun}_values", fact)
    share = sample.bad_rows / sample.with_field
    reasons = [
        f"{REASONS[reason]} ({count:,})"
        for reason, count in sample.reasons.most_common(REASONS_SHOWN)
    ]
    if len(sample.reasons) > REASONS_SHOWN:
        reasons.append("and other reasons")
    return (stop if share > BAD_SHARE else warning)(
        f"{noun}_values",
        f"{share:.1%} of {sample.with_field:,} {noun} looked at have a bad value."
        f" Problems: {', '.join(reasons)}.",
        "What is bad stays as it is and is listed. All of it is counted by"
        " `invenio kcworks-created-dates update --dry-run`.",
    )
