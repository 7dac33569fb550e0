# SPDX-FileCopyrightText: 2026 kcworks-migrations contributors
# SPDX-License-Identifier: MIT
"""Create the branch of kcworks-migrations.

It imports nothing from the package, so that it stays what it was.
"""

import time

import sqlalchemy as sa
from click import ClickException

from alembic import op

# revision identifiers, used by Alembic.
revision = "7f3a51c9e0d2"
down_revision = None
branch_labels = ("kcworks_migrations",)
depends_on = None

LOCK_KEY = 4_215_001_972_733_862_173
"""Key of the advisory lock that every run holds."""

LOCK_PAUSES_SECONDS = (0, 0.1, 0.2, 0.4, 0.8)
"""How long to wait before each try to get it."""

BRANCH = ("7f3a51c9e0d2", "a94c06be7d15", "c51d8e2f60b7")


def upgrade() -> None:
    """Begin the branch, unless another process has done so meanwhile.

    Alembic read the stamps before it called this. Stamped beside a later revision of
    its own branch, this one would keep every upgrade of the instance from working.

    Raises:
        ClickException: Another process is at work, or has begun the branch.
    """
    bind = op.get_bind()
    lock = sa.text("SELECT pg_try_advisory_xact_lock(:key)")
    for pause in LOCK_PAUSES_SECONDS:
        time.sleep(pause)
        if bind.scalar(lock, {"key": LOCK_KEY}):
            break
    else:
        _refuse("Another upgrade, or a run on the created dates, is at work.")
    # On a connection of its own, which sees what was committed before the lock was
    # free, whatever the isolation of this transaction is.
    stamped = sa.text("SELECT version_num FROM alembic_version")
    with bind.engine.connect() as connection:
        if set(BRANCH) & set(connection.execute(stamped).scalars()):
            _refuse("Another process has upgraded this branch at the same time.")


def _refuse(fact: str) -> None:
    """Stop Alembic here.

    Raises:
        ClickException: In any case.
    """
    refusal = ClickException(
        f"{fact} Alembic stopped before {revision}, and what comes after it in any"
        " module is not applied: wait until the other has ended"
        " (`invenio kcworks-created-dates status`), then run the same command again."
    )
    refusal.exit_code = 4
    raise refusal


def downgrade() -> None:
    """Downgrade database."""
