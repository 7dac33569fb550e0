# SPDX-FileCopyrightText: 2026 kcworks-migrations contributors
# SPDX-License-Identifier: MIT
"""The same instants whatever the time zone of the database and its sessions."""

from contextlib import contextmanager, nullcontext
from datetime import date

import pytest
from alembic.migration import MigrationContext
from alembic.operations import Operations
from alembic.util import CommandError
from sqlalchemy import text
from support.faults import TYPES, column_type_of_created, retype
from support.instance import utc
from support.synthetic import IMPORTED

from kcworks_migrations import database

CASES = {
    "2016-03-13T02:30:00Z": "2016-03-13T02:30:00",  # in a gap of New York
    "2016-11-06T05:30:00+00:00": "2016-11-06T05:30:00",  # an hour that comes twice
    "2016-10-02T02:15:00Z": "2016-10-02T02:15:00",  # in Lord Howe's half-hour gap
    "2011-12-30T12:00:00Z": "2011-12-30T12:00:00",  # a day that Apia never had
    "2016-02-29T23:59:59.999999Z": "2016-02-29T23:59:59.999999",
    "2000-02-29T00:00:00.000001Z": "2000-02-29T00:00:00.000001",
    "1969-07-20T20:17:40.5Z": "1969-07-20T20:17:40.500000",
    "1883-11-18T17:00:00Z": "1883-11-18T17:00:00",  # local mean time before
    "0001-01-01T00:00:00Z": "0001-01-01T00:00:00",
}
ZONES = (
    "America/New_York",
    "America/St_Johns",  # 3:30 behind
    "Asia/Kolkata",  # 5:30 ahead
    "Asia/Kathmandu",  # 5:45 ahead
    "Australia/Lord_Howe",  # summer time of half an hour
    "Pacific/Apia",
    "Pacific/Chatham",  # 12:45 ahead
    "UTC",
)
REVISIONS_OF_TYPES = ("912251a56a49", "c3feb26c7041")
"""Of rdm-records and communities, from InvenioRDM 14 on."""


@pytest.fixture(autouse=True)
def no_date_is_too_early(app, monkeypatch):
    setting = "KCWORKS_CREATED_DATES_EARLIEST_DATE"
    monkeypatch.setitem(app.config, setting, date(1, 1, 1))


@contextmanager
def session_time_zone(instance, name: str):
    """Let the driver ask for another time zone, against the database's own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PGTZ", name)
        instance.engine.dispose()
        yield
    instance.engine.dispose()


def check_there_and_back(instance, in_zone) -> None:
    """Check that every case goes up and comes back exactly, old dates included."""
    records = {value: instance.record(value) for value in CASES}
    # The same instants as old dates, which are to come back.
    olds = [instance.record("2016-01-01T00:00:00Z", created=c) for c in CASES.values()]
    group = [{"group_identifier": "7"}]
    instance.record("2016-03-13T23:30:00Z", group)
    community = instance.community("7")
    before = instance.checksums(without_created=False)
    with in_zone:
        instance.upgrade()
        for value, record in records.items():
            assert instance.created(record) == utc(CASES[value]), value
        assert {instance.created(record) for record in olds} == {utc("2016-01-01")}
        assert instance.created(community, "community") == utc("2016-03-13")
        entries = {entry.entity: entry.old_created for entry in instance.backup()}
        assert [entries[old] for old in olds] == [utc(c) for c in CASES.values()]
        instance.downgrade()
        assert instance.created(community, "community") == utc(IMPORTED)
    assert instance.checksums(without_created=False) == before


@pytest.mark.parametrize("zone", ZONES)
def test_apply_and_revert_in_any_time_zone(instance, column_type, zone):
    in_zone = instance.database_time_zone(zone)
    check_there_and_back(instance, in_zone)


@pytest.mark.parametrize("zone", ["America/St_Johns", "Australia/Lord_Howe"])
def test_apply_and_revert_in_any_time_zone_of_the_session(instance, column_type, zone):
    check_there_and_back(instance, session_time_zone(instance, zone))


@pytest.mark.parametrize("zone", ["Asia/Kolkata", "Pacific/Chatham"])
def test_conversions_are_right_without_a_session_in_utc(
    instance, monkeypatch, column_type, zone
):
    # Two things keep time zones out, and each must do so alone.
    other = str(database.SET_LOCALS).replace("'UTC'", f"'{zone}'")
    assert other != str(database.SET_LOCALS)
    monkeypatch.setattr(database, "SET_LOCALS", text(other))
    check_there_and_back(instance, nullcontext())


def test_days_of_filters_are_of_utc_in_any_time_zone(instance):
    early = instance.record("2016-02-29T13:11:39Z", created="2024-04-30T20:00:00")
    late = instance.record("2016-02-29T13:11:39Z", created="2024-05-01T20:00:00")
    with instance.database_time_zone("Asia/Kolkata"):
        instance.upgrade(start_date=date(2024, 5, 1), end_date=date(2024, 5, 1))
    assert instance.created(early) == utc("2024-04-30T20:00:00")
    assert instance.created(late) == utc("2016-02-29T13:11:39")


@pytest.mark.parametrize("first", TYPES)
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


@pytest.fixture
def change_type(app, instance):
    """Run the instance's own revisions that change the type of `created`."""
    directory = app.extensions["invenio-db"].alembic.script_directory
    try:
        modules = [directory.get_revision(id).module for id in REVISIONS_OF_TYPES]
    except CommandError:
        pytest.skip("this line has no such revisions")

    def run(direction: str) -> str:
        with instance.engine.begin() as connection:
            with Operations.context(MigrationContext.configure(connection)):
                for module in modules:
                    getattr(module, direction)()
        return column_type_of_created(instance)

    yield run
    if column_type_of_created(instance) == "timestamp without time zone":
        run("upgrade")


def test_revert_after_the_instances_own_revisions(instance, change_type):
    assert change_type("downgrade") == "timestamp without time zone"
    records = {value: instance.record(value) for value in CASES}
    before = instance.all_created()
    for direction in ("upgrade", "downgrade"):
        instance.upgrade()
        change_type(direction)
        for value, record in records.items():
            assert instance.created(record) == utc(CASES[value]), value
        instance.downgrade()
        assert instance.all_created() == before
