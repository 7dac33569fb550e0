# SPDX-FileCopyrightText: 2026 kcworks-migrations contributors
# SPDX-License-Identifier: MIT
"""Hands what became stale to invenio-indexer's bulk queues: the outbox's other end.

Backup rows that are not marked as queued are the outbox. They are marked after the
broker has confirmed the messages, so a crash in between sends some ids twice, which
is harmless, and loses none. This is the only module that knows the indexer.
"""

import copy
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from celery import current_app as celery_app
from invenio_indexer.proxies import current_indexer_registry
from kombu import Producer
from kombu.exceptions import OperationalError

from . import queries
from .database import Database
from .ledger import count_waiting
from .names import INDEXER_OF_KIND as INDEXER_OF_KIND
from .names import indexer_of
from .rules import escape

BATCH_ROWS = 2000
"""Ids that are sent, confirmed and marked together."""

BROKER_TIMEOUT_SECONDS = 15
"""How long the broker may take to answer, and to confirm what was sent."""


class BrokerRefusedError(Exception):
    """The broker refused messages or did not confirm them in time."""


@dataclass
class Dispatch:
    """What was handed to the queues."""

    sent: int = 0
    """Messages that the broker confirmed, embedding documents included."""
    waiting: int = 0
    """Entries of the outbox that are still to be sent."""
    error: str | None = None
    """Why sending stopped; none when all was sent."""


class Publisher:
    """Sends ids through one channel and waits for the broker's confirmation."""

    def __init__(self, connection: Any) -> None:
        """Open the channel, in confirm mode where the transport has one.

        Kombu's other transports (Redis, for example) answer each message before they
        return, which confirms it as well.
        """
        self._connection = connection
        self._channel = connection.channel()
        self._unconfirmed: set[int] = set()
        self._refused = 0
        self._tag = 0
        self._has_confirms = hasattr(self._channel, "confirm_select")
        if self._has_confirms:
            self._channel.confirm_select()
            self._channel.events["basic_ack"].add(self._on_ack)
            self._channel.events["basic_nack"].add(self._on_nack)

    def publish(self, indexer_id: str, ids: Sequence[str]) -> None:
        """Send ids to the bulk queue of an indexer and wait until all are confirmed.

        Raises:
            BrokerRefusedError: Some were refused, or not confirmed in time.
        """
        if not ids:
            return
        # A copy of the registered indexer that publishes through this channel: the
        # queue, the form of a message and its options stay invenio-indexer's own.
        indexer = copy.copy(current_indexer_registry.get(indexer_id))

        @contextmanager
        def create_producer() -> Generator[Producer]:
            yield Producer(
                self._channel,
                exchange=indexer.mq_exchange,
                routing_key=indexer.mq_routing_key,
                auto_declare=True,
            )

        indexer.create_producer = create_producer
        first = self._tag + 1
        # Ours puts many ids into a message, the services' one.
        self._tag += getattr(indexer, "message_count", int)(len(ids))
        self._unconfirmed.update(range(first, self._tag + 1))
        indexer.bulk_index(ids)
        self._wait()

    def _wait(self) -> None:
        while self._has_confirms and self._unconfirmed and not self._refused:
            self._connection.drain_events(timeout=BROKER_TIMEOUT_SECONDS)
        if self._refused:
            raise BrokerRefusedError("the broker refused messages")
        self._unconfirmed.clear()

    def _settle(self, tag: int, is_multiple: bool) -> None:
        if is_multiple:
            self._unconfirmed = {t for t in self._unconfirmed if t > tag}
        else:
            self._unconfirmed.discard(tag)

    def _on_ack(self, tag: int, is_multiple: bool) -> None:
        self._settle(tag, is_multiple)

    def _on_nack(self, tag: int, is_multiple: bool) -> None:
        self._refused += 1
        self._settle(tag, is_multiple)


