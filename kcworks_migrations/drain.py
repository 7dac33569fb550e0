# SPDX-FileCopyrightText: 2026 kcworks-migrations contributors
# SPDX-License-Identifier: MIT
"""Does what the workers do with the queues, in this process and with more care.

A message is acknowledged when OpenSearch has answered for its document, so whatever
ends this process, or fails for a passing reason, leaves the message in its queue.
Workers may drain the same queues meanwhile: a message is given to one of both.
"""

import copy
import sys
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from celery import current_app as celery_app
from invenio_db import db
from invenio_indexer.proxies import current_indexer_registry
from invenio_search.engine import search
from sqlalchemy.exc import NoResultFound, SQLAlchemyError

from .broker import connected, is_of_broker, queued_messages
from .documents import PASSING_STATUSES
from .errors import RunInterruptedError
from .health import Gate, SearchUnhealthyError
from .indexer import MESSAGE_IDS, CreatedDatesIndexer
from .report import Reporter, logger
from .rules import escape

CHUNK_DOCUMENTS = 100
"""Whole documents that are built and written between two looks at everything."""

CHUNK_MESSAGES = 10
"""The same for messages of ours, each with many ids, which take much less time."""

NEWER = 409
"""The answer when the index has a newer document already, which is as good."""


@dataclass
class Drained:
    """What became of the messages."""

    indexed: int = 0
    """Documents that are right now."""
    refused: int = 0
    """Documents that could not be built, or that OpenSearch refused for good."""
    left: int | None = None
    """Messages that are still in the queues; none when the broker does not tell."""
    error: str | None = None
    """Why the draining stopped early; none when the queues are empty."""


def drain(
    gate: Gate, reporter: Reporter, check_interrupt: Callable[[], None]
) -> Drained:
    """Work on the queues of this package and of the services until they are empty.

    Args:
        gate: Stands before each chunk.
        reporter: Shows how far it is.
        check_interrupt: Raises, between two chunks, when somebody asked to stop.

    Returns:
        What was done; a broker or an OpenSearch that fails is told, not raised.
    """
    result = Drained()
    try:
        total = sum(_count().values())
        with reporter.progress("messages", total, 0):
            _drain(result, total, gate, reporter, check_interrupt)
    except SearchUnhealthyError as error:
        result.error = str(error)
    except RunInterruptedError:
        result.error = "somebody asked to stop"
    except Exception as error:
        result.error = _said_by_broker(error)
    try:
        result.left = sum(_count().values())
    except Exception as error:
        result.error = result.error or _said_by_broker(error)
    return result


def _said_by_broker(error: Exception) -> str:
    if not is_of_broker(error):
        raise error
    return escape(str(error) or type(error).__name__)


def _count() -> dict[str, int]:
    with connected() as connection:
        return queued_messages(connection)


def _drain(
    result: Drained,
    left: int,
    gate: Gate,
    reporter: Reporter,
    check_interrupt: Callable[[], None],
) -> None:
    obstacle: str | None = None
    while True:
        check_interrupt()
        has_paused = gate.check()
        if obstacle and not has_paused:
            gate.hold(f"Nothing gets indexed: {obstacle}")
        counts = _count()
        now = sum(counts.values())
        reporter.advance(max(left - now, 0))  # what workers did is done, too
        left = now
        name = next((name for name, count in counts.items() if count), None)
        if name is None:
            return
        chunk = _chunk_of(name, counts[name], reporter)
        result.indexed += chunk.indexed
        result.refused += chunk.refused
        if chunk.is_stuck and _count()[name] >= counts[name]:
            if obstacle:
                raise SearchUnhealthyError(
                    f"Still nothing gets indexed after pause: {chunk.obstacle}"
                )
            obstacle = chunk.obstacle
        else:
            obstacle = None


