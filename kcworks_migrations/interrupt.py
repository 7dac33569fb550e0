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


@contextmanager
def interrupt() -> Generator[CheckStop]:
    """Let signals stop the work between two batches; put the handlers back at the end.

    Only the main thread can have handlers; work in another one is not stopped.

    Yields:
        The check that stops the work if a signal came.
    """
    if threading.current_thread() is not threading.main_thread():
        yield never
        return
    previous: dict[int, Any] = {}
    asked_by = None

    def on_signal(number: int, frame: Any) -> None:
        nonlocal asked_by
        asked_by = signal.Signals(number).name
        # A second signal ends the process at once; a rerun does the rest all the same.
        signal.signal(number, previous[number])

    def check_stop() -> None:
        if asked_by is not None:
            raise RunStoppedError(None, asked_by)

    for number in SIGNALS:
        previous[number] = signal.signal(number, on_signal)
    try:
        yield check_stop
    finally:
        for number in SIGNALS:
            signal.signal(number, previous[number])
