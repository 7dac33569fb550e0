# SPDX-FileCopyrightText: 2026 kcworks-migrations contributors
# SPDX-License-Identifier: MIT
"""A real PgBouncer between a run and its database: the lock can't be shared."""

from contextlib import contextmanager

import clients
import psycopg2
import pytest
from machine import find_program
from server import Server
from sqlalchemy import create_engine
from support.faults import (
    Child,
    Point,
    at,
    check_ledger,
    fill,
    stop_this_process,
    wait_until,
)
from support.instance import Instance

from kcworks_migrations import locks
from kcworks_migrations.checks import check
from kcworks_migrations.errors import CreatedDatesError, RefusedError
from kcworks_migrations.index import compare
from kcworks_migrations.options import How

CONFIGURATION = """
[databases]
* = host={host} port={port}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {listen_port}
unix_socket_dir =
auth_type = trust
auth_file = {folder}/users
pool_mode = {mode}
default_pool_size = {size}
ignore_startup_parameters = extra_float_digits,options
"""
RUN_ROW = "INSERT INTO kcworks_created_dates_run"


class PgBouncer(Server):
    """A pooler before the database of the instance."""

    name = "pgbouncer"
    packages = ["pgbouncer"]
    user = "postgres"
    ports = (16432, 16499)

    def __init__(self, url, mode: str, size: int) -> None:
        self._url = url
        self._values = {"mode": mode, "size": size}

    def is_installed(self) -> bool:
        return bool(self.program())

    def program(self) -> str:
        return find_program("pgbouncer", "/usr/sbin/pgbouncer")

    def prepare(self, port: int) -> None:
        url, folder = self._url, self.folder
        values = {"host": url.host, "port": url.port, "folder": folder}
        text = CONFIGURATION.format(**values, **self._values, listen_port=port)
        (folder / "pgbouncer.ini").write_text(text)
        (folder / "users").write_text(f'"{url.username}" "{url.password}"\n')

    def commands(self, port: int) -> list[list[str]]:
        return [[self.program(), str(self.folder / "pgbouncer.ini")]]

    def uri(self, port: int) -> str:
        url = self._url.set(drivername="postgresql", host="127.0.0.1", port=port)
        return url.render_as_string(hide_password=False)


@pytest.fixture
def pooled(instance, own_folder):
    """A function that starts PgBouncer; it gives the instance as seen through it."""
    fill(instance)

    @contextmanager
    def pooled(mode: str, size: int = 5):
        server, entry = PgBouncer(instance.engine.url, mode, size), {}
        process = server.start(entry)
        try:
            clients.wait_until_ready("postgresql", entry["uri"], process, server.log)
            seen = Instance(create_engine(entry["uri"]))
            yield seen
            seen.engine.dispose()
        finally:
            server.stop(entry, kill=True)

    return pooled


def test_everything_is_refused_in_transaction_mode_before_anything_is_touched(
    instance, pooled
):
    before = instance.checksums(without_created=False)
    with pooled("transaction") as seen:
        for work in (seen.upgrade, seen.downgrade):
            with pytest.raises(RefusedError) as refusal:
                work()
            assert refusal.value.exit_code == 2
            assert "a pooler in transaction mode" in refusal.value.message
            assert "Nothing was changed" in refusal.value.message
        with pytest.raises(RefusedError, match="a pooler in transaction mode"):
            compare.verify(seen.engine, How())
        (line,) = [line for line in check(seen.engine) if line.name == "pooler"]
        assert line.level == "stop"
    assert instance.checksums(without_created=False) == before
    assert not instance.execute("SELECT FROM kcworks_created_dates_run")
    locks = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'"
    assert instance.scalar(locks) == 0


def test_session_mode_is_as_good_as_none(instance, pooled):
    before = instance.all_created()
    with pooled("session") as seen:
        assert "pooler" not in {line.name for line in check(seen.engine)}
        seen.upgrade()
    check_ledger(instance, before)
    assert instance.run().status == "succeeded"


def test_run_ends_when_its_session_changes(instance, pooled):
    """The first look misses the pooler, as it does when somebody else is faster."""
    before = instance.all_created()
    with pooled("transaction") as seen:
        others = []

        def occupy(connection) -> None:
            """Take the session that was used last from under the run."""
            other = psycopg2.connect(uri_of(seen))
            other.cursor().execute("SELECT 1")
            others.append(other)

        # Each of two transactions asks once; then the look asks on its own connection.
        second_look = Point("before", "SELECT pg_backend_pid()", 3)
        with (
            at(seen.engine, second_look, occupy),
            at(seen.engine, Point("committed", RUN_ROW), occupy),
            pytest.raises(CreatedDatesError, match="has moved it to another") as error,
        ):
            seen.upgrade()
        (locking,) = instance.execute(
            "SELECT pid FROM pg_locks WHERE locktype = 'advisory'"
        )[0]
        assert f"SELECT pg_terminate_backend({locking})" in error.value.message
        for other in others:
            other.close()
    check_ledger(instance, before)


def uri_of(seen: Instance) -> str:
    return seen.engine.url.render_as_string(hide_password=False)


def test_second_run_on_the_session_of_the_first_is_refused(
    instance, pooled, monkeypatch
):
    """PostgreSQL gives a lock to the session that has it, as often as it asks.

    A stand-in for the first look, which a busy pooler makes miss by chance alone.
    """
    before = instance.all_created()
    monkeypatch.setattr(locks, "is_pooled", lambda database, pid: False)
    with pooled("transaction", size=1) as seen:

        def until_point() -> None:
            with at(seen.engine, Point("committed", RUN_ROW), stop_this_process):
                seen.upgrade()

        first = Child(seen, until_point)
        first.wait_until_stopped()
        with pytest.raises(RefusedError, match="a pooler in transaction mode"):
            seen.upgrade()
        first.go_on()
        # The pooler keeps its session, so that only the process can be waited for.
        wait_until(lambda: first.poll() is not None, "the first run has ended")
        assert first.status == 0, first.output()
    check_ledger(instance, before)
