# SPDX-FileCopyrightText: 2026 kcworks-migrations contributors
# SPDX-License-Identifier: MIT
"""Ways to break a run, and to see whether anything was lost.

A `Point` names an instant between two statements; `at` does something there. `Child`
is a forked process that has the loaded application but connections of its own.
"""

import os
import signal
import sys
import tempfile
import time
import traceback
from contextlib import contextmanager
from itertools import chain
from typing import ClassVar, NamedTuple

import psycopg2
from celery import current_app as celery_app
from flask import current_app
from invenio_db import db
from invenio_search import current_search
from kombu import Producer
from sqlalchemy import create_engine, event, text

from kcworks_migrations.kinds import DATED
from support.instance import OURS, forget_broker_connections

PATIENCE_SECONDS = 300

KINDS_COUNTED = ("records", "communities", "groups")

TYPES = ("timestamp", "timestamptz")
"""What the type of `created` may be."""


class Point(NamedTuple):
    """An instant of a run.

    `when` is ``before`` or ``after`` a statement that contains `text`, before the
    ``commit`` of its transaction, or ``committed`` after that.
    """

    when: str
    text: str
    number: int = 1
    """Which time it comes."""


@contextmanager
def at(engine, point: Point, act):
    """Call `act` with the connection when the run comes to a point, once."""
    count = 0
    is_inside = is_committed = False

    def reach(when, connection) -> None:
        nonlocal count
        if when == point.when:
            count += 1
            if count == point.number:
                act(connection)

    def is_meant(statement, parameters) -> bool:
        return point.text in statement or point.text in str(parameters)

    def before(connection, cursor, statement, parameters, context, is_many) -> None:
        if is_meant(statement, parameters):
            reach("before", connection)

    def after(connection, cursor, statement, parameters, context, is_many) -> None:
        nonlocal is_inside
        if is_meant(statement, parameters):
            is_inside = True
            reach("after", connection)

    def commit(connection) -> None:
        nonlocal is_inside, is_committed
        if is_inside:
            is_inside, is_committed = False, True
            reach("commit", connection)

    def begin(connection) -> None:
        nonlocal is_committed
        if is_committed:
            is_committed = False
            reach("committed", connection)

    listeners = {
        "before_cursor_execute": before,
        "after_cursor_execute": after,
        "commit": commit,
        "begin": begin,
    }
    for name, listener in listeners.items():
        event.listen(engine, name, listener)
    try:
        yield
    finally:
        for name, listener in listeners.items():
            event.remove(engine, name, listener)


@contextmanager
def at_message(number: int, act):
    """Call `act` before a message is published, once."""
    count = 0
    publish = Producer.publish

    def counted(self, *args, **options):
        nonlocal count
        count += 1
        if count == number:
            act()
        return publish(self, *args, **options)

    Producer.publish = counted
    try:
        yield
    finally:
        Producer.publish = publish


def kill_this_process(connection=None) -> None:
    """End this process as the kernel does when memory is short."""
    os.kill(os.getpid(), signal.SIGKILL)


def stop_this_process(connection=None) -> None:
    """Hold this process until somebody continues it."""
    os.kill(os.getpid(), signal.SIGSTOP)


def forget_connections(instance) -> None:
    """Close every connection of this process: none may be used by two.

    At the end of a context, Alembic's extension closes the one that it keeps.
    """
    db.session.remove()
    with current_app.app_context():
        pass
    instance.engine.dispose()
    forget_broker_connections()


