# SPDX-FileCopyrightText: 2026 kcworks-migrations contributors
# SPDX-License-Identifier: MIT
"""The database goes away in the middle: what it says, and that the rerun completes."""

import pytest
from sqlalchemy import create_engine, text
from support.faults import (
    Point,
    at,
    check_ledger,
    check_queued,
    other_connection,
    outcome,
)

from kcworks_migrations import migration
from kcworks_migrations.errors import RunFailedError, ServiceFailedError

BATCH_SIZE = 40
CHANGE = "INSERT INTO kcworks_created_dates_backup"
RESTORE = "UPDATE kcworks_created_dates_backup AS b"
QUEUED = "SET queued_at = clock_timestamp()"


@pytest.fixture(autouse=True)
def small_batches(app, monkeypatch):
    monkeypatch.setitem(app.config, "KCWORKS_CREATED_DATES_BATCH_SIZE", BATCH_SIZE)


def undisturbed(instance):
    """Give how an upgrade and a downgrade leave the instance, which is put back."""
    instance.upgrade()
    upgraded = outcome(instance)
    instance.downgrade()
    reverted = outcome(instance)
    instance.execute("TRUNCATE kcworks_created_dates_run CASCADE")
    instance.empty_queues()
    return upgraded, reverted


def check_stopped(error, instance) -> None:
    """Check that the message says what happened and what to do, on one line."""
    message = error.value.message
    assert f"Run {instance.run().id} is not complete" in message
    assert "Run the same command again to do the rest" in message
    assert message.isprintable()


def cut(connection) -> None:
    """Cut a connection from the server's side."""
    pid = connection.connection.dbapi_connection.info.backend_pid
    killer = create_engine(connection.engine.url).connect()
    killer.execute(text("SELECT pg_terminate_backend(:pid)"), {"pid": pid})
    killer.close()


@pytest.mark.parametrize(
    "point",
    [
        Point("before", CHANGE, 3),
        Point("after", CHANGE, 3),
        Point("commit", CHANGE, 3),
        Point("committed", CHANGE, 3),
        Point("commit", "'kind': 'community'"),
        Point("before", QUEUED, 2),
        Point("commit", QUEUED, 2),
    ],
)
def test_apply_with_the_connection_cut(filled, point):
    before = filled.all_created()
    whole, _ = undisturbed(filled)
    with at(filled.engine, point, cut), pytest.raises(RunFailedError) as error:
        filled.upgrade()
    check_stopped(error, filled)
    assert "connection" in error.value.message
    assert (filled.run().status, filled.run().message is None) == ("failed", False)
    check_ledger(filled, before)
    filled.upgrade()
    assert outcome(filled) == whole
    check_queued(filled)


@pytest.mark.parametrize(
    "point", [Point("after", RESTORE, 3), Point("commit", RESTORE, 3)]
)
def test_revert_with_the_connection_cut(filled, point):
    before = filled.all_created()
    _, whole = undisturbed(filled)
    filled.upgrade()
    with at(filled.engine, point, cut), pytest.raises(RunFailedError) as error:
        filled.downgrade()
    check_stopped(error, filled)
    check_ledger(filled, before)
    filled.downgrade()
    assert outcome(filled) == whole


@pytest.mark.parametrize("is_killed", [True, False], ids=["killed", "stopped"])
def test_runs_with_the_server_restarted(elsewhere, own_postgresql, is_killed):
    before = elsewhere.all_created()
    whole, reverted = undisturbed(elsewhere)

    def crash(connection) -> None:
        own_postgresql.stop(kill=is_killed)

    for work, point, expected in (
        (elsewhere.upgrade, Point("after", CHANGE, 4), whole),
        (elsewhere.downgrade, Point("after", RESTORE, 4), reverted),
    ):
        try:
            with (
                at(elsewhere.engine, point, crash),
                pytest.raises(RunFailedError) as error,
            ):
                work()
            with pytest.raises(ServiceFailedError, match="refused") as down:
                work()
            assert "same command again" in down.value.message
        finally:
            own_postgresql.start()
        elsewhere.engine.dispose()
        check_stopped(error, elsewhere)
        check_ledger(elsewhere, before)
        work()
        assert outcome(elsewhere) == expected
    check_queued(elsewhere)


