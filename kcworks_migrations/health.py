# SPDX-FileCopyrightText: 2026 kcworks-migrations contributors
# SPDX-License-Identifier: MIT
"""The health of the OpenSearch cluster, and the gate that a sick one closes."""

import logging
from collections.abc import Callable
from dataclasses import dataclass

from invenio_search import current_search_client
from invenio_search.engine import search

from .config import Options
from .errors import RunIncompleteError
from .interrupt import pause
from .report import Reporter
from .rules import escape


class SearchUnhealthyError(Exception):
    """OpenSearch was still sick after the pause."""


@dataclass(frozen=True)
class Health:
    """What was seen of the cluster."""

    is_healthy: bool
    status: str
    """``green``, ``yellow``, ``red``, ``unreachable`` or ``error``."""
    reason: str
    """For a person, on one line."""


def look(timeout_seconds: float) -> Health:
    """Ask the cluster for its health; whatever goes wrong is an answer, too.

    Args:
        timeout_seconds: How long each try of the client may take.

    Returns:
        What was seen.
    """
    try:
        status = current_search_client.cluster.health(
            timeout=f"{timeout_seconds}s", request_timeout=timeout_seconds
        )["status"]
    except search.exceptions.ConnectionError as error:  # a timeout is one, too
        reason = f"OpenSearch not responsive: {escape(str(error))}"
        return Health(False, "unreachable", reason)
    except Exception as error:
        return Health(False, "error", f"Health check error: {escape(str(error))}")
    words = f"Cluster status is {status.upper()}"
    if status == "yellow":
        words += " (acceptable)"
    return Health(status in {"green", "yellow"}, status, words)


class Gate:
    """Lets work pass while OpenSearch is well."""

    def __init__(
        self, options: Options, reporter: Reporter, check_interrupt: Callable[[], None]
    ) -> None:
        """Nothing was seen yet.

        Args:
            options: The timeout and the pause.
            reporter: Who says what was seen.
            check_interrupt: Raises when somebody asked to stop.
        """
        self._options = options
        self._reporter = reporter
        self._check_interrupt = check_interrupt
        self._is_yellow_told = False
        self._has_sent = False

    def before_batch(self) -> None:
        """Look before a batch for the queues, and wait a little before all but one.

        Raises:
            SearchUnhealthyError: OpenSearch was still sick after the pause.
        """
        if self._has_sent:
            pause(self._options.queue_delay_seconds, self._check_interrupt)
        self._has_sent = True
        self.check()

    def check(self) -> bool:
        """Look; if OpenSearch is sick, pause and look once more.

        Returns:
            Whether there was a pause.

        Raises:
            SearchUnhealthyError: It was still sick after the pause.
        """
        health = self._look()
        if health.is_healthy:
            return False
        self.hold(f"OpenSearch health check failed: {health.reason}")
        health = self._look()
        if not health.is_healthy:
            message = f"OpenSearch still unhealthy after pause: {health.reason}"
            self._reporter.line(f"{message}. Stopping.", logging.ERROR)
            raise SearchUnhealthyError(message)
        self._reporter.line("OpenSearch is healthy again")
        return True

    def hold(self, message: str) -> None:
        """Say what is wrong, and give it time to pass."""
        seconds = self._options.health_pause_seconds
        self._reporter.line(
            f"{message}. Pausing for {seconds} seconds...", logging.WARNING
        )
        pause(seconds, self._check_interrupt)

    def _look(self) -> Health:
        health = look(self._options.health_timeout_seconds)
        if health.status == "yellow" and not self._is_yellow_told:
            self._is_yellow_told = True
            self._reporter.line(f"OpenSearch: {health.reason}", logging.WARNING)
        elif self._options.verbose:
            self._reporter.line(f"OpenSearch health: {health.status}")
        return health


def between_batches(
    options: Options,
    run_id: int,
    reporter: Reporter,
    check_interrupt: Callable[[], None],
) -> Callable[[], None]:
    """Give what a run does between two batches of the database.

    Returns:
        The check for an interrupt; with the setting, one that looks at OpenSearch, too,
        and raises RunIncompleteError while that is sick.
    """
    if not options.health_gates_database:
        return check_interrupt
    gate = Gate(options, reporter, check_interrupt)

    def check() -> None:
        check_interrupt()
        try:
            gate.check()
        except SearchUnhealthyError as error:
            raise RunIncompleteError(run_id, f"{error}.") from error

    return check
