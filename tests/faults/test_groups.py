# SPDX-FileCopyrightText: 2026 kcworks-migrations contributors
# SPDX-License-Identifier: MIT
"""Records with hundreds of thousands of groups."""

import time

import pytest
from support.faults import Point, at, other_connection
from support.instance import OURS, utc

MANY = 300_000
OLDEST = "2012-03-04T05:06:07Z"
BLANK = "jsonb_build_object('group_identifier', ' ')"
LONG = "jsonb_build_object('group_identifier', repeat('7', 501))"
USABLE = "jsonb_build_object('group_identifier', n::text)"
SECONDS = 20
"""A bound for a busy machine; it took 13 seconds and 56 MB, and now takes one."""


def record_with_groups(instance, group, more="'[]'::jsonb", count=MANY) -> str:
    """Insert a record with many groups; give its UUID."""
    id = instance.record(OLDEST, [], label="many")
    instance.execute(
        "UPDATE rdm_records_metadata SET json = jsonb_set(json, ARRAY['custom_fields',"
        " 'hclegacy:groups_for_deposit'],"
        f" (SELECT jsonb_agg({group}) FROM generate_series(1, {count}) AS n) || {more})"
        " WHERE id = :id",
        id=id,
    )
    return id


@pytest.mark.parametrize(
    ("group", "count"),
    [
        ("to_jsonb(n)", MANY),
        ("'null'::jsonb", MANY),
        ("jsonb_build_object('x', n)", MANY),
        (BLANK, MANY),
        (LONG, MANY // 20),
    ],
)
def test_malformed_groups_are_counted_and_the_first_ones_listed(
    instance, invoke, group, count
):
    usable = f"(SELECT {USABLE} FROM (SELECT 5) AS s(n))"
    record_with_groups(instance, group, usable, count)
    community = instance.community("5")
    began = time.monotonic()
    for _ in range(2):
        invoke("update", "--yes")
    assert time.monotonic() - began < 2 * SECONDS
    assert instance.created(community, "community") == utc("2012-03-04")
    assert instance.run().statistics["groups"]["errors"] == count
    assert instance.scalar(f"SELECT count(*) FROM {OURS}problem") == 20
    size = f"SELECT pg_total_relation_size('{OURS}problem')"
    assert instance.scalar(size) < 1_000_000
    assert f"… and {count - 20} more" in invoke("problems").output
    assert f"… and {count - 20} more" in invoke("show", "many").output


def test_usable_groups_all_count(instance, invoke):
    record_with_groups(instance, USABLE)
    communities = [instance.community(str(n)) for n in (1, MANY // 2, MANY)]
    result = invoke("update", "--yes")
    assert result.exit_code == 0
    for community in communities:
        assert instance.created(community, "community") == utc("2012-03-04")


def test_no_row_is_locked_while_groups_are_read_and_written_down(instance):
    record_with_groups(instance, "to_jsonb(n)")
    instance.record(OLDEST)
    found = []

    def lock(connection) -> None:
        editor = other_connection(instance)
        cursor = editor.cursor()
        cursor.execute("SELECT id FROM rdm_records_metadata FOR UPDATE SKIP LOCKED")
        found.append(cursor.rowcount)
        editor.close()

    for statement in ("jsonb_array_elements", f"INSERT INTO {OURS}problem"):
        with at(instance.engine, Point("after", statement), lock):
            instance.upgrade()
    assert found == [2, 2]
