# SPDX-FileCopyrightText: 2026 kcworks-migrations contributors
# SPDX-License-Identifier: MIT
"""The one function that brings documents of the index right: `correct`.

A document is read, the dates in it are replaced, and it is written back with the
version that it had. Two things make that safe:

- The rows that a document was made from are read before the write and after it:
  whoever changed one has committed before writing a document, so whatever could have
  been overwritten is seen, and the service's indexer makes the document anew.
- Right before the write, in the same request, an update that changes nothing fails if
  the document is no longer the one that was read. That finds what no row tells
  (statistics, vocabularies).

It also makes anew what is missing, older than its row, or no longer fits the mapping.
"""

import json
from collections.abc import Iterable
from dataclasses import dataclass, field

from flask import current_app
from invenio_db import db
from invenio_search.engine import search

from ..database import Database
from ..interrupt import CheckStop, never, pause, tries
from ..kinds import Kind
from ..ledger import problems
from ..text import escape
from .documents import (
    BUSY,
    GONE,
    MISSING,
    OK,
    RIGHT,
    STALE,
    Document,
    Index,
    Outcome,
    Written,
    made,
)
from .truth import Truth

FIRST_DOCUMENTS, SLICE_DOCUMENTS, SLICE_BYTES = 16, 100, 10_000_000
"""How many documents are read together at first, how many at most, and about how many
bytes they have."""

PAUSES_SECONDS = (0.5, 1, 2)
"""Before each further try of what somebody else wrote too, or of a busy OpenSearch."""

REVIVED_SECONDS = 3
"""How long whoever deleted a row has for removing its document: it fails if we were
quicker. Rare: the row must have gone between our reading and our writing."""

UNFIT, NO_INDEX, CONFLICT, TOO_LARGE = 400, 404, 409, 413
SPLITTING = {TOO_LARGE, BUSY, "TIMEOUT"}
"""Answers to a request that a smaller one may not get."""
ENDING = {403, NO_INDEX, 408, 500, 502, 503, 504, "N/A", "TIMEOUT"}
"""Answers that may be others later, but not now: writing is blocked (403), the index or
a node is gone."""


def correct(
    database: Database,
    kind: Kind,
    ids: Iterable[str],
    check_stop: CheckStop = never,
    is_whole: bool = False,
    is_written: bool = True,
) -> Outcome:
    """Compare the dates in documents with the database's, and write what is stale.

    What OpenSearch refuses for good is also written down as problems.

    Args:
        database: A connection, outside a transaction.
        kind: Of the documents.
        ids: Primary keys.
        check_stop: Called between two requests and in pauses; may raise.
        is_whole: Whether to make every document anew, whatever its dates.
        is_written: Whether to write at all; otherwise it only looks.

    Returns:
        What was found and what became of each. An OpenSearch that fails is told in it,
        not raised.
    """
    left = list(dict.fromkeys(ids))
    anew = set(left if is_whole else ())
    turn = _Turn(database, kind, Index(kind), check_stop, is_written, anew)
    for _ in tries(PAUSES_SECONDS, check_stop):
        left = turn.work(left)
        if not left or turn.has_ended:
            break
    turn.outcome.again = left
    if refused := turn.outcome.refused:
        current_app.logger.error("OpenSearch refused: %s", refused)
        database.transaction(problems.write_refused, database, kind, refused)
    return turn.outcome


