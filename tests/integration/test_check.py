# SPDX-FileCopyrightText: 2026 kcworks-migrations contributors
# SPDX-License-Identifier: MIT
"""Go or no-go: what each check says to what is really so, and that nothing changes."""

import json
import re
import socket
from contextlib import contextmanager

import click
import pytest
from celery import current_app as celery_app
from invenio_indexer.proxies import current_indexer_registry
from invenio_search import current_search_client
from invenio_search.utils import prefix_index
from sqlalchemy import create_engine, text
from sqlalchemy.exc import DBAPIError
from support.faults import NOWHERE, broker_at, other_connection, search_at
from support.instance import INDEXERS, OURS
from support.worker import Worker, wait_until

from kcworks_migrations.checks import check, rows, services
from kcworks_migrations.checks import database as database_checks
from kcworks_migrations.checks.line import LEVELS, Line
from kcworks_migrations.cli.look import line_text
from kcworks_migrations.database import Database
from kcworks_migrations.ledger.runs import locked
from kcworks_migrations.migration import preview

LEGACY = "2016-02-29T13:11:39Z"
SETTING = "KCWORKS_CREATED_DATES_"
ROOT, TABLES, DATA = "7f3a51c9e0d2", "a94c06be7d15", "c51d8e2f60b7"


@pytest.fixture(autouse=True)
def short_ping(monkeypatch):
    """Do not wait for workers where there are none."""
    monkeypatch.setattr(services, "PING_SECONDS", 0.1)


@pytest.fixture
def look(instance):
    """Check, and give the lines of one name."""

    def look(name: str, engine=None) -> list[Line]:
        lines = list(check(engine or instance.engine))
        assert {line.level for line in lines} <= set(LEVELS)
        return [line for line in lines if line.name == name]

    return look


@pytest.fixture
def filled(instance):
    """An instance with a record that is to be changed, and its community."""
    instance.record(LEGACY, [{"group_identifier": "7"}])
    instance.community("7")
    return instance


@contextmanager
def statements(instance, before: str, after: str):
    """Execute some SQL, and what undoes it, in sessions that may always write."""
    with instance.engine.connect() as connection:
        connection = connection.execution_options(isolation_level="AUTOCOMMIT")
        connection.execute(text(before))
        try:
            yield
        finally:
            connection.execute(text(after))
    instance.engine.dispose()


def levels(lines: list[Line]) -> list[str]:
    return [line.level for line in lines]


# --- the command ---------------------------------------------------------------------


def test_check_before_the_deploy_is_go_and_changes_nothing(filled, app, invoke):
    alembic = app.extensions["invenio-db"].alembic
    alembic.downgrade("kcworks_migrations@base")
    before = filled.checksums(without_created=False), stamped(filled)
    for name in INDEXERS:
        delete_queue(name)
    try:
        result = invoke("check", "--json")
        assert (filled.checksums(without_created=False), stamped(filled)) == before
        assert not any(has_queue(name) for name in INDEXERS)
    finally:
        alembic.upgrade("kcworks_migrations@head")
        filled.empty_queues()
    document = json.loads(result.stdout)
    found = {line["name"]: line for line in document["lines"]}
    assert result.exit_code == 0, result.output
    assert document["is_go"] and document["stops"] == 0
    assert document["next_step"] == "invenio alembic upgrade kcworks_migrations@head"
    assert found["revision"]["level"] == "fine"
    assert found["records"]["fact"] == (
        "Rows looked at: 1; with the field: 1; would change: 1."
    )
    assert " 0 messages " in found["broker"]["fact"]
    warnings = {n for n, line in found.items() if line["level"] == "warning"}
    assert warnings <= {"workers", "search"}  # a cluster of one node may be yellow


def stamped(instance):
    return instance.execute("SELECT version_num FROM alembic_version ORDER BY 1")


def delete_queue(name: str) -> None:
    queue = current_indexer_registry.get(name).mq_queue
    with celery_app.connection_for_write() as connection:
        queue(connection.channel()).delete()


def has_queue(name: str) -> bool:
    queue = current_indexer_registry.get(name).mq_queue
    with celery_app.connection_for_write() as connection:
        try:
            queue(connection.channel()).queue_declare(passive=True)
        except connection.channel_errors:
            return False
    return True


