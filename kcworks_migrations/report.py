# SPDX-FileCopyrightText: 2026 kcworks-migrations contributors
# SPDX-License-Identifier: MIT
"""What a person sees of a run: log lines, progress, and the summary at its end."""

import json
import logging
import sys
import textwrap
import time
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from importlib.metadata import PackageNotFoundError, version
from math import ceil
from typing import Any

import click

from .dates import show
from .errors import WIDTH, wrapped
from .estimate import Estimate
from .ledger import Restoration
from .rules import REASONS, Change, Decision, Problem
from .statistics import Statistics, Tally

logger = logging.getLogger("kcworks_migrations")
# Lines for a person are printed by `Reporter`; without this, Python would print
# warnings a second time when the instance configures no handler.
logger.addHandler(logging.NullHandler())

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
            "statistics": self.statistics.as_dict(),
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


class Reporter:
    """Prints and logs how a run goes: a bar on a terminal, plain lines elsewhere."""

    gives_notice = True
    """Whether the end of the run is told to who asked for it in the settings."""

    def __init__(
        self,
        is_verbose: bool = False,
        is_json: bool = False,
        on_progress: Callable[[dict[str, Any]], None] = lambda progress: None,
    ) -> None:
        """Choose the way of showing by what standard error is.

        Args:
            is_verbose: Print each changed row.
            is_json: Print the end as one JSON document instead of text.
            on_progress: Called each time that rows are done.
        """
        self._is_verbose = is_verbose
        self._is_json = is_json
        self._on_progress = on_progress
        self._noun = ""
        self._bar: Any = None
        self._has_terminal = sys.stderr.isatty()
        self._total = self._done = self._first = self._batches = 0
        self._began = 0.0

    def line(self, message: str, level: int = logging.INFO) -> None:
        """Log a line and print it on standard error."""
        logger.log(level, message)
        if self._bar is not None:
            click.echo("\r\x1b[K", nl=False, err=True)
        label = "" if level == logging.INFO else f"{logging.getLevelName(level)}: "
        click.echo(label + message, err=True)

    @contextmanager
    def progress(self, noun: str, total: int, done: int) -> Generator[None]:
        """Show progress over `total` rows, `done` of which are behind already."""
        self._noun = noun
        self._total, self._done, self._first = total, done, done
        self._batches = 0
        self._began = time.monotonic()
        if not (self._has_terminal and total):
            yield
            return
        bar: Any = click.progressbar(
            length=total,
            label=noun.capitalize(),
            file=sys.stderr,
            show_pos=True,
            show_eta=False,
            item_show_func=lambda _: self._pace().lstrip(", "),
            width=20,
        )
        with bar as self._bar:
            bar.update(done)
            try:
                yield
            finally:
                self._bar = None

    def batch(self, noun: str, rows: int, batch_size: int) -> None:
        """Show that a batch is about to be worked on."""
        self._batches += 1
        left = max(self._total - self._done - rows, 0)
        message = (
            f"Processing batch {self._batches} of"
            f" {self._batches + ceil(left / batch_size)} ({rows} {noun}),"
            f" {self._done} of {self._total} done{self._pace()}"
        )
        if self._bar is None:
            self.line(message)
        else:
            logger.info(message)

    def advance(self, rows: int) -> None:
        """Show that rows are done; never more than were announced."""
        rows = min(rows, self._total - self._done)
        self._done += rows
        if self._bar is not None:
            self._bar.update(rows, True)
        self._on_progress(self.progress_after(0))

    def progress_after(self, rows: int) -> dict[str, Any]:
        """Give how far it will be with so many more rows, for the run row and tasks."""
        done = min(self._done + rows, self._total)
        elapsed = max(time.monotonic() - self._began, 0.001)
        return {
            "phase": self._noun,
            "done": done,
            "total": self._total,
            "rate": round((done - self._first) / elapsed, 1),
            "batch": self._batches,
        }

    def _pace(self) -> str:
        progress = self.progress_after(0)
        left = seconds_left(progress)
        if left is None:
            return ""
        return f", {progress['rate']:.0f} a second, {left:.0f} s left"

    def decisions(
        self, kind: str, decisions: list[Decision], is_dry_run: bool = False
    ) -> None:
        """Log each decision of a batch that was committed, or would have been."""
        verb = "Would update" if is_dry_run else "Updated"
        has_details = self._is_verbose or logger.isEnabledFor(logging.DEBUG)
        for d in decisions:
            if isinstance(d, Problem):
                message = f"Failed to update {kind} {d.label}: {REASONS[d.reason]}"
                logger.error("%s: %s", message, d.value)
            elif not has_details:
                continue
            elif isinstance(d, Change):
                self._detail(
                    f"{verb} {kind} {d.label} from {show(d.old_created)}"
                    f" to {show(d.new_created)}"
                )
            else:
                self._detail(f"Skipped {kind} {d.label} ({type(d).__name__})")

    def restorations(self, kind: str, restorations: list[Restoration]) -> None:
        """Log each restored row of a batch that was committed."""
        if self._is_verbose or logger.isEnabledFor(logging.DEBUG):
            for r in restorations:
                self._detail(
                    f"{r.outcome or 'locked'}: {kind} {r.label} from"
                    f" {show(r.new_created)} to {show(r.old_created)}"
                )

    def _detail(self, message: str) -> None:
        if self._is_verbose:
            self.line(message)
        else:
            logger.debug(message)

    def end(self, summary: Summary) -> None:
        """Print the end of a run on standard output, with the next safe command."""
        if self._is_json:
            click.echo(json.dumps(summary.as_dict(), indent=2, default=str))
        else:
            click.echo("\n".join(summary_lines(summary)))


def seconds_left(progress: Mapping[str, Any]) -> float | None:
    """Estimate from `progress_after` how long the rest takes; none when unknown."""
    if not progress["rate"]:
        return None
    return (progress["total"] - progress["done"]) / progress["rate"]


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
        lines.append(
            "The dates in the database are right; when the broker is back, run"
        )
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
            back = "invenio alembic downgrade kcworks_migrations@-1"
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
