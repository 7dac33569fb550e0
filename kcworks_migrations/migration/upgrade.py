# SPDX-FileCopyrightText: 2026 kcworks-migrations contributors
# SPDX-License-Identifier: MIT
"""The way forward: decides and writes batch by batch, records before communities."""

from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import replace
from functools import partial
from typing import Any

from ..database import PAUSES_SECONDS
from ..interrupt import pause, tries
from ..kinds import Kind
from ..ledger import entries, problems, runs
from ..ledger.entries import Written
from ..ledger.runs import Run
from ..options import What
from ..report.lines import found_line, result_line
from ..report.plan import PlanView
from ..rules.values import Change, Problem, Skip
from .decisions import Decisions
from .page import Page
from .plan import add_lines
from .work import Work, not_stored


class Upgrade:
    """Changes the rows of one kind after the other."""

    def __init__(self, work: Work, what: What) -> None:
        """Keep what the work needs, and what to do."""
        self._work = work
        self._database = work.database
        self._what = what
        self._decisions = Decisions(work.database, what)
        self._already: dict[Kind, int] = {}
        if what.plan is not None:
            work.summary.plan = PlanView(what.plan)

    def do(self) -> None:
        """Change every row that was asked for.

        Raises:
            RunStoppedError: Somebody asked to stop.
        """
        for kind in self._what.kinds:
            self._decisions.read_oldest(kind, self._work.how.batch_size)
            self._do_kind(kind)

    def _do_kind(self, kind: Kind) -> None:
        work, reporter = self._work, self._work.reporter
        reporter.line(f"Updating {kind} created dates...")
        total = self._decisions.count(kind)
        reporter.line(found_line(kind, total, self._what.plan))
        self._already[kind] = self._database.transaction(
            runs.changed_by_task, self._database, work.run, kind.name
        )
        cursor: str | None = None

        def read() -> Page:
            updated = self._updated(kind)
            return self._decisions.page(kind, cursor, work.batch_rows, updated)

        with reporter.phase(work.begin_phase(kind.plural, total)):
            while (page := self.batch(kind, read)).cursor is not None:
                cursor = page.cursor
                work.between()
                if page.changes:
                    pause(work.how.delay, self._database.check_stop)
        self.retry_locked(kind)
        reporter.line(result_line(kind, work.run.statistics.of(kind)))

    def _updated(self, kind: Kind) -> int:
        """Count what the limit counts: this run's rows, and this task's before it."""
        updated = self._work.run.statistics.of(kind).updated
        return updated + self._already.get(kind, 0)

    def batch(self, kind: Kind, read: Callable[[], Page]) -> Page:
        """Decide and write the next batch.

        Args:
            kind: Records or communities.
            read: Gives the decisions, in the transaction.

        Returns:
            The decisions as they came out; without a cursor when there was no row.

        Raises:
            RunStoppedError: The command `stop` asked for it; the batch is committed.
        """
        return self._work.batch(
            lambda run: self._write(kind, read(), run), partial(self._tell, kind)
        )

    def _tell(self, kind: Kind, page: Page, is_last: bool = False) -> None:
        """Tell the decisions of a committed page; let its records or lines count.

        Those that were locked count when they are decided again, or at the last try.
        """
        self._work.reporter.decisions(kind, page.decisions)
        locked = {p.id for p in page.problems if p.reason == "locked"}
        if is_last:
            locked.clear()
        if (view := self._work.summary.plan) is None:
            self._decisions.note(page, locked)
        else:
            decisions = [d for d in page.decisions if d.id not in locked]
            add_lines(view, self._database, kind, decisions)

    def _write(self, kind: Kind, page: Page, run: Run, is_last: bool = False) -> Page:
        """Write a page, and count it in the run.

        Returns:
            The page, with a problem for each change whose row was locked or had
            changed, or did not become what was asked.
        """
        # Before the changes, so that nobody waits for it: these lock their rows.
        met = [*page.problems, *page.gone]
        problems.write(self._database, run.id, kind, met)
        changes = page.changes
        written = entries.write(self._database, run.id, kind, changes)
        if len(written.done) < len(changes):
            undone = {
                change.id: _problem(kind, change, written)
                for change in changes
                if change.id not in written.done
            }
            decisions = [undone.get(d.id, d) for d in page.decisions]
            page = page._replace(decisions=decisions)
            problems.write(self._database, run.id, kind, [*undone.values()], is_last)
        run.statistics = run.statistics.plus(
            kind, page.decisions, page.malformed_groups, len(page.gone)
        )
        if run.progress is not None and page.cursor is not None:
            run.progress = run.progress.after(len(page.decisions))
        return page

    def retry_locked(self, kind: Kind) -> None:
        """Come back to the rows that were locked, with growing pauses."""
        size = self._work.how.batch_size
        run_id = self._work.run.id
        for is_last in tries(PAUSES_SECONDS, self._database.check_stop):
            is_done = True
            with closing(problems.locked(self._database, run_id, kind, size)) as pages:
                for found in pages:
                    is_done = False
                    self._work.batch(
                        partial(self._retry, kind, found, is_last),
                        partial(self._tell, kind, is_last=is_last),
                    )
            if is_last or is_done:
                return

    def _retry(self, kind: Kind, found: Sequence[Any], is_last: bool, run: Run) -> Page:
        """Decide and write rows again that were problems so far."""
        problems.delete_locked(self._database, [problem.id for problem in found])
        ids = [problem.entity_id for problem in found]
        tally = run.statistics.of(kind)
        tally = replace(tally, errors=tally.errors - len(ids))
        counted: dict[str, Any] = {kind.plural: tally}
        run.statistics = replace(run.statistics, **counted)
        page = self._decisions.of(kind, ids, self._updated(kind))
        present = {d.id for d in page.decisions}
        gone = [Skip(id, id, "gone") for id in ids if id not in present]
        # Its groups were counted and told the first time.
        page = page._replace(
            cursor=None,
            decisions=[*page.decisions, *gone],
            group_problems=[],
            malformed_groups=0,
        )
        return self._write(kind, page, run, is_last)


def _problem(kind: Kind, change: Change, written: Written) -> Problem:
    """Say why a change was not made."""
    reason, value = "locked", None
    if change.id in written.refused:
        value = not_stored(change.new_created, written.refused[change.id])
        reason = "not_stored"
    return Problem(change.id, change.label, kind.name, reason, value, change.group_id)
