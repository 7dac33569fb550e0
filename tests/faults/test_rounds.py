# SPDX-FileCopyrightText: 2026 kcworks-migrations contributors
# SPDX-License-Identifier: MIT
"""Up, down, up, down: every table but ours is the same each time."""

import pytest
from support.faults import Point, at, stamped_before_the_data

ROUNDS = 10


def test_ten_rounds_end_where_they_began(filled):
    before = filled.checksums(without_created=False)
    untouched = filled.checksums(without_created=True)
    filled.upgrade(batch_size=37)
    after = filled.checksums(without_created=False)
    first = filled.run().statistics
    assert after != before
    for _ in range(ROUNDS - 1):
        filled.downgrade()
        assert filled.checksums(without_created=False) == before
        filled.upgrade()
        assert filled.checksums(without_created=False) == after
        assert filled.run().statistics == first
    assert filled.checksums(without_created=True) == untouched
    filled.downgrade()
    assert filled.checksums(without_created=False) == before
    assert {e.outcome for e in filled.backup()} == {"restored"}


def test_ten_alembic_rounds_end_where_they_began(filled, app):
    alembic = app.extensions["invenio-db"].alembic
    before = filled.checksums(without_created=False)
    with stamped_before_the_data(filled):
        after = None
        for _ in range(ROUNDS):
            alembic.upgrade("kcworks_migrations@head")
            sums = filled.checksums(without_created=False)
            assert after in (None, sums) and sums != before
            after = sums
            alembic.downgrade("kcworks_migrations@-1")
            assert filled.checksums(without_created=False) == before


@pytest.mark.parametrize(
    ("action", "text"),
    [
        ("upgrade", "INSERT INTO kcworks_created_dates_backup"),
        ("downgrade", "UPDATE kcworks_created_dates_backup AS b"),
    ],
)
def test_revisions_keep_no_transaction_open_beside_a_batch(filled, app, action, text):
    alembic = app.extensions["invenio-db"].alembic
    idle = []

    def look(connection) -> None:
        own = connection.connection.dbapi_connection.info.backend_pid
        idle.append(
            filled.scalar(
                "SELECT count(*) FROM pg_stat_activity WHERE pid <> :own AND datname ="
                " current_database() AND state = 'idle in transaction'",
                own=own,
            )
        )

    with stamped_before_the_data(filled):
        if action == "downgrade":
            alembic.upgrade("kcworks_migrations@head")
        with at(filled.engine, Point("after", text), look):
            if action == "upgrade":
                alembic.upgrade("kcworks_migrations@head")
            else:
                alembic.downgrade("kcworks_migrations@-1")
    assert idle == [0]
