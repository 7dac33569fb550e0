# SPDX-FileCopyrightText: 2026 kcworks-migrations contributors
# SPDX-License-Identifier: MIT
"""Puts the true dates into documents of the index, beside editors and other workers.

A document is read, the dates in it are replaced, and it is written back with the
version that it had. Two things make that safe:

- The rows that a document was made from are read before the write and after it:
  whoever changed one has committed before writing a document, so whatever could have
  been overwritten is seen, and the ordinary indexer makes the document anew. So it does
  with a document that is older than its row.
- Right before the write, in the same request, an update that changes nothing fails if
  the document is no longer the one that was read. That finds what no row tells
  (statistics, vocabularies).
"""

from dataclasses import dataclass, field
from typing import Any, NamedTuple

from invenio_indexer.proxies import current_indexer_registry
from invenio_search import current_search_client
from invenio_search.engine import search
from invenio_search.utils import build_alias_name

from ..database import Database
from ..kinds import Kind
from ..text import escape
from .truth import Truth

PASSING_STATUSES = {403, 408, 429, 500, 502, 503, 504, "N/A", "TIMEOUT"}
"""Answers of OpenSearch that may be others soon: too busy, blocked for writing (403),
node gone."""

SHOW_TIMEOUT_SECONDS = 5
"""How long OpenSearch may take to show one document to a person."""


@dataclass
class Outcome:
    """What became of some ids."""

    written: int = 0
    right: int = 0
    again: list[str] = field(default_factory=list)
    """To be looked at again: not written, or something happened meanwhile."""
    obstacle: str = ""
    """What OpenSearch said last of those that it did not take."""
    revived: set[str] = field(default_factory=set)
    """Of `again`: the row was gone after our write, so the document must go."""
    ordinary: list[str] = field(default_factory=list)
    """For the ordinary indexer: the document has to be made anew."""
    refused: dict[str, str] = field(default_factory=dict)
    """Refused for good, with what OpenSearch says."""

    def add(self, other: "Outcome") -> None:
        """Add what became of further ids; `again` is replaced."""
        self.written += other.written
        self.right += other.right
        self.again = other.again
        self.obstacle = other.obstacle or self.obstacle
        self.revived |= other.revived
        self.ordinary += other.ordinary
        self.refused |= other.refused


class Written(NamedTuple):
    """One document for which a write was asked."""

    id: str
    guard: dict[str, Any]
    """The answer to the update that changes nothing."""
    answer: dict[str, Any]


@dataclass(frozen=True)
class Index:
    """The index to which documents of one kind are written."""

    client: Any
    kind: Kind
    name: str
    """The alias that the services write to."""
    timeout_seconds: float

    def correct(
        self, database: Database, ids: list[str], revived: frozenset[str] = frozenset()
    ) -> Outcome:
        """Read, decide, write, and look again whether it was right to.

        Args:
            database: A connection.
            ids: Primary keys, each once.
            revived: Those whose row was gone after an earlier write of ours, which may
                have brought the document back: it is removed. No other one is: whoever
                deleted the row is about to, and would fail if it were gone already.

        Returns:
            What became of each.
        """
        outcome = Outcome()
        found = self.client.mget(
            body={"ids": ids}, index=self.name, request_timeout=self.timeout_seconds
        )["docs"]
        documents = {d["_id"]: d for d in found if d.get("found")}
        unread = {d["_id"] for d in found if "error" in d}
        truth = Truth.read(database, self.kind, ids, documents)
        actions: list[dict[str, Any]] = []
        changed = []
        for id in ids:
            document = documents.get(id)
            if id in unread:
                outcome.again.append(id)
            elif document is None:
                if id in truth.rows:
                    outcome.ordinary.append(id)
            elif id not in truth.rows:
                actions += _delete(document) if id in revived else []
            elif not truth.correct(document):
                outcome.right += 1
            elif truth.is_older(document):
                outcome.ordinary.append(id)
            else:
                changed.append(id)
                actions += _write(document)
        if actions:
            _judge(outcome, self.bulk(actions))
        if changed:
            after = Truth.read(database, self.kind, changed, documents)
            _look_again(outcome, truth, after, [documents[id] for id in changed])
        outcome.again = list(dict.fromkeys(outcome.again))
        outcome.ordinary = list(dict.fromkeys(outcome.ordinary))
        settled = {*outcome.again, *outcome.ordinary, *outcome.refused}
        outcome.written = len([id for id in changed if id not in settled])
        return outcome

    def bulk(self, actions: list[dict[str, Any]]) -> list[Written]:
        """Send one `_bulk` request; give the answers to the documents' writes."""
        answers = self.client.bulk(
            body=actions, index=self.name, request_timeout=self.timeout_seconds
        )
        guard: dict[str, Any] = {}
        written = []
        for item in answers["items"]:
            [(operation, answer)] = item.items()
            if operation == "update":
                guard = answer
            elif operation == "index":
                written.append(Written(answer["_id"], guard, answer))
        return written


def _look_again(
    outcome: Outcome, truth: Truth, after: Truth, written: list[dict[str, Any]]
) -> None:
    """Find the documents whose rows somebody changed while they were written."""
    for document in written:
        id = document["_id"]
        if truth.is_same(after, id, document):
            continue
        if id in after.rows:
            outcome.ordinary.append(id)
        else:
            outcome.again.append(id)
            outcome.revived.add(id)


def _judge(outcome: Outcome, written: list[Written]) -> None:
    for id, guard, answer in written:
        if answer["status"] == 409 or answer["status"] in PASSING_STATUSES:
            # At 409 somebody wrote a newer document; the next try looks at it.
            outcome.again.append(id)
            outcome.obstacle = escape(str(answer["error"]))
        elif answer["status"] >= 300:
            outcome.refused[id] = str(answer["error"])
        elif guard["status"] >= 300:
            # Something may have been overwritten that no row tells of.
            outcome.ordinary.append(id)


def _write(document: dict[str, Any]) -> list[dict[str, Any]]:
    write = {
        "_id": document["_id"],
        "version": document["_version"],
        "version_type": "external_gte",
        # An index that is gone must not come back under the name of its alias.
        "require_alias": True,
    }
    return [
        {"update": _as_read(document)},
        {"doc": {}},
        {"index": write},
        document["_source"],
    ]


def _delete(document: dict[str, Any]) -> list[dict[str, Any]]:
    """Remove the document of a row that is gone, if nobody has written it since."""
    return [{"delete": _as_read(document)}]


def _as_read(document: dict[str, Any]) -> dict[str, Any]:
    return {
        "_id": document["_id"],
        "if_seq_no": document["_seq_no"],
        "if_primary_term": document["_primary_term"],
    }


def alias_of(kind: Kind) -> str:
    """Give the alias that the service writes documents of a kind to."""
    record_cls = current_indexer_registry.get(kind.indexer).record_cls
    return build_alias_name(record_cls.index._name)


def created_in_index(kind: Kind, id: str) -> str:
    """Give `created` of a document for a person, or why there is none to give."""
    try:
        document = current_search_client.get(
            index=alias_of(kind),
            id=id,
            _source_includes=["created"],
            request_timeout=SHOW_TIMEOUT_SECONDS,
        )
    except search.exceptions.NotFoundError:
        return "none"
    except search.exceptions.TransportError as error:
        return f"unknown, OpenSearch does not answer: {escape(str(error.error), 200)}"
    return escape(str(document["_source"].get("created")))
