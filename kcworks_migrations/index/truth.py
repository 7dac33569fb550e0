# SPDX-FileCopyrightText: 2026 kcworks-migrations contributors
# SPDX-License-Identifier: MIT
"""What the database says of some documents: their dates, and how new they are."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, NamedTuple

from ..database import Database
from ..kinds import COMMUNITY, DRAFT, MEMBERSHIPS, RECORD, Kind

# A deleted row has no document, so it is as if it were not there.
_PRESENT = "WHERE t.id = ANY(CAST(:ids AS uuid[])) AND t.json IS NOT NULL"
# The version of the parent tells when a record was moved to another community.
_STATE = f"""
    ARRAY[p.version_id::text, v.latest_id::text, v.next_draft_id::text]
FROM {{table}} AS t
LEFT JOIN rdm_parents_metadata AS p ON p.id = t.parent_id
LEFT JOIN rdm_versions_state AS v ON v.parent_id = t.parent_id
{_PRESENT}
"""
SELECT_ROWS = {
    RECORD: f"SELECT t.id::text, {{created}}, t.version_id, {_STATE}",
    DRAFT: f"SELECT t.id::text, NULL, t.version_id, {_STATE}",
    COMMUNITY: "SELECT t.id::text, {created}, t.version_id, t.json->'parent'->>'id'"
    f" FROM {{table}} AS t {_PRESENT}",
}

SELECT_LABELS = (
    "SELECT t.id::text AS id, {label} AS label FROM {table} AS t"
    " WHERE t.id = ANY(CAST(:ids AS uuid[]))"
)


class Row(NamedTuple):
    """The row of a document."""

    created: datetime | None
    """None for a draft, whose own date nobody changes."""
    version: int
    state: Any
    """What else changes a document: id of a community's parent; of a record or draft
    the version of the parent, the latest version, the draft of the next."""


@dataclass(frozen=True)
class Truth:
    """The rows of some documents and of the communities that these embed."""

    kind: Kind
    rows: Mapping[str, Row]
    communities: Mapping[str, Row]

    @classmethod
    def read(
        cls,
        database: Database,
        kind: Kind,
        ids: Iterable[str],
        documents: Mapping[str, Mapping[str, Any]],
    ) -> "Truth":
        """Read the rows, each table with one query.

        Args:
            database: A connection.
            kind: Of the documents.
            ids: Primary keys of the documents.
            documents: What the index answered for them, by id.

        Returns:
            The rows that are there; those of deleted ones are not.
        """
        embedded = {
            entry["id"]
            for document in documents.values()
            for entry in _embedded(kind, document["_source"])
        }

        def read() -> "Truth":
            rows = _rows(database, kind, ids)
            others = _rows(database, COMMUNITY, embedded) if embedded else {}
            return cls(kind, rows, others)

        return database.transaction(read)

    def is_older(self, document: Mapping[str, Any]) -> bool:
        """Tell whether a document is older than its row, in more than the dates.

        Args:
            document: What the index answered; its row is there.

        Returns:
            Whether an edit is not in it. Versions of what it embeds decide nothing:
            Invenio itself leaves them behind.
        """
        # Invenio writes documents with the revision, which counts from 0.
        return document["_version"] < self.rows[document["_id"]].version - 1

    def correct(self, document: Mapping[str, Any]) -> bool:
        """Put the true dates into a document; tell whether any was wrong."""
        wrong = list(self.differences(document))
        for owner, created in wrong:
            owner["created"] = created
        return bool(wrong)

    def differences(
        self, document: Mapping[str, Any]
    ) -> Iterator[tuple[dict[str, Any], str]]:
        """Give each object with a wrong `created`, and what it should be."""
        source = document["_source"]
        owners = [
            (entry, self.communities.get(entry["id"]))
            for entry in _embedded(self.kind, source)
        ]
        if self.kind is not DRAFT:
            owners.append((source, self.rows.get(document["_id"])))
        for owner, row in owners:
            if row is None or row.created is None:
                continue
            # What the dumpers of all lines make of it, with or without microseconds.
            created = row.created.astimezone(UTC).isoformat()
            if owner.get("created") != created:
                yield owner, created

    def is_same(self, other: "Truth", id: str, document: Mapping[str, Any]) -> bool:
        """Tell whether the rows of a document are the same in both readings."""
        if self.rows.get(id) != other.rows.get(id):
            return False
        return all(
            self.communities.get(e["id"]) == other.communities.get(e["id"])
            for e in _embedded(self.kind, document["_source"])
        )


def _embedded(kind: Kind, source: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Give the communities that a document embeds, with those above them."""
    parent = source.get("parent") or {}
    found = [parent]
    if kind is not COMMUNITY:
        entries = parent.get("communities", {}).get("entries", [])
        found = [owner for entry in entries for owner in (entry, entry.get("parent"))]
    return [owner for owner in found if owner and "id" in owner]


def _rows(database: Database, kind: Kind, ids: Iterable[str]) -> dict[str, Row]:
    found = database.execute_on(kind, SELECT_ROWS[kind], ids=list(ids))
    return {id: Row(*rest) for id, *rest in found}


def holding(kind: Kind, communities: str, records: str | None = None) -> str:
    """Give a query for the rows whose documents hold some dates.

    One query for all of them: `parent_id` has no index, so that each query is a pass
    over the table.

    Args:
        kind: Of the documents.
        communities: A query for the ids of the communities whose dates these are.
        records: The same of records; none for what embeds the communities alone.

    Returns:
        A query with the one column `id`. Without records it ends in a condition on
        the table, as `t`, which another one can follow.
    """
    stale = (
        f"SELECT e.id FROM ({communities}) AS e(id)"
        f" UNION SELECT c.id FROM {COMMUNITY.table} AS c WHERE c.json->'parent'->>'id'"
        f" IN (SELECT e.id::text FROM ({communities}) AS e(id))"
    )
    present = f"SELECT t.id FROM {kind.table} AS t WHERE t.json IS NOT NULL"
    if kind is COMMUNITY:
        return f"{present} AND t.id IN ({stale})"
    embedding = (
        f"{present} AND t.parent_id IN (SELECT m.record_id FROM {MEMBERSHIPS} AS m"
        f" WHERE m.community_id IN ({stale}))"
    )
    if kind is DRAFT or records is None:
        return embedding
    # A union and no OR: under that, PostgreSQL compares each row with each entry one
    # by one as soon as these outgrow its working memory.
    return f"{present} AND t.id IN ({records}) UNION {embedding}"


def names_of(database: Database, kind: Kind, ids: list[str]) -> dict[str, str]:
    """Name documents for a person, by their ids."""

    def read() -> dict[str, str]:
        found = database.execute_on(kind, SELECT_LABELS, ids=ids)
        return {row.id: row.label for row in found}

    labels = database.transaction(read) if ids else {}
    return {id: f"{kind} {labels.get(id) or id}" for id in ids}
