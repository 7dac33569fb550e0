# SPDX-FileCopyrightText: 2026 kcworks-migrations contributors
# SPDX-License-Identifier: MIT
"""A rehearsal: a few real rows there and back under one lock, compared byte by byte.

It is made of the same upgrade, indexing and downgrade as the whole. A crash leaves an
ordinary run with the action ``rehearse``: `update` does the rest, `rollback` undoes it.
"""

import time
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from sqlalchemy.engine import Engine

from ..config import How, What
from ..database import Database
from ..errors import CreatedDatesError, RefusedError
from ..index import compare, outbox
from ..index.health import Gate
from ..interrupt import never
from ..ledger import pending, plans, runs
from ..ledger.runs import Run
from ..ledger.standing import Selection, ids_of_run
from ..ledger.statistics import Statistics
from ..migration.downgrade import Downgrade
from ..migration.names import check_names
from ..migration.page import Page
from ..migration.run import said, working
from ..migration.upgrade import Upgrade
from ..migration.work import Work
from ..report.reporter import Reporter
from ..text import COMMAND, counted
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
        plans.check(database)
        if waiting := pending.count(database):
            raise RefusedError(
                f"{counted(waiting, 'change')} pending reindexing would be indexed by"
                " the rehearsal as well.",
                f"run `{COMMAND} reindex --wait` first.",
            )
        kept = what.kept() | {"limit": limit}
        return runs.begin(database, "rehearse", "cli", kept, reason)

    with working(engine, how, reporter, "cli", begin) as work:
        seen = _do(work, what, limit)
        message = f"{seen.rows} rows there and back, {len(seen.wrong)} not right"
        work.end(message)
    return seen


def _do(work: Work, what: What, limit: int) -> Rehearsal:
    """Choose rows, change them, look, restore them, and look again."""
    seen = Rehearsal(work.run.id)
    work.reporter.line("Rehearsal: choosing rows")
    chosen, seen.rows_in_all = choose(work.database, what, work.how, limit)
    seen.rows = sum(map(len, chosen.values()))
    if not seen.rows:
        return seen
    before = _row_sums(work.database, chosen)
    try:
        work.reporter.line(f"Rehearsal: changing {seen.rows} of them")
        seen.locked = _change(work, what, chosen)
        _index_and_look(work, chosen, before, seen, is_changed=True)
    except BaseException as error:
        _restore(work)
        raise CreatedDatesError(
            f"The rehearsal failed (run {seen.run_id}): {said(error)}",
            "Its rows are as they were before.",
        ) from error
    _restore(work)
    _index_and_look(work, chosen, before, seen, is_changed=False)
    return seen


def _change(work: Work, what: What, chosen: Chosen) -> int:
    """Change the rows; leave out of the chosen those that stay locked, and count them.

    Returns:
        How many stayed locked.
    """
    upgrade, size, locked = Upgrade(work, what), work.how.batch_size, 0
    for kind, changes in chosen.items():
        for start in range(0, len(changes), size):
            rows = changes[start : start + size]
            upgrade.batch(kind, partial(Page, None, list(rows), [], []))
            work.between()
        upgrade.retry_locked(kind)
        changed = work.database.transaction(
            ids_of_run, work.database, work.run.id, kind
        )
        chosen[kind] = [change for change in changes if change.id in changed]
        locked += len(changes) - len(chosen[kind])
    return locked


def _restore(work: Work) -> None:
    """Restore the rows, also when somebody has asked to stop.

    Raises:
        CreatedDatesError: They are still changed.
    """
    work.reporter.line("Rehearsal: restoring them")
    work.between = work.database.check_stop = never
    work.run.statistics = Statistics()  # or all would be counted twice
    try:
        fact = Downgrade(work, Selection(work.run.id)).do()
    except BaseException as error:
        fact = said(error)
    if fact:
        raise CreatedDatesError(
            f"The rehearsal (run {work.run.id}) could not restore its rows: {fact}"
            " Those are still changed.",
            f"`{COMMAND} rollback --run {work.run.id}` restores them;"
            f" `{COMMAND} update` changes all others as well.",
        )


def _index_and_look(
    work: Work, chosen: Chosen, before: Sums, seen: Rehearsal, is_changed: bool
) -> None:
    """Index what is pending here, and compare the rows and their documents."""
    work.reporter.line("Rehearsal: indexing them, and looking")
    gate = Gate(work.how, work.reporter, work.between)
    began = time.monotonic()
    sent = outbox.index_here(work.database, gate, lambda entries: work.between())
    seen.index_seconds += time.monotonic() - began
    seen.documents += sent.sent
    wrong = [sent.error] * bool(sent.error)
    wrong += [f"{sent.refused} documents were refused"] * bool(sent.refused)
    _compare_rows(work.database, chosen, before, seen, is_changed)
    for kind, changes in chosen.items():
        ids = [change.id for change in changes]
        wrong += compare.wrong_documents(work.database, kind, ids)
    seen.wrong += [f"the index: {sentence}" for sentence in wrong]


def _row_sums(database: Database, chosen: Chosen) -> Sums:
    sums: Sums = {}
    for kind, changes in chosen.items():
        ids = [change.id for change in changes]
        read = database.execute_on
        rows = database.transaction(read, kind, SELECT_ROW_SUMS, ids=ids)
        sums |= {id: tuple(values) for id, *values in rows}
    return sums


def _compare_rows(
    database: Database, chosen: Chosen, before: Sums, seen: Rehearsal, is_changed: bool
) -> None:
    after = _row_sums(database, chosen)
    seen.edited = 0
    for kind, changes in chosen.items():
        for change in changes:
            old, now = before.get(change.id), after.get(change.id)
            if old is None or now is None or old[0] != now[0]:
                seen.edited += 1
                continue
            created = change.new_created if is_changed else old[2]
            if now[1:] != (old[1], created):
                when = "changed" if is_changed else "restored"
                seen.wrong.append(
                    f"{kind} {change.label}: not as it should be when {when}"
                )
