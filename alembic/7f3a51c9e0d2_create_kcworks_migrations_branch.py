# SPDX-FileCopyrightText: 2026 kcworks-migrations contributors
# SPDX-License-Identifier: MIT
"""Create the branch of kcworks-migrations."""

# revision identifiers, used by Alembic.
revision = "7f3a51c9e0d2"
down_revision = None
branch_labels = ("kcworks_migrations",)
depends_on = None


def upgrade() -> None:
    """Upgrade database."""


def downgrade() -> None:
    """Downgrade database."""
