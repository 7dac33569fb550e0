# SPDX-FileCopyrightText: 2026 kcworks-migrations contributors
# SPDX-License-Identifier: MIT
"""Reads documents of the index and writes them back, each request once."""

import copy
import json
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from flask import current_app
from invenio_indexer.proxies import current_indexer_registry
from invenio_search.engine import search
from invenio_search.utils import build_alias_name
from sqlalchemy.exc import NoResultFound, SQLAlchemyError

from ..kinds import Kind
from ..text import escape
from .client import search_client, writing_client

Document = dict[str, Any]
"""As OpenSearch answers: `_id`, `_version`, `_seq_no`, `_primary_term`, `_source`."""

SHOW_TIMEOUT_SECONDS = 5
"""How long OpenSearch may take to show one document to a person."""


RIGHT, STALE, MISSING = "right", "stale", "missing"
OK, GONE, BUSY = 200, 410, 429
OTHER_ANSWER = "the answer is about other documents than the request"

# The client takes simplejson, which every Invenio has: several times slower.
_as_json = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode


@dataclass
class Outcome:
    """What was found of some ids, and what became of them."""

    found: dict[str, str] = field(default_factory=dict)
    """By id: `RIGHT`, `STALE` or `MISSING`, as it was found first. A row that is gone
    has no document, and is not here."""
    written: set[str] = field(default_factory=set)
    """Those that were brought right."""
    refused: dict[str, str] = field(default_factory=dict)
    """Those that OpenSearch refused for good, with what it says."""
    again: list[str] = field(default_factory=list)
    """Those that are still to be done, for a reason that may pass."""
    obstacle: str = ""
    """That reason."""

    @property
    def bad(self) -> dict[str, str]:
        """Those that were not right, with what they were."""
        return {id: state for id, state in self.found.items() if state != RIGHT}

    @property
    def done(self) -> int:
        """How many are right now."""
        right = (self.found.keys() - self.bad.keys()) | self.written
        return len(right.difference(self.refused, self.again))


class Written(NamedTuple):
    """The answer to the write of one document."""

    id: str
    status: int
    error: Any
    is_as_read: bool
    """Whether it was still the one that was read, right before the write."""


class Index:
    """The index to which the service writes documents of one kind."""

    def __init__(self, kind: Kind) -> None:
        """Take a client that repeats nothing.

        Args:
            kind: Of the documents.
        """
        self._client = writing_client()
        self._alias = alias_of(kind)
        self._names: set[str] = set()
        """The alias and what is behind it."""
        self._how = {
            "index": self._alias,
            "request_timeout": current_app.config["INDEXER_BULK_REQUEST_TIMEOUT"],
        }

    def resolve(self) -> None:
        """Ask once what is behind the alias, so that each answer can be checked."""
        if not self._names:
            self._names = {self._alias, *self._client.indices.get_alias(**self._how)}

    def read(self, ids: list[str]) -> tuple[dict[str, Document], dict[str, Any]]:
        """Read documents; give those that are there and what failed, each by id."""
        answers = self._client.mget(body={"ids": ids}, **self._how)["docs"]
        self._check(ids, answers)
        found = {d["_id"]: d for d in answers if d.get("found")}
        return found, {d["_id"]: d["error"] for d in answers if "error" in d}

    def write(self, documents: list[Document]) -> list[Written]:
        """Write documents back with the versions that they had."""
        actions: list[Any] = []
        for document in documents:
            write = {
                "_id": document["_id"],
                "version": document["_version"],
                "version_type": "external_gte",
                # An index that is gone must not come back under its alias' name.
                "require_alias": True,
            }
            guard = [{"update": _as_read(document)}, {"doc": {}}]
            actions += [*guard, {"index": write}, document["_source"]]
        items = self._bulk("\n".join(map(_as_json, actions)))
        guards, answers = items[::2], items[1::2]
        for some in (guards, answers):
            self._check([d["_id"] for d in documents], some)
        return [
            Written(a["_id"], a["status"], a.get("error"), guard["status"] < 300)
            for guard, a in zip(guards, answers, strict=True)
        ]

    def remove(self, documents: list[Document]) -> None:
        """Remove documents that nobody has written since they were read."""
        answers = self._bulk([{"delete": _as_read(document)} for document in documents])
        self._check([d["_id"] for d in documents], answers)

    def _bulk(self, body: Any) -> list[dict[str, Any]]:
        items = self._client.bulk(body=body, **self._how)["items"]
        return [answer for item in items for answer in item.values()]

    def _check(self, ids: list[str], answers: list[dict[str, Any]]) -> None:
        """Take no answer to another request for one to ours.

        Raises:
            TransportError: It is about other documents, or another index.
        """
        is_ours = {answer["_index"] for answer in answers} <= self._names
        if not is_ours or [answer["_id"] for answer in answers] != ids:
            raise search.exceptions.TransportError("N/A", OTHER_ANSWER, {})


def _as_read(document: Document) -> Document:
    return {
        "_id": document["_id"],
        "if_seq_no": document["_seq_no"],
        "if_primary_term": document["_primary_term"],
    }


def made(kind: Kind, id: str) -> tuple[Any, Exception | None]:
    """Let the service's indexer make a document anew.

    Args:
        kind: Of the document.
        id: Primary key of its row.

    Returns:
        `OK`, `GONE` (there is no row), or what OpenSearch said, with the error.
    """
    # A copy of it, with a client of our own.
    indexer = copy.copy(current_indexer_registry.get(kind.indexer))
    indexer.client = writing_client()
    try:
        answer = indexer.index_by_id(id)
    except NoResultFound as error:
        return GONE, error
    except SQLAlchemyError as error:
        return BUSY, error
    except Exception as error:
        return getattr(error, "status_code", None), error
    if answer["_id"] != id:
        return "N/A", search.exceptions.TransportError("N/A", OTHER_ANSWER, {})
    return OK, None


def alias_of(kind: Kind) -> str:
    """Give the alias that the service writes documents of a kind to."""
    record_cls = current_indexer_registry.get(kind.indexer).record_cls
    return build_alias_name(record_cls.index._name)


def created_in_index(kind: Kind, id: str) -> str:
    """Give `created` of a document for a person, or why there is none to give."""
    try:
        document = search_client().get(
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
