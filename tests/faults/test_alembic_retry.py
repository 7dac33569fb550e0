# SPDX-FileCopyrightText: 2026 kcworks-migrations contributors
# SPDX-License-Identifier: MIT
"""A lock timeout on Alembic's own connection: invenio-db 2 runs a revision again."""

import threading
from contextlib import contextmanager
from importlib.metadata import version

import pytest
from sqlalchemy import event
from sqlalchemy.exc import OperationalError
from support.faults import (
    DATA_REVISION,
    TABLES_REVISION,
    Point,
    at,
    check_ledger,
    check_queued,
    forget_runs,
    other_connection,
    stamp_of,
    stamped_before_the_data,
    statuses,
)

from kcworks_migrations.database import LOCK_NOT_AVAILABLE
from kcworks_migrations.errors import RunFailedError

pytestmark = pytest.mark.skipif(
    int(version("invenio-db").split(".")[0]) < 2,
    reason="invenio-db 1.x sets no lock timeout and runs no revision again",
)

END = Point("after", "'status': 'succeeded'")
ALEMBICS = "LOCK TABLE alembic_version IN SHARE MODE"
HEAD, BACK = "kcworks_migrations@head", "kcworks_migrations@-1"


@pytest.fixture
def alembic(app):
    return app.extensions["invenio-db"].alembic


@pytest.fixture
def timeouts(engine):
    """The statements that met a lock timeout, as they come."""
    met = []

    def note(context) -> None:
        if getattr(context.original_exception, "pgcode", None) == LOCK_NOT_AVAILABLE:
            met.append(context.statement)

    event.listen(engine, "handle_error", note)
    yield met
    event.remove(engine, "handle_error", note)


@contextmanager
def held_until(instance, statement: str, count: int, timeouts, point=None):
    """Let somebody else hold a lock until so many lock timeouts have come.

    Args:
        instance: The instance.
        statement: What takes the lock.
        count: How many timeouts it lasts.
        timeouts: The list of those that came.
        point: When the lock is taken, once; at once when there is none.
    """
    holder = other_connection(instance)

    def release(context) -> None:
        if len(timeouts) == count:
            holder.rollback()

    def hold(connection=None) -> None:
        holder.cursor().execute(statement)

    event.listen(instance.engine, "handle_error", release)
    try:
        if point is None:
            hold()
            yield
        else:
            with at(instance.engine, point, hold):
                yield
    finally:
        event.remove(instance.engine, "handle_error", release)
        holder.close()


@contextmanager
def settings_when_stamping(engine):
    """Read the settings of Alembic's connection each time it stamps."""
    seen = []

    def look(connection, cursor, statement, parameters, context, is_many) -> None:
        if statement.startswith("UPDATE alembic_version"):
            with connection.connection.cursor() as own:
                own.execute("SELECT current_setting('lock_timeout')")
                seen.append(own.fetchone()[0])

    event.listen(engine, "before_cursor_execute", look)
    try:
        yield seen
    finally:
        event.remove(engine, "before_cursor_execute", look)


def updated_of_runs(instance, action: str) -> list[int]:
    """Give how many rows each run changed, first run first."""
    return [
        run.records + run.communities
        for run in instance.execute(
            "SELECT (statistics->'records'->>'updated')::int AS records,"
            " (statistics->'communities'->>'updated')::int AS communities"
            " FROM kcworks_created_dates_run WHERE action = :action ORDER BY id",
            action=action,
        )
    ]


