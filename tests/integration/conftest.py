# SPDX-FileCopyrightText: 2026 kcworks-migrations contributors
# SPDX-License-Identifier: MIT
"""An instance emptied for each test, and ways to look at all of it."""

import pytest
from celery import current_app as celery_app
from instance import INDEXERS, Instance
from invenio_indexer.proxies import current_indexer_registry


@pytest.fixture
def instance(app, engine):
    """An instance without records, communities or runs, and with empty queues."""
    instance = Instance(engine)
    instance.empty()
    with celery_app.connection_for_write() as connection:
        for name in INDEXERS:
            queue = current_indexer_registry.get(name).mq_queue(connection)
            queue.declare()
            queue.purge()
    return instance
