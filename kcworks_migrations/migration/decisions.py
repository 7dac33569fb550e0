# SPDX-FileCopyrightText: 2026 kcworks-migrations contributors
# SPDX-License-Identifier: MIT
"""The decisions: what the rules and the filter say to each row. Nothing is written.

An update writes what comes out of here; a dry run, a check and the choice of a
rehearsal only look at it.
"""

from collections.abc import Collection, Iterator, Sequence
from datetime import UTC, datetime
from functools import cached_property
from typing import Any, NamedTuple

from ..config import What
from ..database import Database
from ..kinds import RECORD, Kind
from ..ledger.standing import Known, known
from ..rules.decide import decide_community, decide_record, note_oldest, read_groups
from ..rules.plan import carry_out
from ..rules.values import (
    LATER_VERSION,
    NOT_IN_PLAN,
    Change,
    Decision,
    Oldest,
    Problem,
    RecordRow,
    Skip,
)
from ..text import iso
from . import scan

UNSCANNED = "+"
"""Begins a cursor behind all keys: how many of the plan's other rows are done."""


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


class Page(NamedTuple):
    """The decisions about some rows."""

    cursor: str | None
    """The last primary key; none when there was no row."""
    decisions: list[Decision]
    group_problems: list[Problem]
    """Malformed entries in the records' lists of groups."""
    dated: list[tuple[RecordRow, datetime, Collection[str]]]
    """The records that have a date, with it and their groups."""

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

    @cached_property
    def _known(self) -> Known:
        """What the ledger had to say when this was first asked, in a transaction."""
        return known(self._database)

    def count(self, kind: Kind) -> int:
        """Count the rows of a kind that may get a date."""

        def count() -> int:
            return scan.count(self._database, self._what, kind, self._known)

        return self._database.transaction(count) + len(self._unscanned(kind))

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
        if after is None or not after.startswith(UNSCANNED):
            values = {"after": after, "limit": limit}
            page = self._decide(kind, updated, scan.NEXT_PAGE, **values)
            if page.cursor is not None:
                return page
            after = f"{UNSCANNED}0"
        first = int(after.removeprefix(UNSCANNED))
        ids = self._unscanned(kind)[first : first + limit]
        if not ids:
            return Page(None, [], [], [])
        page = self._decide(kind, updated, scan.UNSCANNED_BY_IDS, ids=list(ids))
        return page._replace(cursor=f"{UNSCANNED}{first + limit}")

    def _unscanned(self, kind: Kind) -> Sequence[str]:
        """Give the rows that have no legacy field, which only a plan names."""
        plan = self._what.plan
        return plan.unscanned.get(kind, ()) if plan and kind in self._what.kinds else ()

    def of(self, kind: Kind, ids: Sequence[str], updated: int = 0) -> Page:
        """Decide the rows with these primary keys that may still get a date."""
        which = scan.BY_IDS if self._what.plan is None else scan.ANY_BY_IDS
        return self._decide(kind, updated, which, ids=list(ids))

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
            updated += sum(not change.is_kept for change in page.changes)
            self._database.check_stop()

    def every(self, limit: int) -> Iterator[tuple[Kind, Page]]:
        """Decide all rows of the kinds that are asked for, as `pages` does."""
        self.read_oldest(limit)
        for kind in self._what.kinds:
            for page in self.pages(kind, limit):
                yield kind, page

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
        rows = scan.read(self._database, self._what, kind, self._known, which, **values)
        # Records that are only read, for the communities, stay what they are.
        plan = self._what.plan if kind in self._what.kinds else None
        decided: list[Decision] = []
        instants: list[datetime | None] = []
        for row in rows:
            instant = None
            if isinstance(row, RecordRow):
                decision, instant = decide_record(row, self._earliest, self._now)
            else:
                decision = decide_community(row, self._oldest)
            if plan is not None and (line := plan.lines.get(row.id)):
                decision = carry_out(plan, line, row, decision)
            decided.append(decision)
            instants.append(instant)
        decisions = sift(self._what, kind, decided, updated)
        page = Page(rows[-1].id if rows else None, decisions, [], [])
        for row, decision, instant in zip(rows, decisions, instants, strict=True):
            if isinstance(row, RecordRow):
                self._add_groups(page, row, decision, instant)
        return page

    def _add_groups(
        self, page: Page, row: RecordRow, decision: Decision, instant: datetime | None
    ) -> None:
        """Add to a page what a record means for the communities of its groups."""
        groups, problems = read_groups(row)
        page.group_problems.extend(problems)
        decided = decision.decided if isinstance(decision, Change) else row.decided
        if decided:
            instant = decided.created
            row = row._replace(date_text=iso(instant))
        if instant is not None:
            page.dated.append((row, instant, groups))
