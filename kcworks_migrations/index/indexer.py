# SPDX-FileCopyrightText: 2026 kcworks-migrations contributors
# SPDX-License-Identifier: MIT
"""The indexer of invenio-indexer's registry that changes the dates in documents alone.

It has queues of its own, which the ordinary tasks and beat schedule drain. Every
message is acknowledged; where there is still work to do, when the broker has confirmed
another one about it.
"""

from collections.abc import Iterable
from itertools import islice
from typing import Any
from uuid import UUID

from amqp.protocol import queue_declare_ok_t
from celery import current_app as celery_app
from flask import Flask, current_app
from invenio_db import db
from invenio_indexer.api import RecordIndexer
from invenio_indexer.proxies import current_indexer_registry
from kombu import Queue
from werkzeug.local import LocalProxy

from ..config import options_from
from ..database import Database, opened
from ..kinds import KINDS, Kind
from ..text import escape
from .broker import publisher
from .correct import correct
from .documents import Outcome

MESSAGE_IDS = 500
"""Ids in one message."""

TASK_IDS = 10_000
"""Ids after which a task ends, as those of invenio-indexer do."""


class PeekedQueue(Queue):
    """A queue of ours for the task that peeks into the queues of all indexers.

    Where the broker refuses it, it is empty for that task, which would end otherwise
    and leave the queues of the instance alone. Whoever sends to it gets the error.
    """

    def queue_declare(
        self, nowait: bool = False, passive: bool = False, channel: Any = None
    ) -> Any:
        """Declare it; say that it has no messages if that is refused."""
        channel = channel or self.channel
        try:
            return super().queue_declare(nowait, passive, channel)
        except channel.connection.channel_errors as error:
            if passive:
                raise
            current_app.logger.warning("Cannot declare %s: %s", self.name, error)
            return queue_declare_ok_t(self.name, 0, 0)


class CreatedDatesIndexer(RecordIndexer):
    """Brings `created` right in the documents of one kind."""

    def __init__(self, kind: Kind) -> None:
        """Make the indexer with a queue of its own.

        Args:
            kind: Of the documents.
        """
        self.kind = kind
        # As the services do: the exchange is a setting of the app in use.
        queue = LocalProxy(lambda: self.queue(PeekedQueue))
        super().__init__(queue=queue, routing_key=kind.own_indexer)

    def queue(self, cls: type[Queue] = Queue) -> Queue:
        """Return the queue, which cannot be declared where the broker refuses it."""
        name = self.kind.own_indexer
        exchange = current_app.config["INDEXER_MQ_EXCHANGE"]
        return cls(name, exchange=exchange, routing_key=name)

    @property
    def ordinary(self) -> RecordIndexer:
        """The indexer of the service, which builds whole documents."""
        return current_indexer_registry.get(self.kind.indexer)

    def message_count(self, ids: int) -> int:
        """Tell how many messages `bulk_index` makes of some ids."""
        return -(-ids // MESSAGE_IDS)

    def bulk_index(self, record_id_iterator: Iterable[Any]) -> None:
        """Publish ids, many in a message."""
        ids = (str(id) for id in record_id_iterator)
        with self.create_producer() as producer:
            while some := list(islice(ids, MESSAGE_IDS)):
                producer.publish(
                    {"op": "index", "ids": some},
                    declare=[self.queue()],
                    **self.mq_publish_kwargs,
                )

    def bulk_delete(self, record_id_iterator: Iterable[Any]) -> None:
        """Let the indexer of the service delete documents."""
        self.ordinary.bulk_delete(record_id_iterator)

    def process_bulk_queue(
        self, search_bulk_kwargs: Any = None, bulk_index_max_items: int | None = None
    ) -> tuple[int, int]:
        """Do what waits in the queue, as the tasks of invenio-indexer ask for it.

        Args:
            search_bulk_kwargs: Not used: errors never raise, they have outcomes.
            bulk_index_max_items: Ids after which to stop.

        Returns:
            How many documents are right or were written, and how many were refused.
        """
        limit = bulk_index_max_items or TASK_IDS
        done = refused = count = 0
        _, how = options_from(current_app.config)
        # A connection of its own: closing it gives back what was not acknowledged.
        with (
            celery_app.connection_for_read() as connection,
            opened(db.engine, how.lock_timeout_seconds) as database,
        ):
            queue = self.queue()(connection)
            queue.declare()
            while count < limit and (message := queue.get()):
                outcome = self._do(database, message)
                done, refused = done + outcome.done, refused + len(outcome.refused)
                count += max(len(outcome.found), 1)
                if outcome.again:
                    break  # the next task may have better luck
        return done, refused

    def _do(self, database: Database, message: Any) -> Outcome:
        """Bring some documents right; give what became of them."""
        left = ids = _ids_of(message)
        try:
            outcome = correct(database, self.kind, ids)
            left = outcome.again
        finally:
            # What is left goes to the end of the queue, where it keeps nobody from the
            # others. A crash behind that does some ids twice and loses none.
            if left:
                current_app.logger.warning(
                    "%s documents could not be done; they stay queued.", len(left)
                )
                with publisher() as broker:
                    broker.publish(self.kind.own_indexer, left)
            message.ack()
        return outcome


def _ids_of(message: Any) -> list[str]:
    """Read the ids of a message; none of one that is not ours, which is logged."""
    try:
        return list(dict.fromkeys(str(UUID(id)) for id in message.decode()["ids"]))
    except Exception as error:
        current_app.logger.error(
            "Thrown away: a message without ids (%s): %s",
            type(error).__name__,
            escape(repr(message.body), 200),
        )
        return []


def register(app: Flask) -> None:
    """Register an indexer for each kind with invenio-indexer."""
    registry = app.extensions["invenio-indexer"].registry
    for kind in KINDS:
        registry.register(CreatedDatesIndexer(kind), kind.own_indexer)