def _chunk_of(name: str, count: int, reporter: Reporter) -> "_Chunk":
    """Let an indexer work on some messages of its queue."""
    indexer = current_indexer_registry.get(name)
    is_ours = isinstance(indexer, CreatedDatesIndexer)
    limit = CHUNK_MESSAGES if is_ours else CHUNK_DOCUMENTS
    reporter.batch("messages", min(limit, count), limit)
    chunk = _Chunk(indexer)
    # What was read for an earlier chunk may have been edited since.
    db.session.remove()
    try:
        if is_ours:  # acknowledges late itself
            chunk.indexed, chunk.refused = indexer.process_bulk_queue(
                bulk_index_max_items=limit * MESSAGE_IDS
            )
        else:
            with _own_pool():
                chunk.process(limit)
    except search.exceptions.TransportError as error:
        chunk.obstacle = escape(str(error))
    return chunk


@contextmanager
def _own_pool() -> Generator[None]:
    """Put connections of our own into Celery's pool, which `process_bulk_queue` uses.

    Its connections wait for ever for a frozen broker, may have died in a pause, and
    keep unacknowledged messages after a failure. Ours are closed after each use.
    """
    before = celery_app._pool
    with connected() as connection:
        celery_app._pool = connection.Pool()
        try:
            yield
        finally:
            celery_app._pool = before


@dataclass
class _Chunk:
    """Some messages of a service's queue, acknowledged late.

    invenio-indexer acknowledges a message once its document is built, and loses it if
    the write fails. So a copy of the indexer gets this instead of its client and of
    the iterator over its messages; how a document is built stays its own.
    """

    indexer: Any
    indexed: int = 0
    refused: int = 0
    gone: int = 0
    """Rows that are not there any more."""
    obstacle: str = "the queue does not get shorter"
    """Why messages were left in the queue."""
    _built: list[Any] = field(default_factory=list)
    """Messages whose documents are built, in the order of the next request."""

    @property
    def is_stuck(self) -> bool:
        """Tell whether nothing came of it."""
        return not (self.indexed or self.refused or self.gone)

    def process(self, limit: int) -> None:
        """Work on so many messages at most."""
        late = copy.copy(self.indexer)
        late._actionsiter = self._actions
        late.client = self
        late.process_bulk_queue({"raise_on_error": False}, limit)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.indexer.client, name)

    def bulk(self, *args: Any, **options: Any) -> dict[str, Any]:
        """Write documents as the client does, then settle their messages."""
        answer = self.indexer.client.bulk(*args, **options)
        for message, item in zip(self._built, answer["items"], strict=True):
            [written] = item.values()
            status = written["status"]
            if status < 300 or status == NEWER:
                self.indexed += 1
            elif status in PASSING_STATUSES:
                self.obstacle = escape(str(written["error"]))
                continue  # not acknowledged, it goes back to the queue
            else:
                self._refuse(written["_id"], written.get("error", status))
            message.ack()
        self._built.clear()
        return answer

    def _actions(self, messages: Iterable[Any]) -> Iterator[Any]:
        return self.indexer._actionsiter(_Message(m, self) for m in messages)

    def _refuse(self, id: str, error: object) -> None:
        self.refused += 1
        logger.error("Not indexed: %s: %s", id, escape(str(error)))

    def on_built(self, message: Any) -> None:
        """Remember a message whose document is part of the next request."""
        self._built.append(message)

    def on_rejected(self, message: Any) -> None:
        """Settle a message without a document, in the handler of the exception."""
        error = sys.exception()
        if isinstance(error, NoResultFound):
            self.gone += 1
        elif isinstance(error, SQLAlchemyError):
            self.obstacle = escape(str(error))
            return  # the database failed, not the document: back to the queue
        else:
            self._refuse(message.decode()["id"], error)
        message.reject()


class _Message:
    """A message that `_actionsiter` believes to settle."""

    def __init__(self, message: Any, chunk: _Chunk) -> None:
        self._message = message
        self.decode = message.decode
        self._chunk = chunk

    def ack(self) -> None:
        self._chunk.on_built(self._message)

    def reject(self) -> None:
        self._chunk.on_rejected(self._message)