class Child:
    """A process that was forked from this one to do some work on the instance."""

    living: ClassVar[set["Child"]] = set()

    def __init__(self, instance, work) -> None:
        forget_connections(instance)
        self._instance = instance
        self._log = tempfile.TemporaryFile("w+", buffering=1, errors="replace")
        self.status: int | None = None
        self.pid = os.fork()
        if self.pid == 0:
            self._work(work)
        self.living.add(self)

    def _work(self, work) -> None:
        status = 1
        try:
            sys.stdout = sys.stderr = self._log
            os.environ["PGAPPNAME"] = application_name(os.getpid())
            current_search._client = None
            work()
            status = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(status)

    def kill(self) -> None:
        """Kill it, unless it has ended, and wait until the database has noticed."""
        if self.status is None:
            os.kill(self.pid, signal.SIGKILL)
        self.wait()

    def poll(self) -> int | None:
        """Give its exit status, or minus a signal; none while it is at work."""
        if self.status is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self.status = os.waitstatus_to_exitcode(status)
                self.living.discard(self)
        return self.status

    def wait(self) -> int:
        """Wait until it has ended; give its exit status, or minus a signal."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while self.poll() is None:
            if time.monotonic() > deadline:
                os.kill(self.pid, signal.SIGKILL)
                raise AssertionError(f"a child hangs: {self.output()}")
            else:
                time.sleep(0.002)
        wait_until(self._is_forgotten, "the database noticed the end of a child")
        return self.status

    def _is_forgotten(self) -> bool:
        return not self._instance.scalar(
            "SELECT count(*) FROM pg_stat_activity WHERE application_name = :name",
            name=application_name(self.pid),
        )

    def wait_until_stopped(self) -> None:
        """Wait until it holds itself at a point."""
        pid, status = os.waitpid(self.pid, os.WUNTRACED)
        if not os.WIFSTOPPED(status):
            self.status = os.waitstatus_to_exitcode(status)
            raise AssertionError(f"a child did not stop: {self.output()}")

    def go_on(self) -> None:
        """Let it go on after it held itself."""
        os.kill(self.pid, signal.SIGCONT)

    def output(self) -> str:
        """Give what it printed; to be asked after its end."""
        self._log.seek(0)
        return self._log.read()


def application_name(pid: int) -> str:
    """Give the name by which the database knows the connections of a child."""
    return f"kcworks-child-{pid}"


def wait_until(condition, what: str, pause_seconds: float = 0.005) -> None:
    """Ask again and again until a condition holds."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        assert time.monotonic() < deadline, f"waited too long until {what}"
        time.sleep(pause_seconds)


def other_connection(instance):
    """Open a connection of somebody else, outside the application's pool.

    The server ends it after a while, so that a run that waits for it for ever fails.
    """
    connection = psycopg2.connect(plain_uri(instance.engine))
    connection.cursor().execute("SET idle_in_transaction_session_timeout = '30s'")
    connection.commit()
    return connection


def end_backend(instance, pid: int) -> None:
    """End a connection of somebody else, and wait until it is gone."""
    instance.execute("SELECT pg_terminate_backend(:pid)", pid=pid)
    count = "SELECT count(*) FROM pg_stat_activity WHERE pid = :pid"
    wait_until(lambda: not instance.scalar(count, pid=pid), "a connection has ended")


def fill(instance, records: int = 300, communities: int = 6) -> None:
    """Insert rows of which the oldest of a group is in the first batch.

    A rerun that did not read what is done would date the community wrongly.
    """
    instance.many(records, communities)
    instance.execute(
        "UPDATE rdm_records_metadata SET json = jsonb_set(json, ARRAY["
        "'custom_fields', 'hclegacy:record_creation_date'], '\"2001-01-01T00:00:00Z\"')"
        " WHERE id = (SELECT min(id::text)::uuid FROM rdm_records_metadata)"
    )


def forget_runs(instance) -> None:
    """Empty our tables and the queues, as if nothing had ever been done."""
    instance.execute("TRUNCATE kcworks_created_dates_run CASCADE")
    instance.empty_queues()


class Outcome(NamedTuple):
    """What must not depend on failures, however many runs it took."""

    created: dict[str, str]
    entries: list[tuple]
    """Every entry of the ledger, by what it says of its row."""
    problems: set[tuple]
    """Those that the last run has found, or for a restoration, all of them."""
    statistics: dict[str, dict[str, int]]
    ending: tuple[str, str]
    """The last run's action and status."""


def outcome(instance) -> Outcome:
    """Give what must not depend on failures."""
    entries = [
        (
            e.kind,
            e.entity,
            e.label,
            str(e.old_created),
            str(e.new_created),
            e.source,
            e.source_value,
            str(e.source_record_label),
            e.outcome or "stands",
            e.queued_at is not None,
        )
        for e in instance.backup()
    ]
    run = instance.run()
    runs = instance.execute(
        f"SELECT id, statistics FROM {OURS}run WHERE action = :action ORDER BY id",
        action=run.action,
    )
    for one in runs:
        check_statistics(one.statistics)
    # An update reads and decides everything again, but nothing is restored twice.
    looked = runs if run.action == "revert" else runs[-1:]
    problems = instance.execute(
        "SELECT kind, entity_id::text, reason, value"
        f" FROM {OURS}problem AS p WHERE EXISTS (SELECT FROM unnest(:ids) AS id"
        " WHERE id BETWEEN p.run_id AND p.last_run_id)",
        ids=[one.id for one in looked],
    )
    statistics = {
        kind: {
            "updated": sum(one.statistics[kind]["updated"] for one in runs),
            "found": sum(one.statistics[kind]["total_found"] for one in looked),
            "no_records": sum(one.statistics[kind]["no_records"] for one in looked),
            "errors": sum(one.statistics[kind]["errors"] for one in looked),
        }
        for kind in KINDS_COUNTED
    }
    return Outcome(
        instance.all_created(),
        sorted(entries),
        {tuple(problem) for problem in problems},
        statistics,
        (run.action, run.status),
    )


