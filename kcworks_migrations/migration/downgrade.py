# SPDX-FileCopyrightText: 2026 kcworks-migrations contributors
# SPDX-License-Identifier: MIT
"""The way back: restores what stands, the newest change first."""

from functools import partial

from ..database import PAUSES_SECONDS, Database
from ..errors import RefusedError
from ..interrupt import tries
from ..kinds import COMMUNITY, RECORD, Kind
from ..ledger import entries, pending, problems, standing
from ..ledger.entries import Restoration
from ..ledger.runs import Run
from ..ledger.standing import Selection
from ..rules.values import Change, Decision, Problem, Skip
from ..text import COMMAND, counted, show
from .work import Work, not_stored

KINDS = (COMMUNITY, RECORD)


class Downgrade:
    """Restores every selected change that stands, batch by batch."""

    def __init__(self, work: Work, selection: Selection) -> None:
        """Keep what the work needs, and which changes to restore."""
        self._work = work
        self._database = work.database
        self._selection = selection
        self._refused = 0
        """Rows of the last look that did not take their old date."""
        self._is_listing = False
        """Whether these become problems; each look meets them again."""

    def do(self) -> str:
        """Restore what can be, coming back to locked rows with growing pauses.

        Returns:
            Why some changes still stand; empty if none does.
        """
        # The run before may have made all entries: unknown to the planner so far.
        self._database.transaction(pending.analyze, self._database)
        left = self._reachable()
        self._work.reporter.line("Restoring created dates...")
        self._work.reporter.line(f"Found {counted(left, 'change')} to restore")
        with self._work.reporter.phase(self._work.begin_phase("changes", left)):
            for is_last in tries(PAUSES_SECONDS, self._database.check_stop):
                left = self._restore_all(left)
                if left <= self._refused or is_last:
                    break
            if self._refused:
                self._is_listing = True
                left = self._look()
        return self._why(left - self._refused)

    def _why(self, locked: int) -> str:
        facts = []
        if self._refused:
            rows = counted(self._refused, "row")
            facts.append(
                f"{rows} did not take the old date: a trigger, or the type of the"
                " column, keeps another and must be changed first"
                f" (`{COMMAND} problems --run {self._work.run.id}`)."
            )
        if locked > 0:
            rows = counted(locked, "row")
            facts.append(f"{rows} stayed locked by another session at every attempt.")
        return " ".join(facts)

    def _restore_all(self, left: int) -> int:
        """Go through the entries as long as that restores some.

        Each time through can bring entries into reach that others built on.

        Returns:
            How many stand.
        """
        before = left + 1
        while left and left != before:
            before, left = left, self._look()
        return left

    def _look(self) -> int:
        """Go through the entries once; return how many stand."""
        self._refused = 0
        for kind in KINDS:
            self._restore_kind(kind)
        return self._reachable()

    def _reachable(self) -> int:
        count = partial(standing.count_reachable, self._database, self._selection)
        return sum(self._database.transaction(count, kind) for kind in KINDS)

    def _restore_kind(self, kind: Kind) -> None:
        before: int | None = None
        tell = partial(self._work.reporter.restorations, kind)
        while found := self._work.batch(partial(self._restore, kind, before), tell):
            before = found[0].entry_id
            self._refused += sum(r.outcome == "refused" for r in found)
            self._work.between()

    def _restore(self, kind: Kind, before: int | None, run: Run) -> list[Restoration]:
        """Restore a batch, write its problems, and count it in the run."""
        restorations = entries.restore(
            self._database, self._selection, kind, before, self._work.batch_rows
        )
        decisions = [
            decision
            for r in restorations
            if (self._is_listing or r.outcome != "refused")
            and (decision := _decision(kind, r))
        ]
        found = [d for d in decisions if isinstance(d, Problem)]
        problems.write(self._database, run.id, kind, found)
        run.statistics = run.statistics.plus(kind, decisions)
        if run.progress is not None and restorations:
            run.progress = run.progress.after(len(decisions))
        return restorations


def _decision(kind: Kind, r: Restoration) -> Decision | None:
    """Give what is counted: a change back, a row that is gone, or one that changed.

    Returns:
        The decision; none for a row that is locked and comes again.
    """
    if r.outcome == "restored":
        return Change(r.id, r.label, r.new_created, r.old_created, "the ledger")
    if r.outcome == "deleted":
        return Skip(r.id, r.label, "gone")
    if r.outcome == "refused":
        value = not_stored(r.old_created, r.present_created)
        return Problem(r.id, r.label, kind.name, "not_stored", value)
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
