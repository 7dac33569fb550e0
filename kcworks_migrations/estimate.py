# SPDX-FileCopyrightText: 2026 kcworks-migrations contributors
# SPDX-License-Identifier: MIT
"""How long the work of a dry run would take, measured on samples of the real data."""

import time
from dataclasses import dataclass

from invenio_indexer.proxies import current_indexer_registry

from . import queries
from .config import Options
from .database import Database
from .names import INDEXER_OF_KIND

WRITE_SAMPLE_ROWS = 1000
BUILD_SAMPLE_DOCUMENTS = 20

LOGGED_FACTOR = 1.5
"""A write to the real table takes so many times that to a temporary copy, which has no
write-ahead log and lies in memory; seen between 1.2 and 1.7 on 20,000 to 200,000 rows
of 2.5 kB."""

CREATED_ONLY_FACTOR = 50
"""How many times quicker than building a document it is to change the dates in it; 75
and more are measured by `benchmarks/indexing.py`, on a machine with nothing else to do.
"""

LEDGER_BYTES = 450
"""Bytes of the ledger for each change, its indexes included: an entry is written a
second time when it is queued. Measured with 20,000 rows on PostgreSQL 15."""


@dataclass
class Estimate:
    """What is to be expected of the run that a dry run stood for."""

    rows: int
    run_seconds: float
    documents: int
    drain_seconds: float | None
    """With one worker; none when no document of the sample could be built."""
    ledger_bytes: int


class Changed:
    """The ids that would change, kept by the database in a table that nobody sees."""

    def __init__(self, database: Database) -> None:
        """Make the temporary table; it goes with the connection at the latest."""
        self._database = database
        # A pooled connection may have been here before, and have failed.
        database.transaction(database.execute, queries.DROP_CHANGED)
        database.transaction(database.execute, queries.CREATE_CHANGED)

    def add(self, kind: str, ids: list[str]) -> None:
        """Keep ids of changed rows of one kind."""
        self._database.transaction(
            self._database.execute, queries.INSERT_CHANGED, kind=kind, ids=ids
        )

    def estimate(self, options: Options, rows: int, read_seconds: float) -> Estimate:
        """Measure samples and scale them up.

        Args:
            options: What the run is to do.
            rows: How many rows would change.
            read_seconds: How long the dry run took, which the real one repeats.

        Returns:
            The estimate.
        """
        write = self._database.transaction(self._write_seconds) if rows else 0
        documents, sample = self._database.transaction(self._documents)
        self._database.transaction(self._database.execute, queries.DROP_CHANGED)
        build = _build_seconds(sample)
        if build and options.indexing == "created-only":
            build /= CREATED_ONLY_FACTOR
        return Estimate(
            rows=rows,
            run_seconds=read_seconds + rows * write * LOGGED_FACTOR,
            documents=documents,
            drain_seconds=build and documents * build,
            ledger_bytes=rows * LEDGER_BYTES,
        )

    def _write_seconds(self) -> float:
        """Time changes with backups in temporary copies; give the seconds for a row."""
        for statement in queries.CREATE_SAMPLE:
            self._database.execute(statement, rows=WRITE_SAMPLE_ROWS)
        start = time.monotonic()
        written = self._database.execute(queries.UPDATE_SAMPLE).rowcount
        return (time.monotonic() - start) / max(written, 1)

    def _documents(self) -> tuple[int, list[str]]:
        """Count the documents that would hold another date, and name some records."""
        total = self._database.execute(queries.COUNT_CHANGED_DOCUMENTS).scalar_one()
        rows = self._database.execute(
            queries.SELECT_CHANGED_RECORDS, limit=BUILD_SAMPLE_DOCUMENTS
        )
        return total, [row[0] for row in rows]


def _build_seconds(record_ids: list[str]) -> float | None:
    """Build documents as the services' indexer does; give the seconds for one."""
    indexer = current_indexer_registry.get(INDEXER_OF_KIND["record"])
    built, start = 0, time.monotonic()
    for id in record_ids:
        try:
            indexer._index_action({"id": id, "op": "index"})
        except Exception:  # noqa: BLE001, S112 - a record that can't be built
            continue
        built += 1
    return (time.monotonic() - start) / built if built else None
