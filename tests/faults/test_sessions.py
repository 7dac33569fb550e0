# SPDX-FileCopyrightText: 2026 kcworks-migrations contributors
# SPDX-License-Identifier: MIT
"""What a role, a database or a server sets for every session."""

import select
import socket
import time
from contextlib import contextmanager, suppress
from threading import Thread

import pytest
from alembic.migration import MigrationContext
from sqlalchemy import create_engine
from support.faults import (
    DATA_REVISION,
    TABLES_REVISION,
    Point,
    at,
    check_ledger,
    end_backend,
    other_connection,
    stamp_of,
    stamped_before_the_data,
    statuses,
)

from kcworks_migrations import migration
from kcworks_migrations.errors import CreatedDatesError, RunInProgressError
from kcworks_migrations.locks import LOCK_KEY
from kcworks_migrations.migration import revision
from kcworks_migrations.report.summary import Summary

CHANGE = "INSERT INTO kcworks_created_dates_backup"
RESTORE = "UPDATE kcworks_created_dates_backup AS b"
ISOLATIONS = ("repeatable read", "serializable")


@pytest.fixture(params=ISOLATIONS)
def isolation(request, filled):
    """Transactions of the role are isolated more than is usual."""
    with filled.database_setting("default_transaction_isolation", request.param):
        yield request.param


def edit_some(instance):
    """Give what saves some of the rows, as a person does behind the run's back."""

    def edit(connection) -> None:
        other = other_connection(instance)
        for table in ("rdm_records_metadata", "communities_metadata"):
            other.cursor().execute(
                f"UPDATE {table} SET version_id = version_id + 1 WHERE id IN"
                f" (SELECT id FROM {table} ORDER BY id LIMIT 50)"
            )
        other.commit()
        other.close()

    return edit


def test_batches_are_done_while_people_edit_in_any_isolation(filled, isolation):
    before = filled.all_created()
    edit = edit_some(filled)
    with at(filled.engine, Point("before", CHANGE), edit):
        summary = filled.upgrade()
    check_ledger(filled, before)
    assert summary.statistics.updated > 200
    assert not [p for p in filled.problems() if p[2] == "locked"]
    with at(filled.engine, Point("before", RESTORE), edit):
        filled.downgrade()
    assert filled.all_created() == before


@pytest.fixture
def limited(filled):
    """The role of every new session: no superuser, and not the owner of any table."""
    filled.execute("DROP ROLE IF EXISTS kcworks_limited")
    filled.execute("CREATE ROLE kcworks_limited")
    filled.execute("GRANT USAGE ON SCHEMA public TO kcworks_limited")
    for what in ("TABLES", "SEQUENCES"):
        filled.execute(f"GRANT ALL ON ALL {what} IN SCHEMA public TO kcworks_limited")
    yield filled
    filled.execute("DROP OWNED BY kcworks_limited")
    filled.execute("DROP ROLE kcworks_limited")


