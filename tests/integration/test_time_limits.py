# SPDX-FileCopyrightText: 2026 kcworks-migrations contributors
# SPDX-License-Identifier: MIT
"""Limits that a database gives every session: a run outlasts them."""

import pytest
from sqlalchemy import text
from support.faults import TABLES_REVISION, stamped_before_the_data
from support.instance import utc

LEGACY = "2016-02-29T13:11:39Z"

SLOW = """
CREATE FUNCTION take_time() RETURNS trigger LANGUAGE plpgsql AS
$$ BEGIN PERFORM pg_sleep(0.6); RETURN NULL; END $$;
CREATE TRIGGER take_time AFTER UPDATE ON rdm_records_metadata
FOR EACH STATEMENT EXECUTE FUNCTION take_time();
CREATE TRIGGER take_time AFTER UPDATE OF queued_at ON kcworks_created_dates_backup
FOR EACH STATEMENT EXECUTE FUNCTION take_time();
"""


@pytest.fixture(params=["statement_timeout", "transaction_timeout"])
def impatient(instance, request):
    """An instance whose database ends what takes longer than 0.3 s."""
    name = request.param
    version = instance.scalar("SELECT current_setting('server_version_num')::integer")
    if name == "transaction_timeout" and version < 170_000:
        pytest.skip("PostgreSQL has no transaction_timeout before version 17")
    database = instance.scalar("SELECT current_database()")
    limit = f'ALTER DATABASE "{database}"'
    instance.execute(SLOW)
    instance.execute(f"{limit} SET {name} = '300ms'")
    instance.engine.dispose()  # the sessions of the pool began without it
    instance.limit = name
    yield instance
    with instance.engine.begin() as connection:
        connection.execute(text(f"SET LOCAL {name} = 0"))
        connection.execute(text(f"{limit} RESET {name}"))
        connection.execute(text("DROP FUNCTION take_time CASCADE"))
    instance.engine.dispose()


def test_update_and_rollback_outlast_a_time_limit(impatient, invoke):
    record = impatient.record(LEGACY)
    imported = impatient.created(record)
    done = invoke("update", "--yes")
    assert done.exit_code == 0, done.output
    assert impatient.run().status == "succeeded"
    assert impatient.created(record) == utc("2016-02-29T13:11:39")
    done = invoke("rollback", "--yes")
    assert done.exit_code == 0, done.output
    assert impatient.created(record) == imported
    # What others do on the connections of the pool is limited as it was.
    assert impatient.scalar(f"SHOW {impatient.limit}") == "300ms"


def test_upgrade_and_downgrade_outlast_a_time_limit(app, impatient):
    record = impatient.record(LEGACY)
    imported = impatient.created(record)
    alembic = app.extensions["invenio-db"].alembic
    with stamped_before_the_data(impatient):
        alembic.upgrade("kcworks_migrations@head")
        assert impatient.created(record) == utc("2016-02-29T13:11:39")
        alembic.downgrade(TABLES_REVISION)
        assert impatient.created(record) == imported
