# SPDX-FileCopyrightText: 2026 kcworks-migrations contributors
# SPDX-License-Identifier: MIT
"""A rehearsal: a few real rows there and back under one lock, compared byte by byte.

It is made of the same upgrade, indexing and downgrade as the whole. A crash leaves an
ordinary run with the action ``rehearse``: `update` does the rest, `rollback` undoes it.
"""

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from typing import Any

from sqlalchemy.engine import Engine
from sqlalchemy.exc import DBAPIError

from ..config import How, What
from ..database import Database, said_by
from ..errors import CreatedDatesError, RefusedError
from ..index import outbox, verify
from ..index.health import Gate
from ..interrupt import never
from ..kinds import Kind
from ..ledger import pending, runs
from ..ledger.runs import Run
from ..ledger.standing import Selection, ids_of_run
from ..ledger.statistics import Statistics
from ..migration.decisions import Page, check_names
from ..migration.downgrade import Downgrade
from ..migration.run import working
from ..migration.upgrade import Upgrade
from ..migration.work import Work
from ..report.reporter import Reporter
from ..text import COMMAND, counted, escape
from .choice import Chosen, choose

# The version, a checksum of all columns but `created`, and `created`, exactly.
SELECT_ROW_SUMS = (
    "SELECT t.id::text, t.version_id, md5((to_jsonb(t) - 'created')::text), {created}"
    " FROM {table} AS t WHERE t.id = ANY(CAST(:ids AS uuid[]))"
)

Sums = dict[str, tuple[Any, ...]]


@dataclass
class Rehearsal:
    """What was seen."""

    run_id: int
    rows: int = 0
    rows_in_all: int = 0
    """Rows that the whole run would change."""
    documents: int = 0
    """Documents that were indexed, there and back."""
    index_seconds: float = 0
    """How long that took."""
    locked: int = 0
    """Rows that stayed locked by somebody and were left out."""
    edited: int = 0
    """Rows that somebody edited meanwhile; they are not compared."""
    wrong: list[str] = field(default_factory=list)
    """What was not as it should be."""

    def as_dict(self) -> dict[str, Any]:
        """Give what is printed as JSON."""
        return asdict(self)


def rehearse(
    engine: Engine,
    what: What,
    how: How,
    limit: int,
    reporter: Reporter,
    reason: str | None = None,
) -> Rehearsal:
    """Change some rows, look, restore them, and look again.

    Args:
        engine: The engine of the instance's database; an app context is needed.
        what: What the whole run is to do.
        how: How to do it.
        limit: The most rows to change.
        reporter: Is told how it goes.
        reason: Why, for the run row.

    Returns:
        What was seen; no rows when no date would change.

    Raises:
        RefusedError: The database can't be used; nothing was changed.
        RunInProgressError: Another run is at work; nothing was changed.
        RunFailedError: Something failed; what was changed is restored, if it can be.
        RunStoppedError: Somebody asked to stop, with the same consequence.
    """

    def begin(database: Database) -> Run:
        check_names(database, what)
        if waiting := pending.count(database):
            raise RefusedError(
                f"{counted(waiting, 'change')} pending reindexing would be indexed by"
                " the rehearsal as well.",
                f"run `{COMMAND} reindex --wait` first.",
            )
        kept = what.kept() | {"limit": limit}
        return runs.begin(database, "rehearse", "cli", kept, reason)

    with working(engine, how, reporter, "cli", begin) as work:
        seen = _Steps(work, what).do(limit)
        message = f"{seen.rows} rows there and back, {len(seen.wrong)} not right"
        work.end(message)
    return seen