@pytest.fixture
def failing_statement(filled):
    """Make the statement fail that writes a table, when it comes to its n-th row."""

    def install(table: str, event: str, row: int, code: str, message: str) -> None:
        filled.execute("CREATE SEQUENCE faults_row")
        filled.execute(f"""
            CREATE FUNCTION faults_fail() RETURNS trigger LANGUAGE plpgsql AS $$
            BEGIN
                IF nextval('faults_row') >= {row} THEN
                    RAISE EXCEPTION '{message}' USING ERRCODE = '{code}';
                END IF;
                RETURN NEW;
            END $$""")
        filled.execute(
            f"CREATE TRIGGER faults BEFORE {event} ON {table}"
            " FOR EACH ROW EXECUTE FUNCTION faults_fail()"
        )

    def remove() -> None:
        filled.execute("DROP FUNCTION IF EXISTS faults_fail CASCADE")
        filled.execute("DROP SEQUENCE IF EXISTS faults_row")

    remove()
    install.remove = remove
    yield install
    remove()


@pytest.mark.parametrize(
    ("table", "event", "row"),
    [
        ("rdm_records_metadata", "UPDATE", 90),
        ("communities_metadata", "UPDATE", 3),
        ("kcworks_created_dates_backup", "INSERT", 130),
        ("kcworks_created_dates_problem", "INSERT", 2),
    ],
)
def test_apply_with_the_disk_full(filled, failing_statement, table, event, row):
    before = filled.all_created()
    whole, _ = undisturbed(filled)
    message = "could not extend file: No space left on device"
    failing_statement(table, event, row, "53100", message)
    for _ in range(2):  # as long as the disk is full
        with pytest.raises(RunFailedError, match=message) as error:
            filled.upgrade()
        check_stopped(error, filled)
        check_ledger(filled, before)
    failing_statement.remove()
    filled.upgrade()
    assert outcome(filled) == whole


def test_revert_with_the_disk_full(filled, failing_statement):
    before = filled.all_created()
    _, whole = undisturbed(filled)
    filled.upgrade()
    failing_statement("rdm_records_metadata", "UPDATE", 90, "53100", "disk full")
    with pytest.raises(RunFailedError, match="disk full"):
        filled.downgrade()
    check_ledger(filled, before)
    failing_statement.remove()
    filled.downgrade()
    assert outcome(filled) == whole


def test_apply_with_a_statement_that_fails_in_any_other_way(filled, failing_statement):
    whole, _ = undisturbed(filled)
    failing_statement("rdm_records_metadata", "UPDATE", 90, "P0001", "not today")
    with pytest.raises(RunFailedError, match="not today"):
        filled.upgrade()
    failing_statement.remove()
    filled.upgrade()
    assert outcome(filled) == whole


def test_apply_with_no_connection_left(elsewhere):
    elsewhere.execute("DROP ROLE IF EXISTS limited")
    elsewhere.execute("CREATE ROLE limited LOGIN PASSWORD 'limited' CONNECTION LIMIT 0")
    url = elsewhere.engine.url.set(username="limited", password="limited")
    with pytest.raises(ServiceFailedError, match="too many connections"):
        migration.apply(create_engine(url), "alembic")


def test_apply_on_a_read_only_database_touches_nothing(filled):
    before = filled.checksums(without_created=False)
    database = filled.scalar("SELECT current_database()")
    connection = other_connection(filled)
    connection.autocommit = True
    setting = f'ALTER DATABASE "{database}" SET default_transaction_read_only = on'
    connection.cursor().execute(setting)
    filled.engine.dispose()
    try:
        with pytest.raises(ServiceFailedError, match="read-only transaction") as error:
            filled.upgrade()
    finally:
        cursor = connection.cursor()
        cursor.execute("SET default_transaction_read_only = off")
        cursor.execute(
            f'ALTER DATABASE "{database}" RESET default_transaction_read_only'
        )
        connection.close()
        filled.engine.dispose()
    assert filled.checksums(without_created=False) == before
    assert "run the same command again" in error.value.message