def test_check_after_a_run_changes_nothing_of_ours(filled, invoke):
    filled.upgrade()
    tables = "run", "backup", "problem"
    query = (
        "SELECT string_agg(t::text, '' ORDER BY id) FROM kcworks_created_dates_{} AS t"
    )
    before = [filled.scalar(query.format(name)) for name in tables]
    result = invoke("check", "--json")
    assert [filled.scalar(query.format(name)) for name in tables] == before
    assert json.loads(result.stdout)["next_step"].endswith("created-dates update")


def test_check_says_what_is_what_in_80_columns_without_colours(filled, invoke):
    result = invoke("check")
    lines = result.stdout.splitlines()
    assert max(map(len, lines)) <= 80
    assert "\x1b" not in result.stdout and "\xa0" not in result.stdout
    assert all(re.match(r"(fine|warning|stop) |  |Go|$", line) for line in lines)
    assert lines[-2].startswith("Go")
    assert lines[-1] == "  invenio kcworks-created-dates update"


def test_check_with_a_stop_is_no_go_and_ends_with_1(filled, invoke, monkeypatch, app):
    monkeypatch.setitem(app.config, "SEARCH_INDEX_PREFIX", "nobody-")
    result = invoke("check")
    assert result.exit_code == 1
    assert "stop     search indices: OpenSearch lacks an index" in result.stdout
    assert re.search(r"No go: 1 stop.*\n.* check\n$", result.stdout)


def test_check_never_breaks_a_command_and_colours_only_the_terminal(monkeypatch):
    command = "invenio alembic upgrade kcworks_migrations@head"
    line = Line("name", "stop", "word " * 30, f"{'x' * 30} `{command}`")
    plain = line_text(line)
    assert f"`{command}`" in plain
    monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)
    monkeypatch.delenv("NO_COLOR", raising=False)
    assert click.unstyle(line_text(line)) == plain
    assert line_text(line) != plain
    monkeypatch.setenv("NO_COLOR", "1")
    assert line_text(line) == plain


def test_wrong_setting_is_a_stop_and_the_rest_is_told(filled, invoke, monkeypatch, app):
    monkeypatch.setitem(app.config, f"{SETTING}BATCH_SIZE", 0)
    result = invoke("check", "--json")
    assert result.exit_code == 1
    first, *others = json.loads(result.stdout)["lines"]
    assert (first["name"], first["level"]) == ("settings", "stop")
    assert "BATCH_SIZE is 0" in first["fact"]
    assert "records" in {line["name"] for line in others}


def test_check_that_fails_is_a_warning_and_ends_no_other(look, monkeypatch, app):
    monkeypatch.setitem(app.config, "CELERY_BEAT_SCHEDULE", {"x": None})
    (line,) = look("schedule")
    assert line.level == "warning" and "AttributeError" in line.fact
    assert look("search")


# --- the database --------------------------------------------------------------------


def test_database_that_is_no_postgresql_or_away_is_a_stop(look, instance):
    (line,) = look("database", create_engine("sqlite://"))
    assert line.level == "stop" and "sqlite" in line.fact
    closed = instance.engine.url.set(port=1)
    assert levels(look("database", create_engine(closed))) == ["stop"]


def test_database_that_never_answers_is_a_stop(look, instance, monkeypatch):
    monkeypatch.setenv("PGCONNECT_TIMEOUT", "2")
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = instance.engine.url.set(port=silent.getsockname()[1])
        (line,) = look("database", create_engine(url))
    assert line.level == "stop" and "timeout" in line.fact


def test_connecting_has_a_limit_of_its_own(look, instance, monkeypatch):
    monkeypatch.setattr(database_checks, "CONNECT_SECONDS", 2)
    monkeypatch.delenv("PGCONNECT_TIMEOUT", raising=False)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        silent.settimeout(30)
        url = instance.engine.url.set(port=silent.getsockname()[1])
        (line,) = look("database", create_engine(url))
    assert "timeout" in line.fact


def test_statement_can_neither_write_nor_take_long(instance, monkeypatch):
    monkeypatch.setattr(database_checks, "STATEMENT_SECONDS", 1)
    with instance.engine.connect() as connection:
        database = Database(connection, lock_timeout_seconds=1)
        for statement, error in {
            "DELETE FROM alembic_version": "read-only transaction",
            "SELECT pg_sleep(60)": "statement timeout",
        }.items():
            with pytest.raises(DBAPIError, match=error):
                database_checks.read(database, Database.execute, text(statement))
        assert database.once(database.has_table, "alembic_version")


