# SPDX-FileCopyrightText: 2026 kcworks-migrations contributors
# SPDX-License-Identifier: MIT
"""How long requests take, without and beside the work of this package."""

import time

ALL = "all"


class Latencies:
    """How long the requests of people took, by what was asked for."""

    def __init__(self) -> None:
        self._seconds: dict[str, list[float]] = {}

    def measure(self, name: str, request, *arguments, **options):
        """Call a request and give what it gives."""
        began = time.monotonic()
        response = request(*arguments, **options)
        self._seconds.setdefault(name, []).append(time.monotonic() - began)
        return response

    def names(self) -> list[str]:
        """Give the kinds of requests."""
        return [*self._seconds, ALL]

    def seconds(self, name: str) -> list[float]:
        """Give the durations of one kind of request, or of all, in ascending order."""
        lists = self._seconds.values() if name == ALL else [self._seconds[name]]
        return sorted(seconds for one in lists for seconds in one)

    def columns(self, name: str) -> str:
        """Give count, median, 95th percentile and maximum in milliseconds."""
        ordered = self.seconds(name)
        some = ordered[len(ordered) // 2], ordered[len(ordered) * 95 // 100]
        shown = "".join(f"{1000 * s:>8.0f}" for s in (*some, ordered[-1]))
        return f"{len(ordered):>7}{shown}"


def table(title: str, quiet: Latencies, busy: Latencies) -> str:
    """Show the latencies without and with the work side by side."""
    heading = f"{'count':>7}{'median':>8}{'95 %':>8}{'longest':>8}"
    lines = [title, " " * 16 + heading + " |" + heading]
    for name in quiet.names():
        lines.append(f"{name:<16}{quiet.columns(name)} |{busy.columns(name)}")
    return "\n".join(lines)
