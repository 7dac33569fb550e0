# SPDX-FileCopyrightText: 2026 kcworks-migrations contributors
# SPDX-License-Identifier: MIT
"""What this package uses of Invenio, Celery and Kombu beside their documented API.

Each line of InvenioRDM has other releases of them. Nothing of theirs is patched or
swapped, but some of it is called, overridden or relied on.
"""

import copy
import inspect

import amqp
import pytest
from celery import Celery
from flask import Flask
from invenio_indexer.api import RecordIndexer
from invenio_indexer.registry import IndexerRegistry
from invenio_records_resources.records.systemfields import IndexField
from invenio_search.engine import dsl, search
from kombu import Connection

from kcworks_migrations.index.indexer import CreatedDatesIndexer


def parameters(function) -> set[str]:
    return set(inspect.signature(function).parameters)


def test_index_of_a_record_class_has_a_name():
    class Record:
        index = IndexField("rdmrecords-records-record-v1.0.0")

    assert isinstance(Record.index, dsl.Index)
    assert Record.index._name == "rdmrecords-records-record-v1.0.0"


@pytest.mark.parametrize("name", ["bulk_index", "bulk_delete", "process_bulk_queue"])
def test_our_indexer_overrides_what_is_called(name):
    theirs, ours = vars(RecordIndexer)[name], vars(CreatedDatesIndexer)[name]
    assert parameters(theirs) <= parameters(ours)


def test_indexer_publishes_through_its_producer():
    assert "create_producer" in vars(RecordIndexer)
    assert "self.create_producer()" in inspect.getsource(RecordIndexer)
    for name in ("mq_queue", "mq_exchange", "mq_routing_key", "mq_publish_kwargs"):
        assert isinstance(vars(RecordIndexer)[name], property)
    assert {"queue", "routing_key"} <= parameters(RecordIndexer.__init__)


def test_indexer_of_a_service_makes_one_document():
    assert parameters(RecordIndexer.index_by_id) >= {"record_uuid"}
    assert "self.client.index(" in inspect.getsource(RecordIndexer.index)
    assert "search_client" in parameters(RecordIndexer.__init__)


def test_client_opens_its_connection_again_after_it_was_closed():
    client = search.OpenSearch(["127.0.0.1:1"], max_retries=0)
    for _ in range(2):
        with pytest.raises(search.exceptions.ConnectionError, match="refused"):
            client.info()
        client.close()


def test_task_asks_an_indexer_by_its_name():
    from invenio_indexer.tasks import process_bulk_queue

    assert "indexer_name" in parameters(process_bulk_queue)
    assert parameters(IndexerRegistry.register) >= {"indexer_instance", "indexer_id"}


def test_transport_of_the_broker_confirms_messages():
    assert callable(amqp.Channel.confirm_select)
    source = inspect.getsource(amqp.Channel)
    assert "self.events['basic_ack']" in source.replace('"', "'")
    assert "self.events['basic_nack']" in source.replace('"', "'")
    assert parameters(amqp.Connection.__init__) >= {"read_timeout", "write_timeout"}


def test_connection_to_the_broker_can_be_thrown_away():
    assert parameters(Connection.collect) >= {"socket_timeout"}
    connection = Connection("amqp://guest:guest@127.0.0.1:1//")
    assert connection.transport.driver_type == "amqp"
    assert connection.transport.connection_errors
    assert connection.transport.channel_errors


def test_broker_is_reached_by_celery():
    with Celery(broker="memory://").connection_for_write(heartbeat=0) as connection:
        assert connection.heartbeat == 0


def test_copy_of_a_client_can_do_without_retries():
    client = search.OpenSearch(["127.0.0.1:1"], max_retries=5)
    ours = copy.copy(client)
    ours.transport = copy.copy(client.transport)
    ours.transport.max_retries = 0

    assert client.transport.max_retries == 5
    assert ours.transport.connection_pool is client.transport.connection_pool
    assert "range(self.max_retries + 1)" in inspect.getsource(search.Transport)


def test_task_is_sent_by_its_name_through_a_connection():
    assert parameters(Celery.send_task) >= {"name", "countdown", "connection"}


def test_settings_of_invenio_indexer_are_there():
    from invenio_indexer import InvenioIndexer

    app = Flask("test")
    InvenioIndexer(app)
    assert app.config["INDEXER_BULK_REQUEST_TIMEOUT"] > 0
    assert app.config["INDEXER_MQ_EXCHANGE"].name
    assert isinstance(app.extensions["invenio-indexer"].registry, IndexerRegistry)