def test_read_only_database_is_a_stop(look, instance):
    name = instance.scalar("SELECT current_database()")
    with statements(
        instance,
        f'ALTER DATABASE "{name}" SET default_transaction_read_only = on',
        f'ALTER DATABASE "{name}" RESET default_transaction_read_only',
    ):
        fresh = create_engine(instance.engine.url)
        assert levels(look("database", fresh)) == ["stop"]
        fresh.dispose()
    assert levels(look("database")) == ["fine"]


@pytest.fixture
def role(instance):
    """A role that may only read records and the ledger, in limited time; its engine."""
    name = "check_" + instance.scalar("SELECT current_database()")
    drop = f'DROP OWNED BY "{name}"; DROP ROLE "{name}"'
    create = (
        f"CREATE ROLE \"{name}\" LOGIN PASSWORD 'only-for-tests';"
        f"ALTER ROLE \"{name}\" SET statement_timeout = '30s';"
        f'GRANT SELECT ON rdm_records_metadata, {OURS}backup TO "{name}"'
    )
    with statements(instance, create, drop):
        url = instance.engine.url.set(username=name, password="only-for-tests")
        engine = create_engine(url)
        yield engine
        engine.dispose()


def test_role_without_rights_is_a_stop_with_what_it_lacks(look, role, filled):
    (line,) = look("rights", role)
    assert line.level == "stop"
    for right in (
        "SELECT on communities_metadata",
        "UPDATE on rdm_records_metadata",
        "INSERT on kcworks_created_dates_backup",
        "USAGE on public.kcworks_created_dates_run_id_seq",
        "DELETE on alembic_version",
    ):
        assert right in line.fact
    assert "SELECT on rdm_records_metadata" not in line.fact
    (revision,) = look("revision", role)
    assert revision.level == "warning" and "permission denied" in revision.fact
    assert levels(look("communities", role)) == ["warning"]
    fact = look("records", role)[0].fact
    assert fact.startswith("Rows looked at: 1; with the field: 1")


def test_right_on_the_column_alone_is_enough(look, role, instance):
    name = role.url.username
    instance.execute(f'GRANT UPDATE (created) ON rdm_records_metadata TO "{name}"')
    assert "UPDATE on rdm_records_metadata" not in look("rights", role)[0].fact


@pytest.fixture
def empty_database(instance):
    """A database of the same server without any table; its engine."""
    name = instance.scalar("SELECT current_database()") + "_empty"
    with statements(instance, f'CREATE DATABASE "{name}"', f'DROP DATABASE "{name}"'):
        engine = create_engine(instance.engine.url.set(database=name))
        yield engine
        engine.dispose()


def test_database_without_tables_is_told_without_a_failure(look, empty_database):
    assert levels(look("tables", empty_database)) == ["stop"]
    assert levels(look("revision", empty_database)) == ["stop"]
    assert levels(look("records", empty_database)) == ["stop"]
    assert look("rights", empty_database) == []


def test_created_of_another_type_is_a_stop(look, empty_database):
    with empty_database.begin() as connection:
        connection.execute(text("CREATE TABLE communities_metadata (created date)"))
    (line,) = look("communities", empty_database)
    assert line.level == "stop"
    assert "no table communities_metadata with a timestamp created" in line.fact


def test_schema_in_which_nothing_can_be_made_is_a_stop(look, empty_database):
    with empty_database.begin() as connection:
        connection.execute(text("DROP SCHEMA public"))
    (line,) = look("rights", empty_database)
    assert line.level == "stop" and "CREATE on the schema" in line.fact


def test_locked_table_is_a_stop(look, instance):
    with other_connection(instance) as other:
        other.cursor().execute("LOCK TABLE rdm_records_metadata")
        pid = other.info.backend_pid
        (line,) = look("locks")
        assert line.level == "stop" and f"Process {pid} " in line.fact
        assert f"`SELECT pg_terminate_backend({pid})`" in line.what_to_do
        assert "lock timeout" in look("records")[0].fact
    other.close()
    assert look("locks") == []


