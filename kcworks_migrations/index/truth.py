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


class Row(NamedTuple):
    """The row of a document."""

    created: datetime | None
    """None for a draft, whose own date nobody changes."""
    version: int
    parent: Any
    """Id of a community's parent; of a record or draft what changes without a new
    version of its own: version of the parent, latest version, draft of the next."""


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
            if "id" in entry
        }

        def read() -> "Truth":
            rows = _rows(database, kind, ids)
            others = _rows(database, COMMUNITY, embedded) if embedded else {}
            return cls(kind, rows, others)

        return database.transaction(read)

    def is_current(self, document: Mapping[str, Any]) -> bool:
        """Tell whether a document is as new as the rows that it was made from."""
        row = self.rows[document["_id"]]
        source = document["_source"]
        # Invenio writes documents with the revision, which counts from 0.
        if document["_version"] != row.version - 1 or not _has_date(self.kind, row):
            return False
        parent = source.get("parent") or {}
        versions = source.get("versions") or {}
        if row.parent != (
            parent.get("id")
            if self.kind is COMMUNITY
            else [
                str(parent.get("version_id")),
                versions.get("latest_id"),
                versions.get("next_draft_id"),
            ]
        ):
            return False
        return all(self._is_entry_current(e) for e in _embedded(self.kind, source))

    def _is_entry_current(self, entry: Mapping[str, Any]) -> bool:
        row = self.communities.get(entry.get("id", ""))
        if row is None or row.created is None:
            return False
        own_parent = (entry.get("parent") or {}).get("id")
        return entry.get("version_id") == row.version and (
            "parent" not in entry or own_parent == row.parent
        )

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
            (entry, self.communities.get(entry.get("id", "")))
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


def _has_date(kind: Kind, row: Row) -> bool:
    return kind is DRAFT or row.created is not None


def _embedded(kind: Kind, source: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield the communities that a document embeds, with those above them."""
    parent = source.get("parent") or {}
    if kind is COMMUNITY:
        if parent:
            yield parent
        return
    for entry in parent.get("communities", {}).get("entries", []):
        yield entry
        if entry.get("parent"):
            yield entry["parent"]


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
