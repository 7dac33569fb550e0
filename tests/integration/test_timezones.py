# SPDX-FileCopyrightText: 2026 kcworks-migrations contributors
# SPDX-License-Identifier: MIT
"""The same instants whatever the time zone of the database and its sessions."""

import pytest
from instance import utc
from synthetic import IMPORTED

CASES = {
    "2016-03-13T02:30:00Z": "2016-03-13T02:30:00",  # in a gap of New York
    "2016-11-06T05:30:00+00:00": "2016-11-06T05:30:00",  # an hour that comes twice
    "2016-02-29T23:59:59.999999Z": "2016-02-29T23:59:59.999999",
    "1969-07-20T20:17:40.5Z": "1969-07-20T20:17:40.500000",
    "1883-11-18T17:00:00Z": "1883-11-18T17:00:00",  # local mean time before
    "0001-01-01T00:00:00Z": "0001-01-01T00:00:00",
}


@pytest.mark.parametrize(
    "zone", ["America/New_York", "Asia/Kolkata", "Pacific/Chatham", "UTC"]
)
def test_apply_and_revert_in_any_time_zone(instance, zone):
    records = {value: instance.record(value) for value in CASES}
    group = [{"group_identifier": "7"}]
    instance.record("2016-03-13T23:30:00Z", group)
    community = instance.community("7")
    before = instance.checksums(without_created=False)
    with instance.database_time_zone(zone):
        shown = instance.engine.connect().exec_driver_sql("SHOW TimeZone").scalar()
        instance.upgrade()
        # Invenio 2.x forces UTC on its own connections, 1.x takes the database's.
        assert shown in (zone, "UTC")
        for value, record in records.items():
            assert instance.created(record) == utc(CASES[value]), value
        assert instance.created(community, "community") == utc("2016-03-13")
        instance.downgrade()
        assert instance.created(community, "community") == utc(IMPORTED)
    assert instance.checksums(without_created=False) == before


@pytest.mark.parametrize("first", ["timestamp", "timestamptz"])
def test_revert_after_the_type_of_created_was_changed(instance, first):
    found = instance.scalar(
        "SELECT format_type(atttypid, NULL) FROM pg_attribute WHERE attname = 'created'"
        " AND attrelid = 'rdm_records_metadata'::regclass"
    )
    second = {"timestamp": "timestamptz", "timestamptz": "timestamp"}[first]
    try:
        retype(instance, first)
        records = {value: instance.record(value) for value in CASES}
        with instance.database_time_zone("Asia/Kolkata"):
            instance.upgrade()
            retype(instance, second)
            for value, record in records.items():
                assert instance.created(record) == utc(CASES[value]), value
            summary = instance.downgrade()
        assert summary.statistics.records.updated == len(CASES)
        for record in records.values():
            assert instance.created(record) == utc(IMPORTED)
    finally:
        retype(instance, found)


def retype(instance, column_type: str) -> None:
    """Change the column's type as the application's own revision does, in UTC."""
    for table in ("rdm_records_metadata", "communities_metadata"):
        instance.execute(f"ALTER TABLE {table} ALTER created TYPE {column_type}")
