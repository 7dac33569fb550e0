# SPDX-FileCopyrightText: 2026 kcworks-migrations contributors
# SPDX-License-Identifier: MIT
"""Waiting between tries, and noticing Ctrl-C, SIGTERM and `stop` meanwhile."""

import signal
import threading
import time
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from .errors import RunStoppedError

SIGNALS = (signal.SIGINT, signal.SIGTERM)

CheckStop = Callable[[], None]
"""Raises `RunStoppedError` when somebody asked to stop."""


def never() -> None:
    """Check for nothing: nobody can ask to stop."""


def pause(seconds: float, check_stop: CheckStop = never) -> None:
    """Wait, but not longer than a second after somebody has asked to stop.

    Raises:
        RunStoppedError: Somebody asked.
    """
    end = time.monotonic() + seconds
    while (left := end - time.monotonic()) > 0:
        check_stop()
        time.sleep(min(left, 1))


def tries(
    pauses_seconds: Iterable[float], check_stop: CheckStop = never
) -> Iterator[bool]:
    """Pause before every try except the first; yield whether it is the last one.

    Raises:
        RunStoppedError: Somebody asked to stop.
    """
    for seconds in pauses_seconds:
        yield False
        pause(seconds, check_stop)
    yield True


class Interrupt:
    """Remembers that somebody asked to stop by a signal."""

    def __init__(self) -> None:
        """Begin with nobody having asked."""
        self._signal: signal.Signals | None = None
        self._previous: dict[int, Any] = {}

    def check(self) -> None:
        """Stop here, between two batches, if somebody asked.

        Raises:
            RunStoppedError: Somebody asked.
        """
        if self._signal is not None:
            raise RunStoppedError(None, self._signal.name)

    def _on_signal(self, number: int, frame: Any) -> None:
        self._signal = signal.Signals(number)
        # A second signal ends the process at once; a rerun does the rest all the same.
        signal.signal(number, self._previous[number])


@contextmanager
def interrupt() -> Generator[Interrupt]:
    """Let signals stop the work between two batches; put the handlers back at the end.

    Only the main thread can have handlers; work in another one is not stopped.
    """
    asked = Interrupt()
    if threading.current_thread() is not threading.main_thread():
        yield asked
        return
    for number in SIGNALS:
        asked._previous[number] = signal.signal(number, asked._on_signal)
    try:
        yield asked
    finally:
        for name, handler in asked._previous.items():
            signal.signal(name, handler)
