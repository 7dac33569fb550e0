# SPDX-FileCopyrightText: 2026 kcworks-migrations contributors
# SPDX-License-Identifier: MIT
"""Guards that nothing should ever need: a write that does something else is undone."""

import pytest
from support.faults import Point, at, other_connection
from support.instance import utc
from support.synthetic import IMPORTED

from kcworks_migrations.errors import CreatedDatesError

LEGACY = "2016-02-29T13:11:39Z"
RESTORE = "UPDATE kcworks_created_dates_backup AS b"


def test_batch_that_backs_up_another_row_is_rolled_back(instance):
    records = [instance.record(LEGACY) for _ in range(3)]
    instance.execute("""
        CREATE OR REPLACE FUNCTION faults_other() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            NEW.entity_id := md5(random()::text)::uuid;
            RETURN NEW;
        END $$""")
    instance.execute(
        "CREATE TRIGGER faults BEFORE INSERT ON kcworks_created_dates_backup"
        " FOR EACH ROW EXECUTE FUNCTION faults_other()"
    )
    try:
        with pytest.raises(CreatedDatesError, match="written and .* rolled back"):
            instance.upgrade()
    finally:
        instance.execute("DROP FUNCTION faults_other CASCADE")
    assert instance.backup() == []
    assert {instance.created(record) for record in records} == {utc(IMPORTED)}
    assert instance.run().status == "failed"
    instance.upgrade()
    assert {entry.entity for entry in instance.backup()} == set(records)


def test_batch_of_entries_that_somebody_closed_is_rolled_back(instance):
    records = [instance.record(LEGACY) for _ in range(3)]
    instance.upgrade()

    def close_one(connection) -> None:
        other = other_connection(instance)
        other.cursor().execute(
            "UPDATE kcworks_created_dates_backup SET outcome = 'restored'"
            " WHERE id = (SELECT min(id) FROM kcworks_created_dates_backup)"
        )
        other.commit()
        other.close()

    with (
        at(instance.engine, Point("before", RESTORE), close_one),
        pytest.raises(CreatedDatesError, match="3 rows were to be written and 2"),
    ):
        instance.downgrade()
    assert {instance.created(r) for r in records} == {utc("2016-02-29T13:11:39")}
    instance.execute("UPDATE kcworks_created_dates_backup SET outcome = NULL")
    instance.downgrade()
    assert {instance.created(record) for record in records} == {utc(IMPORTED)}
