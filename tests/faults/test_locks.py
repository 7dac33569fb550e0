# SPDX-FileCopyrightText: 2026 kcworks-migrations contributors
# SPDX-License-Identifier: MIT
"""Rows and tables that somebody else holds, with real second connections."""

import json
import logging
import re
from contextlib import contextmanager
from dataclasses import replace

import pytest
from sqlalchemy import event
from support.faults import Point, at, check_ledger, other_connection, outcome
from support.instance import utc

from kcworks_migrations import database, interrupt, migration
from kcworks_migrations.config import options_from
from kcworks_migrations.database import PAUSES_SECONDS
from kcworks_migrations.errors import RunFailedError
from kcworks_migrations.kinds import kind_of
from kcworks_migrations.migration import downgrade, upgrade

LEGACY = "2016-02-29T13:11:39Z"
CHANGE = "INSERT INTO kcworks_created_dates_backup"
RESTORE = "UPDATE kcworks_created_dates_backup AS b"
PROGRESS = "SET statistics = CAST("
COMMUNITIES = "FROM communities_metadata AS t"
HOLDER = "Process {} (no application name) has locked a whole table since 20"
BATCH_SIZE = 40

TABLES = {"record": "rdm_records_metadata", "community": "communities_metadata"}


@pytest.fixture(autouse=True)
def impatience(instance, monkeypatch, short_pauses):
    """Small batches that give up waiting for a table sooner than a setting allows."""
    use(monkeypatch, batch_size=BATCH_SIZE, lock_timeout_seconds=0.3)


def use(monkeypatch, **given) -> None:
    """Let runs work in this way, within or without the bounds of the settings."""
    what, how = options_from({})
    options = what, replace(how, queue_delay_seconds=0, **given)
    monkeypatch.setattr(migration, "options_from", lambda config: options)


@contextmanager
def held(instance, statement: str):
    """Let somebody else hold locks, from a statement until a rollback."""
    connection = other_connection(instance)
    connection.cursor().execute(statement)
    try:
        yield connection
    finally:
        connection.close()


def some_rows(kind: str, count: int) -> str:
    """Give the statement that holds the first rows of a kind."""
    return f"SELECT id FROM {TABLES[kind]} ORDER BY id LIMIT {count} FOR UPDATE"


@pytest.mark.parametrize("kind", TABLES)
def test_apply_passes_by_rows_that_somebody_holds(filled, kind):
    before = filled.all_created()
    with held(filled, some_rows(kind, 3)):
        summary = filled.upgrade()
        check_ledger(filled, before)
        changed = len(filled.backup())
    assert {p[2] for p in filled.problems() if p[0] == kind} >= {"locked"}
    locked = [p for p in filled.problems() if p[2] == "locked"]
    assert summary.statistics.of(kind_of(kind)).errors == len([
        p for p in filled.problems() if p[0] == kind
    ])
    # The next run takes them.
    second = filled.upgrade()
    assert second.statistics.updated == len(locked) > 0
    assert len(filled.backup()) == changed + len(locked)
    check_ledger(filled, before)
    assert not {p for p in filled.problems() if p[2] == "locked"} - set(locked)
    filled.downgrade()
    assert filled.all_created() == before


@pytest.mark.parametrize("kind", TABLES)
def test_apply_comes_back_to_rows_that_were_held(filled, kind):
    filled.upgrade()
    whole = outcome(filled)
    filled.downgrade()
    filled.execute("TRUNCATE kcworks_created_dates_run CASCADE")
    with held(filled, some_rows(kind, 3)) as holder:
        changed_while_held = []

        def release(connection) -> None:
            changed_while_held.append(len(filled.backup(kind=kind)))
            holder.rollback()

        # It asks for held records first, of which there are none for communities.
        coming_back = Point("before", "reason = 'locked'", 1 + (kind != "record"))
        with at(filled.engine, coming_back, release):
            filled.upgrade()
    assert changed_while_held[0] >= {"record": 270, "community": 3}[kind]
    assert outcome(filled) == whole
    assert "locked" not in {p[2] for p in filled.problems()}


def problems_of(invoke, run_id: int) -> list[str]:
    """Give the labels of the rows that a run found locked."""
    command = ("problems", "--run", run_id, "--reason", "locked", "--json")
    return [p["label"] for p in json.loads(invoke(*command).output)["problems"]]


