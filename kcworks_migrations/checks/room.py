# SPDX-FileCopyrightText: 2026 kcworks-migrations contributors
# SPDX-License-Identifier: MIT
"""Is there room on the database's disk for what the upgrade writes?"""

import os
from collections.abc import Sequence
from ipaddress import ip_address
from typing import Protocol

from .. import queries
from ..estimate import LEDGER_BYTES
from .database import ReadOnly
from .line import Line, fine, stop, warning

# Measured on PostgreSQL 15 with 20,000 and 200,000 rows of 120, 820 and 1,640 bytes
# (`pg_total_relation_size`, `pg_wal_lsn_diff`), page images and queueing included.

LOG_BYTES = 1200
"""Bytes of write-ahead log for each change, without those of the row itself."""

LOG_FACTOR = 1.5
"""How many times the changed row is in the log, counting images of its page."""

LARGE_BYTES = 2**30
"""From which need on somebody should look, where the disk can't be seen from here."""


class Forecast(Protocol):
    """What is foretold of the rows of one kind."""

    @property
    def rows_to_change(self) -> int:
        """How many rows will change."""

    @property
    def bytes_to_change(self) -> int:
        """The size of these rows, without what is stored apart."""


def room(database: ReadOnly, forecasts: Sequence[Forecast]) -> Line:
    """Compare what will be written with the room on the disk."""
    rows = sum(forecast.rows_to_change for forecast in forecasts)
    row_bytes = sum(forecast.bytes_to_change for forecast in forecasts)
    ledger = rows * LEDGER_BYTES
    log = round(rows * LOG_BYTES + row_bytes * LOG_FACTOR)
    need = ledger + row_bytes + log
    fact = (
        f"Up to {_size(need)}: ledger {_size(ledger)}, new versions of the rows"
        f" {_size(row_bytes)}, write-ahead log {_size(log)}"
    )
    free = free_bytes(*database.execute(queries.SELECT_DATA_DIRECTORY).one())
    if free is None:
        fact += "; the free room can't be seen from here."
        make = warning if need > LARGE_BYTES else fine
        return make("room", fact, "See that the database's disk has that much free.")
    fact += f"; {_size(free)} are free."
    if need > free:
        return stop("room", fact, "Make room on the database's disk.")
    if need > free / 2:
        todo = "That is more than half: watch the database's disk meanwhile."
        return warning("room", fact, todo)
    return fine("room", fact)


def free_bytes(folder: str | None, address: str) -> int | None:
    """Tell how much is free where the database has its data.

    Args:
        folder: The folder, if the role may know it.
        address: The address at which the server was reached; empty for a socket.

    Returns:
        Bytes; none for a server that is not on this machine.
    """
    if not folder or (address and not ip_address(address).is_loopback):
        return None
    try:
        found = os.statvfs(folder)
    except OSError:  # a container beside this one has a loopback in common, not disks
        return None
    return found.f_bavail * found.f_frsize


def _size(count: float) -> str:
    for unit in ("B", "kiB", "MiB"):
        if count < 1024:
            return f"{count:,.0f} {unit}"
        count /= 1024
    return f"{count:,.1f} GiB"
