# SPDX-FileCopyrightText: 2026 kcworks-migrations contributors
# SPDX-License-Identifier: MIT
"""The end of a run: what it did, as lines for a person and as JSON."""

import textwrap
from dataclasses import dataclass, field
from typing import Any

from ..kinds import COMMUNITY, Kind
from ..ledger.history import Unfinished
from ..ledger.statistics import Statistics, Tally
from ..rules.values import REASONS, Change, Problem
from ..text import COMMAND, DOWNGRADE, UPGRADE, WIDTH, counted, duration, show, wrapped
from .consequences import consequences

PROBLEMS_SHOWN = 10


@dataclass
class Summary:
    """What a run did, or what a preview found."""

    run_id: int | None
    """None for a preview."""
    action: str
    status: str
    statistics: Statistics = field(default_factory=Statistics)
    problems: list[Problem] = field(default_factory=list)
    """The first few; `statistics.errors` says how many there are."""
    queued: int = 0
    """Documents that were queued for reindexing."""
    pending: int = 0
    """Changes that were not queued yet."""
    queue_error: str | None = None
    origin: str = "alembic"
    """Who asked, which decides how to undo it."""
    stopped_at: dict[str, int] | None = None
    """By kind, after how many rows it stopped early, or after how many of the changes
    the queueing did; none when all is done."""
    message: str | None = None
    """Why the run ended early, and what to do."""
    unfinished: list[Unfinished] = field(default_factory=list)
    """Earlier runs that did not come to their end, and whose changes stand."""
    sample: dict[str, list[Change]] = field(default_factory=dict)
    """Some changes by kind, of a preview."""
    documents: int = 0
    """Of a preview: documents that would be reindexed."""
    seconds: float = 0
    """Of a preview: how long it took to read and decide."""
    has_settled: bool | None = None
    """Whether the index has settled after the run; none as long as that is open."""
    index: list[str] = field(default_factory=list)
    """What was found in the index then."""

    def as_dict(self) -> dict[str, Any]:
        """Give what is printed as JSON."""
        kept: dict[str, Any] = {
            "run": self.run_id,
            "action": self.action,
            "status": self.status,
            "statistics": self.statistics.as_dict(self.stopped_at),
            "problems": [problem._asdict() for problem in self.problems],
            "queued": self.queued,
            "pending": self.pending,
            "queue_error": self.queue_error,
            "message": self.message,
            "unfinished": [run._asdict() for run in self.unfinished],
            "has_settled": self.has_settled,
            "index": self.index,
        }
        if self.run_id is None:
            kept |= {
                "sample": {
                    kind: [change._asdict() for change in changes]
                    for kind, changes in self.sample.items()
                },
                "documents": self.documents,
                "seconds": round(self.seconds, 1),
            }
        return kept


def quoted(value: str | None) -> str:
    """Give an offending value in quotes behind a colon, or nothing for none."""
    return "" if value is None else f': "{value}"'


def result_line(kind: Kind, tally: Tally) -> str:
    """Give the one line that says how the rows of a kind came out."""
    parts = [f"{tally.updated} updated", f"{tally.skipped} skipped"]
    if kind is COMMUNITY:
        parts.append(f"{tally.no_records} no records")
    parts.append(f"{tally.errors} errors")
    return f"{kind.name.capitalize()} updates complete: {', '.join(parts)}"


def last_line(summary: Summary, message: str | None = None) -> str:
    """Give the one line that ends a run in the log."""
    s = summary.statistics
    verb = "restored" if summary.action == "revert" else "updated"
    more = f" {message}" if message else ""
    return (
        f"{summary.action} {summary.status}: {s.records.updated} records and"
        f" {s.communities.updated} communities {verb}, {s.errors} errors,"
        f" {summary.queued} documents queued, {summary.pending} changes pending.{more}"
    )


def summary_lines(summary: Summary) -> list[str]:
    """Give the summary of a run as lines of text."""
    is_revert = summary.action == "revert"
    what = "Restoration" if is_revert else "Update"
    run = f"run {summary.run_id}, {summary.status}" if summary.run_id else "dry run"
    lines = ["", f"{what} of created dates: {run}", ""]
    lines += table_lines(summary.statistics, "restored" if is_revert else "updated")
    if summary.has_settled is not None:
        return lines + [*index_lines(summary), *_problem_lines(summary)]
    if summary.message:
        lines += wrapped(summary.message)
        return lines + _problem_lines(summary) + unfinished_lines(summary)
    if not is_revert and summary.statistics.updated == 0:
        lines.append("Nothing had to be changed.")
    if later := summary.statistics.records.later_versions:
        verb = "is a later version" if later == 1 else "are later versions"
        lines.append(f"{later} of the updated records {verb} of a record.")
    lines += _problem_lines(summary)
    if summary.queued:
        lines.append(f"Queued for reindexing: {counted(summary.queued, 'document')}.")
    if summary.pending:
        changes = counted(summary.pending, "change")
        lines.append(f"WARNING: {changes} not queued for reindexing yet:")
        lines += textwrap.wrap(summary.queue_error or "not sent yet", 76)
        lines.append("The dates in the database are right. When that is mended, run")
        lines.append(f"  {COMMAND} reindex")
    if summary.run_id is None:
        return lines + _preview_lines(summary)
    if summary.statistics.updated:
        if not is_revert:
            lines.append("What else changes (more in the README):")
            lines += [f"  - {text}" for text in consequences()]
        lines.append(f"Look at the state: {COMMAND} status")
        lines.append(_way_back(summary))
        if is_revert:
            lines += [
                "This package may be removed when `status` says that the index",
                "has settled: until then its workers have documents to correct.",
            ]
    return lines + unfinished_lines(summary)