def test_row_that_stays_locked_is_one_problem_of_each_run(instance, invoke):
    for number in range(3):
        instance.record(LEGACY, label=f"pid-{number}")
    runs = []
    with held(instance, some_rows("record", 3)):
        for _ in range(2):
            instance.upgrade()
            runs.append(instance.run().id)
    for run_id in runs:
        assert len(set(problems_of(invoke, run_id))) == 3
    assert len(instance.problems()) == 3
    with held(instance, some_rows("record", 3)) as holder:
        # Released while the run is at work: then it is no problem of this one.
        coming_back = Point("before", "reason = 'locked'")
        with at(instance.engine, coming_back, lambda _: holder.rollback()):
            instance.upgrade()
    assert problems_of(invoke, instance.run().id) == []
    for run_id in runs:
        assert len(set(problems_of(invoke, run_id))) == 3


def test_locked_rows_are_read_once_for_each_try(instance, monkeypatch):
    use(monkeypatch, batch_size=20)
    instance.many(2000, 1)
    queries, batches = [], []

    def note(connection, cursor, statement, parameters, context, is_many) -> None:
        if "reason = 'locked'" in statement:
            queries.append(statement)
        if "DELETE FROM kcworks_created_dates_problem" in statement:
            batches.append(statement)

    with held(instance, some_rows("record", 2000)):
        event.listen(instance.engine, "before_cursor_execute", note)
        try:
            summary = instance.upgrade()
        finally:
            event.remove(instance.engine, "before_cursor_execute", note)
    locked = [p for p in instance.problems() if p[2] == "locked"]
    assert len(locked) == summary.statistics.records.errors - 40 > 1500
    assert len(batches) > 200
    # Three tries for the records, one look for the communities.
    assert len(queries) == 4


def test_apply_decides_anew_about_a_row_that_was_held(instance):
    record = instance.record(LEGACY)
    with held(instance, some_rows("record", 1)) as holder:

        def edit_and_release(connection) -> None:
            holder.cursor().execute(
                "UPDATE rdm_records_metadata SET created = '2020-02-02', json ="
                " jsonb_set(json, ARRAY['custom_fields',"
                " 'hclegacy:record_creation_date'], '\"2014-01-01T00:00:00Z\"')"
            )
            holder.commit()

        with at(
            instance.engine, Point("before", "reason = 'locked'"), edit_and_release
        ):
            instance.upgrade()
    (entry,) = instance.backup()
    assert entry.old_created == utc("2020-02-02")
    assert instance.created(record) == entry.new_created == utc("2014-01-01")
    assert instance.problems() == set()


def test_apply_counts_a_held_row_that_was_deleted(instance):
    instance.record(LEGACY)
    with held(instance, some_rows("record", 1)) as holder:

        def delete_and_release(connection) -> None:
            holder.cursor().execute("DELETE FROM rdm_records_metadata")
            holder.commit()

        with at(
            instance.engine, Point("before", "reason = 'locked'"), delete_and_release
        ):
            summary = instance.upgrade()
    assert (instance.backup(), instance.problems()) == ([], set())
    assert summary.statistics.records.skipped == 1
    assert summary.statistics.records.errors == 0


def test_apply_does_not_overwrite_what_was_changed_after_it_was_read(instance):
    record = instance.record(LEGACY)
    other = instance.record(LEGACY)

    def edit(connection) -> None:
        with held(instance, "SELECT 1") as editor:
            editor.cursor().execute(
                "UPDATE rdm_records_metadata SET created = '2020-02-02'"
                f" WHERE id = '{record}'"
            )
            editor.commit()

    with at(instance.engine, Point("before", CHANGE), edit):
        instance.upgrade()
    old = {entry.entity: entry.old_created for entry in instance.backup()}
    assert old[record] == utc("2020-02-02")
    assert instance.created(record) == instance.created(other)
    instance.downgrade()
    assert instance.created(record) == utc("2020-02-02")


@pytest.mark.parametrize("kind", TABLES)
def test_revert_passes_by_rows_that_somebody_holds(filled, kind):
    before = filled.all_created()
    filled.upgrade()
    with held(filled, some_rows(kind, 3)):
        with pytest.raises(RunFailedError, match="rows stayed locked") as error:
            filled.downgrade()
        check_ledger(filled, before)
    standing = [e for e in filled.backup() if e.outcome is None]
    assert 0 < len(standing) <= 3
    assert "Run the same command again" in error.value.message
    filled.downgrade()
    assert filled.all_created() == before
    assert {e.outcome for e in filled.backup()} == {"restored"}


def test_revert_comes_back_to_rows_that_were_held(filled):
    before = filled.all_created()
    filled.upgrade()
    with held(filled, some_rows("record", 3)) as holder:
        last = Point("committed", RESTORE, 8)
        with at(filled.engine, last, lambda connection: holder.rollback()):
            filled.downgrade()
    assert filled.all_created() == before


def lock_table(kind: str, mode: str = "ACCESS EXCLUSIVE") -> str:
    return f"LOCK TABLE {TABLES[kind]} IN {mode} MODE"


