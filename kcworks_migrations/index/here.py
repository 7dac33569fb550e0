# SPDX-FileCopyrightText: 2026 kcworks-migrations contributors
# SPDX-License-Identifier: MIT
"""Brings documents right in this process, without the broker and without workers."""

from typing import Any

from invenio_db import db
from invenio_indexer.proxies import current_indexer_registry
from sqlalchemy.exc import NoResultFound, SQLAlchemyError

from ..database import Database
from ..interrupt import CheckStop, tries
from ..kinds import Kind
from ..text import escape
from .documents import PASSING_STATUSES, Outcome
from .indexer import PAUSES_SECONDS, CreatedDatesIndexer

NEWER = 409
"""The answer when the index has a newer document already, which is as good."""


def correct(
    database: Database,
    kind: Kind,
    ids: list[str],
    is_full: bool,
    check_stop: CheckStop,
) -> Outcome:
    """Do all that workers would do with some ids.

    Args:
        database: A connection.
        kind: Of the documents.
        ids: Primary keys, each once.
        is_full: Whether to make every document anew.
        check_stop: Called between two documents and in pauses; may raise.

    Returns:
        What became of each; what was refused is written down as problems, and nothing
        is left to the indexer of the service.

    Raises:
        TransportError: OpenSearch refuses to work at all.
    """
    indexer: CreatedDatesIndexer = current_indexer_registry.get(kind.own_indexer)
    outcome = Outcome(ordinary=ids)
    if not is_full:
        outcome = indexer.process(database, ids, check_stop)
    made, again = Outcome(again=outcome.ordinary), outcome.again
    outcome.ordinary = []
    for _ in tries(PAUSES_SECONDS, check_stop):
        made.add(_make(indexer.ordinary, made.again, check_stop))
        if not made.again:
            break
    outcome.add(made)
    outcome.again += again
    indexer.write_refused(database, outcome)
    return outcome


def _make(indexer: Any, ids: list[str], check_stop: CheckStop) -> Outcome:
    """Let the indexer of the service make documents anew, until one fails."""
    outcome = Outcome()
    # What the session has read for others may have been edited since.
    db.session.remove()
    try:
        for position, id in enumerate(ids):
            check_stop()
            _make_one(indexer, id, outcome)
            if outcome.obstacle:
                outcome.again = ids[position:]
                break
    finally:
        db.session.remove()
    return outcome


def _make_one(indexer: Any, id: str, outcome: Outcome) -> None:
    try:
        indexer.index_by_id(id)
        outcome.written += 1
    except NoResultFound:
        pass  # the row is gone
    except SQLAlchemyError as error:
        outcome.obstacle = escape(str(error))
    except Exception as error:
        status = getattr(error, "status_code", None)
        if status == NEWER:
            outcome.right += 1
        elif status in PASSING_STATUSES:
            outcome.obstacle = escape(str(error))
        else:  # refused for good, or it can't be made
            outcome.refused[id] = str(error)
