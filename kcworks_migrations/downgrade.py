# SPDX-FileCopyrightText: 2026 kcworks-migrations contributors
# SPDX-License-Identifier: MIT
"""The downgrade between two batches: the newest changes are restored first."""

from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass, replace
from typing import Any

from . import ledger
from .config import Options
from .database import PAUSES_SECONDS, BatchSize, Database
from .dates import show
from .errors import LaterRunsError, RehearsalOvertakenError
from .interrupt import pause
from .ledger import Restoration
from .report import Reporter
from .rules import Decision, Problem, Skip
from .summary import counted

KINDS = ("community", "record")


@dataclass(frozen=True)
class Selection:
    """Which changes are put back: all, or those of a run or of some rows."""

    run_id: int | None = None
    records: tuple[str, ...] = ()
    """PIDs or UUIDs."""
    communities: tuple[str, ...] = ()
    """Slugs or UUIDs."""

    @property
    def is_of_whole_runs(self) -> bool:
        """Tell whether no rows are named."""
        return not (self.records or self.communities)

    def of_run(self) -> dict[str, Any]:
        """Give what the run row keeps; nothing for all."""
        kept = {"run": self.run_id, "records": self.records}
        kept["communities"] = self.communities
        return {name: value for name, value in kept.items() if value}

    def labels(self, kind: str) -> list[str] | None:
        """Give the names of the rows of a kind; none for all of them."""
        if self.is_of_whole_runs:
            return None
        return list(self.records if kind == "record" else self.communities)

    def check(self, database: Database) -> None:
        """Refuse a run whose rows later runs changed again, or found right.

        Put back before those, rows would be left at a middle value; put back after a
        run that found them right, they would be wrong where it has succeeded.

        Raises:
            LaterRunsError: Later runs changed rows again; nothing was changed.
            RehearsalOvertakenError: A run has found the rows of a rehearsal right.
        """
        if self.run_id is None:
            return
        labels = {kind: self.labels(kind) for kind in KINDS}
        if later := ledger.later_runs(database, self.run_id, labels):
            names = [f" --record {name}" for name in self.records]
            names += [f" --community {name}" for name in self.communities]
            raise LaterRunsError(self.run_id, later, "".join(names))
        if since := ledger.run_since(database, self.run_id):
            raise RehearsalOvertakenError(self.run_id, *since)


class Downgrade:
    """Restores every change that stands, batch by batch."""

    def __init__(
        self,
        database: Database,
        options: Options,
        run: ledger.Run,
        reporter: Reporter,
        check_interrupt: Callable[[], None],
        selection: Selection,
    ) -> None:
        """Begin where the ledger stands: closed entries are done."""
        self._selection = selection
        self._check_interrupt = check_interrupt
        self._database = database
        self._reporter = reporter
        self._size = BatchSize(options.batch_size, options.batch_seconds)
        self.run = run

    def do(self) -> int:
        """Restore what can be, coming back to locked rows with growing pauses.

        Returns:
            How many changes still stand because somebody held their rows.
        """
        standing = self._standing()
        self._reporter.line("Starting restoration of created dates")
        self._reporter.line(f"Found {counted(standing, 'change')} to restore")
        pauses = iter(PAUSES_SECONDS)
        with self._reporter.progress("changes", standing, 0):
            while standing:
                for kind in KINDS:
                    self._restore_all(kind)
                left = self._standing()
                # Each time through can bring entries into reach that others built on.
                if left == standing:
                    seconds = next(pauses, None)
                    if seconds is None:
                        break
                    pause(seconds, self._check_interrupt)
                standing = left
        return standing

    def _standing(self) -> int:
        def count() -> int:
            return sum(
                ledger.count_standing(
                    self._database,
                    kind,
                    self._selection.run_id,
                    self._selection.labels(kind),
                )
                for kind in KINDS
            )

        return self._database.transaction(count)

    def _restore_all(self, kind: str) -> None:
        before = None
        while (lowest := self._batch(kind, before)) != before:
            before = lowest
            self._check_interrupt()

    def _batch(self, kind: str, before: int | None) -> int | None:
        """Restore the next entries in one transaction.

        A crash before the commit leaves every entry of the batch open, a crash after
        it leaves them closed: in both cases the next try does what is left.

        Returns:
            The lowest entry of the batch.
        """

        def work() -> tuple[ledger.Run, list[Restoration], int | None]:
            restorations, lowest = ledger.restore(
                self._database,
                self._selection.run_id,
                kind,
                before,
                self._size.rows,
                self._selection.labels(kind),
            )
            if not restorations:
                return self.run, [], lowest
            self._reporter.batch("changes", len(restorations), self._size.rows)
            decisions = [_decision(kind, r) for r in restorations if r.outcome]
            problems = [d for d in decisions if isinstance(d, Problem)]
            ledger.write_problems(self._database, self.run.id, problems)
            statistics = deepcopy(self.run.statistics)
            tally = statistics.of(kind)
            tally.add([d for d in decisions if d is not None])
            tally.updated += sum(r.outcome == "restored" for r in restorations)
            done = sum(r.outcome is not None for r in restorations)
            progress = self._reporter.progress_after(done)
            run = replace(self.run, statistics=statistics, progress=progress)
            ledger.save_progress(self._database, run)
            return run, restorations, lowest

        with self._size.measured():
            self.run, restorations, lowest = self._database.transaction(work)
        self._reporter.restorations(kind, restorations)
        self._reporter.advance(sum(r.outcome is not None for r in restorations))
        return lowest


def _decision(kind: str, r: Restoration) -> Decision | None:
    """Give what is counted beside the restored rows: gone ones and changed ones."""
    if r.outcome == "deleted":
        return Skip(r.id, r.label)
    if r.outcome == "changed_since":
        value = (
            f"was {show(r.old_created)}, migrated to {show(r.new_created)},"
            f" is {r.present_created}"
        )
        return Problem(r.id, r.label, kind, "changed_since", value)
    return None
