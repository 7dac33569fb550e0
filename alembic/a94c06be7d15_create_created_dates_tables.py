# SPDX-FileCopyrightText: 2026 kcworks-migrations contributors
# SPDX-License-Identifier: MIT
"""Create the tables of runs, backups and problems.

It imports nothing from the package, so that it stays what it was.
"""

import sqlalchemy as sa
from click import ClickException
from sqlalchemy.dialects import postgresql

from alembic import op

# revision identifiers, used by Alembic.
revision = "a94c06be7d15"
down_revision = "7f3a51c9e0d2"
branch_labels = ()
depends_on = None

RUN = "kcworks_created_dates_run"
BACKUP = "kcworks_created_dates_backup"
PROBLEM = "kcworks_created_dates_problem"


def _instant(name: str, nullable: bool = False) -> sa.Column:
    return sa.Column(name, sa.DateTime(timezone=True), nullable=nullable)


def _string(name: str, length: int, nullable: bool = False) -> sa.Column:
    return sa.Column(name, sa.String(length), nullable=nullable)


def _text(name: str, nullable: bool = False) -> sa.Column:
    return sa.Column(name, sa.Text(), nullable=nullable)


def _uuid(name: str, nullable: bool = False) -> sa.Column:
    return sa.Column(name, postgresql.UUID(as_uuid=True), nullable=nullable)


def _jsonb(name: str, nullable: bool = False) -> sa.Column:
    return sa.Column(name, postgresql.JSONB(), nullable=nullable)


def upgrade() -> None:
    """Create the tables."""
    op.create_table(
        RUN,
        sa.Column("id", sa.BigInteger(), autoincrement=True, nullable=False),
        _string("action", 16),
        _string("origin", 16),
        _string("package_version", 32),
        _jsonb("options"),
        _string("status", 16),
        _string("phase", 16),
        _uuid("cursor", nullable=True),
        _jsonb("statistics"),
        _jsonb("progress", nullable=True),
        _text("message", nullable=True),
        _string("task_id", 64, nullable=True),
        sa.Column("backend_pid", sa.Integer(), nullable=True),
        _instant("started_at"),
        _instant("progress_at"),
        _instant("stop_requested_at", nullable=True),
        _instant("finished_at", nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_kcworks_created_dates_run")),
    )
    op.create_table(
        BACKUP,
        sa.Column("id", sa.BigInteger(), autoincrement=True, nullable=False),
        sa.Column("run_id", sa.BigInteger(), nullable=False),
        _string("kind", 16),
        _uuid("entity_id"),
        _text("label"),
        _instant("old_created"),
        _instant("new_created"),
        _text("source_value"),
        _uuid("source_record_id", nullable=True),
        _text("source_record_label", nullable=True),
        _instant("changed_at"),
        _instant("queued_at", nullable=True),
        _instant("restored_at", nullable=True),
        _string("outcome", 16, nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_kcworks_created_dates_backup")),
        sa.ForeignKeyConstraint(
            ["run_id"], [f"{RUN}.id"], name="fk_kcworks_created_dates_backup_run"
        ),
        sa.UniqueConstraint(
            "entity_id", "kind", "run_id", name="uq_kcworks_created_dates_backup_entity"
        ),
    )
    op.create_index(
        "ix_kcworks_created_dates_backup_unqueued",
        BACKUP,
        ["id"],
        postgresql_where=sa.text("queued_at IS NULL"),
    )
    op.create_table(
        PROBLEM,
        sa.Column("id", sa.BigInteger(), autoincrement=True, nullable=False),
        sa.Column("run_id", sa.BigInteger(), nullable=False),
        _string("kind", 16),
        _uuid("entity_id"),
        _text("label"),
        _string("reason", 64),
        _text("value", nullable=True),
        _instant("found_at"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_kcworks_created_dates_problem")),
        sa.ForeignKeyConstraint(
            ["run_id"], [f"{RUN}.id"], name="fk_kcworks_created_dates_problem_run"
        ),
    )
    op.create_index(
        "ix_kcworks_created_dates_problem_run_id", PROBLEM, ["run_id", "id"]
    )
    op.create_index(
        "ix_kcworks_created_dates_problem_entity_id", PROBLEM, ["entity_id", "run_id"]
    )


def downgrade() -> None:
    """Drop the tables, unless they are all that knows what is still to be done.

    Raises:
        ClickException: The backup holds changes that were not restored, or that wait
            for reindexing.
    """
    standing = op.get_bind().scalar(
        sa.text(f"SELECT count(*) FROM {BACKUP} WHERE outcome IS NULL")
    )
    if standing:
        raise ClickException(
            f"The backup holds {standing} changed dates that were not restored, and"
            " dropping it would lose the old ones. Nothing was changed: put them back"
            " with `invenio kcworks-created-dates rollback`, then run the same command"
            " again."
        )
    waiting = op.get_bind().scalar(
        sa.text(f"SELECT count(*) FROM {BACKUP} WHERE queued_at IS NULL")
    )
    if waiting:
        raise ClickException(
            f"{waiting} restored dates wait for reindexing, and nothing else knows"
            " which documents of the index hold other ones. Nothing was changed: send"
            " them with `invenio kcworks-created-dates reindex`, then run the same"
            " command again."
        )
    op.drop_table(PROBLEM)
    op.drop_table(BACKUP)
    op.drop_table(RUN)
