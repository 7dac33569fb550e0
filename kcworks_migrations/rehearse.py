# SPDX-FileCopyrightText: 2026 kcworks-migrations contributors
# SPDX-License-Identifier: MIT
"""A rehearsal: a few real rows there and back, compared byte by byte, and a forecast.

It is made of the same upgrade, indexing and downgrade as the whole. A crash leaves an
ordinary run with the origin ``rehearse``, which `rollback` undoes as any other.
"""

import logging
import time
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from invenio_indexer.proxies import current_indexer_registry
from invenio_search import current_search_client
from invenio_search.engine import search
from invenio_search.utils import build_alias_name
from sqlalchemy.engine import Engine

from . import migration, queries, verify
from .config import Options
from .database import Database, opened
from .downgrade import Selection
from .drain import drain
from .dry_run import foretell
from .errors import (
    LaterRunsError,
    RehearsalFailedError,
    RehearsalOvertakenError,
    RunInProgressError,
)
from .estimate import Estimate
from .health import Gate
from .names import INDEXER_OF_KIND
from .report import Reporter
from .rules import Change, Decision, Planned, escape
from .summary import Summary

KINDS = tuple(queries.TABLE_OF_KIND)
CANDIDATES = 1000
"""Changes of each shape among which the rows are chosen."""

LOCK_SECONDS = 10
"""How long to wait while another run is at work, before trying to put rows back."""

COMMUNITY_SHARE = 5
"""One chosen row in so many is a community: with it come all documents that hold it."""


class _Quiet(Reporter):
    """Tells how it goes, but not the end of the runs that a rehearsal is made of."""

    gives_notice = False

    def end(self, summary: Summary) -> None:
        """Say nothing."""


@dataclass
class Rehearsal:
    """What was seen."""

    run_id: int | None = None
    rows: int = 0
    documents: int = 0
    """Documents that were indexed, there and back."""
    edited: int = 0
    """Rows that somebody edited meanwhile; they are not compared."""
    wrong: list[str] = field(default_factory=list)
    """What was not as it should be."""
    forecast: Estimate | None = None
    """Of the whole, the drain with the speed that was seen here."""

    def as_dict(self) -> dict[str, Any]:
        """Give what is printed as JSON."""
        return asdict(self)


