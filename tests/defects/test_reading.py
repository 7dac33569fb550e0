# SPDX-FileCopyrightText: 2026 kcworks-migrations contributors
# SPDX-License-Identifier: MIT
"""How many rows the commands read: no pass over the table for each page or name."""

from contextlib import contextmanager

import pytest
from sqlalchemy import event
from support.faults import NOWHERE, broker_at
from support.rebuild import given, rebuild

RECORDS = "rdm_records_metadata"
OTHERS = 40_000
"""Records that nothing is done to. They are wide, so that reading the whole table costs
more than reading a page of rows through the index, as it does on a large instance."""

MEMBERS = 10_000
"""Records of the only community, which is changed: several pages of documents."""

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

# What this session has counted and not yet handed on, which it never does in the midst
# of a transaction.
ROWS_SO_FAR = (
    "SELECT seq_tup_read + idx_tup_fetch FROM pg_stat_xact_user_tables"
    f" WHERE relname = '{RECORDS}'"
)


class RowsRead:
    """Adds up the rows of records that the transactions of an engine read."""

    def __init__(self) -> None:
        self.count = 0

    def begin(self, connection) -> None:
        with connection.connection.cursor() as cursor:
            # A parallel worker would count for itself.
            cursor.execute("SET LOCAL max_parallel_workers_per_gather = 0")
            self.count -= self._so_far(cursor)

    def commit(self, connection) -> None:
        with connection.connection.cursor() as cursor:
            self.count += self._so_far(cursor)

    def _so_far(self, cursor) -> int:
        cursor.execute(ROWS_SO_FAR)
        return cursor.fetchone()[0]


@contextmanager
def rows_read(engine):
    """Count the rows of records that are read meanwhile."""
    read = RowsRead()
    event.listen(engine, "begin", read.begin)
    event.listen(engine, "commit", read.commit)
    try:
        yield read
    finally:
        event.remove(engine, "begin", read.begin)
        event.remove(engine, "commit", read.commit)


@pytest.fixture
def large(instance):
    """Many records in one community, among many more in none."""
    instance.many(MEMBERS, 1)
    instance.execute(INSERT_OTHERS)
    instance.execute("ANALYZE")
    return instance


@pytest.fixture
def changed(large, invoke):
    """The community is changed; what is to be indexed for that waits for the broker."""
    with broker_at(NOWHERE):
        done = invoke("update", "--yes", "--communities-only")
    given(done.exit_code == 3, "the broker took what was to wait")
    given(len(large.backup()) == 1, "another row than the community was changed")
    return large


def check_passes(read: RowsRead) -> None:
    """Check that the table was read, and not anew for each page."""
    rows = MEMBERS + OTHERS
    given(read.count >= MEMBERS, "the rows read were not counted")
    assert read.count < PASSES * rows, f"{read.count / rows:.1f} passes over the table"


@rebuild("what embeds a community is looked for once")
def test_search_for_what_embeds_a_community_is_no_pass_for_each_page(
    changed, engine, invoke
):
    with rows_read(engine) as read:
        done = invoke("reindex")
    given(done.exit_code == 0, done.output)
    given(len(changed.queued("records")) == MEMBERS, "not all records were queued")
    check_passes(read)


@rebuild("the documents of changed rows are looked for once")
def test_verify_is_no_pass_for_each_page(changed, engine, invoke):
    with rows_read(engine) as read:
        done = invoke("verify")
    given(f"{MEMBERS + 1} missing" in done.output, done.output)
    check_passes(read)


@rebuild("all names to exclude are looked for at once")
def test_check_of_excluded_names_is_no_pass_for_each_name(
    large, engine, invoke, tmp_path
):
    names = tmp_path / "names"
    look = ("update", "--dry-run", "--communities-only", "--exclude", names)
    counts = []
    for number in (1, NAMES):
        # The last ones in the table, so that none is found before it was read.
        names.write_text("".join(f"other-{OTHERS - n}\n" for n in range(number)))
        with rows_read(engine) as read:
            done = invoke(*look)
        given(done.exit_code == 0, done.output)
        counts.append(read.count)
    given(counts[0] > OTHERS, "the rows read were not counted")
    assert counts[1] < 1.5 * counts[0], "read anew for each name"
