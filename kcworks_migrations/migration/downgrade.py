# SPDX-FileCopyrightText: 2026 kcworks-migrations contributors
# SPDX-License-Identifier: MIT
"""The way back: restores what stands, the newest change first."""

from collections.abc import Sequence
from dataclasses import replace

from ..database import PAUSES_SECONDS, Database
from ..errors import RefusedError
from ..interrupt import tries
from ..kinds import COMMUNITY, RECORD, Kind
from ..ledger import entries, pending, problems, standing
from ..ledger.entries import Restoration
from ..ledger.runs import Run
from ..ledger.standing import Selection
from ..rules.values import Decision, Problem, Skip
from ..text import COMMAND, counted, show
from .work import Work

KINDS = (COMMUNITY, RECORD)


class Downgrade:
    """Restores every selected change that stands, batch by batch."""

    def __init__(self, work: Work, selection: Selection) -> None:
        """Keep what the work needs, and which changes to restore."""
        self._work = work
        self._database = work.database
        self._selection = selection

    def do(self) -> int:
        """Restore what can be, coming back to locked rows with growing pauses.

        Returns:
            How many changes still stand because their rows were locked.
        """
        # The run before may have made all entries: unknown to the planner so far.
        self._database.transaction(pending.analyze, self._database)
        left = self._reachable()
        self._work.reporter.line("Restoring created dates...")
        self._work.reporter.line(f"Found {counted(left, 'change')} to restore")
        with self._work.reporter.phase(self._work.begin_phase("changes", left)):
            for is_last in tries(PAUSES_SECONDS, self._database.check_stop):
                left = self._restore_all(left)
                if not left or is_last:
                    break
        return left

    def _restore_all(self, left: int) -> int:
        """Go through the entries as long as that restores some.

        Each time through can bring entries into reach that others built on.

        Returns:
            How many stand.
        """
        before = left + 1
        while left and left != before:
            before = left
            for kind in KINDS:
                self._restore_kind(kind)
            left = self._reachable()
        return left

    def _reachable(self) -> int:
        def count() -> int:
            return sum(
                standing.count_reachable(self._database, self._selection, kind)
                for kind in KINDS
            )

        return self._database.transaction(count)

    def _restore_kind(self, kind: Kind) -> None:
        before: int | None = None

        def restore(run: Run) -> tuple[list[Restoration], int | None]:
            found, lowest = entries.restore(
                self._database, self._selection, kind, before, self._work.size.rows
            )
            self._count(kind, found, run)
            return found, lowest

        def tell(result: tuple[list[Restoration], int | None]) -> None:
            self._work.reporter.restorations(kind, result[0])

        while True:
            assert self._work.run.progress is not None
            self._work.reporter.batch(self._work.run.progress, self._work.size.rows)
            restorations, lowest = self._work.batch(restore, tell)
            if not restorations:
                return
            before = lowest
            self._work.between()

    def _count(self, kind: Kind, restorations: Sequence[Restoration], run: Run) -> None:
        """Write the problems of a batch, and count it in the run."""
        decisions = [d for r in restorations if (d := _decision(kind, r))]
        found = [d for d in decisions if isinstance(d, Problem)]
        problems.write(self._database, run.id, found)
        tally = run.statistics.of(kind).plus(decisions)
        restored = sum(r.outcome == "restored" for r in restorations)
        tally = replace(tally, updated=tally.updated + restored)
        run.statistics = replace(run.statistics, **{kind.plural: tally})
        done = sum(r.outcome is not None for r in restorations)
        if run.progress is not None and restorations:
            run.progress = run.progress.after(done)


def _decision(kind: Kind, r: Restoration) -> Decision | None:
    """Give what is counted beside the restored rows: gone ones and changed ones."""
    if r.outcome == "deleted":
        return Skip(r.id, r.label, "gone")
    if r.outcome == "changed_since":
        value = (
            f"was {show(r.old_created)}, migrated to {show(r.new_created)},"
            f" is {r.present_created}"
        )
        return Problem(r.id, r.label, kind.name, "changed_since", value)
    return None


def check_selection(database: Database, selection: Selection) -> None:
    """Refuse a run whose rows later runs changed again.

    Restored before those, rows would be left at a middle value.

    Raises:
        RefusedError: Later runs changed rows again; nothing was changed.
    """
    if selection.run_id is None:
        return
    later = standing.later_runs(database, selection, KINDS)
    if not later:
        return
    names = [f" --record {name}" for name in selection.records]
    names += [f" --community {name}" for name in selection.communities]
    listed = ", ".join(f"{rows} by run {id}" for id, rows in later.items())
    chosen = "".join(names)
    raise RefusedError(
        f"Run {selection.run_id} can't be rolled back before the runs that changed its"
        f" rows again: {listed}.",
        f"roll the later run back first, `{COMMAND} rollback --run"
        f" {max(later)}{chosen}`, or all runs in the right order:"
        f" `{COMMAND} rollback{chosen}`.",
    )
