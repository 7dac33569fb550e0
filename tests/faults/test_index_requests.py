# SPDX-FileCopyrightText: 2026 kcworks-migrations contributors
# SPDX-License-Identifier: MIT
"""The requests that OpenSearch gets when it is slow, hangs, or finds them too large.

A proxy in front of it counts them.
"""

from collections import Counter

import pytest
import snapshot
from invenio_search import current_search_client
from support import deposits, index

KCWORKS_CLIENT = {
    "http_compress": True,
    "timeout": 60,
    "max_retries": 5,
    "retry_on_timeout": True,
    "retry_on_status": [429, 500, 502, 503, 504],
}
"""`SEARCH_CLIENT_CONFIG` of Knowledge Commons Works."""

LEGACY_FIELD = b"hclegacy:record_creation_date"
"""Each document has it once."""

TITLE = "Only in the index"


@pytest.fixture
def publish(instance):
    """Publish so many records that the upgrade changes, and give the instance."""
    deposits.empty_index()

    def publish(count: int):
        with deposits.no_tasks():
            for number in range(count):
                deposits.publish(f"Record {number}", "2011-02-03T04:05:06Z")
        index.drain()
        return instance

    return publish


def most_often(requests) -> int:
    """Tell how often the request was sent that was sent most often."""
    return max(Counter(requests).values())


def drain_late(app, instance) -> index.Proxy:
    """Drain while the answer to the first write comes late; give the proxy.

    Five seconds instead of ten: enough for any other answer on a busy machine, and the
    test waits for it.
    """
    with index.proxied(app, 5, KCWORKS_CLIENT) as proxy:
        proxy.failures = ["late"]
        for _ in range(3):  # should one not be enough
            index.turn()
    assert not proxy.failures, "a write was answered late"
    assert not index.stale_documents(instance), "every date in the index is right"
    return proxy


def test_write_that_is_answered_late_is_sent_once(app, publish):
    instance = publish(4)
    instance.upgrade()
    proxy = drain_late(app, instance)
    assert most_often(r for r in proxy.seen if r.is_bulk) == 1


def test_documents_whose_write_is_answered_late_stay_on_the_fast_way(app, publish):
    instance = publish(4)
    retitle_documents()
    instance.upgrade()
    drain_late(app, instance)
    titles = [d["metadata"]["title"] for d in documents().values()]
    # Who makes a document anew, much more slowly, takes the title from the row.
    assert titles == 4 * [TITLE]


def documents() -> dict[str, dict]:
    found = snapshot.documents()
    return {key: found[key] for key in found if key.startswith("record ")}


def retitle_documents() -> None:
    """Change the title in each document, at its version, and in no row."""
    name, client = index.name_of("record"), current_search_client
    for key, document in documents().items():
        id = key.split()[1]
        document["metadata"]["title"] = TITLE
        version = client.get(index=name, id=id)["_version"]
        guard = {"version": version, "version_type": "external_gte"}
        client.index(index=name, id=id, body=document, **guard)


def test_opensearch_that_hangs_gets_each_request_once(app, publish):
    instance = publish(3)
    instance.upgrade()
    with index.proxied(app, 0.2, KCWORKS_CLIENT) as proxy:
        proxy.decide = lambda request: "hang"
        index.turn()
    assert proxy.seen, "a worker has asked"
    # Each one holds a worker for INDEXER_BULK_REQUEST_TIMEOUT, ten seconds.
    assert most_often(proxy.seen) == 1


def test_requests_that_are_too_large_or_too_many_grow_with_the_documents(app, publish):
    def requests_for(count: int) -> int:
        publish(count).upgrade()
        alone = {"max_retries": 0}  # those of the client do not count
        with index.proxied(app, 10, alone) as proxy:
            proxy.decide = refuse
            index.turn()
        assert any(r.is_bulk for r in proxy.seen), "a worker has written"
        return len(proxy.seen)

    def refuse(request) -> str:
        if not request.is_bulk:
            return ""
        # More than one document is too large, and one comes when OpenSearch is busy.
        return "413" if request.body.count(LEGACY_FIELD) > 1 else "429"

    few, twice = requests_for(2), requests_for(4)
    assert twice < 3 * few
