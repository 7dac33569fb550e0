# SPDX-FileCopyrightText: 2026 kcworks-migrations contributors
# SPDX-License-Identifier: MIT
"""The downgrade: exact, guarded, and in the right order."""

import pytest
from click import ClickException
from support.instance import utc
from support.synthetic import IMPORTED

from kcworks_migrations.errors import RunFailedError

LEGACY = "2016-02-29T13:11:39Z"

FAILED = (RuntimeError, RunFailedError)
"""Before a run has its row, an error comes out as it is."""


def test_revert_restores_every_created_exactly(instance):
    instance.many(500, 30)
    before = instance.checksums(without_created=False)
    instance.upgrade(batch_size=64)
    assert instance.checksums(without_created=False) != before
    summary = instance.downgrade()
    assert instance.checksums(without_created=False) == before
    assert summary.statistics.errors == 0
    assert summary.statistics.updated == len(instance.backup(outcome="restored"))


def test_up_down_up_is_as_one_upgrade(instance):
    instance.many(300, 20)
    before = instance.checksums(without_created=False)
    instance.upgrade()
    after = instance.checksums(without_created=False)
    first = instance.run().statistics
    for _ in range(2):
        instance.downgrade()
        assert instance.checksums(without_created=False) == before
        instance.upgrade()
        assert instance.checksums(without_created=False) == after
        assert instance.run().statistics == first


def test_revert_leaves_a_row_that_was_changed_since(instance, capsys):
    changed = instance.record(LEGACY)
    other = instance.record(LEGACY)
    instance.upgrade()
    instance.execute(
        "UPDATE rdm_records_metadata SET created = '2020-02-02' WHERE id = :id",
        id=changed,
    )
    summary = instance.downgrade()
    assert instance.created(changed) == utc("2020-02-02")
    assert instance.created(other) == utc(IMPORTED)
    (problem,) = instance.problems()
    assert problem == (
        "record",
        changed,
        "changed_since",
        "was 2024-05-01 12:00:00.123456 UTC, migrated to 2016-02-29 13:11:39 UTC,"
        " is 2020-02-02 00:00:00+00",
    )
    assert summary.statistics.records.errors == 1
    assert "is 2020-02-02" in capsys.readouterr().out


def test_revert_counts_a_row_that_was_deleted_since(instance):
    record = instance.record(LEGACY)
    instance.upgrade()
    instance.execute("DELETE FROM rdm_records_metadata WHERE id = :id", id=record)
    summary = instance.downgrade()
    assert summary.statistics.records.skipped == 1
    assert [entry.outcome for entry in instance.backup()] == ["deleted"]


def test_revert_restores_the_newest_run_first(instance):
    record = instance.record(LEGACY)
    instance.upgrade()
    instance.execute(
        "UPDATE rdm_records_metadata SET json = jsonb_set(json, ARRAY['custom_fields',"
        " 'hclegacy:record_creation_date'], '\"2014-01-01T00:00:00Z\"')"
    )
    instance.upgrade()
    assert instance.created(record) == utc("2014-01-01")
    assert len(instance.backup()) == 2
    summary = instance.downgrade()
    assert instance.created(record) == utc(IMPORTED)
    assert summary.statistics.records.updated == 2


def test_revert_after_a_half_finished_upgrade(instance, failing_at):
    instance.many(300, 20)
    before = instance.checksums(without_created=False)
    with failing_at("commit", 12), pytest.raises(FAILED):
        instance.upgrade(batch_size=50)
    assert 0 < len(instance.backup()) < 280
    instance.downgrade()
    assert instance.checksums(without_created=False) == before
    instance.upgrade()
    whole = instance.checksums(without_created=False)
    instance.downgrade()
    instance.upgrade()
    assert instance.checksums(without_created=False) == whole
    # A rerun reads everything again, whatever the half run had done.
    assert instance.run().statistics["records"]["updated"] == 279


def test_whether_a_run_was_reverted_is_read_from_its_entries(instance):
    instance.record(LEGACY)
    instance.upgrade()
    instance.downgrade()
    instance.upgrade()
    runs = instance.execute(
        "SELECT r.action, r.status, array_agg(b.outcome)"
        " FROM kcworks_created_dates_run AS r"
        " LEFT JOIN kcworks_created_dates_backup AS b ON b.run_id = r.id"
        " GROUP BY r.id ORDER BY r.id"
    )
    assert [tuple(run) for run in runs] == [
        ("apply", "succeeded", ["restored"]),
        ("revert", "succeeded", [None]),
        ("apply", "succeeded", [None]),
    ]


def test_revert_with_nothing_to_restore_says_so(instance, capsys):
    summary = instance.downgrade()
    assert summary.statistics.updated == 0
    assert "Found 0 changes to restore" in capsys.readouterr().err


def test_downgrade_of_the_tables_refuses_while_changes_stand(instance, app):
    alembic = app.extensions["invenio-db"].alembic
    record = instance.record(LEGACY)
    instance.upgrade()
    stamp(instance, "c51d8e2f60b7", "a94c06be7d15")
    try:
        with pytest.raises(ClickException, match="that were not restored .1."):
            alembic.downgrade("kcworks_migrations@-1")
        assert instance.created(record) == utc("2016-02-29T13:11:39")
        assert len(instance.backup()) == 1
    finally:
        stamp(instance, "a94c06be7d15", "c51d8e2f60b7")


@pytest.mark.parametrize("queued_at", ["NULL", "clock_timestamp()"])
def test_downgrade_of_the_tables_refuses_until_the_index_has_settled(
    instance, app, monkeypatch, queued_at
):
    """Nothing else knows which documents hold the dates that were put back."""
    monkeypatch.setenv("KCWORKS_CREATED_DATES_DROP_LEDGER", "yes")
    alembic = app.extensions["invenio-db"].alembic
    instance.record(LEGACY)
    instance.upgrade()
    instance.downgrade()
    instance.execute(f"UPDATE kcworks_created_dates_backup SET queued_at = {queued_at}")
    stamp(instance, "c51d8e2f60b7", "a94c06be7d15")
    try:
        with pytest.raises(ClickException, match="index has not settled"):
            alembic.downgrade("kcworks_migrations@-1")
        assert len(instance.backup()) == 1
    finally:
        stamp(instance, "a94c06be7d15", "c51d8e2f60b7")


def stamp(instance, present: str, wanted: str) -> None:
    """Let Alembic believe that our branch stands elsewhere.

    Its own command would take the other modules' heads away as well.
    """
    instance.execute(
        "UPDATE alembic_version SET version_num = :wanted WHERE version_num = :present",
        present=present,
        wanted=wanted,
    )
