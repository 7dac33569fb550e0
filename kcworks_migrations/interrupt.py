# SPDX-FileCopyrightText: 2026 kcworks-migrations contributors
# SPDX-License-Identifier: MIT
"""Ctrl-C and SIGTERM during a run: the batch is finished, then the run stops."""

import signal
import threading
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Any

from .errors import RunInterruptedError

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Interrupt:
    """Remembers that somebody asked the run to stop."""

    def __init__(self, run_id: int | None) -> None:
        """Nobody has asked yet."""
        self._run_id = run_id
        self._signal: signal.Signals | None = None
        self._previous: dict[int, Any] = {}

    def check(self) -> None:
        """Stop here, between two batches, if somebody asked.

        Raises:
            RunInterruptedError: Somebody asked.
        """
        if self._signal is not None:
            raise RunInterruptedError(self._run_id, self._signal.name)

    def _on_signal(self, number: int, frame: Any) -> None:
        self._signal = signal.Signals(number)
        # A second signal ends the process at once; the rerun goes on all the same.
        signal.signal(number, self._previous[number])


def pause(seconds: float, check_interrupt: Callable[[], None]) -> None:
    """Wait, but not longer than a second after somebody has asked to stop.

    Raises:
        RunInterruptedError: Somebody asked.
    """
    end = time.monotonic() + seconds
    while (left := end - time.monotonic()) > 0:
        check_interrupt()
        time.sleep(min(left, 1))


@contextmanager
def interrupt(run_id: int | None) -> Generator[Interrupt]:
    """Let signals stop the run between two batches; put the handlers back at the end.

    Only the main thread can have handlers; a run in another one is not stopped.
    """
    asked = Interrupt(run_id)
    if threading.current_thread() is not threading.main_thread():
        yield asked
        return
    for name in SIGNALS:
        asked._previous[name] = signal.signal(name, asked._on_signal)
    try:
        yield asked
    finally:
        for number, handler in asked._previous.items():
            signal.signal(number, handler)
