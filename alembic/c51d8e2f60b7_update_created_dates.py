# SPDX-FileCopyrightText: 2026 kcworks-migrations contributors
# SPDX-License-Identifier: MIT
"""Update the created dates of imported records and communities.

The work is done in many short transactions of its own, outside the transaction of
this revision. Killed anywhere, the revision is not stamped, and the same command
completes the work.
"""

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
    from kcworks_migrations.migration.revision import apply

    apply(op.get_context())


def downgrade() -> None:
    """Put the old dates back."""
    from kcworks_migrations.migration.revision import revert

    revert(op.get_context())