def test_revisions_run_again_end_as_if_run_once(filled, alembic, timeouts):
    before = filled.checksums(without_created=False)
    filled.upgrade()
    whole, changes = filled.all_created(), len(filled.backup())
    filled.downgrade()
    forget_runs(filled)
    with (
        stamped_before_the_data(filled),
        settings_when_stamping(filled.engine) as settings,
    ):
        with held_until(filled, ALEMBICS, 2, timeouts, END):
            alembic.upgrade(HEAD)
        assert [s.split()[:2] for s in timeouts] == [["UPDATE", "alembic_version"]] * 2
        assert stamp_of(filled) == DATA_REVISION
        assert filled.all_created() == whole
        assert updated_of_runs(filled, "apply") == [changes, 0, 0]
        assert len(filled.backup()) == changes
        check_queued(filled)

        timeouts.clear()
        with held_until(filled, ALEMBICS, 2, timeouts, END):
            alembic.downgrade(BACK)
        assert len(timeouts) == 2
        assert stamp_of(filled) == TABLES_REVISION
        assert filled.checksums(without_created=False) == before
        assert updated_of_runs(filled, "revert") == [changes, 0, 0]
        assert {entry.outcome for entry in filled.backup()} == {"restored"}
        check_queued(filled)
    # Ours did not touch what invenio-db set on its connection.
    assert settings == ["1s"] * 6


def test_upgrade_that_never_gets_its_stamp_is_completed_by_the_next(
    filled, alembic, timeouts, app, monkeypatch
):
    monkeypatch.setitem(app.config, "DB_MIGRATION_LOCK_TIMEOUT_RETRIES", 1)
    before = filled.all_created()
    with stamped_before_the_data(filled):
        with (
            held_until(filled, ALEMBICS, 99, timeouts, END),
            pytest.raises(OperationalError, match="lock timeout"),
        ):
            alembic.upgrade(HEAD)
        assert len(timeouts) == 2
        assert stamp_of(filled) == TABLES_REVISION
        check_ledger(filled, before)
        changes = len(filled.backup())
        alembic._get_cache().clear()  # the process would have ended here
        alembic.upgrade(HEAD)
        assert stamp_of(filled) == DATA_REVISION
        assert len(filled.backup()) == changes > 0


def test_batches_wait_as_long_as_ours_says_and_not_alembics_second(
    filled, alembic, timeouts
):
    with stamped_before_the_data(filled):
        holder = other_connection(filled)
        holder.cursor().execute("LOCK TABLE rdm_records_metadata")
        release = threading.Timer(2.5, holder.rollback)
        release.start()
        try:
            alembic.upgrade(HEAD)
        finally:
            release.join()
            holder.close()
    assert timeouts == []
    assert len(filled.backup()) > 0


def test_run_that_stopped_at_a_lock_is_not_started_again_by_itself(
    filled, alembic, timeouts, app, monkeypatch, short_pauses
):
    monkeypatch.setitem(app.config, "KCWORKS_CREATED_DATES_LOCK_TIMEOUT_SECONDS", 1)
    before = filled.all_created()
    with stamped_before_the_data(filled):
        with (
            held_until(filled, "LOCK TABLE rdm_records_metadata", 99, timeouts),
            pytest.raises(RunFailedError, match="Run the same command again"),
        ):
            alembic.upgrade(HEAD)
        assert len(timeouts) == 3  # ours, with its two pauses
        assert statuses(filled) == ["failed"]
        assert stamp_of(filled) == TABLES_REVISION
        check_ledger(filled, before)
        alembic._get_cache().clear()
        alembic.upgrade(HEAD)
        assert stamp_of(filled) == DATA_REVISION
    assert statuses(filled) == ["failed", "succeeded"]
    check_ledger(filled, before)


def test_tables_are_dropped_after_lock_timeouts(instance, alembic, timeouts):
    tables = "SELECT count(*) FROM pg_tables WHERE tablename LIKE 'kcworks_created%'"
    reading = "SELECT count(*) FROM kcworks_created_dates_problem"
    with stamped_before_the_data(instance):
        try:
            with held_until(instance, reading, 2, timeouts):
                alembic.downgrade(BACK)
            assert len(timeouts) == 2
            assert instance.scalar(tables) == 0
        finally:
            alembic.upgrade(HEAD)
    assert instance.scalar(tables) == 3
    assert stamp_of(instance) == DATA_REVISION
