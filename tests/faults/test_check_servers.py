# SPDX-FileCopyrightText: 2026 kcworks-migrations contributors
# SPDX-License-Identifier: MIT
"""What the check says to servers that are made sick: they are the tests' own."""

import pytest
from invenio_search import current_search_client
from sqlalchemy import text

from kcworks_migrations.checks import check, queues

WATERMARK = "cluster.routing.allocation.disk.watermark."


@pytest.fixture(autouse=True)
def short_ping(monkeypatch):
    monkeypatch.setattr(queues, "PING_SECONDS", 0.1)


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


def test_disk_over_a_watermark(engine, put_on_cluster):
    assert look(engine, "search_disk")[0].level == "fine"
    names = ("low", "high", "flood_stage")
    much, little = dict.fromkeys(names, "900000gb"), dict.fromkeys(names, "1mb")
    for wanted, level in (
        (much, "stop"),
        ({**much, "flood_stage": "1mb"}, "warning"),
        (little, "fine"),
    ):
        put_on_cluster(**{WATERMARK + name: value for name, value in wanted.items()})
        (line,) = look(engine, "search_disk")
        assert line.level == level, line


def test_cluster_that_is_read_only_is_a_stop(engine, put_on_cluster, own_search):
    from invenio_indexer.proxies import current_indexer_registry
    from invenio_search.utils import build_alias_name

    from kcworks_migrations.names import INDEXER_OF_KIND

    aliases = {
        build_alias_name(current_indexer_registry.get(id).record_cls.index._name): {}
        for id in INDEXER_OF_KIND.values()
    }
    current_search_client.indices.create(index="sick-all", body={"aliases": aliases})
    assert look(engine, "search_blocks")[0].level == "fine"
    put_on_cluster(**{"cluster.blocks.read_only": True})
    try:
        (line,) = look(engine, "search_blocks")
    finally:
        put_on_cluster(**{"cluster.blocks.read_only": None})
    assert line.level == "stop" and "the cluster has read_only" in line.fact


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


def test_prepared_transaction_is_a_warning(elsewhere, restarted):
    autocommit = elsewhere.engine.execution_options(isolation_level="AUTOCOMMIT")
    with autocommit.connect() as connection:
        connection.execute(text("ALTER SYSTEM SET max_prepared_transactions = 2"))
    restarted()
    with autocommit.connect() as connection:
        connection.execute(text("BEGIN"))
        connection.execute(text("SELECT FROM rdm_records_metadata FOR UPDATE"))
        connection.execute(text("PREPARE TRANSACTION 'left-behind'"))
    try:
        (line,) = look(elsewhere.engine, "transactions")
    finally:
        with autocommit.connect() as connection:
            connection.execute(text("ROLLBACK PREPARED 'left-behind'"))
            connection.execute(text("ALTER SYSTEM RESET max_prepared_transactions"))
    assert line.level == "warning" and "left-behind" in line.fact
