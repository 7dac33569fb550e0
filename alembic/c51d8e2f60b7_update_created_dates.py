# SPDX-FileCopyrightText: 2026 kcworks-migrations contributors
# SPDX-License-Identifier: MIT
"""Update the created dates of imported records and communities.

The work is done in many short transactions of its own, outside the transaction of
this revision. Killed anywhere, the revision is not stamped, and the same command
completes the work.
"""

import sqlalchemy as sa
from click import ClickException

from alembic import op

# revision identifiers, used by Alembic.
revision = "c51d8e2f60b7"
down_revision = "a94c06be7d15"
branch_labels = ()
# Only what creates the tables that are touched: rdm_records_metadata and
# rdm_drafts_metadata, rdm_parents_community, communities_metadata.
depends_on = ("4a15e8671f4d", "9e0ac518b9df", "de9c14cbb0b2")


def upgrade() -> None:
    """Give records and communities their true dates."""
    from kcworks_migrations.migration import apply

    with op.get_context().autocommit_block():
        apply(op.get_bind().engine, origin="alembic")
    _hold_stamp(down_revision, "All dates are done.")


def downgrade() -> None:
    """Put the old dates back."""
    from kcworks_migrations.migration import revert

    with op.get_context().autocommit_block():
        revert(op.get_bind().engine, origin="alembic")
    _hold_stamp(revision, "All old dates are back.")


def _hold_stamp(present: str, fact: str) -> None:
    """Hold the stamp that Alembic is about to move, so that nobody else moves it.

    Raises:
        ClickException: Another process, which did the same work, was quicker.
    """
    query = "SELECT 1 FROM alembic_version WHERE version_num = :present FOR UPDATE"
    if op.get_bind().scalar(sa.text(query), {"present": present}):
        return
    refusal = ClickException(
        f"{fact} Another process has moved Alembic's stamp at the same time, so Alembic"
        f" stopped at {revision}, and what comes after it in any module is not done:"
        " run the same command again."
    )
    refusal.exit_code = 4
    raise refusal
