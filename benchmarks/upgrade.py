# SPDX-FileCopyrightText: 2026 kcworks-migrations contributors
# SPDX-License-Identifier: MIT
"""Times one upgrade against the same changes in bare SQL, side by side.

Run on an instance of its own (``demo/setup.sh``: create_instance), as
``python benchmarks/upgrade.py [ROWS]``. It inserts synthetic rows, measures in turns
(bare SQL, upgrade and downgrade with their queueing left out, bare SQL, ...) and prints
seconds, rows a second, the ratios, and how much resident memory grew.
"""

import statistics
import sys
import time
from pathlib import Path

import psutil
from invenio_app.factory import create_api
from invenio_db import db
from sqlalchemy import text

from kcworks_migrations import migration

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
sys.path.insert(0, str(Path(__file__).parents[1] / "demo"))
import mark
from support import synthetic

ROUNDS = 3
# What a person without this package would type: no check, no batch, no rerun.
BARE = """
INSERT INTO kcworks_created_dates_run
    (action, origin, started_by, package_version, options, status, statistics,
     started_at, progress_at)
VALUES ('apply', 'bare', '', '', '{}', 'succeeded', '{}', now(), now());
INSERT INTO kcworks_created_dates_backup
    (run_id, kind, entity_id, label, old_created, new_created, source_value, changed_at)
SELECT (SELECT max(id) FROM kcworks_created_dates_run), 'record', id, json->>'id',
       created AT TIME ZONE 'UTC', CAST(value AS timestamptz), value, now()
FROM rdm_records_metadata CROSS JOIN LATERAL (
    SELECT json->'custom_fields'->>'hclegacy:record_creation_date' AS value) AS f
WHERE value NOT LIKE '2016-02-30%';
UPDATE rdm_records_metadata AS t SET created = b.new_created AT TIME ZONE 'UTC'
FROM kcworks_created_dates_backup AS b
WHERE b.entity_id = t.id AND b.new_created <> b.old_created
"""


def execute(*statements: str) -> None:
    """Execute statements, each committed."""
    for statement in statements:
        with db.engine.begin() as connection:
            connection.execute(text(statement))


def reset(rows: int) -> None:
    """Make all rows anew, and the tables as compact as they were."""
    execute(
        "TRUNCATE rdm_records_metadata, rdm_parents_metadata, communities_metadata,"
        " kcworks_created_dates_run CASCADE",
    )
    with db.engine.begin() as connection:
        synthetic.insert_many(connection, rows, 1000)
    connection = db.engine.raw_connection()
    connection.set_session(autocommit=True)
    for statement in ("VACUUM ANALYZE rdm_records_metadata", "CHECKPOINT"):
        connection.cursor().execute(statement)
    connection.set_session(autocommit=False)  # it goes back to the pool
    connection.close()


def timed(work) -> float:
    """Give the seconds that the work takes."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def upgrade() -> None:
    """Run the upgrade; the queueing has a benchmark of its own."""
    migration.apply(db.engine, "cli", is_queued=False)


def downgrade() -> None:
    """Run the downgrade, its queueing left out as well."""
    migration.revert(db.engine, "cli", is_queued=False)


def main(rows: int) -> None:
    """Measure in turns and print."""
    process = psutil.Process()
    seconds: dict[str, list[float]] = {"bare": [], "upgrade": [], "downgrade": []}
    for _ in range(ROUNDS):
        reset(rows)
        seconds["bare"].append(timed(lambda: execute(*BARE.split(";"))))
        reset(rows)
        before = process.memory_info().rss
        seconds["upgrade"].append(timed(upgrade))
        seconds["downgrade"].append(timed(downgrade))
        grown = (process.memory_info().rss - before) / 2**20
        ratio = seconds["upgrade"][-1] / seconds["bare"][-1]
        print(
            f"bare {seconds['bare'][-1]:.1f} s, upgrade {seconds['upgrade'][-1]:.1f} s:"
            f" {rows / seconds['upgrade'][-1]:.0f} rows a second, ratio {ratio:.2f},"
            f" memory +{grown:.0f} MiB; downgrade {seconds['downgrade'][-1]:.1f} s",
            flush=True,
        )
    bare, up, down = (statistics.median(of_name) for of_name in seconds.values())
    print(
        f"median over {ROUNDS} rounds of {rows} rows: upgrade {up / bare:.2f} times the"
        f" bare statements, downgrade {down / up:.2f} times the upgrade"
    )


if __name__ == "__main__":
    mark.require()
    with create_api().app_context():
        main(int(sys.argv[1]) if len(sys.argv) > 1 else 200_000)
