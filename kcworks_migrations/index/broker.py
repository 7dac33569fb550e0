# SPDX-FileCopyrightText: 2026 kcworks-migrations contributors
# SPDX-License-Identifier: MIT
"""The broker: ids for invenio-indexer's bulk queues, confirmed; how many are there."""

import copy
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from typing import Any

from celery import current_app as celery_app
from invenio_indexer.proxies import current_indexer_registry
from kombu import Producer
from kombu.exceptions import OperationalError

from ..config import How
from ..kinds import Kind

BROKER_TIMEOUT_SECONDS = 15
"""How long the broker may take to answer, and to confirm what was sent."""


class BrokerRefusedError(Exception):
    """The broker refused messages or did not confirm them in time."""


class BrokerAddressError(OSError):
    """The address of the broker can't be read."""

    def __init__(self) -> None:
        """Leave the address out: what is read of it may be a part of the password."""
        super().__init__(
            "the broker's address can't be read; in its password, characters such as"
            " / @ : must be written as %2F %40 %3A"
        )


class Publisher:
    """Sends ids through one channel and waits for the broker's confirmation."""

    def __init__(
        self, connection: Any, before_batch: Callable[[], None] = lambda: None
    ) -> None:
        """Open the channel, in confirm mode where the transport has one.

        Kombu's other transports (Redis, for example) answer each message before they
        return, which confirms it as well.

        Args:
            connection: The connection to the broker.
            before_batch: Called before ids are sent; what it raises keeps them back.
        """
        self._before_batch = before_batch
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
        self._before_batch()
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
def connected(
    timeout_seconds: float = BROKER_TIMEOUT_SECONDS, **more: Any
) -> Generator[Any]:
    """Open a connection to the broker of the instance, with bounded waiting.

    Celery's own pool would be shared with others and retries for longer. There is no
    heartbeat: nobody would keep it during a pause, and the timeouts do its work.

    Args:
        timeout_seconds: How long the broker may take for each answer.
        **more: Options of the transport.

    Raises:
        BrokerAddressError: There is no connection to open.
    """
    options = dict(celery_app.conf.broker_transport_options or {})
    options |= {"max_retries": 1, "interval_start": 0.2, "interval_max": 1, **more}
    try:
        connection = celery_app.connection_for_write(
            connect_timeout=timeout_seconds, transport_options=options, heartbeat=0
        )
    except ValueError:
        raise BrokerAddressError from None
    if connection.transport.driver_type == "amqp":
        # A broker out of memory or disk stops reading, a frozen one answers nothing:
        # a socket would wait for ever.
        connection.transport_options |= {
            "read_timeout": timeout_seconds,
            "write_timeout": timeout_seconds,
        }
    try:
        connection.ensure_connection(max_retries=1, interval_start=0.2)
        yield connection
    except BaseException:
        connection.collect(socket_timeout=1)  # a frozen broker answers no farewell
        raise
    connection.release()


@contextmanager
def publisher(before_batch: Callable[[], None] = lambda: None) -> Generator[Publisher]:
    """Open a connection to send through; see `Publisher`."""
    with connected() as connection:
        yield Publisher(connection, before_batch)


def indexer_of(kind: Kind, how: How) -> str:
    """Name the indexer that the setting asks for, for one kind of documents."""
    return kind.indexer if how.indexing == "full" else kind.own_indexer


def is_of_broker(error: Exception) -> bool:
    """Tell whether it is the broker that failed."""
    if isinstance(error, BrokerRefusedError | OperationalError | OSError):
        return True
    transport = celery_app.connection_for_write().transport
    return isinstance(error, transport.connection_errors + transport.channel_errors)
