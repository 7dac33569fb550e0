# SPDX-FileCopyrightText: 2026 kcworks-migrations contributors
# SPDX-License-Identifier: MIT
"""The way back through Alembic: repeated, and beside a run, it loses nothing."""

from contextlib import contextmanager

import pytest
from click import ClickException
from support.faults import (
    DATA_REVISION,
    TABLES_REVISION,
    Child,
    Point,
    at,
    check_ledger,
    fill,
    other_connection,
    stamped_before_the_data,
    stop_this_process,
    wait_until,
)

CHANGE = "INSERT INTO kcworks_created_dates_backup"
FIRST_REVISION = "7f3a51c9e0d2"
RELATIVE = "kcworks_migrations@-1"
DROP_LEDGER = "KCWORKS_CREATED_DATES_DROP_LEDGER"


@pytest.fixture
def alembic(app, instance):
    """Alembic, as `invenio alembic` uses it; ends with our tables, empty."""
    alembic = app.extensions["invenio-db"].alembic
    yield alembic
    if not has_tables(instance):
        alembic.upgrade("kcworks_migrations@head")
    instance.execute("TRUNCATE kcworks_created_dates_run CASCADE")


def has_tables(instance) -> bool:
    name = "kcworks_created_dates_backup"
    return instance.scalar("SELECT to_regclass(:name) IS NOT NULL", name=name)


def stamps(instance) -> set[str]:
    """Tell where our branch stands."""
    rows = instance.execute("SELECT version_num FROM alembic_version")
    return {row[0] for row in rows} & {FIRST_REVISION, TABLES_REVISION, DATA_REVISION}


def waits_for_a_lock(instance, child: Child) -> bool:
    return instance.scalar(
        "SELECT count(*) > 0 FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
        " AND application_name = :name",
        name=f"kcworks-child-{child.pid}",
    )


@contextmanager
def downgrade_beside(instance, alembic):
    """Downgrade the tables in another process until it has ended or has to wait.

    Yields:
        The process.
    """
    child = Child(instance, lambda: alembic.downgrade(RELATIVE))
    wait_until(
        lambda: child.poll() is not None or waits_for_a_lock(instance, child),
        "the downgrade has ended or waits",
    )
    yield child
    child.wait()


def test_downgrade_of_the_tables_beside_a_first_batch(instance, alembic):
    """The batch is not committed, so that no count can see its entries."""
    fill(instance)
    before = instance.all_created()

    def until_point() -> None:
        with at(instance.engine, Point("after", CHANGE), stop_this_process):
            instance.upgrade()

    with stamped_before_the_data(instance):
        run = Child(instance, until_point)
        run.wait_until_stopped()
        with downgrade_beside(instance, alembic) as downgrade:
            run.go_on()
            assert run.wait() == 0, run.output()
        assert has_tables(instance), downgrade.output()
        assert downgrade.status == 1
        assert "A run is at work" in downgrade.output()
        assert stamps(instance) == {TABLES_REVISION}
    check_ledger(instance, before)
    instance.downgrade()
    assert instance.all_created() == before


@pytest.mark.parametrize("isolation", ["read committed", "repeatable read"])
def test_downgrade_of_the_tables_counts_behind_its_locks(instance, alembic, isolation):
    """Whoever writes an entry without the lock of a run is waited for."""
    instance.record("2016-02-29T13:11:39Z")
    instance.upgrade()
    copy = "INSERT INTO kcworks_created_dates_backup SELECT * FROM kept"
    instance.execute("CREATE TABLE kept AS TABLE kcworks_created_dates_backup")
    try:
        instance.execute("DELETE FROM kcworks_created_dates_backup")
        other = other_connection(instance)
        other.cursor().execute(copy)
        with (
            stamped_before_the_data(instance),
            instance.database_setting("default_transaction_isolation", isolation),
        ):
            with downgrade_beside(instance, alembic) as downgrade:
                assert downgrade.poll() is None
                other.commit()
            assert has_tables(instance), downgrade.output()
            assert "changes that were not restored (1)" in downgrade.output()
    finally:
        instance.execute("DROP TABLE kept")
    assert len(instance.backup()) == 1


def test_relative_undo_typed_twice_keeps_the_audit(instance, alembic):
    instance.record("2016-02-29T13:11:39Z")
    before = instance.all_created()
    instance.execute(
        "UPDATE alembic_version SET version_num = :old WHERE version_num = :new",
        new=DATA_REVISION,
        old=TABLES_REVISION,
    )
    alembic.upgrade("kcworks_migrations@head")
    assert instance.all_created() != before
    alembic.downgrade(RELATIVE)
    entries = instance.backup()
    for _ in range(2):
        with pytest.raises(ClickException) as refusal:
            alembic.downgrade(RELATIVE)
        assert "The undo is done" in refusal.value.message
        assert "`pg_dump URI -t 'kcworks_created_dates_*'" in refusal.value.message
        assert f"{DROP_LEDGER}=yes invenio alembic" in refusal.value.message
        assert stamps(instance) == {TABLES_REVISION}
    assert instance.backup() == entries
    assert [entry.outcome for entry in entries] == ["restored"]
    assert instance.all_created() == before
    alembic.upgrade("kcworks_migrations@head")
    assert stamps(instance) == {DATA_REVISION}


def test_absolute_undo_typed_twice_does_nothing_more(instance, alembic):
    instance.record("2016-02-29T13:11:39Z")
    before = instance.all_created()
    instance.upgrade()
    for _ in range(2):
        alembic.downgrade(TABLES_REVISION)
        assert stamps(instance) == {TABLES_REVISION}
        assert instance.all_created() == before
        assert [entry.outcome for entry in instance.backup()] == ["restored"]
    runs = "SELECT count(*) FROM kcworks_created_dates_run"
    assert instance.scalar(runs) == 2
    alembic.upgrade("kcworks_migrations@head")


@pytest.mark.parametrize(
    ("value", "state", "drops"),
    [
        ("no", "restored", False),
        ("yes", "restored", False),
        ("yes", "settled", True),
        ("yes", "pending", False),
        ("yes", "standing", False),
    ],
)
def test_ledger_is_dropped_only_when_the_environment_says_so(
    instance, alembic, monkeypatch, value, state, drops
):
    """And never while changes stand, or before the index has settled.

    Which documents hold other dates is known nowhere else.
    """
    instance.record("2016-02-29T13:11:39Z")
    instance.upgrade()
    alembic.downgrade(TABLES_REVISION)
    if state == "standing":
        instance.upgrade()
    if state in ("settled", "standing", "pending"):
        instance.execute("UPDATE kcworks_created_dates_run SET settled_at = now()")
    if state == "pending":
        instance.execute("UPDATE kcworks_created_dates_backup SET queued_at = NULL")
    monkeypatch.setenv(DROP_LEDGER, value)
    if drops:
        alembic.downgrade(RELATIVE)
    else:
        with pytest.raises(ClickException) as refusal:
            alembic.downgrade(RELATIVE)
        assert refusal.value.exit_code == 2
    assert has_tables(instance) is not drops
    assert stamps(instance) == {FIRST_REVISION if drops else TABLES_REVISION}
    alembic.upgrade("kcworks_migrations@head")