class _Steps:
    """The steps of a rehearsal."""

    def __init__(self, work: Work, what: What) -> None:
        self._work = work
        self._database = work.database
        self._reporter = work.reporter
        self._what = what
        self._seen = Rehearsal(work.run.id)

    def do(self, limit: int) -> Rehearsal:
        """Choose rows, change them, look, restore them, and look again."""
        self._reporter.line("Rehearsal: choosing rows")
        chosen, self._seen.rows_in_all = choose(
            self._database, self._what, self._work.how, limit, self._database.check_stop
        )
        self._seen.rows = sum(map(len, chosen.values()))
        if not self._seen.rows:
            return self._seen
        before = self._row_sums(chosen)
        try:
            self._reporter.line(f"Rehearsal: changing {self._seen.rows} of them")
            self._change(chosen)
            self._index_and_look(chosen, before, is_changed=True)
        except BaseException as error:
            self._restore()
            raise CreatedDatesError(
                f"The rehearsal failed (run {self._seen.run_id}): {_said(error)}",
                "Its rows are as they were before.",
            ) from error
        self._restore()
        self._index_and_look(chosen, before, is_changed=False)
        return self._seen

    def _change(self, chosen: Chosen) -> None:
        """Change the rows; those that stay locked are left out of the rehearsal."""
        upgrade, size = Upgrade(self._work, self._what), self._work.how.batch_size
        for kind, changes in chosen.items():
            for start in range(0, len(changes), size):
                rows = changes[start : start + size]
                upgrade.batch(kind, partial(Page, None, list(rows), [], []))
                self._work.between()
            upgrade.retry_locked(kind)
            changed = self._database.transaction(
                ids_of_run, self._database, self._seen.run_id, kind
            )
            chosen[kind] = [change for change in changes if change.id in changed]
            self._seen.locked += len(changes) - len(chosen[kind])

    def _restore(self) -> None:
        """Restore the rows, also when somebody has asked to stop.

        Raises:
            CreatedDatesError: They are still changed.
        """
        self._reporter.line("Rehearsal: restoring them")
        self._work.between = self._database.check_stop = never
        self._work.run.statistics = Statistics()  # or all would be counted twice
        run_id = self._seen.run_id
        try:
            left = Downgrade(self._work, Selection(run_id)).do()
            fact = f"{counted(left, 'row')} stayed locked." if left else ""
        except BaseException as error:
            fact = _said(error)
        if fact:
            raise CreatedDatesError(
                f"The rehearsal (run {run_id}) could not restore its rows: {fact} Those"
                " are still changed.",
                f"`{COMMAND} rollback --run {run_id}` restores them; `{COMMAND} update`"
                " changes all others as well.",
            )

    def _index_and_look(self, chosen: Chosen, before: Sums, is_changed: bool) -> None:
        """Index what is pending here, and compare the rows and their documents."""
        self._reporter.line("Rehearsal: indexing them, and looking")
        gate = Gate(self._work.how, self._reporter, self._work.between)
        began = time.monotonic()
        sent = outbox.correct(self._database, gate, self._advance)
        self._seen.index_seconds += time.monotonic() - began
        self._seen.documents += sent.sent
        wrong = [sent.error] * bool(sent.error)
        wrong += [f"{sent.refused} documents were refused"] * bool(sent.refused)
        self._compare_rows(chosen, before, is_changed)
        for kind, changes in chosen.items():
            ids = [change.id for change in changes]
            wrong += verify.wrong_documents(self._database, kind, ids)
        self._seen.wrong += [f"the index: {sentence}" for sentence in wrong]

    def _advance(self, entries: int) -> None:
        self._work.between()

    def _row_sums(self, chosen: Chosen) -> Sums:
        def read(kind: Kind, ids: Sequence[str]) -> Sums:
            rows = self._database.execute_on(kind, SELECT_ROW_SUMS, ids=list(ids))
            return {id: tuple(sums) for id, *sums in rows}

        sums: Sums = {}
        for kind, changes in chosen.items():
            sums |= self._database.transaction(read, kind, [c.id for c in changes])
        return sums

    def _compare_rows(self, chosen: Chosen, before: Sums, is_changed: bool) -> None:
        after = self._row_sums(chosen)
        self._seen.edited = 0
        for kind, changes in chosen.items():
            for change in changes:
                old, now = before.get(change.id), after.get(change.id)
                if old is None or now is None or old[0] != now[0]:
                    self._seen.edited += 1
                    continue
                created = change.new_created if is_changed else old[2]
                if now[1:] != (old[1], created):
                    when = "changed" if is_changed else "restored"
                    self._seen.wrong.append(
                        f"{kind} {change.label}: not as it should be when {when}"
                    )


def _said(error: BaseException) -> str:
    if isinstance(error, DBAPIError):
        return f"the database says: {said_by(error)}."
    return escape(str(error)) or f"{type(error).__name__}."
