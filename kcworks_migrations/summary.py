# SPDX-FileCopyrightText: 2026 kcworks-migrations contributors
# SPDX-License-Identifier: MIT
"""The end of a run: what it did, as lines for a person and as JSON."""

import textwrap
from dataclasses import asdict, dataclass, field
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from .dates import show
from .errors import WIDTH, wrapped
from .estimate import Estimate
from .rules import REASONS, Change, Problem
from .statistics import Statistics, Tally

PROBLEMS_SHOWN = 10

CONSEQUENCES = (
    (range(0, 13), "BibTeX citations now carry the year of the true date."),
    (range(13, 99), "JSON-LD, CSV and other exports now carry the true date."),
    (
        range(14, 99),
        "GracePeriodPolicy and FileModificationGracePeriodPolicy close.",
    ),
    (range(0, 99), "Purge the caches in front of the instance: ETags do not change."),
    (range(0, 99), "Lists by date change once the queues are drained."),
)
"""What else changes, by the major version of invenio-app-rdm; more in the README."""


@dataclass
class Summary:
    """What a run did, for the entry points to print."""

    run_id: int
    action: str
    status: str
    statistics: Statistics
    problems: list[Problem] = field(default_factory=list)
    """The first few; `statistics.errors` says how many there are."""
    sent: int = 0
    waiting: int = 0
    queue_error: str | None = None
    origin: str = "alembic"
    """Who asked, which decides how to undo it."""
    stopped_at: dict[str, int] | None = None
    """By kind, after how many rows it stopped early, or after how many of the changes
    the queueing did; none when all is done."""
    message: str | None = None
    """Why the run stopped early, and what to do."""
    sample: dict[str, list[Change]] = field(default_factory=dict)
    """Some changes by kind, of a dry run."""
    estimate: Estimate | None = None
    """Of a dry run."""

    def as_dict(self) -> dict[str, Any]:
        """Give what is printed as JSON."""
        kept: dict[str, Any] = {
            "run": self.run_id or None,
            "action": self.action,
            "status": self.status,
            "statistics": self.statistics.as_dict(self.stopped_at),
            "problems": [problem._asdict() for problem in self.problems],
            "queued": self.sent,
            "waiting": self.waiting,
            "queue_error": self.queue_error,
            "message": self.message,
        }
        if not self.run_id:
            kept["sample"] = {
                kind: [change._asdict() for change in changes]
                for kind, changes in self.sample.items()
            }
            kept["estimate"] = self.estimate and asdict(self.estimate)
        return kept


