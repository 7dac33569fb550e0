# SPDX-FileCopyrightText: 2026 kcworks-migrations contributors
# SPDX-License-Identifier: MIT
"""The upgrade between two batches: records first, then communities."""

from collections.abc import Callable, Iterable, Sequence
from copy import deepcopy
from dataclasses import replace
from datetime import UTC, datetime
from typing import NamedTuple

from . import ledger, rules
from .config import Options
from .database import PAUSES_SECONDS, BatchSize, Database
from .interrupt import pause
from .report import Reporter
from .rules import Change, Decision, Problem, RecordRow, Skip
from .scan import Row, Scan
from .summary import result_line


class Decided(NamedTuple):
    """A row and all that follows from it."""

    row: Row
    decision: Decision
    instant: datetime | None = None
    """The valid legacy date of a record."""
    groups: Iterable[str] = ()
    group_problems: Sequence[Problem] = ()


class Upgrade:
    """Changes the rows of one kind after the other, batch by batch."""

    def __init__(
        self,
        database: Database,
        options: Options,
        run: ledger.Run,
        reporter: Reporter,
        check_interrupt: Callable[[], None],
        note: Callable[[str, list[Decision]], None] = lambda kind, decisions: None,
    ) -> None:
        """Begin where the run row stands; look for an interrupt before each batch.

        Args:
            database: The connection.
            options: What to do.
            run: Where to begin.
            reporter: Is told how it goes.
            check_interrupt: Called between two batches; may raise.
            note: Called with the kind and the decisions of each batch that is done.
        """
        self._note = note
        self._check_interrupt = check_interrupt
        self._database = database
        self._options = options
        self._reporter = reporter
        self._size = BatchSize(options.batch_size, options.batch_seconds)
        self._now = datetime.now(UTC)
        self._oldest: dict[str, rules.Oldest] = {}
        self.run = run

    def do(self) -> None:
        """Do what is left of the records and the communities."""
        if self.run.phase == "records":
            if self.run.cursor is not None and "community" in self._options.kinds:
                self._note_oldest_up_to(self.run.cursor)
            if "record" in self._options.kinds:
                self._do_kind("record", "records")
            # All records count for the communities, looked at or not.
            is_partial = self._options.since or "record" not in self._options.kinds
            if is_partial and "community" in self._options.kinds:
                self._note_oldest_up_to(None)
            self._save(replace(self.run, phase="communities", cursor=None))
        elif self.run.phase == "communities" and "community" in self._options.kinds:
            self._note_oldest_up_to(None)
        if self.run.phase == "communities":
            if "community" in self._options.kinds:
                self._do_kind("community", "communities")
            self._save(replace(self.run, phase="reindex", cursor=None))

    def _do_kind(self, kind: str, noun: str) -> None:
        scan = Scan(
            self._database,
            self._options,
            kind,
            self._options.since if kind == "record" else None,
        )
        total, done = self._database.transaction(scan.count, self.run.cursor)
        self._reporter.line(f"Starting {kind} created date updates")
        self._reporter.line(f"Found {total} {noun} with a legacy field")
        with self._reporter.progress(noun, total, done):
            while self._batch(scan, kind, noun):
                self._check_interrupt()
                pause(self._options.delay_seconds, self._check_interrupt)
        if not self._options.is_dry_run:
            self._retry_locked(scan, kind)
        self._reporter.line(result_line(kind, self.run.statistics.of(kind)))

    def _note_oldest_up_to(self, last: str | None) -> None:
        """Read again what an earlier try kept in memory: the oldest date by group."""
        scan = Scan(self._database, self._options, "record", None)
        size = self._options.batch_size
        cursor: str | None = None
        while rows := self._database.transaction(scan.page, cursor, size, last):
            self._note_oldest([self._decide(row) for row in rows])
            cursor = rows[-1].id
            self._check_interrupt()

    def _batch(self, scan: Scan, kind: str, noun: str) -> bool:
        """Do the next batch in one transaction.

        A crash before the commit leaves nothing of it, a crash after it all of it
        with the cursor behind it.

        Returns:
            Whether there was one.
        """

        def work() -> tuple[ledger.Run, list[Decided], list[Decision]]:
            rows = scan.page(self.run.cursor, self._size.rows)
            if not rows:
                return self.run, [], []
            self._reporter.batch(noun, len(rows), self._size.rows)
            decided = [self._decide(row) for row in rows]
            group_problems = [p for d in decided for p in d.group_problems]
            decisions = self._within_limit(kind, [d.decision for d in decided])
            decisions = self._write(kind, decisions, group_problems)
            statistics = deepcopy(self.run.statistics)
            statistics.groups.add(group_problems)
            statistics.of(kind).add(decisions)
            run = replace(
                self.run,
                cursor=rows[-1].id,
                statistics=statistics,
                progress=self._reporter.progress_after(len(rows)),
            )
            self._write_progress(run)
            return run, decided, decisions

        with self._size.measured():
            self.run, decided, decisions = self._database.transaction(work)
        self._note_oldest(decided)
        self._note(kind, decisions)
        self._reporter.decisions(kind, decisions, self._options.is_dry_run)
        self._reporter.advance(len(decisions))
        return bool(decisions)

    def _decide(self, row: Row) -> Decided:
        filters = self._options.filters
        if not isinstance(row, RecordRow):
            decision = rules.decide_community(row, self._oldest)
            return Decided(row, filters.narrow("community", decision))
        decision, instant = rules.decide_record(row, filters, self._now)
        decision = filters.narrow("record", decision)
        if row.legacy_date.type is None:
            return Decided(row, decision)
        return Decided(row, decision, instant, *rules.read_groups(row))

    def _note_oldest(self, decided: Sequence[Decided]) -> None:
        for d in decided:
            if isinstance(d.row, RecordRow) and d.instant is not None:
                rules.note_oldest(self._oldest, d.row, d.instant, d.groups)

    def _within_limit(self, kind: str, decisions: list[Decision]) -> list[Decision]:
        """Skip the changes beyond the limit; the rows still count for communities."""
        if self._options.limit is None:
            return decisions
        left = self._options.limit - self.run.statistics.of(kind).updated
        kept: list[Decision] = []
        for decision in decisions:
            if isinstance(decision, Change):
                left -= 1
                if left < 0:
                    decision = Skip(decision.id, decision.label)
            kept.append(decision)
        return kept

    def _write(
        self, kind: str, decisions: list[Decision], group_problems: Sequence[Problem]
    ) -> list[Decision]:
        """Write the changes and problems; what somebody holds becomes a problem.

        Returns:
            The decisions as they came out. A dry run ends here, and writes nothing.
        """
        if self._options.is_dry_run:
            return decisions
        changes = [d for d in decisions if isinstance(d, Change)]
        written = ledger.write(self._database, self.run.id, kind, changes)
        if len(written) < len(changes):
            decisions = [
                Problem(d.id, d.label, kind, "locked", None)
                if isinstance(d, Change) and d.id not in written
                else d
                for d in decisions
            ]
        problems = [d for d in decisions if isinstance(d, Problem)]
        ledger.write_problems(self._database, self.run.id, [*problems, *group_problems])
        return decisions

    def _write_progress(self, run: ledger.Run) -> None:
        if not self._options.is_dry_run:
            ledger.save_progress(self._database, run)

    def _save(self, run: ledger.Run) -> None:
        self._database.transaction(self._write_progress, run)
        self.run = run

    def _retry_locked(self, scan: Scan, kind: str) -> None:
        """Come back to the rows that somebody held, with growing pauses."""
        size = self._options.batch_size
        for seconds in (*PAUSES_SECONDS, None):
            after: str | None = None
            while ids := self._database.transaction(
                ledger.locked_ids, self._database, self.run.id, kind, after, size
            ):
                self._retry(scan, kind, ids)
                after = ids[-1]
            if after is None or seconds is None:
                return
            pause(seconds, self._check_interrupt)

    def _retry(self, scan: Scan, kind: str, ids: list[str]) -> None:
        def work() -> tuple[ledger.Run, list[Decision]]:
            ledger.delete_locked(self._database, self.run.id, kind, ids)
            rows = scan.by_ids(ids)
            decisions = [self._decide(row).decision for row in rows]
            decisions = self._write(kind, self._within_limit(kind, decisions), ())
            present = {row.id for row in rows}
            gone = [Skip(id, id) for id in ids if id not in present]
            statistics = deepcopy(self.run.statistics)
            statistics.of(kind).errors -= len(ids)
            statistics.of(kind).add([*decisions, *gone])
            run = replace(self.run, statistics=statistics)
            self._write_progress(run)
            return run, decisions

        self.run, decisions = self._database.transaction(work)
        self._reporter.decisions(kind, decisions)
