# SPDX-FileCopyrightText: 2026 kcworks-migrations contributors
# SPDX-License-Identifier: MIT
"""The health of our indices in OpenSearch, and the gate that unhealthy ones close."""

import logging
from dataclasses import dataclass

from invenio_search.engine import search

from ..config import How
from ..errors import RunFailedError
from ..interrupt import CheckStop, pause
from ..kinds import KINDS
from ..report.reporter import Reporter
from ..text import escape
from .client import search_client
from .documents import alias_of


class SearchUnhealthyError(Exception):
    """OpenSearch can't work now, not even after a pause."""


@dataclass(frozen=True)
class Health:
    """What was seen of the cluster."""

    is_healthy: bool
    status: str
    """``green``, ``yellow``, ``red``, ``unreachable`` or ``error``."""
    reason: str
    """For a person, on one line."""


def look(timeout_seconds: float) -> Health:
    """Ask for the health of our indices; whatever goes wrong is an answer, too.

    Those of other applications in the same cluster are none of ours. One of ours that
    is absent would count as red, after a wait: `check` names it.

    Args:
        timeout_seconds: How long each try of the client may take.

    Returns:
        What was seen.
    """
    client, patience = search_client(), {"request_timeout": timeout_seconds}
    aliases = ",".join(map(alias_of, KINDS))
    try:
        ours = client.indices.get_alias(
            index=aliases, ignore_unavailable=True, **patience
        )
        status = client.cluster.health(
            index=",".join(ours), timeout=f"{timeout_seconds}s", **patience
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

    def __init__(self, how: How, reporter: Reporter, check_stop: CheckStop) -> None:
        """Keep what the looks need.

        Args:
            how: The timeout and the pause.
            reporter: Who says what was seen.
            check_stop: Raises when somebody asked to stop.
        """
        self.how = how
        self.check_stop = check_stop
        self._reporter = reporter
        self._is_yellow_told = False
        self._has_sent = False

    def before_batch(self) -> None:
        """Look before a batch for the queues, and wait a little before all but one.

        Raises:
            SearchUnhealthyError: OpenSearch was still unhealthy after the pause.
        """
        if self._has_sent:
            pause(self.how.queue_delay_seconds, self.check_stop)
        self._has_sent = True
        self.check()

    def check(self) -> None:
        """Look; if OpenSearch is unhealthy, pause and look once more.

        Raises:
            SearchUnhealthyError: It was still unhealthy after the pause.
        """
        health = self._look()
        if health.is_healthy:
            return
        seconds = self.how.health_pause_seconds
        self._reporter.line(
            f"OpenSearch health check failed: {health.reason}. Pausing for {seconds}"
            " seconds...",
            logging.WARNING,
        )
        pause(seconds, self.check_stop)
        health = self._look()
        if not health.is_healthy:
            message = f"OpenSearch still unhealthy after pause: {health.reason}"
            self._reporter.line(f"{message}. Stopping.", logging.ERROR)
            raise SearchUnhealthyError(message)
        self._reporter.line("OpenSearch is healthy again")

    def check_database(self) -> None:
        """Look between two batches of a run that an unhealthy OpenSearch may stop.

        Raises:
            RunFailedError: It was still unhealthy after the pause.
        """
        try:
            self.check()
        except SearchUnhealthyError as error:
            raise RunFailedError(self._reporter.run_id, f"{error}.") from error

    def _look(self) -> Health:
        health = look(self.how.health_timeout_seconds)
        if health.status == "yellow" and not self._is_yellow_told:
            self._is_yellow_told = True
            self._reporter.line(f"OpenSearch: {health.reason}", logging.WARNING)
        elif self.how.verbose:
            self._reporter.line(f"OpenSearch health: {health.status}")
        return health
