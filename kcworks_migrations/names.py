# SPDX-FileCopyrightText: 2026 kcworks-migrations contributors
# SPDX-License-Identifier: MIT
"""The indexers of invenio-indexer's registry, by the kind of their documents."""

from flask import current_app

from .config import options_from

INDEXER_OF_KIND = {
    "record": "records",
    "draft": "records-drafts",
    "community": "communities",
}
"""The indexers of the services, each with its own queue."""

CREATED_ONLY_OF_KIND = {
    kind: f"kcworks-created-dates-{name}" for kind, name in INDEXER_OF_KIND.items()
}
"""The indexers of this package, which change the dates alone, with queues of theirs."""


def indexer_of(kind: str) -> str:
    """Name the indexer that the setting asks for, for one kind of documents."""
    is_full = options_from(current_app.config).indexing == "full"
    return (INDEXER_OF_KIND if is_full else CREATED_ONLY_OF_KIND)[kind]