@contextmanager
def publisher() -> Generator[Publisher]:
    """Open a connection to the broker of the instance, with bounded waiting.

    Celery's own pool would be shared with others and retries for longer.
    """
    options = dict(celery_app.conf.broker_transport_options or {})
    options |= {"max_retries": 1, "interval_start": 0.2, "interval_max": 1}
    connection = celery_app.connection_for_write(
        connect_timeout=BROKER_TIMEOUT_SECONDS, transport_options=options
    )
    if connection.transport.driver_type == "amqp":
        # A broker out of memory or disk stops reading, a frozen one answers nothing:
        # a socket would wait for ever.
        connection.transport_options |= {
            "read_timeout": BROKER_TIMEOUT_SECONDS,
            "write_timeout": BROKER_TIMEOUT_SECONDS,
        }
    try:
        connection.ensure_connection(max_retries=1, interval_start=0.2)
        yield Publisher(connection)
    except BaseException:
        connection.collect(socket_timeout=1)  # a frozen broker answers no farewell
        raise
    connection.release()


def dispatch(database: Database, advance: Callable[[int], None]) -> Dispatch:
    """Send everything in the outbox to the bulk queues.

    Communities go first, with the documents that embed them. Records that wait on
    their own account are left out there and come right after, so none is sent twice.

    Args:
        database: The connection that holds the lock.
        advance: Called with the number of entries each time some were sent.

    Returns:
        What was sent and what waits; a broker that is down is told, not raised.
    """
    result = Dispatch()
    try:
        if database.transaction(count_waiting, database):
            with publisher() as broker:
                for kind, send in (
                    ("community", _send_communities),
                    ("record", _send_records),
                ):
                    for entries in _unqueued(database, kind):
                        ids = [entry.entity_id for entry in entries]
                        result.sent += send(database, broker, ids)
                        _mark_queued(database, [entry.id for entry in entries])
                        advance(len(entries))
    except Exception as error:
        if not _is_of_broker(error):
            raise
        result.error = escape(str(error) or type(error).__name__)
    result.waiting = database.transaction(count_waiting, database)
    return result


def _is_of_broker(error: Exception) -> bool:
    transport = celery_app.connection_for_write().transport
    return isinstance(
        error,
        (BrokerRefusedError, OperationalError, OSError)
        + transport.connection_errors
        + transport.channel_errors,
    )


def _mark_queued(database: Database, entry_ids: list[int]) -> None:
    # A crash before this commit leaves the entries in the outbox: they are sent again.
    database.transaction(database.execute, queries.UPDATE_QUEUED, entry_ids=entry_ids)


def _unqueued(database: Database, kind: str) -> Iterator[list[Any]]:
    after = 0
    while entries := database.transaction(
        _fetch,
        database,
        queries.SELECT_UNQUEUED,
        kind=kind,
        after=after,
        limit=BATCH_ROWS,
    ):
        yield entries
        after = entries[-1].id


def _fetch(database: Database, query: Any, **values: Any) -> list[Any]:
    return list(database.execute(query, **values).fetchall())


def _send_records(database: Database, broker: Publisher, ids: list[str]) -> int:
    broker.publish(indexer_of("record"), ids)
    return len(ids)


def _send_communities(database: Database, broker: Publisher, ids: list[str]) -> int:
    """Send communities, their sub-communities, and the records and drafts of both."""
    below = database.transaction(
        _fetch, database, queries.SELECT_SUBCOMMUNITIES, ids=ids
    )
    stale = list(dict.fromkeys([*ids, *(row.id for row in below)]))
    broker.publish(indexer_of("community"), stale)
    sent = len(stale)
    for kind in ("record", "draft"):
        for page in _embedding(database, kind, stale):
            broker.publish(indexer_of(kind), page)
            sent += len(page)
    return sent


def _embedding(database: Database, kind: str, ids: list[str]) -> Iterator[list[str]]:
    query = queries.SELECT_EMBEDDING[kind]
    cursor = None
    while page := database.transaction(
        _fetch, database, query, ids=ids, cursor=cursor, limit=BATCH_ROWS
    ):
        yield [row.id for row in page]
        cursor = page[-1].id
