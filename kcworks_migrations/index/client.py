# SPDX-FileCopyrightText: 2026 kcworks-migrations contributors
# SPDX-License-Identifier: MIT
"""The client for OpenSearch that all of this package uses."""

import os
from typing import Any

from flask import current_app
from invenio_search import current_search_client
from invenio_search.engine import SearchEngine

_clients: dict[bool, tuple[Any, Any]] = {}
"""What each client was made from, and the client."""


def search_client(is_repeating: bool = True) -> Any:
    """Return a client of this process, with the settings of the application.

    A connection that was opened before a worker forked is shared by its children, which
    then read each other's answers.

    Args:
        is_repeating: Whether it may send a request again by itself. OpenSearch may have
            done a write and answered late: a repetition overwrites what came in
            between.
    """
    config = current_app.config
    settings = {"hosts": config.get("SEARCH_HOSTS")}
    settings |= config.get("SEARCH_CLIENT_CONFIG") or {}
    settings |= {} if is_repeating else {"max_retries": 0}
    made_from, client = _clients.get(is_repeating, (None, None))
    if made_from != (os.getpid(), settings):
        # What Invenio itself reads while it builds a document comes through the
        # application's client: that opens new connections, too, when it is next used.
        current_search_client.close()
        client = SearchEngine(**settings)
        _clients[is_repeating] = (os.getpid(), settings), client
    return client
