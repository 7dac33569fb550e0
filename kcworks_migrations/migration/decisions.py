# SPDX-FileCopyrightText: 2026 kcworks-migrations contributors
# SPDX-License-Identifier: MIT
"""The decisions: what the rules and the filter say to each row. Nothing is written.

An update writes what comes out of here; a dry run, a check and the choice of a
rehearsal only look at it.
"""

from collections.abc import Collection, Iterator, Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple

from ..config import What
from ..database import Database
from ..errors import RefusedError
from ..kinds import DATED, RECORD, Kind
from ..rules.decide import decide_community, decide_record, note_oldest, read_groups
from ..rules.values import Change, Decision, Oldest, Problem, RecordRow, Skip
from ..text import escape
from . import scan

# A misspelt name in a list of rows would silently choose other rows. One pass over
# each table for all names, in the very values that the names are compared with later.
# A join, however many names there are, where `OR` would compare each row with each.
SELECT_NAMED = """
SELECT v.name FROM {table} AS t
CROSS JOIN LATERAL (VALUES ({label}), (t.id::text)) AS v(name)
WHERE v.name IN (SELECT unnest(CAST(:names AS text[])))
"""


def sift(
    what: What, kind: Kind, decisions: Sequence[Decision], updated: int
) -> list[Decision]:
    """Skip the changes that were not asked for.

    This is the one place where options choose rows; a file of approved rows belongs
    here as well. Every record counts for the communities all the same.

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
                updated += 1
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
    if what.first_versions_only and change.is_later_version:
        return "later version"
    if kind is RECORD:
        day = change.old_created.date()
        if not (what.start_date or day) <= day <= (what.end_date or day):
            return "created outside the days asked for"
    if what.limit is not None and updated >= what.limit:
        return "beyond the limit"
    return None


class Page(NamedTuple):
    """The decisions about some rows."""

    cursor: str | None
    """The last primary key; none when there was no row."""
    decisions: list[Decision]
    group_problems: list[Problem]
    """Malformed entries in the records' lists of groups."""
    dated: list[tuple[RecordRow, datetime, Collection[str]]]
    """The records with a valid legacy date, with it and their groups."""

    @property
    def changes(self) -> list[Change]:
        """The rows whose date changes."""
        return [d for d in self.decisions if isinstance(d, Change)]

    @property
    def problems(self) -> list[Problem]:
        """What is wrong with rows, and then with their groups."""
        of_rows = [d for d in self.decisions if isinstance(d, Problem)]
        return of_rows + self.group_problems


class Decisions:
    """Decides rows as they stand in the database, records before communities."""

    def __init__(self, database: Database, what: What) -> None:
        """Begin without knowing any record.

        Args:
            database: A connection that is only read.
            what: What is to be done.
        """
        self._database = database
        self._what = what
        self._earliest, self._now = what.earliest, datetime.now(UTC)
        self._oldest: dict[str, Oldest] = {}

    def count(self, kind: Kind) -> int:
        """Count the rows of a kind that have the legacy field."""
        return self._database.transaction(scan.count, self._database, self._what, kind)

    def page(self, kind: Kind, after: str | None, limit: int, updated: int = 0) -> Page:
        """Decide the next rows, in the present transaction.

        Args:
            kind: Records or communities.
            after: The last primary key that was decided; none to begin.
            limit: The most rows to decide.
            updated: Rows of this kind that were changed so far.

        Returns:
            The decisions; without a cursor at the end of the table.
        """
        return self._decide(kind, updated, scan.NEXT_PAGE, after=after, limit=limit)

    def of(self, kind: Kind, ids: Sequence[str], updated: int = 0) -> Page:
        """Decide the rows with these primary keys that still have the field."""
        return self._decide(kind, updated, scan.BY_IDS, ids=list(ids))

    def pages(self, kind: Kind, limit: int) -> Iterator[Page]:
        """Decide all rows of a kind, each page in a transaction of its own."""
        cursor, updated = None, 0
        while True:
            page = self._database.transaction(self.page, kind, cursor, limit, updated)
            cursor = page.cursor
            if cursor is None:
                return
            self.note(page)
            yield page
            updated += len(page.changes)
            self._database.check_stop()

    def note(self, page: Page, but: Collection[str] = ()) -> None:
        """Let the records of a page count for the communities of their groups.

        Not before it is committed: what was read in an attempt that was rolled back may
        have been edited since.

        Args:
            page: The page.
            but: Ids of records that are decided again later.
        """
        for row, instant, groups in page.dated:
            if row.id not in but:
                note_oldest(self._oldest, row, instant, groups)

    def read_oldest(self, limit: int) -> None:
        """Read the records, which count for communities, if these alone are decided."""
        if RECORD not in self._what.kinds:
            for _ in self.pages(RECORD, limit):
                pass

    def _decide(self, kind: Kind, updated: int, which: str, **values: Any) -> Page:
        rows = scan.read(self._database, self._what, kind, which, **values)
        decisions: list[Decision] = []
        page = Page(rows[-1].id if rows else None, decisions, [], [])
        for row in rows:
            if isinstance(row, RecordRow):
                decisions.append(self._decide_record(row, page))
            else:
                decisions.append(decide_community(row, self._oldest))
        return page._replace(decisions=sift(self._what, kind, decisions, updated))

    def _decide_record(self, row: RecordRow, page: Page) -> Decision:
        """Decide a record, and add to the page what else follows from it."""
        decision, instant = decide_record(row, self._earliest, self._now)
        if row.date_type is not None:
            groups, problems = read_groups(row)
            page.group_problems.extend(problems)
            if instant is not None:
                page.dated.append((row, instant, groups))
        return decision


def check_names(database: Database, what: What) -> None:
    """Refuse names to leave alone, or to change only, that are no row.

    Args:
        database: A connection, in a transaction.
        what: What is asked for.

    Raises:
        RefusedError: Some name is neither a PID, a slug nor a UUID.
    """
    names = [*what.exclude, *(what.only or ())]
    if not names:
        return
    unknown = set(names)
    for kind in DATED:
        known = database.execute_on(kind, SELECT_NAMED, names=names)
        unknown.difference_update(known.scalars())
    if unknown:
        shown = ", ".join(escape(name, 60) for name in sorted(unknown)[:10])
        more = f" and {len(unknown) - 10} more" if len(unknown) > 10 else ""
        raise RefusedError(
            f"Names that are no record and no community: {shown}{more}.",
            "correct them and try again.",
        )