def test_long_transaction_that_holds_rows_is_a_warning(look, filled, monkeypatch):
    assert look("transactions") == []
    monkeypatch.setattr(database_checks, "LONG_TRANSACTION_SECONDS", 0)
    with other_connection(filled) as other:
        other.cursor().execute("SELECT 'secret'")
        assert look("transactions") == []
        other.cursor().execute("SELECT 'secret' FROM rdm_records_metadata FOR UPDATE")
        (line,) = look("transactions")
        assert line.level == "warning" and " holds rows since " in line.fact
        assert "secret" not in str(line)
        assert "`SELECT query FROM pg_stat_activity WHERE pid = " in line.what_to_do
    other.close()


def test_other_run_is_a_stop(look, instance):
    with locked(instance.engine, 1):
        assert levels(look("run")) == ["stop"]
    assert look("run") == []


@pytest.mark.parametrize("status", ["stopped", "failed", "running"])
def test_unfinished_run_is_a_warning_with_the_way_back(look, filled, status):
    filled.upgrade()
    assert look("run") == []
    number = filled.run().id
    filled.execute("UPDATE kcworks_created_dates_run SET status = :s", s=status)
    (line,) = look("run")
    # One that is marked as running while nobody is at work was killed.
    shown = status if status == "stopped" else "failed"
    assert line.level == "warning"
    assert f"Run {number} (apply, {shown})" in line.fact
    assert "its 2 changes stand" in line.fact
    assert f"`invenio kcworks-created-dates rollback --run {number}`" in line.what_to_do
    filled.downgrade()
    assert look("run") == []


def test_unfinished_restoration_is_a_warning(look, filled):
    filled.upgrade()
    filled.downgrade()
    filled.execute(
        "UPDATE kcworks_created_dates_run SET status = 'stopped'"
        " WHERE action = 'revert'"
    )
    (line,) = look("run")
    assert line.level == "warning" and "(revert, stopped)" in line.fact
    assert "`invenio kcworks-created-dates rollback`" in line.what_to_do


# --- the revision --------------------------------------------------------------------


def test_stamped_without_a_run_is_a_warning_and_done_is_fine(look, filled):
    (line,) = look("revision")
    assert line.level == "warning" and "no run has succeeded" in line.fact
    filled.upgrade()
    (line,) = look("revision")
    assert line.level == "fine" and "Done already" in line.fact


def test_unknown_revision_is_a_stop(look, instance):
    with statements(
        instance,
        "INSERT INTO alembic_version VALUES ('ffffffffffff')",
        "DELETE FROM alembic_version WHERE version_num = 'ffffffffffff'",
    ):
        (line,) = look("revision")
    assert line.level == "stop" and "ffffffffffff" in line.fact


def test_advice_for_a_missing_alembic_version_makes_no_database(instance, invoke):
    instance.execute("ALTER TABLE alembic_version RENAME TO hidden_alembic_version")
    try:
        done = invoke("check")
    finally:
        instance.execute("ALTER TABLE hidden_alembic_version RENAME TO alembic_version")
    assert "stop     revision: The database has no table alembic_version" in done.output
    assert not re.search(r"invenio\s+(db|alembic)\s", done.output), done.output


def test_stamp_without_tables_is_a_stop(look, instance):
    rename = "ALTER TABLE kcworks_created_dates_{} RENAME TO kcworks_created_dates_{}"
    with statements(
        instance, rename.format("problem", "away"), rename.format("away", "problem")
    ):
        (line,) = look("revision")
    assert line.level == "stop" and "kcworks_created_dates_problem is" in line.fact
    assert f"`invenio alembic stamp {ROOT}`" in line.what_to_do


# --- the rows ------------------------------------------------------------------------


def test_bad_values_are_a_warning_and_mostly_bad_ones_a_stop(look, instance):
    for _ in range(3):
        instance.record(LEGACY, ["not an object"])
    instance.record("yesterday")
    (line,) = look("records")
    assert line.level == "warning" and "with the field: 4" in line.fact
    assert " 25.0% have a bad value." in line.fact
    assert "not ISO 8601 in UTC (1)" in line.fact
    assert "a group is not an object (3)" in line.fact
    assert "would change: 3." in line.fact
    assert "`invenio kcworks-created-dates update --dry-run`" in line.what_to_do
    for _ in range(3):
        instance.record("yesterday")
    assert levels(look("records")) == ["stop"]
    instance.community("7")
    assert levels(look("communities")) == ["fine"]


