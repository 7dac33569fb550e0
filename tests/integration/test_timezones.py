# SPDX-FileCopyrightText: 2026 kcworks-migrations contributors
# SPDX-License-Identifier: MIT
"""The same instants whatever the time zone of the database and its sessions."""

from datetime import date

import pytest
from instance import utc
from sqlalchemy import text
from synthetic import IMPORTED

from kcworks_migrations import queries
from kcworks_migrations.rules import Filters

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


@pytest.mark.parametrize("column_type", ["timestamp", "timestamptz"])
def test_conversions_are_right_without_a_session_in_utc(
    instance, monkeypatch, column_type
):
    # Two things keep time zones out, and each must do so alone.
    other = str(queries.SET_LOCALS).replace("'UTC'", "'Pacific/Chatham'")
    assert other != str(queries.SET_LOCALS)
    monkeypatch.setattr(queries, "SET_LOCALS", text(other))
    found = column_type_of_created(instance)
    try:
        retype(instance, column_type)
        records = {value: instance.record(value) for value in CASES}
        before = instance.checksums(without_created=False)
        instance.upgrade()
        for value, record in records.items():
            assert instance.created(record) == utc(CASES[value]), value
        instance.downgrade()
        assert instance.checksums(without_created=False) == before
    finally:
        retype(instance, found)


def test_days_of_filters_are_of_utc_in_any_time_zone(instance):
    early = instance.record("2016-02-29T13:11:39Z", created="2024-04-30T20:00:00")
    late = instance.record("2016-02-29T13:11:39Z", created="2024-05-01T20:00:00")
    with instance.database_time_zone("Asia/Kolkata"):
        instance.upgrade(filters=Filters(date(2024, 5, 1), date(2024, 5, 1)))
    assert instance.created(early) == utc("2024-04-30T20:00:00")
    assert instance.created(late) == utc("2016-02-29T13:11:39")


@pytest.mark.parametrize("first", ["timestamp", "timestamptz"])
def test_revert_after_the_type_of_created_was_changed(instance, first):
    found = column_type_of_created(instance)
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


def column_type_of_created(instance) -> str:
    return instance.scalar(
        "SELECT format_type(atttypid, NULL) FROM pg_attribute WHERE attname = 'created'"
        " AND attrelid = 'rdm_records_metadata'::regclass"
    )


def retype(instance, column_type: str) -> None:
    """Change the column's type as the application's own revision does, in UTC."""
    for table in ("rdm_records_metadata", "communities_metadata"):
        instance.execute(f"ALTER TABLE {table} ALTER created TYPE {column_type}")
