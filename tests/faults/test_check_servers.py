# SPDX-FileCopyrightText: 2026 kcworks-migrations contributors
# SPDX-License-Identifier: MIT
"""What the check says to servers that are made unhealthy: the tests' own."""

import pytest
from invenio_search import current_search_client
from support.faults import wait_until

from kcworks_migrations.checks import check, services
from kcworks_migrations.index import probe

DISK = "cluster.routing.allocation.disk."
WATERMARKS = ("low", "high", "flood_stage")


@pytest.fixture(autouse=True)
def short_ping(monkeypatch):
    monkeypatch.setattr(services, "PING_SECONDS", 0.1)


def look(engine, name: str):
    return [line for line in check(engine) if line.name == name]


def test_red_cluster_is_a_stop(engine, own_search):
    assert look(engine, "search")[0].level == "fine"
    nowhere = {"index.routing.allocation.require._name": "a node that does not exist"}
    current_search_client.indices.create(
        index="sick-red", body={"settings": nowhere}, wait_for_active_shards=0
    )
    assert look(engine, "search")[0].level == "stop"


@pytest.fixture
def put_on_cluster(own_search):
    """Set settings of the cluster; they are taken away in the end."""
    names = set()

    def put(**settings) -> None:
        names.update(settings)
        current_search_client.cluster.put_settings(body={"transient": settings})

    yield put
    put(**dict.fromkeys(names))


@pytest.fixture
def index(own_search):
    """An index that stands for all that the instance has; its name."""
    name = "sick-all"
    aliases = dict.fromkeys(probe._names(), {})
    current_search_client.indices.create(index=name, body={"aliases": aliases})
    return name


@pytest.mark.slow
def test_full_disk_is_a_stop(engine, index, put_on_cluster):
    assert look(engine, "search_blocks") == []
    # More than any disk has free, at the shortest interval in which OpenSearch looks.
    settings = {f"{DISK}watermark.{name}": "900000gb" for name in WATERMARKS}
    settings |= {
        f"{DISK}threshold_enabled": True,
        "cluster.info.update.interval": "10s",
    }
    put_on_cluster(**settings)
    try:
        wait_until(lambda: look(engine, "search_blocks"), "the disk is full", 1)
        (line,) = look(engine, "search_blocks")
    finally:
        put_on_cluster(**dict.fromkeys(settings))
        blocks = {"cluster.blocks.create_index": None}  # OpenSearch has set it as well
        current_search_client.cluster.put_settings(body={"persistent": blocks})
    assert line.level == "stop" and f"{index} (" in line.fact
    assert "disk usage exceeded flood-stage watermark" in line.fact


def test_cluster_that_is_read_only_is_a_stop(engine, put_on_cluster, index):
    assert look(engine, "search_blocks") == []
    put_on_cluster(**{"cluster.blocks.read_only": True})
    try:
        (line,) = look(engine, "search_blocks")
    finally:
        put_on_cluster(**{"cluster.blocks.read_only": None})
    assert line.level == "stop" and "the cluster (cluster read-only" in line.fact


def test_closed_index_is_a_stop(engine, index):
    current_search_client.indices.close(index=index)
    (line,) = look(engine, "search_blocks")
    assert line.level == "stop" and f"{index} (index closed)" in line.fact


def test_block_of_a_foreign_index_is_none_of_ours(engine, index):
    settings = {"index.blocks.write": True}
    current_search_client.indices.create(
        index="sick-other", body={"settings": settings}
    )
    assert look(engine, "search_blocks") == []


@pytest.fixture
def restarted(elsewhere, own_postgresql):
    """Restart the server of a filled instance as something else; put it back."""

    def restart() -> None:
        elsewhere.engine.dispose()
        own_postgresql.stop()
        own_postgresql.start()

    return restart


def test_standby_is_a_stop(elsewhere, restarted, own_folder):
    (signal,) = [
        path.parent / "standby.signal" for path in own_folder.glob("**/postgresql.conf")
    ]
    signal.touch()
    try:
        restarted()
        (line,) = look(elsewhere.engine, "database")
    finally:
        signal.unlink()
        restarted()
    assert line.level == "stop" and "standby" in line.fact
    assert look(elsewhere.engine, "database")[0].level == "fine"