@pytest.mark.parametrize("table", ["rdm_records_metadata", "communities_metadata"])
def test_rows_that_a_policy_hides_are_not_taken_for_deleted(limited, invoke, table):
    before = limited.all_created()
    limited.upgrade()
    standing = len(limited.backup())
    limited.execute(f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY")
    try:
        with limited.database_setting("role", "kcworks_limited"):
            for command in ("rollback --yes", "update --yes", "verify"):
                result = invoke(*command.split())
                assert result.exit_code == 2, result.output
                assert f"Row-level security of the table {table} hides" in result.output
                assert '`ALTER ROLE "kcworks_limited" BYPASSRLS`' in result.output
        assert {entry.outcome for entry in limited.backup()} == {None}
        limited.execute('ALTER ROLE "kcworks_limited" BYPASSRLS')
        with limited.database_setting("role", "kcworks_limited"):
            result = invoke("rollback", "--yes")
        assert result.exit_code == 0, result.output
    finally:
        limited.execute(f"ALTER TABLE {table} DISABLE ROW LEVEL SECURITY")
    assert len(limited.backup(outcome="restored")) == standing
    assert limited.all_created() == before


def test_policy_that_comes_amid_a_rollback_fails_it(limited, invoke):
    limited.upgrade()
    security = "ALTER TABLE communities_metadata {} ROW LEVEL SECURITY"

    def execute(action: str) -> None:
        other = other_connection(limited)
        other.cursor().execute(f"SET ROLE NONE; {security.format(action)}")
        other.commit()
        other.close()

    with (
        limited.database_setting("role", "kcworks_limited"),
        at(limited.engine, Point("before", "ANALYZE"), lambda _: execute("ENABLE")),
    ):
        result = invoke("rollback", "--yes")
    execute("DISABLE")
    assert result.exit_code == 3, result.output
    assert "row-level security policy for table" in result.output
    assert {entry.outcome for entry in limited.backup()} == {None}


# --- Alembic's connection, which has nothing to do while the dates are changed --------

HEAD, BACK = "kcworks_migrations@head", "kcworks_migrations@-1"
ALEMBICS_PID = """
    SELECT pid FROM pg_stat_activity WHERE state = 'idle' AND pid <> pg_backend_pid()
    AND datname = current_database() AND query LIKE '%idle_session_timeout%'
    ORDER BY state_change LIMIT 1
"""


@pytest.fixture
def alembic(app, filled):
    """Alembic as Invenio has it, before the data revision."""
    with stamped_before_the_data(filled):
        yield app.extensions["invenio-db"].alembic


@pytest.mark.parametrize("is_up", [True, False])
def test_limit_of_idle_sessions_cuts_no_connection(filled, alembic, is_up):
    before = filled.all_created()
    if not is_up:
        alembic.upgrade(HEAD)

    def wait(connection) -> None:
        time.sleep(0.6)

    with (
        filled.database_setting("idle_session_timeout", "200ms"),
        at(filled.engine, Point("committed", CHANGE if is_up else RESTORE), wait),
    ):
        alembic.upgrade(HEAD) if is_up else alembic.downgrade(BACK)
    assert stamp_of(filled) == (DATA_REVISION if is_up else TABLES_REVISION)
    assert (filled.all_created() == before) is not is_up
    assert filled.run().status == "succeeded"


@contextmanager
def impatient_proxy(url, seconds: float):
    """A proxy before the database that cuts who is silent for so long; its port."""

    def serve(client) -> None:
        with client, socket.create_connection((url.host, url.port)) as server:
            others = {client: server, server: client}
            while ready := select.select(others, [], [], seconds)[0]:
                for end in ready:
                    if not (said := end.recv(65536)):
                        return
                    others[end].sendall(said)

    def accept() -> None:
        with suppress(OSError):
            while True:
                client, _ = listener.accept()
                Thread(target=serve, args=(client,), daemon=True).start()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        Thread(target=accept, daemon=True).start()
        yield listener.getsockname()[1]


def test_proxy_that_cuts_silent_connections_cuts_no_connection(filled, monkeypatch):
    monkeypatch.setattr(revision, "KEEP_ALIVE_SECONDS", 0.1)

    def work_long(connection) -> None:
        for _ in range(4):
            time.sleep(0.3)
            connection.connection.cursor().execute("SELECT 1")

    url = filled.engine.url
    with impatient_proxy(url, 0.6) as port:
        engine = create_engine(url.set(host="127.0.0.1", port=port))
        with (
            stamped_before_the_data(filled),
            engine.connect() as connection,
            at(engine, Point("after", CHANGE), work_long),
        ):
            revision.apply(MigrationContext.configure(connection))
            connection.exec_driver_sql("SELECT 1")
    assert statuses(filled) == ["succeeded"]


@pytest.mark.parametrize("is_up", [True, False])
def test_lost_connection_of_alembic_is_told_as_it_is(filled, alembic, is_up):
    before = filled.all_created()
    if not is_up:
        alembic.upgrade(HEAD)

    def cut(connection) -> None:
        end_backend(filled, filled.scalar(ALEMBICS_PID))

    work, target = (alembic.upgrade, HEAD) if is_up else (alembic.downgrade, BACK)
    with (
        at(filled.engine, Point("committed", CHANGE if is_up else RESTORE), cut),
        pytest.raises(CreatedDatesError) as failure,
    ):
        work(target)
    run = filled.run()
    message = failure.value.message
    assert run.status == "succeeded"
    assert f"Run {run.id} has succeeded; what it did is saved." in message
    assert "But Alembic can't record it: " in message
    assert stamp_of(filled) == (TABLES_REVISION if is_up else DATA_REVISION)
    if is_up:
        assert "Alembic stopped at revision c51d8e2f60b7" in message
        assert "`invenio alembic upgrade` goes on from there." in message
        check_ledger(filled, before)
    else:
        assert "Alembic stopped at undoing revision c51d8e2f60b7" in message
        assert "`invenio alembic downgrade a94c06be7d15` goes on" in message
        assert filled.all_created() == before
    work(target)
    assert stamp_of(filled) == (DATA_REVISION if is_up else TABLES_REVISION)
    assert filled.run().status == "succeeded"


def test_lost_connection_after_waiting_for_an_approval(filled, alembic, monkeypatch):
    """No run says anything then."""

    def wait(engine, origin):
        end_backend(filled, filled.scalar(ALEMBICS_PID))
        return Summary(None, "apply", "waiting")

    monkeypatch.setattr(migration, "apply", wait)
    with pytest.raises(CreatedDatesError) as failure:
        alembic.upgrade(HEAD)
    assert failure.value.message.startswith(
        "No date was to be changed yet. But Alembic"
    )


@pytest.mark.parametrize("is_up", [True, False])
def test_refusal_says_where_alembic_stopped(filled, alembic, is_up):
    if not is_up:
        alembic.upgrade(HEAD)
    before = filled.all_created()
    work, target = (alembic.upgrade, HEAD) if is_up else (alembic.downgrade, BACK)
    other = other_connection(filled)
    other.cursor().execute("SELECT pg_advisory_lock(%s)", [LOCK_KEY])
    with pytest.raises(RunInProgressError) as refusal:
        work(target)
    other.close()
    message = refusal.value.message
    assert "Nothing was changed" not in message
    assert "No date was changed." in message
    if is_up:
        assert "Alembic stopped at revision c51d8e2f60b7, and what comes" in message
        assert "after it in any module is not applied" in message
        assert "`invenio alembic upgrade` goes on from there." in message
    else:
        assert "Alembic stopped at undoing revision c51d8e2f60b7" in message
        assert "`invenio alembic downgrade a94c06be7d15` goes on" in message
    assert filled.all_created() == before
    work(target)
    assert stamp_of(filled) == (DATA_REVISION if is_up else TABLES_REVISION)
