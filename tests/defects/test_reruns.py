# SPDX-FileCopyrightText: 2026 kcworks-migrations contributors
# SPDX-License-Identifier: MIT
"""A rerun long after a run was killed: it is about the rows as they are now."""

import pytest
from support.faults import Child, Point, at, kill_this_process
from support.instance import OURS, utc
from support.rebuild import given, preparing, rebuild

LEGACY = "2016-02-29T13:11:39Z"
FIRST_BATCH = Point("committed", f"INSERT INTO {OURS}backup")
RECORDS = 60


@pytest.fixture
def killed(instance, invoke):
    """An instance where an update was killed after its first batch, weeks ago."""
    for _ in range(RECORDS):
        instance.record(LEGACY)

    def update() -> None:
        with at(instance.engine, FIRST_BATCH, kill_this_process):
            invoke("update", "--yes", "--batch-size", 20)

    with preparing("an update is killed"):
        assert Child(instance, update).wait() < 0
    given(0 < len(instance.backup()) < RECORDS, "it was not in its midst")
    instance.execute(f"UPDATE {OURS}run SET started_at = started_at - interval '30 d'")
    return instance


@rebuild("a rerun reads everything again")
def test_rerun_changes_rows_that_were_imported_since(killed, invoke):
    # Its UUID is before those of the batch that was done.
    imported = killed.record(LEGACY, id="00000000-0000-4000-8000-000000000001")
    done = invoke("update", "--yes")
    given(done.exit_code == 0, done.output)
    assert killed.created(imported) == utc(LEGACY[:-1])


@rebuild("a rerun counts what it reads, not what the killed run read")
def test_rerun_counts_the_rows_that_are_there(killed, invoke):
    killed.execute(
        f"DELETE FROM rdm_records_metadata WHERE id IN (SELECT entity_id FROM {OURS}"
        "backup ORDER BY id LIMIT 10)"
    )
    done = invoke("update", "--yes")
    given(done.exit_code == 0, done.output)
    found = killed.run().statistics["records"]["total_found"]
    assert found == RECORDS - 10


@rebuild("a rerun is a run of its own")
def test_rerun_leaves_the_killed_run_what_it_was(killed, invoke):
    entries = len(killed.backup())
    done = invoke("update", "--yes")
    given(done.exit_code == 0, done.output)
    of_the_killed = killed.scalar(f"SELECT min(id) FROM {OURS}run")
    assert len(killed.backup(run_id=of_the_killed)) == entries
