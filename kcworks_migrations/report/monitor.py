# SPDX-FileCopyrightText: 2026 kcworks-migrations contributors
# SPDX-License-Identifier: MIT
"""Whether somebody must act: how the index is, in words, and a verdict for monitors."""

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import Any

from ..database import Database
from ..ledger import plans, settling, tables, troubles
from ..ledger.settling import LOOKS, Settling
from ..text import COMMAND, counted, duration, escape, show
from .steps import command_again

TICK = timedelta(minutes=5)
"""How often beat, or the job, asks for a look that is due."""

HERE_AND_NOW = f"{COMMAND} verify --fix"


def index_line(index: Settling) -> str:
    """Say on one line whether the index has settled, what was found, and what next."""
    if index.settled_at:
        refused = f", {index.refused} refused" if index.refused else ""
        right = counted(index.found["right"] if index.found else 0, "document")
        return f"settled at {show(index.settled_at)} ({right} right{refused})"
    if index.is_at_work:
        return "not settled, a run is at work"
    line = "settling, "
    if index.found:
        line = f"settling: {found_words(index.found)}; "
        if index.found["right"] == index.found["documents"]:
            line = line.replace("were right;", "were right when last compared;")
    if index.looks >= LOOKS:
        line += f"{index.looks} looks in a row did not end clean; "
    return line + _next_look(index)


def found_words(found: Mapping[str, Any]) -> str:
    """Say what a pass over the documents has found, and what it has corrected."""
    bad = found["stale"]["count"] + found["missing"]["count"] + found["indexed"]
    corrected = found["written"] + found["indexed"]
    refused = found["refused"]["count"]
    kept = "stale or missing" if found["missing"]["count"] else "stale"
    was, has = ("was", "has") if bad == 1 else ("were", "have")
    words = f"{bad} of {found['documents']} documents {was} {kept}"
    if not bad:
        words = f"all {counted(found['documents'], 'document')} were right"
    elif corrected == bad:
        words = f"{bad} {was} {kept} and {has} been corrected"
        if not found["error"]:
            words += "; a second look will confirm it"
    else:
        words += f", {corrected} of them corrected" if corrected else ""
        words += f", {refused} refused by OpenSearch" if refused else ""
    if not found["error"]:
        return words
    error = f"the documents could not be compared: {escape(found['error'])}"
    return f"{words}; then {error}" if found["documents"] else error


def moment(instant: datetime) -> str:
    """Format an instant to the second."""
    return show(instant.replace(microsecond=0))


def _next_look(index: Settling) -> str:
    """Say when the next look comes, or what to do when nobody takes it."""
    began = index.look_began_at and moment(index.look_began_at)
    if index.next_look_at is None:
        return f"and no look is planned; `{HERE_AND_NOW}` does one here and now"
    if index.overdue < timedelta(0):
        if began:
            return f"a look that began at {began} has not ended yet"
        return f"next look in {duration(-index.overdue.total_seconds())}"
    words = f"a look that began at {began} has died; " if began else ""
    if index.overdue < TICK:
        return f"{words}next look due now; `{HERE_AND_NOW}` does it here"
    since = moment(index.next_look_at)
    return (
        f"{words}next look overdue since {since}: no beat or worker takes it;"
        f" `{HERE_AND_NOW}` does it here and now"
    )


@dataclass(frozen=True)
class Trouble:
    """Something that somebody must see to."""

    fact: str
    command: str
    """What to do about it."""
    since: datetime | None = None
    run: int | None = None
    """The run that it is about."""

    def line(self) -> str:
        """Say it on one line."""
        if self.command in self.fact:
            return self.fact
        is_bare = self.command.startswith("invenio")
        step = f"`{self.command}`" if is_bare else self.command.rstrip(".")
        return f"{self.fact.rstrip('.')}: {step}"


@dataclass(frozen=True)
class Monitor:
    """Whether all is well, or about to be, without anybody."""

    index: Settling | None
    """None before the first run."""
    troubles: tuple[Trouble, ...]

    @property
    def is_ok(self) -> bool:
        """Whether nobody must do anything."""
        return not self.troubles

    def line(self) -> str:
        """Say it on one line."""
        told = [trouble.line() for trouble in self.troubles]
        if self.index:
            oldest = "none"
            if since := self.index.pending_since:
                oldest = duration((self.index.now - since).total_seconds())
            words = index_line(self.index)
            told += [words] * (words not in [t.fact for t in self.troubles])
            told.append(f"oldest pending change: {oldest}")
            told.append(f"documents refused: {self.index.refused}")
        word = "OK" if self.is_ok else "PROBLEM"
        return f"{word}: {'; '.join(told) or 'no run yet'}"

    def as_dict(self) -> dict[str, Any]:
        """Give what is printed as JSON."""
        listed = [asdict(trouble) for trouble in self.troubles]
        return {"is_ok": self.is_ok, "troubles": listed}


def judge(database: Database, on_upgrade: str) -> Monitor:
    """Say whether somebody must act, in the present transaction.

    Args:
        database: A connection.
        on_upgrade: The setting, on which the next steps depend.

    Returns:
        How it is.
    """
    index = settling.latest(database)
    found = [*_troubles(database, on_upgrade)]
    return Monitor(index, (*found, *(_troubles_of_index(index) if index else ())))


def _troubles(database: Database, on_upgrade: str) -> Iterator[Trouble]:
    alembic = tables.state(database)
    if alembic.damage:
        yield Trouble(*alembic.damage)
    if stuck := troubles.hanging(database):
        who = "Something that is no run"
        if stuck.run_id:
            who = f"Run {stuck.run_id} ({stuck.action} from {stuck.origin})"
        fact = f"{who} holds the lock, without progress since {moment(stuck.since)}"
        end = (
            f"in psql: `SELECT pg_terminate_backend({stuck.pid})`, which loses nothing"
        )
        yield Trouble(fact, end, stuck.since, stuck.run_id)
    if run := troubles.ended_early(database):
        how = "was killed" if run.is_killed else "failed"
        fact = f"Run {run.id} ({run.action} from {run.origin}) {how} at"
        step = command_again(run._asdict(), alembic.is_applied, on_upgrade)
        if run.action != "revert" and (plan := plans.unfinished(database)):
            step = plan.complete
        fact = f"{fact} {moment(run.since)}, and nothing has made up for it"
        yield Trouble(fact, step, run.since, run.id)
    if found := troubles.ahead(database):
        newest, now = map(moment, found)
        fact = f"The ledger has an instant, {newest}, ahead of the database's clock,"
        fact += f" {now}, and the index can't settle before that"
        clock = "correct that clock (in psql: `SELECT clock_timestamp()`)"
        yield Trouble(fact, clock, found[0])


def _troubles_of_index(index: Settling) -> Iterator[Trouble]:
    if index.pending_since and index.settled_at:
        fact = "Changes are pending, though the index has settled"
        yield Trouble(fact, f"{COMMAND} reindex", index.pending_since)
    if index.is_stuck:
        is_planned = index.next_look_at and index.overdue < timedelta(0)
        command = f"{COMMAND} verify" if is_planned else HERE_AND_NOW
        yield Trouble(index_line(index), command, index.next_look_at)
    if index.refused:
        fact = f"OpenSearch refuses {counted(index.refused, 'document')}"
        yield Trouble(fact, f"{COMMAND} problems --reason index_refused")
