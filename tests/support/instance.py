# SPDX-FileCopyrightText: 2026 kcworks-migrations contributors
# SPDX-License-Identifier: MIT
"""The instance as the tests see it: its rows, its checksums, its queues."""

from contextlib import contextmanager
from datetime import UTC, datetime

from celery import current_app as celery_app
from flask import current_app
from invenio_db import db
from invenio_indexer.proxies import current_indexer_registry
from kombu import pools
from sqlalchemy import text

from kcworks_migrations import migration
from kcworks_migrations.config import options_from
from kcworks_migrations.index import compare, outbox
from kcworks_migrations.interrupt import never
from kcworks_migrations.kinds import DATED, KINDS, kind_of
from kcworks_migrations.report.reporter import Reporter
from support import synthetic

INDEXERS = tuple(kind.indexer for kind in KINDS)
OURS = "kcworks_created_dates_"


def utc(value: str) -> datetime:
    """Read a test's literal such as ``2016-02-29T13:11:39``."""
    return datetime.fromisoformat(value).replace(tzinfo=UTC)


def forget_broker_connections() -> None:
    """Close all pooled connections to the broker, so that new ones are made."""
    pools.reset()
    celery_app._after_fork()
    # It keeps the pool that it was made with.
    vars(celery_app).pop("control", None)