def counted(number: int, noun: str) -> str:
    """Give a number with its noun, such as ``1 change`` or ``2 changes``."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def result_line(kind: str, tally: Tally) -> str:
    """Give the one line that says how the rows of a kind came out."""
    parts = [f"{tally.updated} updated", f"{tally.skipped} skipped"]
    if kind == "community":
        parts.append(f"{tally.no_records} no records")
    parts.append(f"{tally.errors} errors")
    return f"{kind.capitalize()} updates complete: {', '.join(parts)}"


def summary_lines(summary: Summary) -> list[str]:
    """Give the summary of a run as lines of text."""
    is_apply = summary.action == "apply"
    what = "Update" if is_apply else "Restoration"
    run = f"run {summary.run_id}, {summary.status}" if summary.run_id else "dry run"
    lines = ["", f"{what} of created dates: {run}", ""]
    words = ("found", "updated" if is_apply else "restored", "skipped", "no records")
    lines.append(" " * 14 + "".join(f"{w:>11}" for w in (*words, "errors")))
    statistics = summary.statistics
    for name in ("records", "communities", "groups"):
        tally: Tally = getattr(statistics, name)
        if name == "groups" and not tally.total_found:
            continue
        numbers = (
            tally.total_found,
            tally.updated,
            tally.skipped,
            tally.no_records,
            tally.errors,
        )
        lines.append(f"  {name:<12}" + "".join(f"{number:>11}" for number in numbers))
    lines.append("")
    if summary.message:
        return lines + wrapped(summary.message) + _problem_lines(summary)
    if is_apply and statistics.updated == 0:
        lines.append("Nothing had to be changed.")
    if statistics.records.later_versions:
        lines.append(
            f"{statistics.records.later_versions} of the updated records are later"
            " versions of a record."
        )
    lines += _problem_lines(summary)
    if summary.sent:
        lines.append(f"Queued for reindexing: {counted(summary.sent, 'document')}.")
    if summary.waiting:
        lines.append(
            f"WARNING: {counted(summary.waiting, 'change')} waiting for reindexing:"
        )
        lines += textwrap.wrap(summary.queue_error or "not sent yet", 76)
        lines.append("The dates in the database are right; when that is over, run")
        lines.append("  invenio kcworks-created-dates reindex")
    if not summary.run_id:
        lines += _preview_lines(summary)
        lines += [
            "Nothing was written: this is what an update would do. To do it:",
            "  invenio alembic upgrade kcworks_migrations@head",
            "or, when that was done before, the same command without --dry-run.",
        ]
    elif statistics.updated:
        if is_apply:
            lines.append("What else changes (more in the README):")
            lines += [f"  - {text}" for text in consequences()]
        lines.append("Look at the state: invenio kcworks-created-dates status")
        lines.append(_way_back(summary))
    return lines


def _way_back(summary: Summary) -> str:
    """Give the command that undoes a run; Alembic only knows of its own."""
    command = "invenio kcworks-created-dates"
    if summary.action == "apply":
        if summary.origin == "alembic":
            back = "invenio alembic downgrade a94c06be7d15"
            return f"Undo (and nothing else): {back}"
        return f"Undo this run: {command} rollback --run {summary.run_id}"
    if summary.origin == "alembic":
        return "Do it again: invenio alembic upgrade kcworks_migrations@head"
    return f"Do it again: {command} update"


def _preview_lines(summary: Summary) -> list[str]:
    """Give some changes of a dry run, and how long the work would take."""
    lines = ["For example:"] * any(summary.sample.values())
    for kind, changes in summary.sample.items():
        for c in changes:
            lines.append(f"  {kind} {c.label}")
            lines.append(f"    {show(c.old_created)} to {show(c.new_created)}")
            if c.source_record_label:
                oldest = f"{c.source_record_label} of {c.source_value}"
                lines.append(f"    the oldest record is {oldest}")
    e = summary.estimate
    if e and e.rows:
        size = f"{e.ledger_bytes / 1e6:.1f} MB"
        drain = "which takes an unknown time"
        if e.drain_seconds is not None:
            drain = f"about {duration(e.drain_seconds)} with one worker"
        lines += [
            f"To be expected: {counted(e.rows, 'row')} changed in about"
            f" {duration(e.run_seconds)}, a ledger of {size};",
            f"  {counted(e.documents, 'document')} to reindex, {drain}.",
        ]
    return lines


def duration(seconds: float) -> str:
    """Give a duration in the unit that a person would choose."""
    for unit, length in (("h", 3600), ("min", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:.0f} {unit}"
    return f"{max(seconds, 1):.0f} s"


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
        command = f"invenio kcworks-created-dates problems --run {summary.run_id}"
        lines.append(f"All of them: {command}")
    return lines


def problem_lines(problem: Problem) -> list[str]:
    """Give one problem as a line, or as a few when its value is long."""
    line = f"  - {problem.kind} {problem.label}: {REASONS[problem.reason]}"
    if problem.value is None:
        return [line]
    if len(line) + len(problem.value) + 2 <= WIDTH:
        return [f"{line}: {problem.value}"]
    value = textwrap.wrap(
        problem.value, WIDTH - 6, max_lines=2, drop_whitespace=False, placeholder=" ..."
    )
    return [f"{line}:", *(f"      {part}" for part in value)]


def consequences() -> list[str]:
    """Give what else changes on the running line of the application."""
    try:
        major = int(version("invenio-app-rdm").split(".")[0])
    except PackageNotFoundError:
        major = 12
    return [text for majors, text in CONSEQUENCES if major in majors][:3]
