# SPDX-FileCopyrightText: 2026 kcworks-migrations contributors
# SPDX-License-Identifier: MIT
"""Times a plan for every record, and the runs that honour its decisions.

Run on an instance of its own (``demo/setup.sh``: create_instance), as
``python benchmarks/plan.py [ROWS ...]``. For each number of rows it inserts synthetic
records, saves a plan, gives each third row a date of its own, and prints for each step
seconds, microseconds a row, and how much resident memory grew at most. Linear is what
takes the same microseconds for ten times the rows.
"""

import csv
import sys
import tempfile
import threading
import time
from dataclasses import replace
from pathlib import Path

import psutil
from flask import current_app
from invenio_app.factory import create_api
from invenio_db import db
from sqlalchemy import text

from kcworks_migrations import migration
from kcworks_migrations.config import options_from
from kcworks_migrations.database import opened
from kcworks_migrations.migration.plan import read
from kcworks_migrations.migration.save import Writer
from kcworks_migrations.report.reporter import Reporter

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
sys.path.insert(0, str(Path(__file__).parents[1] / "demo"))
import mark
from support import synthetic

OWN = "2001-02-03"
PIDS = """
INSERT INTO pidstore_pid (pid_type, pid_value, status, object_type, object_uuid,
                          created, updated)
SELECT 'recid', json->>'id', 'R', 'rec', id, now(), now() FROM rdm_records_metadata
ON CONFLICT (pid_type, pid_value) DO UPDATE SET object_uuid = excluded.object_uuid
"""


class Peak:
    """The largest resident memory while it is watched."""

    def __enter__(self) -> "Peak":
        """Begin to watch."""
        self._process = psutil.Process()
        self._first = self._peak = self._process.memory_info().rss
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._watch)
        self._thread.start()
        self._began = time.monotonic()
        return self

    def _watch(self) -> None:
        while not self._is_over.wait(0.05):
            self._peak = max(self._peak, self._process.memory_info().rss)

    def __exit__(self, *error: object) -> None:
        """Stop watching."""
        self.seconds = time.monotonic() - self._began
        self._is_over.set()
        self._thread.join()
        self.megabytes = (self._peak - self._first) / 2**20


def measured(name: str, rows: int, work, *values, **more):
    """Do some work and print what it took; give what it returns."""
    with Peak() as peak:
        result = work(*values, **more)
    print(
        f"{rows:>9,}  {name:<34}{peak.seconds:>8.1f} s"
        f"{peak.seconds / rows * 1e6:>8.1f} us a row{peak.megabytes:>8.0f} MB",
        flush=True,
    )
    return result


def fill(rows: int) -> None:
    """Make all rows anew."""
    tables = "rdm_records_metadata, rdm_parents_metadata, communities_metadata"
    with db.engine.begin() as connection:
        connection.execute(
            text(f"TRUNCATE {tables}, kcworks_created_dates_run CASCADE")
        )
        synthetic.insert_many(connection, rows, 100)
        connection.execute(text(PIDS))
    with db.engine.begin() as connection:
        connection.execute(text("ANALYZE"))


def save(path: Path, reporter: Reporter) -> None:
    """Save a plan."""
    with path.open("wb") as file:
        writer = Writer(file, has_problems=False)
        migration.preview(db.engine, reporter=reporter, writer=writer)
        writer.close()


def correct(path: Path, has_ids: bool) -> Path:
    """Give each third line a date of its own; leave out the ids if asked."""
    corrected = path.with_name(f"corrected-{has_ids}.csv")
    with path.open(newline="", encoding="utf-8-sig") as file:
        reader = csv.DictReader(file)
        names = [n for n in reader.fieldnames or () if has_ids or n != "id"]
        with corrected.open("w", newline="", encoding="utf-8-sig") as target:
            writer = csv.DictWriter(target, names, extrasaction="ignore")
            writer.writeheader()
            for number, row in enumerate(reader):
                if number % 3 == 0:
                    row["new"] = OWN
                writer.writerow(row)
    return corrected


def measure(rows: int, folder: Path) -> None:
    """Measure every step with so many records."""
    fill(rows)
    reporter = Reporter(is_silent=True)
    what, how = options_from(current_app.config)
    path = folder / "plan.csv"
    measured("dry run, without a plan", rows, migration.preview, db.engine,
             reporter=reporter)  # fmt: skip
    measured("dry run that saves the plan", rows, save, path, reporter)
    with opened(db.engine, how.lock_timeout_seconds) as database:
        by_label = correct(path, has_ids=False)
        measured("reading it, by PIDs alone", rows, read, database, by_label, what)
        corrected = correct(path, has_ids=True)
        plan = measured("reading it", rows, read, database, corrected, what)
    what = replace(what, plan=plan)
    for name, work in (("looking at it", migration.preview),
                       ("carrying it out", migration.apply),
                       ("again", migration.apply)):  # fmt: skip
        more = {} if work is migration.preview else {"is_queued": False}
        measured(name, rows, work, db.engine, what=what, reporter=reporter, **more)
    del plan, what
    measured("an update that honours it", rows, migration.apply, db.engine,
             reporter=reporter, is_queued=False)  # fmt: skip
    measured("taking all of it back", rows, migration.revert, db.engine,
             reporter=reporter, is_queued=False)  # fmt: skip


def main() -> None:
    """Measure with each number of rows."""
    numbers = [int(word) for word in sys.argv[1:]] or [100_000, 1_000_000]
    with create_api().app_context(), tempfile.TemporaryDirectory() as folder:
        for rows in numbers:
            measure(rows, Path(folder))


if __name__ == "__main__":
    mark.require()
    main()