def index_lines(summary: Summary) -> list[str]:
    """Say whether the index has settled after a run, and what was found in it."""
    if summary.has_settled is None:
        return []
    words = "has settled" if summary.has_settled else "does not settle"
    return [f"The index {words}.", *summary.index]


def table_lines(statistics: Statistics, verb: str) -> list[str]:
    """Give the statistics as a table, with an empty line behind it."""
    words = ("found", verb, "skipped", "no records", "errors")
    lines = [" " * 14 + "".join(f"{w:>11}" for w in words)]
    for name in ("records", "communities", "groups"):
        t: Tally = getattr(statistics, name)
        if name != "groups" or t.total_found:
            numbers = (t.total_found, t.updated, t.skipped, t.no_records, t.errors)
            lines.append(f"  {name:<12}" + "".join(f"{n:>11}" for n in numbers))
    return [*lines, ""]


def _way_back(summary: Summary) -> str:
    """Give the command that undoes a run; Alembic only knows of its own."""
    is_of_alembic = summary.origin == "alembic"
    if summary.action == "revert":
        again = UPGRADE if is_of_alembic else f"{COMMAND} update"
        return f"Do it again: {again}"
    if is_of_alembic:
        return f"Undo (and nothing else): {DOWNGRADE}"
    return f"Undo this run: {COMMAND} rollback --run {summary.run_id}"


def unfinished_lines(summary: Summary) -> list[str]:
    """Name earlier runs that did not come to their end, and the way back from each."""
    if summary.action == "revert" or not summary.unfinished:
        return []
    lines = ["Earlier runs did not finish; what they have changed stands as well:"]
    for run in summary.unfinished:
        changes = counted(run.standing, "change")
        lines.append(f"  run {run.id} ({run.action}, {run.status}): {changes};")
        lines.append(f"    to undo: {COMMAND} rollback --run {run.id}")
    return lines


def _preview_lines(summary: Summary) -> list[str]:
    """Give some changes of a preview, what would follow, and how to do it."""
    lines = ["For example:"] * any(summary.sample.values())
    for kind, changes in summary.sample.items():
        for c in changes:
            lines.append(f"  {kind} {c.label}")
            lines.append(f"    {show(c.old_created)} to {show(c.new_created)}")
            if c.source_record_label:
                oldest = f"{c.source_record_label} of {c.source_value}"
                lines.append(f"    the oldest record is {oldest}")
    found = summary.statistics.records.total_found
    found += summary.statistics.communities.total_found
    rate = found / max(summary.seconds, 0.001)
    return [
        *lines,
        f"To change: {counted(summary.statistics.updated, 'row')}. To reindex:"
        f" {counted(summary.documents, 'document')}.",
        f"Reading took {duration(summary.seconds)}, {rate:,.0f} rows a second; an"
        " update also writes.",
        "[DRY RUN] Nothing was written: this is what an update would do. To do it:",
        f"  {UPGRADE}",
        "or, when that was done before, the same command without --dry-run.",
    ]


def _problem_lines(summary: Summary) -> list[str]:
    if not summary.statistics.errors:
        return []
    problems = counted(summary.statistics.errors, "problem")
    lines = [f"{problems}; nothing was guessed:"]
    lines += [line for problem in summary.problems for line in problem_lines(problem)]
    more = summary.statistics.errors - len(summary.problems)
    if more > 0:
        lines.append(f"  ... and {more} more")
    if summary.run_id:
        lines.append(f"All of them: {COMMAND} problems --run {summary.run_id}")
    return lines


def problem_lines(problem: Problem) -> list[str]:
    """Give one problem as a line, or as a few when its value is long."""
    group = f" (group {problem.group_id})" if problem.group_id else ""
    line = f"  - {problem.kind} {problem.label}{group}: {REASONS[problem.reason]}"
    value = quoted(problem.value)
    if len(line) + len(value) <= WIDTH:
        return [line + value]
    parts = textwrap.wrap(
        value.removeprefix(": "),
        WIDTH - 6,
        max_lines=2,
        drop_whitespace=False,
        placeholder=" ...",
    )
    return [f"{line}:", *(f"      {part}" for part in parts)]