@dataclass
class _Turn:
    """One call of `correct`, in slices that fit what OpenSearch can take."""

    database: Database
    kind: Kind
    index: Index
    check_stop: CheckStop
    is_written: bool
    anew: set[str]
    """Those that the service's indexer is to make anew."""
    revived: set[str] = field(default_factory=set)
    """Those whose row was gone after our write, which may have brought the document
    back: it is removed."""
    outcome: Outcome = field(default_factory=Outcome)
    has_ended: bool = False
    """Whether OpenSearch can't work now, so that it is asked for nothing more."""
    size: int = FIRST_DOCUMENTS
    """How many documents the next slice has."""

    def work(self, ids: list[str]) -> list[str]:
        """Do each of some ids once; give those that are to be tried again."""
        try:
            self.index.resolve()
        except search.exceptions.TransportError as error:
            self._end(error)
            return ids
        if self.revived:
            pause(REVIVED_SECONDS, self.check_stop)
        again: list[str] = []
        done = 0
        while done < len(ids) and not self.has_ended:
            self.check_stop()
            some = ids[done : done + self.size]
            try:
                again += self._do(some)
            except search.exceptions.TransportError as error:
                # Halved, and the next ones begin with that: the requests grow with the
                # ids, whatever OpenSearch refuses.
                if error.status_code in SPLITTING and len(some) > 1:
                    self.size = len(some) // 2
                    continue
                if error.status_code == TOO_LARGE:
                    self.outcome.refused[some[0]] = str(error)
                else:
                    self._end(error)
                    again += some
            done += len(some)
        return again + ids[done:]

    def _end(self, error: object) -> None:
        self.outcome.obstacle = escape(str(error))
        self.has_ended = True

    def _do(self, ids: list[str]) -> list[str]:
        """Do one slice; give the ids to try again. After an error it may be done."""
        documents, unread = self.index.read(ids)
        for error in unread.values():
            self._end(error)
        self._fit(list(documents.values())[::10])
        truth = Truth.read(self.database, self.kind, ids, documents)
        stale, removals = {}, []
        for id, document in documents.items():
            if id not in truth.rows:
                # Whoever deleted the row is about to remove the document, and would
                # fail if it were gone already, unless we have brought it back.
                removals += [document] if id in self.revived else []
            elif truth.correct(document):
                self.outcome.found.setdefault(id, STALE)
                if truth.is_older(document):
                    self.anew.add(id)
                elif id not in self.anew:
                    stale[id] = document
            elif self.outcome.found.setdefault(id, RIGHT) != RIGHT:
                self.outcome.written.add(id)  # nobody told that our write was done
        for id in truth.rows.keys() - documents.keys() - unread.keys():
            self.outcome.found.setdefault(id, MISSING)
            self.anew.add(id)
        again = list(unread)
        if self.is_written:
            if removals:
                self.index.remove(removals)
            again += self._write(truth, stale) if stale else []
            again += self._make([id for id in truth.rows if id in self.anew])
        return again

    def _fit(self, some: list[Document]) -> None:
        """Choose how many documents the next slice has, by the size of these."""
        if some:
            size = sum(len(json.dumps(d["_source"])) for d in some) // len(some)
            fitting = SLICE_BYTES // max(size, 1)
            self.size = max(min(2 * self.size, fitting, SLICE_DOCUMENTS), 1)

    def _write(self, truth: Truth, documents: dict[str, Document]) -> list[str]:
        """Write documents back, and look again whether it was right to."""
        again: list[str] = []
        try:
            again = self._judge(self.index.write(list(documents.values())))
        finally:  # it may be done although no answer came
            after = Truth.read(self.database, self.kind, list(documents), documents)
            for id, document in documents.items():
                if not truth.is_same(after, id, document):  # somebody changed a row
                    self.outcome.written.discard(id)
                    if id in after.rows:
                        self.anew.add(id)
                    else:
                        self.revived.add(id)
                        again.append(id)
        return again

    def _judge(self, written: list[Written]) -> list[str]:
        """Take the answers to the writes; give the ids that are to be tried again."""
        again = []
        for id, status, error, is_as_read in written:
            if status < 300 and is_as_read:
                self.outcome.written.add(id)
            elif status < 300 or status == UNFIT:
                # Something may be overwritten that no row tells of, or the document
                # does not fit the mapping as it stands in the index.
                self.anew.add(id)
            elif status in ENDING:
                self._end(error)
                again.append(id)
            elif status in {CONFLICT, BUSY}:
                self.outcome.obstacle = escape(str(error))
                again.append(id)
            else:
                self.outcome.refused[id] = str(error)
        return again

    def _make(self, ids: list[str]) -> list[str]:
        """Let the service's indexer make documents anew; give those to try again."""
        again: list[str] = []
        # What the session has read may be edited since; its owner goes on with it.
        db.session.rollback()
        try:
            for position, id in enumerate(ids):
                self.check_stop()
                status, error = made(self.kind, id)
                if status in ENDING:
                    self._end(error)
                    return again + ids[position:]
                if status == OK:
                    self.outcome.written.add(id)
                elif status in {CONFLICT, BUSY}:  # the index has a newer one, perhaps
                    self.outcome.obstacle = escape(str(error))
                    again.append(id)
                elif status != GONE:  # refused for good, or it can't be made
                    self.outcome.refused[id] = str(error)
                self.anew.discard(id)
        finally:
            db.session.rollback()
        return again