def test_sample_of_all_rows_is_decided_as_in_a_preview(look, instance):
    instance.many(300, 5)
    instance.record("yesterday", [{"group_identifier": ""}])
    found = preview(instance.engine).statistics
    bad = found.records.errors / found.records.total_found
    assert look("records")[0].fact.startswith(
        f"Rows looked at: 301; with the field: {found.records.total_found};"
        f" would change: {found.records.updated}. {bad:.1%} have a bad value."
    )
    assert look("communities")[0].fact == (
        "Rows looked at: 5; with the field: 5; would change: at least"
        f" {found.communities.updated}."
    )


def test_wrong_field_name_is_a_warning(look, filled, monkeypatch, app):
    monkeypatch.setitem(app.config, f"{SETTING}RECORD_DATE_FIELD", "no:such")
    (line,) = look("custom_fields")
    assert line.level == "warning" and "RDM_CUSTOM_FIELDS has no no:such" in line.fact
    (line,) = look("records")
    assert line.level == "warning"
    assert line.fact == "Rows looked at: 1; with the field: 0."
    assert levels(look("communities")) == ["fine"]


def test_rows_that_are_right_already_would_not_change(look, filled):
    filled.upgrade()
    assert "would change: 0." in look("records")[0].fact


def test_sample_of_a_large_table_is_decided(look, instance, monkeypatch):
    monkeypatch.setattr(rows, "SAMPLE_ROWS", 500)
    instance.many(2000, 3)
    fact = look("records")[0].fact
    assert fact.startswith("Rows looked at: 500; with the field: 500; would")


# --- the services --------------------------------------------------------------------


def test_closed_port_and_silent_broker_are_a_stop(look, monkeypatch):
    with broker_at(NOWHERE):
        assert levels(look("broker")) == ["stop"]
    monkeypatch.setattr(services, "BROKER_SECONDS", 1)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        with broker_at(f"amqp://guest:secret@127.0.0.1:{silent.getsockname()[1]}//"):
            (line,) = look("broker")
    assert line.level == "stop" and "secret" not in line.fact


def test_backlog_is_a_warning(look, instance, monkeypatch, small_messages):
    monkeypatch.setattr(services, "BACKLOG_MESSAGES", 2)
    for _ in range(3):
        instance.record(LEGACY)
    assert levels(look("broker")) == ["fine"]
    instance.upgrade()
    (line,) = look("broker")
    assert line.level == "warning" and " 3 messages are in the " in line.fact
    assert len(instance.queued("records")) == 3


def test_worker_that_answers_is_fine(look, tmp_path, monkeypatch):
    assert levels(look("workers")) == ["warning"]
    monkeypatch.setattr(services, "PING_SECONDS", 2)
    worker = Worker(tmp_path / "worker.log")
    worker.start()
    try:
        wait_until(lambda: " ready." in worker.log, "the worker is ready")
        (line,) = look("workers")
    finally:
        worker.kill()
    assert line == Line("workers", "fine", "1 Celery worker answered.")


def test_schedule_without_draining_is_a_warning(look, monkeypatch, app):
    assert look("schedule") == []
    monkeypatch.setitem(app.config, "CELERY_BEAT_SCHEDULE", {"a": {"task": "b.c"}})
    assert levels(look("schedule")) == ["warning"]


def test_search_at_a_closed_port_is_a_stop(look, app):
    with search_at(app, "127.0.0.1:1"):
        (line,) = look("search")
        assert line.level == "stop" and "not responsive" in line.fact
        assert look("search_indices") == look("search_blocks") == []


def test_read_only_index_is_a_stop(look):
    def put(value) -> None:
        current_search_client.indices.put_settings(
            index=prefix_index("communities"),
            body={"index.blocks.read_only_allow_delete": value},
        )

    assert look("search_blocks") == []
    put(True)
    try:
        (line,) = look("search_blocks")
    finally:
        put(None)
    assert line.level == "stop" and "-communities-" in line.fact
    assert "read-only-allow-delete block" in line.fact
