# SPDX-FileCopyrightText: 2026 kcworks-migrations contributors
# SPDX-License-Identifier: MIT
"""The indexer of invenio-indexer's registry that changes the dates in documents alone.

It has queues of its own, which the ordinary tasks and beat schedule drain. A message is
acknowledged when the outcome for all its ids is known and, where there is still work to
do, the broker has confirmed the message about it.
"""

from collections.abc import Iterable
from itertools import islice
from typing import Any

from celery import current_app as celery_app
from flask import Flask, current_app
from invenio_db import db
from invenio_indexer.api import RecordIndexer
from invenio_indexer.proxies import current_indexer_registry
from invenio_search.engine import search
from kombu import Queue
from werkzeug.local import LocalProxy

from ..config import options_from
from ..database import Database
from ..interrupt import CheckStop, never, pause, tries
from ..kinds import KINDS, Kind
from ..ledger import problems
from ..text import escape
from .broker import publisher
from .documents import PASSING_STATUSES, Index, Outcome, alias_of

MESSAGE_IDS = 500
"""Ids in one message, read and written together."""

TASK_IDS = 10_000
"""Ids after which a task ends, as those of invenio-indexer do."""

TOO_LARGE = 413
"""The answer to a request above `http.max_content_length`, which hosted clusters may
have as low as 10 MB."""

REVIVED_SECONDS = 3
"""How long whoever deleted a row has for removing its document: it fails if we were
quicker. Rare: the row must have gone between our reading and our writing."""

PAUSES_SECONDS = (0.5, 1, 2)
"""How long to wait before each further try of what failed for a passing reason."""


class CreatedDatesIndexer(RecordIndexer):
    """Brings `created` right in the documents of one kind."""

    def __init__(self, kind: Kind) -> None:
        """Make the indexer with a queue of its own.

        Args:
            kind: Of the documents.
        """
        name = kind.own_indexer
        # As the services do: the exchange is a setting of the app in use.
        queue = LocalProxy(
            lambda: Queue(
                name,
                exchange=current_app.config["INDEXER_MQ_EXCHANGE"],
                routing_key=name,
            )
        )
        super().__init__(queue=queue, routing_key=name)
        self.kind = kind

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
                    declare=[self.mq_queue],
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
        total, count = Outcome(), 0
        _, how = options_from(current_app.config)
        # A connection of its own: closing it gives back what was not acknowledged.
        with (
            celery_app.connection_for_read() as connection,
            db.engine.connect() as database_connection,
        ):
            database = Database(database_connection, how.lock_timeout_seconds)
            queue = self.mq_queue(connection)
            queue.declare()
            while count < limit and (message := queue.get()):
                ids = list(dict.fromkeys(message.decode()["ids"]))
                outcome = self.process(database, ids)
                self._hand_on(database, outcome)
                message.ack()
                total.add(outcome)
                count += len(ids)
                if outcome.again:
                    current_app.logger.warning(
                        "OpenSearch did not take %s documents; they stay queued.",
                        len(outcome.again),
                    )
                    break  # the next task may have better luck
        return total.written + total.right, len(total.refused)

    def process(
        self, database: Database, ids: list[str], check_stop: CheckStop = never
    ) -> Outcome:
        """Bring the documents with these ids right, in a few tries.

        Args:
            database: A connection.
            ids: Primary keys, each once.
            check_stop: Called in the pauses between the tries; may raise.

        Returns:
            What became of each; those in `again` failed at every try.

        Raises:
            TransportError: OpenSearch refuses to work at all; the message stays.
        """
        total = Outcome(again=ids)
        index = Index(
            self.client,
            self.kind,
            alias_of(self.kind),
            current_app.config["INDEXER_BULK_REQUEST_TIMEOUT"],
        )
        for _ in tries(PAUSES_SECONDS, check_stop):
            try:
                if total.revived:
                    pause(REVIVED_SECONDS, check_stop)
                revived = frozenset(total.revived)
                total.add(index.correct(database, total.again, revived))
            except search.exceptions.TransportError as error:
                if error.status_code == TOO_LARGE:
                    total.add(self._process_halves(database, total.again, error))
                elif error.status_code not in PASSING_STATUSES:
                    raise
                else:
                    total.obstacle = escape(str(error))
            if not total.again:
                break
        return total

    def _process_halves(
        self, database: Database, ids: list[str], error: Exception
    ) -> Outcome:
        """Do with less in a request what OpenSearch finds too large."""
        if len(ids) == 1:
            return Outcome(refused={ids[0]: str(error)})
        half = len(ids) // 2
        both = self.process(database, ids[:half])
        again = both.again
        both.add(self.process(database, ids[half:]))
        both.again += again
        return both

    def _hand_on(self, database: Database, outcome: Outcome) -> None:
        if outcome.ordinary or outcome.again:
            with publisher() as broker:
                broker.publish(self.kind.indexer, outcome.ordinary)
                broker.publish(self.kind.own_indexer, outcome.again)
        self.write_refused(database, outcome)

    def write_refused(self, database: Database, outcome: Outcome) -> None:
        """Write down as problems what OpenSearch refused for good."""
        if outcome.refused:
            current_app.logger.error("OpenSearch refused: %s", outcome.refused)
            database.transaction(
                problems.write_refused, database, self.kind, outcome.refused
            )


def register(app: Flask) -> None:
    """Register an indexer for each kind with invenio-indexer."""
    registry = app.extensions["invenio-indexer"].registry
    for kind in KINDS:
        registry.register(CreatedDatesIndexer(kind), kind.own_indexer)
