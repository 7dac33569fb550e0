# SPDX-FileCopyrightText: 2026 kcworks-migrations contributors
# SPDX-License-Identifier: MIT
"""The decisions: what the rules and the filter say to each row. Nothing is written.

An update writes what comes out of here; a dry run, a check and the choice of a
rehearsal only look at it.
"""

from collections.abc import Callable, Collection, Iterator, Sequence
from datetime import UTC, datetime
from functools import cached_property
from typing import Any

from ..config import What
from ..database import Database
from ..kinds import COMMUNITY, RECORD, Kind
from ..ledger import evidence
from ..ledger.standing import Known, known
from ..rules.decide import decide_community, decide_record, note_oldest, read_groups
from ..rules.plan import carry_out
from ..rules.values import (
    NOT_IN_RULES,
    Change,
    Decision,
    NoRecords,
    Oldest,
    Problem,
    RecordRow,
    Skip,
)
from ..text import iso
from . import scan
from .page import Page
from .sift import sift


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
        self._has_all_records = what.plan is None and RECORD in what.kinds
        self._planned: dict[str, datetime] = {}
        """The dates that a preview of a plan decides for records, by their ids."""

    @cached_property
    def _known(self) -> Known:
        """What the ledger had to say when this was first asked, in a transaction."""
        return known(self._database)

    def count(self, kind: Kind) -> int:
        """Count the rows of a kind that may get a date."""

        def count() -> int:
            return scan.count(self._database, self._what, kind, self._known)

        return self._database.transaction(count)

    def page(self, kind: Kind, after: str | None, limit: int, updated: int = 0) -> Page:
        """Decide the next rows, in the present transaction.

        Args:
            kind: Records or communities.
            after: The cursor of the page before; none to begin.
            limit: The most rows to decide.
            updated: Rows of this kind that were changed so far.

        Returns:
            The decisions; without a cursor at the end.
        """
        if self._what.plan is None:
            return self._next(kind, after, limit, updated)
        first = int(after or 0)
        ids = self._what.plan.ids.get(kind, ())[first : first + limit]
        if not ids:
            return Page(None, [], [], [])
        return self.of(kind, ids, updated)._replace(cursor=str(first + len(ids)))

    def _next(self, kind: Kind, after: str | None, limit: int, updated: int) -> Page:
        """Decide the next rows of the table, whatever lines a plan has."""
        return self._decide(kind, updated, scan.NEXT_PAGE, after=after, limit=limit)

    def of(self, kind: Kind, ids: Sequence[str], updated: int = 0) -> Page:
        """Decide the rows with these primary keys that may still get a date.

        Returns:
            The decisions. Of a plan each line has one, also when its row is gone; what
            else is wrong with the row is none of its business.
        """
        plan = self._what.plan
        if plan is None:
            return self._decide(kind, updated, scan.BY_IDS, ids=list(ids))
        page = self._decide(kind, updated, scan.PLANNED, ids=list(ids))
        found = {d.id for d in page.decisions}
        page.decisions.extend(
            Problem(id, plan.lines[id].label, kind.name, "gone", None)
            for id in ids
            if id not in found
        )
        return page._replace(group_problems=[], malformed_groups=0)

    def pages(self, kind: Kind, limit: int) -> Iterator[Page]:
        """Decide all rows of a kind, each page in a transaction of its own."""
        for page in self._pages(self.page, kind, limit):
            if self._what.plan is not None and kind is RECORD:
                # They count as decided where all records are read behind them.
                decided = {c.id: c.new_created for c in page.changes if c.decided}
                self._planned |= decided
            yield page

    def _pages(
        self, read: Callable[..., Page], kind: Kind, limit: int
    ) -> Iterator[Page]:
        cursor, updated = None, 0
        while True:
            page = self._database.transaction(read, kind, cursor, limit, updated)
            cursor = page.cursor
            if cursor is None:
                return
            self.note(page)
            yield page
            updated += sum(not change.is_kept for change in page.changes)
            self._database.check_stop()

    def by_rules(self, kind: Kind, limit: int) -> Iterator[Page]:
        """Decide all rows of a kind without the lines of a plan, as `pages` does."""
        if kind is COMMUNITY:
            self._read_all_records(limit)
        yield from self._pages(self._next, kind, limit)
        self._has_all_records |= kind is RECORD

    def _read_all_records(self, limit: int) -> None:
        if not self._has_all_records:
            vars(self).pop("_known", None)  # a plan has made decisions meanwhile
            for _ in self.by_rules(RECORD, limit):
                pass

    def every(self, limit: int) -> Iterator[tuple[Kind, Page]]:
        """Decide all rows of the kinds that are asked for, as `pages` does."""
        for kind in self._what.kinds:
            self.read_oldest(kind, limit)
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

    def read_oldest(self, kind: Kind, limit: int) -> None:
        """Read all records before communities are decided, unless that is done.

        A plan has decided its own ones by then; it may have no line of a community.
        """
        plan = self._what.plan
        if kind is COMMUNITY and (plan is None or plan.ids.get(kind)):
            self._read_all_records(limit)

    def _decide(self, kind: Kind, updated: int, which: str, **values: Any) -> Page:
        rows = scan.read(self._database, self._what, kind, self._known, which, **values)
        plan = self._what.plan if which == scan.PLANNED else None
        found: list[tuple[Any, datetime | None]] = []
        decided: list[Decision] = []
        fieldless: list[str] = []
        for row in rows:
            instant = None
            if isinstance(row, RecordRow):
                decision, instant = decide_record(row, self._earliest, self._now)
            else:
                decision = decide_community(row, self._oldest)
            if plan is not None and (line := plan.lines.get(row.id)):
                decision = carry_out(plan, line, row, decision)
            elif isinstance(decision, Skip) and decision.reason == NOT_IN_RULES:
                fieldless.append(row.id)  # read because we have changed it
                continue
            found.append((row, instant))
            decided.append(decision)
        decisions = sift(self._what, kind, decided, updated)
        page = Page(rows[-1].id if rows else None, decisions, [], [])
        malformed = 0
        for (row, instant), decision in zip(found, decisions, strict=True):
            if isinstance(row, RecordRow):
                malformed += self._add_groups(page, row, decision, instant)
        page = page._replace(malformed_groups=malformed)
        return self._with_gone(kind, page, fieldless)

    def _with_gone(self, kind: Kind, page: Page, fieldless: Collection[str]) -> Page:
        """Add the dates that stand of rows to which the rules give none."""
        is_asked_for = self._what.plan is None and kind in self._what.kinds
        if not (is_asked_for and self._known.has_changes):
            return page
        dateless = [d.id for d in page.decisions if isinstance(d, NoRecords | Problem)]
        ids = [*fieldless, *dateless]
        return page._replace(gone=evidence.of_rows(self._database, kind, ids))

    def _add_groups(
        self, page: Page, row: RecordRow, decision: Decision, instant: datetime | None
    ) -> int:
        """Add what a record means for its communities; count its malformed groups."""
        groups, problems, malformed = read_groups(row)
        page.group_problems.extend(problems)
        decided = decision.decided if isinstance(decision, Change) else row.decided
        own = self._planned.get(row.id, decided.created if decided else None)
        if own is not None:
            instant = own
            row = row._replace(date_text=iso(own))
        if instant is not None:
            page.dated.append((row, instant, groups))
        return malformed