def check_statistics(statistics) -> None:
    """Check that what was found is the sum of the words."""
    for kind in KINDS_COUNTED:
        tally = statistics[kind]
        words = ("updated", "skipped", "no_records", "errors")
        assert tally["total_found"] == sum(tally[word] for word in words)


def check_ledger(instance, before) -> None:
    """Check that every change has its entry and every standing entry its change.

    Args:
        instance: The instance.
        before: What `all_created` gave before the first run.
    """
    now = instance.all_created()
    standing = {
        f"{row.kind} {row.entity_id}": (row.old, row.new)
        for row in instance.execute(
            "SELECT kind, entity_id::text,"
            " extract(epoch FROM old_created)::text AS old,"
            " extract(epoch FROM new_created)::text AS new"
            " FROM kcworks_created_dates_backup WHERE outcome IS NULL"
        )
    }
    changed = {key: (before[key], now[key]) for key in now if now[key] != before[key]}
    assert changed == standing


def check_queued(instance) -> None:
    """Check that every row that was ever changed was sent at least once."""
    for kind in DATED:
        changed = {e.entity for e in instance.backup(kind=kind.name)}
        assert changed <= set(instance.queued(kind.indexer)), kind


def make_tables(uri: str) -> None:
    """Make all tables of an instance in an empty database, as `invenio db create`.

    Not with pg_dump, which refuses a server that is newer than itself.
    """
    engine = create_engine(uri)
    db.metadata.create_all(engine)
    with engine.begin() as connection:
        connection.execute(text("CREATE TABLE alembic_version (version_num text)"))
    engine.dispose()


def plain_uri(engine) -> str:
    """Give the address of a database as PostgreSQL's own programs take it."""
    plain = engine.url.set(drivername="postgresql")
    return plain.render_as_string(hide_password=False)


TABLES_REVISION, DATA_REVISION = "a94c06be7d15", "c51d8e2f60b7"


@contextmanager
def stamped_before_the_data(instance):
    """Let Alembic believe that the data migration is still to be done.

    Alembic's own `stamp` with "heads" would drop the heads of other branches.
    """

    def stamp(present: str, wanted: str) -> None:
        instance.execute(
            "UPDATE alembic_version SET version_num = :wanted"
            " WHERE version_num = :present",
            wanted=wanted,
            present=present,
        )

    stamp(DATA_REVISION, TABLES_REVISION)
    try:
        yield
    finally:
        stamp(TABLES_REVISION, DATA_REVISION)


def stamp_of(instance) -> str:
    """Tell where our branch stands."""
    return instance.scalar(
        "SELECT string_agg(version_num, ' ') FROM alembic_version"
        " WHERE version_num IN (:tables, :data)",
        tables=TABLES_REVISION,
        data=DATA_REVISION,
    )


def statuses(instance) -> list[str]:
    """Give how each run ended, first run first."""
    return list(
        chain(
            *instance.execute(
                "SELECT status FROM kcworks_created_dates_run ORDER BY id"
            )
        )
    )


NOWHERE = "amqp://guest:guest@127.0.0.1:1//"
"""A broker that nobody runs."""


@contextmanager
def broker_at(uri: str):
    """Let Celery look for its broker elsewhere."""
    names = ("broker_url", "broker_read_url", "broker_write_url")
    before = {name: celery_app.conf[name] for name in names}
    celery_app.conf.update(dict.fromkeys(names, uri))
    try:
        yield
    finally:
        celery_app.conf.update(before)


@contextmanager
def search_at(app, host: str):
    """Let the application look for OpenSearch elsewhere."""
    # Invenio writes the hosts into the client's settings when it makes the client.
    settings = app.config["SEARCH_CLIENT_CONFIG"]
    app.config["SEARCH_CLIENT_CONFIG"] = settings | {"hosts": [host]}
    app.extensions["invenio-search"]._client = None  # it keeps its address
    try:
        yield
    finally:
        app.config["SEARCH_CLIENT_CONFIG"] = settings
        app.extensions["invenio-search"]._client = None


def column_type_of_created(instance) -> str:
    """Give the type of the column, which is another on 14."""
    return instance.scalar(
        "SELECT format_type(atttypid, NULL) FROM pg_attribute WHERE attname = 'created'"
        " AND attrelid = 'rdm_records_metadata'::regclass"
    )


def retype(instance, column_type: str) -> None:
    """Change the column's type as the application's own revision does, in UTC."""
    for table in ("rdm_records_metadata", "communities_metadata"):
        instance.execute(f"ALTER TABLE {table} ALTER created TYPE {column_type}")