@pytest.mark.parametrize(
    ("kind", "mode", "point"),
    [
        (
            "record",
            "ACCESS EXCLUSIVE",
            Point("before", "INSERT INTO kcworks_created_dates_run"),
        ),
        ("record", "SHARE ROW EXCLUSIVE", Point("committed", CHANGE, 4)),
        ("community", "ACCESS EXCLUSIVE", Point("before", COMMUNITIES)),
    ],
)
def test_apply_stops_at_a_locked_table_and_says_who_holds_it(filled, kind, mode, point):
    before = filled.all_created()
    filled.upgrade()
    whole = outcome(filled)
    filled.downgrade()
    filled.execute("TRUNCATE kcworks_created_dates_run CASCADE")
    holders = []

    def lock(connection) -> None:
        holder = other_connection(filled)
        holder.cursor().execute(lock_table(kind, mode))
        holders.append(holder)

    with (
        at(filled.engine, point, lock),
        pytest.raises(RunFailedError) as error,
    ):
        filled.upgrade()
    (holder,) = holders
    message = error.value.message
    pid = holder.info.backend_pid
    assert HOLDER.format(pid) in message
    assert f"SELECT query FROM pg_stat_activity WHERE pid = {pid}" in message
    assert "LOCK TABLE" not in message
    assert "Run the same command again" in message
    assert filled.run().status == "failed"
    holder.close()
    check_ledger(filled, before)
    filled.upgrade()
    assert outcome(filled) == whole


def undisturbed(instance, action: str):
    """Give how a run leaves the instance, which is put back to before it."""
    if action == "downgrade":
        instance.upgrade()
    getattr(instance, action)()
    whole = outcome(instance)
    if action == "upgrade":
        instance.downgrade()
    instance.execute("TRUNCATE kcworks_created_dates_run CASCADE")
    if action == "downgrade":
        instance.upgrade()
    return whole


@pytest.fixture
def pauses(monkeypatch):
    """What the runs would have paused, in seconds; here they go on at once."""
    seconds = []

    def note(wait: float, *more) -> None:
        if wait:
            seconds.append(wait)

    for module in (database, upgrade, downgrade):
        monkeypatch.setattr(module, "PAUSES_SECONDS", PAUSES_SECONDS)
    monkeypatch.setattr(interrupt, "pause", note)
    return seconds


@pytest.mark.parametrize(
    ("action", "table", "point"),
    [
        ("upgrade", TABLES["record"], Point("before", CHANGE, 3)),
        ("downgrade", TABLES["record"], Point("before", RESTORE, 3)),
        # Here the batch has been counted, and must not be so once more.
        ("upgrade", "kcworks_created_dates_run", Point("before", PROGRESS, 2)),
        ("downgrade", "kcworks_created_dates_run", Point("before", PROGRESS, 2)),
    ],
)
def test_runs_wait_for_a_table_that_is_released(filled, pauses, action, table, point):
    whole = undisturbed(filled, action)
    holder = other_connection(filled)
    timeouts = []

    def lock(connection) -> None:
        holder.cursor().execute(f"LOCK TABLE {table} IN SHARE MODE")

    def release(connection) -> None:
        timeouts.append(connection)
        if len(timeouts) == 2:
            holder.rollback()

    event.listen(filled.engine, "rollback", release)
    try:
        with at(filled.engine, point, lock):
            getattr(filled, action)()
    finally:
        event.remove(filled.engine, "rollback", release)
        holder.close()
    assert len(timeouts) == 2
    assert pauses == [*PAUSES_SECONDS[:2]]
    assert outcome(filled) == whole


def test_runs_come_back_to_held_rows_with_growing_pauses(filled, pauses):
    with held(filled, some_rows("record", 3)):
        filled.upgrade()
    assert pauses == [*PAUSES_SECONDS]
    assert pauses == sorted(set(pauses)), "they grow"
    pauses.clear()
    with held(filled, some_rows("community", 3)):
        with pytest.raises(RunFailedError):
            filled.downgrade()
    assert pauses == [*PAUSES_SECONDS]


@pytest.mark.parametrize("kind", TABLES)
def test_runs_do_not_mind_those_who_only_refer_to_a_row(filled, kind):
    before = filled.all_created()
    whole = undisturbed(filled, "upgrade")
    # As a new member or a new membership does: against deletion alone.
    refer = some_rows(kind, 3).replace("FOR UPDATE", "FOR KEY SHARE")
    with held(filled, refer):
        filled.upgrade()
        assert outcome(filled) == whole
        filled.downgrade()
        assert filled.all_created() == before


