# SPDX-FileCopyrightText: 2026 kcworks-migrations contributors
# SPDX-License-Identifier: MIT
"""The three tables: runs, the backup (ledger) of every change, and problems.

Nothing here refers to a table of the instance, so that the audit outlives deletions.
The revision that creates them repeats the definitions on purpose: it must stay what
it was when this module moves on. All instants are ``timestamptz``.
"""

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
    """One execution, of an upgrade (``apply``) or of a downgrade (``revert``)."""

    __tablename__ = "kcworks_created_dates_run"

    id = Column(BigInteger, primary_key=True)
    action = Column(String(16), nullable=False)
    """``apply`` or ``revert``."""
    origin = Column(String(16), nullable=False)
    """``alembic``, ``cli`` or ``celery``."""
    package_version = Column(String(32), nullable=False)
    options = Column(JSONB, nullable=False)
    """What was asked for: a run is only continued by one with the same options."""
    status = Column(String(16), nullable=False)
    """``running``, ``interrupted``, ``errored``, ``succeeded``; ``reverting`` and
    ``reverted`` once a downgrade works on the changes of this run; ``superseded`` when
    it was unfinished and is not to go on, since rows behind its cursor were put back
    (of a restoration: since another one has done the rest)."""
    phase = Column(String(16), nullable=False)
    """``records``, ``communities``, ``reindex``, ``done``: where to go on."""
    cursor = Column(UUID(as_uuid=True), nullable=True)
    """The last primary key of the phase that is done; none at the start of it."""
    statistics = Column(JSONB, nullable=False)
    progress = Column(JSONB, nullable=True)
    """How far the phase is: ``done`` and ``total`` rows, ``rate`` in rows a second."""
    message = Column(Text, nullable=True)
    """Why the run stopped, or what its reindexing waits for."""
    task_id = Column(String(64), nullable=True)
    """The Celery task that does it, if one does."""
    backend_pid = Column(Integer, nullable=True)
    """The database's process of who does it, which holds the lock meanwhile."""
    started_at = Column(DateTime(timezone=True), nullable=False)
    progress_at = Column(DateTime(timezone=True), nullable=False)
    stop_requested_at = Column(DateTime(timezone=True), nullable=True)
    """When somebody asked it to stop after its batch."""
    finished_at = Column(DateTime(timezone=True), nullable=True)


class CreatedDatesBackup(db.Model):  # type: ignore[name-defined]
    """One changed row: what it was, what it became, from what, and its way since."""

    __tablename__ = "kcworks_created_dates_backup"

    id = Column(BigInteger, primary_key=True)
    run_id = Column(
        BigInteger,
        ForeignKey(CreatedDatesRun.id, name="fk_kcworks_created_dates_backup_run"),
        nullable=False,
    )
    kind = Column(String(16), nullable=False)
    """``record`` or ``community``."""
    entity_id = Column(UUID(as_uuid=True), nullable=False)
    label = Column(Text, nullable=False)
    """The PID of a record, the slug of a community."""
    old_created = Column(DateTime(timezone=True), nullable=False)
    new_created = Column(DateTime(timezone=True), nullable=False)
    source_value = Column(Text, nullable=False)
    """The legacy date as it stood in the record."""
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
    run_id = Column(
        BigInteger,
        ForeignKey(CreatedDatesRun.id, name="fk_kcworks_created_dates_problem_run"),
        nullable=False,
    )
    kind = Column(String(16), nullable=False)
    """``record``, ``community``, or ``group`` (a group entry of a record)."""
    entity_id = Column(UUID(as_uuid=True), nullable=False)
    label = Column(Text, nullable=False)
    reason = Column(String(64), nullable=False)
    value = Column(Text, nullable=True)
    """At most 500 characters, control characters escaped."""
    found_at = Column(DateTime(timezone=True), nullable=False)

    __table_args__ = (
        Index("ix_kcworks_created_dates_problem_run_id", "run_id", "id"),
        Index("ix_kcworks_created_dates_problem_entity_id", "entity_id", "run_id"),
    )
