# SPDX-FileCopyrightText: 2026 kcworks-migrations contributors
# SPDX-License-Identifier: MIT
"""What a person sees of a run while it works: log lines, progress, its end."""

import logging
import sys
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from math import ceil
from typing import Any

import click

from ..kinds import Kind
from ..ledger import runs
from ..ledger.entries import Restoration
from ..ledger.statistics import Progress
from ..rules.values import REASONS, Change, Decision, NoRecords, Problem
from ..text import as_json, echo, is_terminal, logger, show, unfailing
from .lines import last_line, quoted, summary_lines, unfinished_lines
from .summary import Summary

LINE_SECONDS = 5
"""How often a line tells the progress where there is no terminal."""


@dataclass
class Reporter:
    """Prints and logs how a run goes: a bar on a terminal, lines elsewhere.

    What can't be told fails no run. Each line of a run in the log carries its number.
    """

    is_verbose: bool = False
    """Print each decision."""
    is_json: bool = False
    """Print the end as one JSON document instead of text."""
    is_silent: bool = False
    """Log, and print nothing."""
    prefix: str = ""
    """Put before each message about a row."""
    on_progress: Callable[[dict[str, Any]], None] = lambda progress: None
    """Called with the progress each time that rows are done."""
    run_id: int | None = field(default=None, init=False)
    _bar: Any = field(default=None, init=False)
    _told_at: float = field(default=0, init=False)

    def __post_init__(self) -> None:
        """Choose the way of showing by what standard error is."""
        self._has_terminal = not self.is_silent and is_terminal(sys.stderr)

    @unfailing()
    def line(self, message: str, level: int = logging.INFO) -> None:
        """Log a line and print it on standard error."""
        self._log(level, message)
        self._print(message, level)

    def _log(self, level: int, message: str) -> None:
        run = f"Run {self.run_id}: " if self.run_id else ""
        logger.log(level, "%s%s", run, message)

    def _print(self, message: str, level: int = logging.INFO) -> None:
        if self.is_silent:
            return
        if self._bar is not None:
            echo("\r\x1b[K", err=True, nl=False)
        label = "" if level == logging.INFO else f"{logging.getLevelName(level)}: "
        echo(label + message, err=True)

    @contextmanager
    def phase(self, progress: Progress) -> Generator[None]:
        """Show the progress of a phase, which `advance` tells."""
        self._told_at = time.monotonic()
        if not (self._has_terminal and progress.total):
            yield
            return
        bar: Any = click.progressbar(
            length=progress.total,
            label=progress.phase.capitalize(),
            file=sys.stderr,
            show_pos=True,
            show_eta=False,
            item_show_func=lambda now: _pace(now).lstrip(", ") if now else "",
            width=20,
        )
        self._bar = bar
        with unfailing():
            bar.__enter__()
        try:
            yield
        finally:
            self._bar = None
            with unfailing():
                bar.__exit__(None, None, None)

    @unfailing()
    def batch(self, progress: Progress, batch_size: int) -> None:
        """Tell that a batch is about to be worked on.

        Every batch is in the log; without a terminal, a line is printed every
        `LINE_SECONDS`.
        """
        left = progress.total - progress.done
        if left <= 0:
            return  # the last look finds nothing more
        number = progress.batch + 1
        of = max(progress.batch + ceil(left / batch_size), number)
        message = (
            f"Processing batch {number} of {of} ({min(left, batch_size)}"
            f" {progress.phase}), {progress.done} of {progress.total} done"
            f"{_pace(progress)}"
        )
        self._log(logging.INFO, message)
        now = time.monotonic()
        if not self._has_terminal and now - self._told_at >= LINE_SECONDS:
            self._told_at = now
            self._print(message)

    @unfailing()
    def advance(self, progress: Progress) -> None:
        """Show how far the phase is."""
        if self._bar is not None:
            self._bar.update(progress.done - self._bar.pos, progress)
        self.on_progress(progress.as_dict())

    @unfailing()
    def decisions(self, kind: Kind, decisions: Sequence[Decision]) -> None:
        """Tell the decisions of a batch that was committed, or would have been."""
        verb = "Would update" if self.prefix else "Updated"
        has_details = self.is_verbose or logger.isEnabledFor(logging.DEBUG)
        for d in decisions:
            if isinstance(d, Problem):
                fact = f"{REASONS[d.reason]}{quoted(d.value)}"
                group = f" (group {d.group_id})" if d.group_id else ""
                message = f"Failed to update {kind} {d.label}{group}: {fact}"
                self._log(logging.ERROR, f"{self.prefix}{message}")
            elif isinstance(d, NoRecords):
                message = f"No records found for {kind} {d.label} (group {d.group_id})"
                self._detail(message, logging.WARNING)
            elif not has_details:
                continue
            elif isinstance(d, Change) and d.is_kept:
                self._detail(f"Kept {kind} {d.label} at {show(d.new_created)}")
            elif isinstance(d, Change):
                if d.group_id:
                    day = d.new_created.date()
                    found = f"Found oldest record for group {d.group_id}: {day}"
                    self._detail(found)
                computed = f", computed: {show(d.computed)}" if d.decided else ""
                self._detail(
                    f"{verb} {kind} {d.label} from {show(d.old_created)}"
                    f" to {show(d.new_created)}{computed}"
                )
            else:
                self._detail(f"Skipped {kind} {d.label} ({d.reason})")

    @unfailing()
    def restorations(self, kind: Kind, restorations: Sequence[Restoration]) -> None:
        """Tell what became of the entries of a batch that was committed."""
        if self.is_verbose or logger.isEnabledFor(logging.DEBUG):
            for r in restorations:
                self._detail(
                    f"{(r.outcome or 'locked').capitalize()}: {kind} {r.label} from"
                    f" {show(r.new_created)} to {show(r.old_created)}"
                )

    def _detail(self, message: str, level: int = logging.DEBUG) -> None:
        """Log a line about a row; print it only if every row is asked for."""
        self._log(level, f"{self.prefix}{message}")
        if self.is_verbose:
            self._print(f"{self.prefix}{message}", max(level, logging.INFO))

    @unfailing()
    def ended(self, summary: Summary, message: str | None = None) -> None:
        """Log the one line that ends a run; after an early end, name those before it.

        A run that succeeds names them in its summary.
        """
        has_failed = summary.status in (runs.STOPPED, runs.FAILED)
        level = logging.ERROR if has_failed else logging.INFO
        self._log(level, last_line(summary, message))
        if has_failed:
            for line in unfinished_lines(summary):
                self.line(line)

    @unfailing()
    def end(self, summary: Summary) -> None:
        """Print the end of a run on standard output, with the next safe command."""
        if self.is_silent:
            return
        if self.is_json:
            echo(as_json(summary.as_dict()))
        else:
            echo("\n".join(summary_lines(summary)))
        if self._has_terminal:
            echo("\a", err=True, nl=False)


def _pace(progress: Progress) -> str:
    if progress.seconds_left is None:
        return ""
    return f", {progress.rate:.0f} a second, {progress.seconds_left:.0f} s left"
