# SPDX-FileCopyrightText: 2026 kcworks-migrations contributors
# SPDX-License-Identifier: MIT
"""Up, down, up, down: every table but ours is the same each time."""

from faults import stamped_before_the_data

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