class Instance:
    """The instance that the tests run on."""

    def __init__(self, engine) -> None:
        self.engine = engine

    def execute(self, statement, **values):
        """Execute one statement, committed; give its rows if it has some."""
        with self.engine.begin() as connection:
            connection.execute(text("SET LOCAL TimeZone = 'UTC'"))
            result = connection.execute(text(statement), values)
            return result.fetchall() if result.returns_rows else None

    def scalar(self, statement, **values):
        """Give the one value of a query."""
        return self.execute(statement, **values)[0][0]

    def empty(self) -> None:
        """Remove every record, community and run."""
        db.session.remove()
        self.execute(
            "TRUNCATE rdm_records_metadata, rdm_drafts_metadata, rdm_parents_metadata,"
            " communities_metadata, rdm_records_metadata_version,"
            " kcworks_created_dates_run CASCADE"
        )

    def record(self, legacy_date=None, groups=None, **more) -> str:
        """Insert a record with a legacy date and groups; give its UUID."""
        fields = more.pop("custom_fields", None)
        if fields is None:
            fields = {}
            if legacy_date is not None:
                fields["hclegacy:record_creation_date"] = legacy_date
            if groups is not None:
                fields["hclegacy:groups_for_deposit"] = groups
        with self.engine.begin() as connection:
            return synthetic.insert_record(connection, fields, **more)

    def community(self, group_id=None, **more) -> str:
        """Insert a community of a group; give its UUID."""
        fields = more.pop("custom_fields", None)
        if fields is None:
            fields = {} if group_id is None else {"kcr:commons_group_id": group_id}
        with self.engine.begin() as connection:
            return synthetic.insert_community(connection, fields, **more)

    def many(self, records: int, communities: int) -> None:
        """Insert many records and communities."""
        with self.engine.begin() as connection:
            synthetic.insert_many(connection, records, communities)

    def created(self, entity_id: str, kind: str = "record") -> datetime:
        """Give `created` of a row, in UTC."""
        table = kind_of(kind).table
        value = self.scalar(f"SELECT created FROM {table} WHERE id = :id", id=entity_id)
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value

    def all_created(self) -> dict[str, str]:
        """Give `created` of every row, in microseconds, by kind and id."""
        return {
            f"{kind} {row[0]}": row[1]
            for kind in DATED
            for row in self.execute(
                f"SELECT id::text, extract(epoch FROM created)::text FROM {kind.table}"
            )
        }

    def checksums(self, without_created: bool) -> dict[str, str]:
        """Give a checksum of every table but ours and Alembic's.

        Args:
            without_created: Leave out `created` of records and communities, which
                alone may change.
        """
        tables = [
            row[0]
            for row in self.execute(
                "SELECT tablename FROM pg_tables WHERE schemaname = 'public'"
                f" AND tablename NOT LIKE '{OURS}%' AND tablename <> 'alembic_version'"
            )
        ]
        sums = {}
        for table in tables:
            row = "to_jsonb(t)"
            if without_created and table in {kind.table for kind in DATED}:
                row += " - 'created'"
            sums[table] = self.scalar(
                f"SELECT md5(coalesce(string_agg(x, '' ORDER BY x), '')) FROM"
                f' (SELECT md5(({row})::text) AS x FROM "{table}" AS t) AS s'
            )
        return sums

    def upgrade(self, kinds=None, is_queued=True, **given):
        """Run the upgrade's function, with some options; give its summary."""
        if kinds is None and not given and is_queued:
            return migration.apply(self.engine, "alembic")
        what, how = options_from(current_app.config, kinds=kinds, **given)
        return migration.apply(self.engine, "cli", what, how, is_queued=is_queued)

    def preview(self, **given):
        """Run the preview's function, with some options; give its summary."""
        what, how = options_from(current_app.config, **given)
        return migration.preview(self.engine, what, how)

    def downgrade(self):
        """Run the downgrade's function; give its summary."""
        return migration.revert(self.engine, "alembic")

    def send_pending(self, **more):
        """Do what `reindex` does; give what was sent and what is pending."""
        _, how = options_from(current_app.config)
        return outbox.send_pending(self.engine, how, Reporter(), never, **more)

    def verify(self, **more):
        """Do what `verify` does; give its verdict."""
        _, how = options_from(current_app.config)
        return compare.verify(self.engine, how, **more)

    def backup(self, **where):
        """Give the backup rows, oldest first, those with these values."""
        condition = " AND ".join(f"{name} = :{name}" for name in where) or "true"
        return self.execute(
            f"SELECT *, entity_id::text AS entity FROM {OURS}backup"
            f" WHERE {condition} ORDER BY id",
            **where,
        )

    def problems(self) -> set[tuple[str, str, str, str | None]]:
        """Give kind, id, reason and value of every problem."""
        return {
            tuple(row)
            for row in self.execute(
                f"SELECT kind, entity_id::text, reason, value FROM {OURS}problem"
            )
        }

    def run(self):
        """Give the last run row."""
        return self.execute(f"SELECT * FROM {OURS}run ORDER BY id DESC LIMIT 1")[0]

    def queued(self, name: str) -> list[str]:
        """Take every message for the documents of an indexer; give the ids."""
        [ours] = [kind.own_indexer for kind in KINDS if kind.indexer == name]
        ids: list[str] = []
        with celery_app.connection_for_read() as connection:
            for one in (name, ours):
                queue = current_indexer_registry.get(one).mq_queue(connection)
                while message := queue.get():
                    body = message.decode()
                    ids += body["ids"] if one == ours else [body["id"]]
                    message.ack()
        return ids

    def empty_queues(self) -> None:
        """Make the queues of the indexers anew, without messages."""
        with celery_app.connection_for_write() as connection:
            for name in [n for k in KINDS for n in (k.indexer, k.own_indexer)]:
                queue = current_indexer_registry.get(name).mq_queue(connection)
                queue.declare()
                queue.purge()

    @contextmanager
    def database_setting(self, name: str, value: str):
        """Let every new connection begin with another setting."""
        database = self.scalar("SELECT current_database()")
        self.execute(f"ALTER DATABASE \"{database}\" SET {name} = '{value}'")
        self.engine.dispose()
        try:
            yield
        finally:
            # The setting may be a role that may not do this, or have cut connections.
            self.engine.dispose()
            reset = f'ALTER DATABASE "{database}" RESET {name}'
            self.execute(f"SET LOCAL ROLE NONE; {reset}")
            self.engine.dispose()

    def database_time_zone(self, name: str):
        """Let every new connection begin in another time zone."""
        return self.database_setting("TimeZone", name)