def test_revert_stops_at_a_locked_table_and_says_who_holds_it(filled):
    before = filled.all_created()
    filled.upgrade()
    with held(filled, lock_table("record")) as holder:
        with pytest.raises(RunFailedError) as error:
            filled.downgrade()
        pid = holder.info.backend_pid
    assert HOLDER.format(pid) in error.value.message
    check_ledger(filled, before)
    filled.downgrade()
    assert filled.all_created() == before


def settings(instance) -> list[tuple[str, ...]]:
    """Give what a run could have left on each connection of the pool."""
    connections = [instance.engine.connect() for _ in range(3)]
    shown = [
        tuple(
            connection.exec_driver_sql(f"SHOW {name}").scalar()
            for name in ("lock_timeout", "statement_timeout", "TimeZone")
        )
        for connection in connections
    ]
    for connection in connections:
        connection.close()
    return shown


@pytest.mark.parametrize("is_failing", [False, True])
def test_runs_put_the_settings_of_their_connection_back(filled, is_failing):
    with filled.database_time_zone("Asia/Kolkata"):
        before = settings(filled)
        for work in (filled.upgrade, filled.downgrade):
            if is_failing:
                with held(filled, lock_table("record")):
                    with pytest.raises(RunFailedError):
                        work()
            work()
            assert settings(filled) == before
        assert not filled.scalar(
            "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND database ="
            " (SELECT oid FROM pg_database WHERE datname = current_database())"
        )


@pytest.mark.parametrize(
    ("action", "noun", "comes_first"),
    [
        ("upgrade", "records", "< '20000000-0000-0000-0000-000000000000'"),
        ("downgrade", "changes", "> 'e0000000-0000-0000-0000-000000000000'"),
    ],
)
def test_batches_that_take_too_long_are_halved(
    instance, caplog, monkeypatch, action, noun, comes_first
):
    use(monkeypatch, batch_size=64, batch_seconds=0.4)
    caplog.set_level(logging.INFO, "kcworks_migrations")
    instance.many(700, 1)
    instance.execute("TRUNCATE communities_metadata CASCADE")
    if action == "downgrade":
        instance.upgrade()
        caplog.clear()
    instance.execute("""
        CREATE OR REPLACE FUNCTION faults_slow() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            PERFORM pg_sleep(0.03);
            RETURN NEW;
        END $$""")
    # The first rows are slow.
    instance.execute(
        "CREATE TRIGGER faults BEFORE UPDATE ON rdm_records_metadata FOR EACH ROW"
        f" WHEN (NEW.id {comes_first})"
        " EXECUTE FUNCTION faults_slow()"
    )
    try:
        getattr(instance, action)()
    finally:
        instance.execute("DROP FUNCTION faults_slow CASCADE")
    # The kind that has no rows is told with no rows done, as the first batch is.
    told = re.findall(rf"\((\d+) {noun}\), (\d+) of", caplog.text)
    sizes = [*{int(done): int(size) for size, done in told}.values()]
    assert sizes[:2] == [64, 32]
    assert min(sizes[:6]) <= 16
    assert sizes.count(64) > 2, "it grows again"
    changes = len(instance.backup())
    assert sum(sizes) == {"upgrade": 700, "downgrade": changes}[action]


def test_a_date_that_was_edited_under_a_lock_counts_as_it_is_then(instance):
    """Its community would never become younger again."""
    group = [{"group_identifier": "7"}]
    record = instance.record("2010-01-01T00:00:00Z", group)
    instance.record("2014-04-04T00:00:00Z", group)
    community = instance.community("7")
    with other_connection(instance) as editor:
        editor.cursor().execute("SELECT FROM rdm_records_metadata FOR UPDATE")

        def edit(connection) -> None:
            editor.cursor().execute(
                "UPDATE rdm_records_metadata SET json = jsonb_set(json, ARRAY["
                "'custom_fields', 'hclegacy:record_creation_date'],"
                " '\"2012-02-02T00:00:00Z\"') WHERE id = %s",
                [record],
            )
            editor.commit()

        with at(instance.engine, Point("committed", PROGRESS), edit):
            instance.upgrade()
    assert instance.created(record) == utc("2012-02-02")
    assert instance.created(community, "community") == utc("2012-02-02")


def test_the_date_of_a_record_that_stays_locked_counts_for_its_community(instance):
    group = [{"group_identifier": "7"}]
    instance.record("2010-01-01T00:00:00Z", group)
    community = instance.community("7")
    with held(instance, "SELECT FROM rdm_records_metadata FOR UPDATE"):
        instance.upgrade()
    assert {p[2] for p in instance.problems()} == {"locked"}
    assert instance.created(community, "community") == utc("2010-01-01")
