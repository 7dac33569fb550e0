# SPDX-FileCopyrightText: 2026 kcworks-migrations contributors
# SPDX-License-Identifier: MIT
"""The three tables: runs, the backup (ledger) of every change, and problems.

Nothing here refers to a table of the instance, so that the audit outlives deletions.
The revision that creates them repeats the definitions on purpose: it must stay what
it was when this module moves on. All instants are ``timestamptz``.
"""

from typing import Any

from invenio_db import db
from sqlalchemy import (
    BigInteger,
    Column,
    DateTime,
    ForeignKey,
    Index,
    Integer,
    String,
    Text,
    UniqueConstraint,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB, UUID


class CreatedDatesRun(db.Model):  # type: ignore[name-defined]
    """One execution: an update, a restoration or a rehearsal."""

    __tablename__ = "kcworks_created_dates_run"

    id = Column(BigInteger, primary_key=True)
    action = Column(String(16), nullable=False)
    """``apply``, ``revert`` or ``rehearse``."""
    origin = Column(String(16), nullable=False)
    """``alembic``, ``cli``, ``celery`` or ``python``."""
    started_by = Column(Text, nullable=False)
    """System user and host of the process."""
    reason = Column(Text, nullable=True)
    """Why, in the words of whoever started it."""
    package_version = Column(String(32), nullable=False)
    options = Column(JSONB, nullable=False)
    """What was asked for."""
    status = Column(String(16), nullable=False)
    """``running``, ``succeeded``, ``stopped`` (somebody asked) or ``failed``."""
    statistics = Column(JSONB, nullable=False)
    progress = Column(JSONB, nullable=True)
    """How far the phase is: ``done`` and ``total`` rows, ``rate`` in rows a second."""
    message = Column(Text, nullable=True)
    """Why the run ended early, or what its reindexing waits for."""
    task_id = Column(String(64), nullable=True)
    """The Celery task that does it, if one does."""
    backend_pid = Column(Integer, nullable=True)
    """The database's process of who does it, which holds the lock meanwhile."""
    started_at = Column(DateTime(timezone=True), nullable=False)
    progress_at = Column(DateTime(timezone=True), nullable=False)
    stop_requested_at = Column(DateTime(timezone=True), nullable=True)
    """When somebody asked it to stop after its batch."""
    finished_at = Column(DateTime(timezone=True), nullable=True)
    settled_at = Column(DateTime(timezone=True), nullable=True)
    """When every document that holds a date of the ledger was found right."""
    settling = Column(JSONB, nullable=True)
    """What the last look at the documents found, and how long it took."""
    looks = Column(Integer, nullable=False, server_default=text("0"))
    """How many looks in a row did not end clean; on the newest row."""
    next_look_at = Column(DateTime(timezone=True), nullable=True)
    """When to look again; on the newest row."""
    look_began_at = Column(DateTime(timezone=True), nullable=True)
    """When the look began that has not ended yet."""


def _run_id(table: str) -> Any:
    """Give the column by which a row of a table belongs to a run."""
    key = ForeignKey(CreatedDatesRun.id, name=f"fk_kcworks_created_dates_{table}_run")
    return Column(BigInteger, key, nullable=False)


class CreatedDatesBackup(db.Model):  # type: ignore[name-defined]
    """One changed row: what it was, what it became, from what, and its way since."""

    __tablename__ = "kcworks_created_dates_backup"

    id = Column(BigInteger, primary_key=True)
    run_id = _run_id("backup")
    kind = Column(String(16), nullable=False)
    """``record`` or ``community``."""
    entity_id = Column(UUID(as_uuid=True), nullable=False)
    label = Column(Text, nullable=False)
    """The PID of a record, the slug of a community."""
    old_created = Column(DateTime(timezone=True), nullable=False)
    new_created = Column(DateTime(timezone=True), nullable=False)
    source = Column(String(16), nullable=False, server_default=text("'field'"))
    """Where the date came from: ``field`` (the custom field) or ``plan`` (a curator's
    file)."""
    source_value = Column(Text, nullable=False)
    """The legacy date as it stood in the record, or in the file."""
    source_file = Column(Text, nullable=True)
    """Name of the curator's file."""
    source_sha256 = Column(String(64), nullable=True)
    """Checksum of the curator's file."""
    note = Column(Text, nullable=True)
    """What the curator wrote beside the date."""
    source_record_id = Column(UUID(as_uuid=True), nullable=True)
    """For a community: the oldest record of its group."""
    source_record_label = Column(Text, nullable=True)
    changed_at = Column(DateTime(timezone=True), nullable=False)
    queued_at = Column(DateTime(timezone=True), nullable=True)
    """When the broker accepted the reindexing of this entry's present state; none
    means that it waits. This column is the transactional outbox."""
    restored_at = Column(DateTime(timezone=True), nullable=True)
    outcome = Column(String(16), nullable=True)
    """What a downgrade did: ``restored``, ``changed_since``, ``deleted``; none means
    that the change stands."""

    __table_args__ = (
        UniqueConstraint(
            "entity_id", "kind", "run_id", name="uq_kcworks_created_dates_backup_entity"
        ),
        Index(
            "ix_kcworks_created_dates_backup_unqueued",
            "id",
            postgresql_where=text("queued_at IS NULL"),
        ),
    )


class CreatedDatesProblem(db.Model):  # type: ignore[name-defined]
    """One thing that could not be changed or read, with the reason and the value."""

    __tablename__ = "kcworks_created_dates_problem"

    id = Column(BigInteger, primary_key=True)
    run_id = _run_id("problem")
    """The first run that met it."""
    last_run_id = Column(BigInteger, nullable=False)
    """The last run that met it."""
    kind = Column(String(16), nullable=False)
    """``record``, ``community``, or ``group`` (a group entry of a record)."""
    entity_id = Column(UUID(as_uuid=True), nullable=False)
    label = Column(Text, nullable=False)
    reason = Column(String(64), nullable=False)
    value = Column(Text, nullable=True)
    """At most 500 characters, control characters escaped."""
    group_id = Column(Text, nullable=True)
    """Of a community, where it is known."""
    found_at = Column(DateTime(timezone=True), nullable=False)

    __table_args__ = (
        Index("ix_kcworks_created_dates_problem_run_id", "run_id", "id"),
        Index("ix_kcworks_created_dates_problem_entity_id", "entity_id", "run_id"),
    )
