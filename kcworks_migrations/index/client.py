# SPDX-FileCopyrightText: 2026 kcworks-migrations contributors
# SPDX-License-Identifier: MIT
"""The client for OpenSearch that all of this package uses."""

import os
from typing import Any

from flask import current_app
from invenio_search import current_search_client
from invenio_search.engine import SearchEngine

_clients: dict[type, tuple[Any, Any]] = {}
"""What each client was made from, and the client."""


class WritingClient(SearchEngine):
    """A client for writing, which sends nothing again by itself.

    OpenSearch may have done a write and answered late: a repetition would overwrite
    what came in between.
    """

    def index(self, *args: Any, **options: Any) -> Any:
        """Write a document, but don't make an index that is gone anew for it."""
        return super().index(*args, require_alias=True, **options)


def search_client() -> Any:
    """Return the client of this process, with the settings of the application."""
    return _client(SearchEngine)


def writing_client() -> Any:
    """Return the client of this process for writing."""
    return _client(WritingClient, max_retries=0)


def _client(cls: type, **more: Any) -> Any:
    # A connection that was opened before a worker forked is shared by its children,
    # which then read each other's answers.
    config = current_app.config
    settings = {"hosts": config.get("SEARCH_HOSTS")}
    settings |= (config.get("SEARCH_CLIENT_CONFIG") or {}) | more
    made_from, client = _clients.get(cls, (None, None))
    if made_from != (os.getpid(), settings):
        # What Invenio itself reads while it builds a document comes through the
        # application's client: that opens new connections, too, when it is next used.
        current_search_client.close()
        client = cls(**settings)
        _clients[cls] = (os.getpid(), settings), client
    return client