class Choice:
    """Chooses rows of all shapes while a dry run passes by."""

    def __init__(self) -> None:
        """Nothing was seen yet."""
        self._shapes: dict[tuple[Any, ...], list[Change]] = {}

    def note(self, kind: str, decisions: list[Decision]) -> None:
        """Look at a batch."""
        for d in decisions:
            if isinstance(d, Change):
                new = d.new_created
                is_odd = (new.microsecond > 0, new.year < 1970, d.label == d.id)
                shape = (kind, d.is_later_version, *is_odd)
                seen = self._shapes.setdefault(shape, [])
                if len(seen) < CANDIDATES:
                    seen.append(d)

    def rows(self, database: Database, limit: int) -> dict[str, list[Change]]:
        """Give the chosen rows, from all shapes in turn.

        Returns:
            By kind; of communities those with the fewest records, whose documents
            come with them.
        """
        most = max(limit // COMMUNITY_SHARE, 1)
        communities = self._take("community", most, database)
        left = limit - len(communities)
        return {"record": self._take("record", left), "community": communities}

    def _take(
        self, kind: str, limit: int, database: Database | None = None
    ) -> list[Change]:
        shapes = [rows for shape, rows in self._shapes.items() if shape[0] == kind]
        if database:
            ids = [change.id for rows in shapes for change in rows]
            found = database.transaction(
                lambda: database.execute(queries.COUNT_MEMBERS, ids=ids).fetchall()
            )
            members = {row.id: row.count for row in found}
            shapes = [sorted(s, key=lambda c: members.get(c.id, 0)) for s in shapes]
        longest = max(map(len, shapes), default=0)
        in_turn = [s[n] for n in range(longest) for s in shapes if n < len(s)]
        return in_turn[:limit]


def rehearse(
    engine: Engine,
    options: Options,
    limit: int,
    reporter: Reporter,
    check_interrupt: Callable[[], None] = lambda: None,
) -> Rehearsal:
    """Change some rows, look, put them back, and look again.

    Args:
        engine: The engine of the instance's database; an app context is needed.
        options: What the whole run is to do.
        limit: The most rows to change.
        reporter: Is told how it goes.
        check_interrupt: Raises when somebody asked to stop, while the queues drain.

    Returns:
        What was seen; nothing to rehearse when no row would change.

    Raises:
        RunInProgressError: Another run is at work.
        LaterRunsError: Another run changed the rows again; they stay changed.
        RehearsalOvertakenError: Another run found the rows right; they stay changed.
        RehearsalFailedError: Something failed; it tells whether the rows are back.
    """
    result, choice = Rehearsal(), Choice()
    with opened(engine, options.lock_timeout_seconds) as database:
        reporter.line("Rehearsal: looking for rows")
        result.forecast = foretell(database, options, reporter, choice.note).estimate
        chosen = choice.rows(database, limit)
        before = _row_sums(database, chosen)
    result.rows = sum(map(len, chosen.values()))
    if not result.rows:
        return result
    planned = {
        change.id: Planned(change.old_created, change.new_created)
        for change in (*chosen["record"], *chosen["community"])
    }
    options = replace(options, filters=replace(options.filters, planned=planned))
    quiet = _Quiet(options.verbose)

    def index(is_there: bool) -> float:
        start = time.monotonic()
        reporter.line("Rehearsal: indexing them, and looking")
        drained = drain(Gate(options, quiet, check_interrupt), quiet, check_interrupt)
        result.documents += drained.indexed
        if drained.error or drained.refused:
            fact = drained.error or f"{drained.refused} documents were refused"
            result.wrong.append(f"the index: {fact}")
        with opened(engine, options.lock_timeout_seconds) as database:
            after = _row_sums(database, chosen)
            _compare_rows(result, chosen, before, after, is_there)
            try:
                _compare_documents(result, database, chosen)
            except search.exceptions.TransportError as error:
                result.wrong.append(f"the index: {escape(str(error))}")
        return time.monotonic() - start

    reporter.line(f"Rehearsal: changing {result.rows} of these rows")
    try:
        result.run_id = migration.apply(engine, "rehearse", options, quiet).run_id
        seconds = index(is_there=True)
    except BaseException as error:
        run_id = result.run_id or getattr(error, "run_id", None)
        if run_id is None or isinstance(error, RunInProgressError):
            raise  # nothing was changed
        fact = escape(str(error)) or type(error).__name__
        reporter.line(f"Rehearsal: failed: {fact}", logging.ERROR)
        _put_back(engine, run_id, reporter, quiet)
        raise RehearsalFailedError(run_id, fact, is_back=True) from error
    back = _put_back(engine, result.run_id, reporter, quiet)
    seconds += index(is_there=False)
    if result.forecast and result.documents:
        rate = result.documents / seconds
        result.forecast.drain_seconds = result.forecast.documents / rate
    with opened(engine, options.lock_timeout_seconds) as database:
        database.transaction(_clear, database, result, back.run_id)
    return result


def _put_back(
    engine: Engine, run_id: int, reporter: Reporter, quiet: Reporter
) -> Summary:
    """Put the rows back; another run, which may have begun meanwhile, is waited for.

    Returns:
        What was put back.

    Raises:
        RehearsalFailedError: They are still changed.
        LaterRunsError: They stay changed, because that other run changed them again.
        RehearsalOvertakenError: They stay changed, because that other run relies on it.
    """
    reporter.line("Rehearsal: putting them back")
    try:
        while True:
            try:
                return migration.revert(engine, "rehearse", Selection(run_id), quiet)
            except RunInProgressError:
                reporter.line("Another run is at work: waiting for its end")
                time.sleep(LOCK_SECONDS)
    except (LaterRunsError, RehearsalOvertakenError):
        raise
    except BaseException as error:
        fact = escape(str(error)) or type(error).__name__
        raise RehearsalFailedError(run_id, fact, is_back=False) from error


def _row_sums(
    database: Database, chosen: dict[str, list[Change]]
) -> dict[str, tuple[Any, ...]]:
    """Read by id: version, checksum of all but `created`, and `created`, exactly."""

    def read(kind: str) -> Iterable[Any]:
        ids = [change.id for change in chosen[kind]]
        return database.execute_on(kind, queries.SELECT_ROW_SUMS, ids=ids).fetchall()

    return {
        id: tuple(sums)
        for kind in KINDS
        for id, *sums in database.transaction(read, kind)
    }


def _compare_rows(
    result: Rehearsal,
    chosen: dict[str, list[Change]],
    before: dict[str, tuple[Any, ...]],
    after: dict[str, tuple[Any, ...]],
    is_there: bool,
) -> None:
    result.edited = 0
    for kind, changes in chosen.items():
        for change in changes:
            old, now = before.get(change.id), after.get(change.id)
            if old is None or now is None or old[0] != now[0]:
                result.edited += 1
                continue
            created = change.new_created if is_there else old[2]
            if now[1:] != (old[1], created):
                when = "changed" if is_there else "back"
                result.wrong.append(
                    f"{kind} {change.label}: not as it should be {when}"
                )


def _compare_documents(
    result: Rehearsal, database: Database, chosen: dict[str, list[Change]]
) -> None:
    verdict = verify.Verdict()
    for kind, changes in chosen.items():
        record_cls = current_indexer_registry.get(INDEXER_OF_KIND[kind]).record_cls
        alias = build_alias_name(record_cls.index._name)
        current_search_client.indices.refresh(index=alias)
        ids = [change.id for change in changes]
        if ids:
            verify.compare_documents(database, kind, ids, verdict, verdict.wrong)
    result.wrong += [f"the index: {line.strip()}" for line in verdict.examples()]


def _clear(database: Database, result: Rehearsal, revert_id: int) -> None:
    """Leave but one run that says what it was; what is not done with stays."""
    numbers = {"run_id": result.run_id, "revert_id": revert_id}
    message = f"{result.rows} rows there and back, {len(result.wrong)} not as expected"
    database.execute(queries.DELETE_REHEARSED_ENTRIES, run_id=result.run_id)
    database.execute(queries.DELETE_REHEARSED_PROBLEMS, **numbers)
    database.execute(queries.DELETE_RUN_WITHOUT_PROBLEMS, run_id=revert_id)
    database.execute(queries.UPDATE_REHEARSED, run_id=result.run_id, message=message)
