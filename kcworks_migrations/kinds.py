# SPDX-FileCopyrightText: 2026 kcworks-migrations contributors
# SPDX-License-Identifier: MIT
"""The kinds of rows and documents that hold a date."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Kind:
    """One kind of rows, with their table, their label and their indexers."""

    name: str
    """As our tables and the JSON output have it."""
    plural: str
    table: str
    label: str
    """SQL for what people call a row: the PID of a record, the slug of a community."""
    indexer: str
    """The indexer of the service, in invenio-indexer's registry."""

    def __str__(self) -> str:
        """Give its name."""
        return self.name

    @property
    def own_indexer(self) -> str:
        """The indexer of this package, which changes the dates alone, with a queue."""
        return f"kcworks-created-dates-{self.indexer}"


RECORD = Kind("record", "records", "rdm_records_metadata", "t.json->>'id'", "records")
DRAFT = Kind(
    "draft", "drafts", "rdm_drafts_metadata", "t.json->>'id'", "records-drafts"
)
COMMUNITY = Kind(
    "community", "communities", "communities_metadata", "t.slug", "communities"
)

KINDS = (RECORD, DRAFT, COMMUNITY)
"""All that have documents."""

DATED = (RECORD, COMMUNITY)
"""Those whose `created` is changed, in this order: communities follow their records."""

MEMBERSHIPS = "rdm_parents_community"
"""The table that says which records are in which communities."""

ALSO_READ = ("pidstore_pid", "rdm_parents_metadata", "rdm_versions_state")
"""Tables that tell what a plan's names mean, and what documents should hold."""


def kind_of(name: str) -> Kind:
    """Give the kind with a name."""
    return next(kind for kind in KINDS if kind.name == name)
