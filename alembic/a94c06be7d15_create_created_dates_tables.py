# SPDX-FileCopyrightText: 2026 kcworks-migrations contributors
# SPDX-License-Identifier: MIT
"""Create the tables of runs, backups and problems.

It imports nothing from the package, so that it stays what it was.
"""

import os
import time
from typing import NoReturn

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

DROP_LEDGER = "KCWORKS_CREATED_DATES_DROP_LEDGER"
"""The environment variable that allows the ledger to be dropped; it says ``yes``."""

LOCK_KEY = 4_215_001_972_733_862_173
"""Key of the advisory lock that every run holds."""

LOCK_PAUSES_SECONDS = (0, 0.1, 0.2, 0.4, 0.8)
"""How long to wait before each try to get it: the server needs a moment to free the
lock of a connection that was just closed."""


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
    """Create the tables that are absent.

    One that is there keeps its rows: they may be all that knows old dates.

    Raises:
        ClickException: Another process is at work, or has changed the branch; or a
            table of an earlier build is there.
    """
    _take_lock()
    _look_again(down_revision)
    _create_table(
        RUN,
        sa.Column("id", sa.BigInteger(), autoincrement=True, nullable=False),
        _string("action", 16),
        _string("origin", 16),
        _text("started_by"),
        _text("reason", nullable=True),
        _string("package_version", 32),
        _jsonb("options"),
        _string("status", 16),
        _jsonb("statistics"),
        _jsonb("progress", nullable=True),
        _text("message", nullable=True),
        _string("task_id", 64, nullable=True),
        sa.Column("backend_pid", sa.Integer(), nullable=True),
        _instant("started_at"),
        _instant("progress_at"),
        _instant("stop_requested_at", nullable=True),
        _instant("finished_at", nullable=True),
        _instant("settled_at", nullable=True),
        _jsonb("settling", nullable=True),
        sa.Column("looks", sa.Integer(), server_default="0", nullable=False),
        _instant("next_look_at", nullable=True),
        _instant("look_began_at", nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_kcworks_created_dates_run")),
    )
    is_new = _create_table(
        BACKUP,
        sa.Column("id", sa.BigInteger(), autoincrement=True, nullable=False),
        sa.Column("run_id", sa.BigInteger(), nullable=False),
        _string("kind", 16),
        _uuid("entity_id"),
        _text("label"),
        _instant("old_created"),
        _instant("new_created"),
        sa.Column("source", sa.String(16), server_default="field", nullable=False),
        _text("source_value"),
        _text("source_file", nullable=True),
        _string("source_sha256", 64, nullable=True),
        _text("note", nullable=True),
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
    if is_new:
        op.create_index(
            "ix_kcworks_created_dates_backup_unqueued",
            BACKUP,
            ["id"],
            postgresql_where=sa.text("queued_at IS NULL"),
        )
    is_new = _create_table(
        PROBLEM,
        sa.Column("id", sa.BigInteger(), autoincrement=True, nullable=False),
        sa.Column("run_id", sa.BigInteger(), nullable=False),
        sa.Column("last_run_id", sa.BigInteger(), nullable=False),
        _string("kind", 16),
        _uuid("entity_id"),
        _text("label"),
        _string("reason", 64),
        _text("value", nullable=True),
        _text("group_id", nullable=True),
        _instant("found_at"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_kcworks_created_dates_problem")),
        sa.ForeignKeyConstraint(
            ["run_id"], [f"{RUN}.id"], name="fk_kcworks_created_dates_problem_run"
        ),
    )
    if is_new:
        op.create_index(
            "ix_kcworks_created_dates_problem_run_id", PROBLEM, ["run_id", "id"]
        )
        op.create_index(
            "ix_kcworks_created_dates_problem_entity_id",
            PROBLEM,
            ["entity_id", "run_id"],
        )


def _create_table(name: str, *columns: sa.schema.SchemaItem) -> bool:
    """Create a table unless it is there.

    Returns:
        Whether it was created.

    Raises:
        ClickException: It is there, and lacks columns.
    """
    bind = op.get_bind()
    query = sa.text(
        "SELECT attname FROM pg_attribute WHERE attrelid = to_regclass(:name)"
        " AND attnum > 0 AND NOT attisdropped"
    )
    found = {row[0] for row in bind.execute(query, {"name": name})}
    if not found:
        op.create_table(name, *columns)
        return True
    lacking = [c.name for c in columns if isinstance(c, sa.Column)]
    if lacking := [column for column in lacking if column not in found]:
        _refuse(
            f"The table {name} is of an earlier build and lacks {', '.join(lacking)}."
            " Nothing was changed: export it, as it may be all that knows old dates"
            f" (`pg_dump URI -t 'kcworks_created_dates_*' > created-dates.sql`), drop"
            " it, then run the same command again."
        )
    return False


def _take_lock() -> None:
    """Hold the lock of a run until the end of this transaction.

    Raises:
        ClickException: A run or another upgrade is at work.
    """
    lock = sa.text("SELECT pg_try_advisory_xact_lock(:key)")
    for pause in LOCK_PAUSES_SECONDS:
        time.sleep(pause)
        if op.get_bind().scalar(lock, {"key": LOCK_KEY}):
            return
    _refuse_as_busy("A run is at work on the created dates, or another upgrade.")


def _look_again(wanted: str) -> None:
    """Compare the stamp with what Alembic read before it called this revision.

    On a connection of its own, which sees what was committed before the lock was
    free, whatever the isolation of this transaction is.

    Raises:
        ClickException: Another process has changed it.
    """
    stamped = sa.text("SELECT version_num FROM alembic_version")
    with op.get_bind().engine.connect() as connection:
        if wanted not in connection.execute(stamped).scalars().all():
            _refuse_as_busy("Another process has moved this branch at the same time.")


def _refuse_as_busy(fact: str) -> NoReturn:
    """Stop Alembic here, as another process is at work.

    Raises:
        ClickException: In any case.
    """
    _refuse(
        f"{fact} Alembic stopped at {revision}, and what comes after it in any module"
        " is not done: wait until the other has ended"
        " (`invenio kcworks-created-dates status`), then run the same command again.",
        exit_code=4,
    )


def _refuse(message: str, exit_code: int = 2) -> NoReturn:
    """Stop Alembic here, without a traceback.

    Raises:
        ClickException: In any case.
    """
    refusal = ClickException(message)
    refusal.exit_code = exit_code
    raise refusal


def downgrade() -> None:
    """Drop the tables, unless they hold an entry: they are the audit, and the undo.

    The locks come before the count, so that no entry can be committed after it. A
    lock timeout (SQLSTATE 55P03) is left to invenio-db, which tries again.

    Raises:
        ClickException: A run is at work, or the ledger has entries.
    """
    bind = op.get_bind()
    isolation = bind.scalar(sa.text("SELECT current_setting('transaction_isolation')"))
    if isolation != "read committed":
        # A new one, which sees what is committed while the locks are waited for.
        with op.get_context().autocommit_block():
            pass
        bind = op.get_bind()
        bind.execute(sa.text("SET TRANSACTION ISOLATION LEVEL READ COMMITTED"))
    _take_lock()
    _look_again(revision)
    bind.execute(
        sa.text(f"LOCK TABLE {RUN}, {BACKUP}, {PROBLEM} IN ACCESS EXCLUSIVE MODE")
    )
    entries, standing, waiting, changed_since, is_settled = bind.execute(
        sa.text(
            "SELECT count(*), count(*) FILTER (WHERE outcome IS NULL),"
            " count(*) FILTER (WHERE queued_at IS NULL),"
            " count(*) FILTER (WHERE outcome = 'changed_since'),"
            f" (SELECT settled_at IS NOT NULL FROM {RUN} ORDER BY id DESC LIMIT 1)"
            f" FROM {BACKUP}"
        )
    ).fetchone()
    if standing:
        _refuse(
            f"The ledger holds changes that were not restored ({standing}), and"
            " dropping it would lose the old dates. Nothing was changed. To put them"
            " back: `invenio kcworks-created-dates rollback`. Removing the package"
            " while the new dates stay is not possible yet."
        )
    if entries and os.environ.get(DROP_LEDGER) != "yes":
        _refuse(
            f"The undo is done: none of the {entries} changes in the ledger stands any"
            f" more ({changed_since} rows that somebody changed since were left alone)."
            " Nothing was changed now. The next step down would drop the ledger, which"
            " is the audit of all changes. To do that nevertheless, wait until the"
            " index has settled (`invenio kcworks-created-dates status --wait`), export"
            " the ledger:"
            " `pg_dump URI -t 'kcworks_created_dates_*' > created-dates.sql`, then"
            f" `{DROP_LEDGER}=yes invenio alembic downgrade {down_revision}`."
        )
    if waiting or (entries and not is_settled):
        _refuse(
            "The search index has not settled after the last change, and nothing but"
            " the ledger knows which documents hold other dates. Nothing was changed:"
            " wait with `invenio kcworks-created-dates status --wait`, then run the"
            " same command again."
        )
    op.drop_table(PROBLEM)
    op.drop_table(BACKUP)
    op.drop_table(RUN)
