# SPDX-FileCopyrightText: 2026 kcworks-migrations contributors
# SPDX-License-Identifier: MIT
"""What a person sees of a run while it goes on: log lines, progress, its end."""

import json
import logging
import sys
import time
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from math import ceil
from typing import Any

import click

from .dates import show
from .ledger import Restoration
from .output import echo, is_terminal, unfailing
from .rules import REASONS, Change, Decision, Problem
from .summary import Summary, summary_lines

logger = logging.getLogger("kcworks_migrations")
# Lines for a person are printed by `Reporter`; without this, Python would print
# warnings a second time when the instance configures no handler.
logger.addHandler(logging.NullHandler())


class Reporter:
    """Prints and logs how a run goes: a bar on a terminal, plain lines elsewhere.

    What can't be told fails no run.
    """

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
        self._has_terminal = is_terminal(sys.stderr)
        self._total = self._done = self._first = self._batches = 0
        self._began = 0.0

    @unfailing()
    def line(self, message: str, level: int = logging.INFO) -> None:
        """Log a line and print it on standard error."""
        logger.log(level, message)
        if self._bar is not None:
            echo("\r\x1b[K", err=True, nl=False)
        label = "" if level == logging.INFO else f"{logging.getLevelName(level)}: "
        echo(label + message, err=True)

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
        self._bar = bar
        with unfailing():
            bar.__enter__()
            bar.update(done)
        try:
            yield
        finally:
            self._bar = None
            with unfailing():
                bar.__exit__(None, None, None)

    @unfailing()
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

    @unfailing()
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

    @unfailing()
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

    @unfailing()
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

    @unfailing()
    def end(self, summary: Summary) -> None:
        """Print the end of a run on standard output, with the next safe command."""
        if self._is_json:
            echo(json.dumps(summary.as_dict(), indent=2, default=str))
        else:
            echo("\n".join(summary_lines(summary)))


class LogReporter(Reporter):
    """Logs instead of printing."""

    def line(self, message: str, level: int = logging.INFO) -> None:
        """Log a line."""
        logger.log(level, message)

    @contextmanager
    def progress(self, noun: str, total: int, done: int) -> Generator[None]:
        """Count without showing."""
        self._has_terminal = False
        with super().progress(noun, total, done):
            yield

    def end(self, summary: Summary) -> None:
        """Say nothing."""


def seconds_left(progress: Mapping[str, Any]) -> float | None:
    """Estimate from `progress_after` how long the rest takes; none when unknown."""
    if not progress["rate"]:
        return None
    return (progress["total"] - progress["done"]) / progress["rate"]
