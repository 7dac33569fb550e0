# SPDX-FileCopyrightText: 2026 kcworks-migrations contributors
# SPDX-License-Identifier: MIT
"""How many rows the commands read: no pass over the table for each page or name."""

import time
from contextlib import contextmanager
from types import SimpleNamespace

import pytest
from support.faults import NOWHERE, broker_at

RECORDS = "rdm_records_metadata"
OTHERS = 40_000
"""Records that nothing is done to. They are wide, so that reading the whole table costs
more than reading a page of rows through the index, as it does on a large instance."""

MEMBERS = 10_000
"""Records of the only community, which is changed: several pages of documents."""

STEADY = 10
"""How often the count must be the same, a tenth of a second apart."""

PASSES = 3
"""How often the table may be read, however many pages there are."""

NAMES = 10
"""Names to exclude. PostgreSQL looks for so few one by one here; with more rows it does
so for more names, too."""

INSERT_OTHERS = f"""
INSERT INTO {RECORDS}
    (id, created, updated, json, version_id, "index", deletion_status)
SELECT md5('other' || n)::uuid, '2024-05-01', '2024-05-02',
    jsonb_build_object('id', 'other-' || n, 'metadata', repeat('x', 1500)), 1, 1, 'P'
FROM generate_series(1, {OTHERS}) AS n
"""

# Counted also is what a transaction reads at its end, for a cursor that outlives it.
ROWS_SO_FAR = (
    "SELECT seq_tup_read + idx_tup_fetch FROM pg_stat_user_tables"
    f" WHERE relname = '{RECORDS}'"
)


def rows_so_far(instance) -> int:
    """Give the rows of records that were ever read, once every session has told."""
    instance.engine.dispose()  # a session tells at the latest when it ends
    counts = []
    while len(counts) < STEADY or len(set(counts[-STEADY:])) > 1:
        counts.append(instance.scalar(ROWS_SO_FAR))
        time.sleep(0.1)
    return counts[-1]


@contextmanager
def rows_read(instance):
    """Count the rows of records that are read meanwhile."""
    read = SimpleNamespace(count=-rows_so_far(instance))
    yield read
    read.count += rows_so_far(instance)


@pytest.fixture
def large(instance):
    """Many records in one community, among many more in none."""
    instance.many(MEMBERS, 1)
    instance.execute(INSERT_OTHERS)
    instance.execute("ANALYZE")
    return instance


@pytest.fixture
def changed(large, invoke):
    """The community is changed; what is to be indexed for that is pending."""
    with broker_at(NOWHERE):
        done = invoke("update", "--yes", "--communities-only")
    assert done.exit_code == 3, done.output
    assert len(large.backup()) == 1
    return large


def check_passes(read) -> None:
    """Check that the table was read, and not anew for each page."""
    rows = MEMBERS + OTHERS
    assert read.count >= MEMBERS, "the rows read were not counted"
    assert read.count < PASSES * rows, f"{read.count / rows:.1f} passes over the table"


def test_search_for_what_embeds_a_community_is_no_pass_for_each_page(changed, invoke):
    with rows_read(changed) as read:
        done = invoke("reindex")
    assert done.exit_code == 0, done.output
    assert len(changed.queued("records")) == MEMBERS
    check_passes(read)


def test_verify_is_no_pass_for_each_page(changed, invoke):
    with rows_read(changed) as read:
        done = invoke("verify")
    assert f"{MEMBERS + 1} missing" in done.output
    check_passes(read)


def test_check_of_excluded_names_is_no_pass_for_each_name(large, invoke, tmp_path):
    names = tmp_path / "names"
    look = ("update", "--dry-run", "--communities-only", "--exclude", names)
    counts = []
    for number in (1, NAMES):
        # The last ones in the table, so that none is found before it was read.
        names.write_text("".join(f"other-{OTHERS - n}\n" for n in range(number)))
        with rows_read(large) as read:
            done = invoke(*look)
        assert done.exit_code == 0, done.output
        counts.append(read.count)
    assert counts[0] > OTHERS, "the rows read were not counted"
    assert counts[1] < 1.5 * counts[0], "read anew for each name"


def take_for_empty(instance) -> None:
    """Leave the statistics as autovacuum does when it comes while rows are written."""
    instance.execute(
        "UPDATE pg_class SET reltuples = 0, relpages = pg_relation_size(oid) / 8192"
        f" WHERE oid = '{RECORDS}'::regclass"
    )


def test_update_of_a_table_that_is_taken_for_empty_is_no_pass_for_each_page(instance):
    instance.many(MEMBERS, 1)
    take_for_empty(instance)
    with rows_read(instance) as read:
        instance.upgrade(batch_size=500, is_queued=False)
    # The count, the analysis, the pages, the locks and the changes.
    assert 2 * MEMBERS <= read.count <= 6 * MEMBERS


def test_plan_reads_its_lines_alone(large, invoke, tmp_path):
    ids = large.execute("SELECT id FROM rdm_records_metadata ORDER BY id LIMIT 20")
    path = tmp_path / "plan.csv"
    path.write_text("\n".join(["id,new", *(f"{id},2015-01-01" for (id,) in ids)]))
    with rows_read(large) as read:
        done = invoke("update", "--yes", "--plan", path)
    assert done.exit_code == 0, done.output
    assert len(ids) <= read.count < MEMBERS / 10


def test_plan_for_a_table_that_is_taken_for_empty_is_no_pass_for_each_page(
    instance, invoke, tmp_path
):
    instance.many(MEMBERS, 1)
    take_for_empty(instance)
    ids = instance.execute(f"SELECT id FROM {RECORDS}")
    path = tmp_path / "plan.csv"
    path.write_text("\n".join(["id,new", *(f"{id},2015-01-01" for (id,) in ids)]))
    command = ("update", "--yes", "--plan", path, "--batch-size", 500)
    with rows_read(instance) as read, broker_at(NOWHERE):
        done = invoke(*command)
    assert done.exit_code == 3, done.output
    # The names, the comparison, the analysis, the pages, the locks and the changes.
    assert 2 * MEMBERS <= read.count <= 8 * MEMBERS
