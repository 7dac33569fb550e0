# SPDX-FileCopyrightText: 2026 kcworks-migrations contributors
# SPDX-License-Identifier: MIT
"""Filled instances, short pauses, and servers that a test may kill."""

import os
import tempfile
from pathlib import Path

import clients
import common
import machine
import pytest
import server
import servers
from sqlalchemy import create_engine
from support import faults
from support.instance import Instance

from kcworks_migrations import database
from kcworks_migrations.migration import downgrade, upgrade

SHARED_DATA = common.DATA


@pytest.fixture(autouse=True)
def no_orphans():
    """Kill what a failed test has left behind."""
    yield
    for child in list(faults.Child.living):
        child.kill()


@pytest.fixture
def filled(instance):
    """An instance with some records and communities."""
    faults.fill(instance)
    return instance


@pytest.fixture(params=faults.TYPES)
def column_type(request, instance):
    """The type of `created`: either may be found, whatever the line."""
    found = faults.column_type_of_created(instance)
    faults.retype(instance, request.param)
    yield request.param
    faults.retype(instance, found)


@pytest.fixture
def short_pauses(monkeypatch):
    """Come back to what is locked at once, so that giving up takes no time."""
    for module in (database, upgrade, downgrade):
        monkeypatch.setattr(module, "PAUSES_SECONDS", (0.1, 0.1))


@pytest.fixture(scope="session")
def own_folder():
    """The data of servers that the tests may kill, apart from the shared ones."""
    patch = pytest.MonkeyPatch()
    with tempfile.TemporaryDirectory(prefix="kcworks-faults-") as name:
        os.chmod(name, 0o711)
        for module in (common, machine, server, servers):
            patch.setattr(module, "DATA", Path(name))
        yield Path(name)
    patch.undo()


class OwnServer:
    """A real server of its own, to be killed and started again on its data."""

    def __init__(self, service: str) -> None:
        self._server = type(servers.SERVERS[service])()
        self._service = service
        self._entry: dict = {}

    @property
    def uri(self) -> str:
        return self._entry["uri"]

    @property
    def pid(self) -> int:
        return self._entry["pids"][0][0]

    def start(self) -> None:
        process = self._server.start(self._entry)
        clients.wait_until_ready(self._service, self.uri, process, self._server.log)

    def stop(self, kill: bool = False) -> None:
        self._server.stop(self._entry, kill=kill)

    def ctl(self, *arguments: str) -> None:
        self._server.ctl(*arguments)


def use_shared_programs(service: str) -> None:
    """Spare Maven for what the shared servers have got already."""
    name = servers.SERVERS[service].programs.name
    if (SHARED_DATA / name).exists():
        (common.DATA / name).symlink_to(SHARED_DATA / name)


@pytest.fixture(scope="session")
def own_postgresql(own_folder):
    """A PostgreSQL that a test may kill."""
    use_shared_programs("postgresql")
    own = OwnServer("postgresql")
    own.start()
    yield own
    own.stop(kill=True)


@pytest.fixture(scope="session")
def own_rabbitmq(own_folder):
    """A RabbitMQ that a test may kill."""
    own = OwnServer("rabbitmq")
    own.start()
    yield own
    own.stop(kill=True)


@pytest.fixture(scope="session")
def own_opensearch(own_folder):
    """An empty OpenSearch that a test may kill or make unhealthy."""
    use_shared_programs("opensearch")
    own = OwnServer("opensearch")
    own.start()
    yield own
    own.stop(kill=True)


@pytest.fixture
def own_search(app, own_opensearch):
    """An OpenSearch that a test may make unhealthy, as that of the application."""
    with faults.search_at(app, own_opensearch.uri):
        yield own_opensearch
        clients.opensearch(own_opensearch.uri, "/sick-*", "DELETE")


@pytest.fixture
def elsewhere(app, own_postgresql):
    """A filled instance whose database is on a server that a test may kill."""
    name = "elsewhere"
    clients.drop_database(own_postgresql.uri, name)
    clients.create_database(own_postgresql.uri, name)
    uri = clients.database_uri(own_postgresql.uri, name)
    faults.make_tables(uri)
    instance = Instance(create_engine(uri))
    instance.empty_queues()
    faults.fill(instance)
    yield instance
    instance.engine.dispose()


@pytest.fixture
def own_broker(own_rabbitmq):
    """A broker that a test may kill, as the broker of the application."""
    with faults.broker_at(own_rabbitmq.uri):
        yield own_rabbitmq


@pytest.fixture
def no_broker():
    """No broker at all, where queueing many thousand ids would take long."""
    with faults.broker_at(faults.NOWHERE):
        yield
