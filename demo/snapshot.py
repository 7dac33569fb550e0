# SPDX-FileCopyrightText: 2026 kcworks-migrations contributors
# SPDX-License-Identifier: MIT
"""What an instance holds: its database, its search index, its REST API.

Read with the standard library alone, so that nothing of the instance or of the package
takes part in the reading.
"""

import ast
import json
import os
import urllib.error
import urllib.request
from dataclasses import dataclass
from typing import Any

from clients import psql

# All columns of a row but `created`, where that is what the migration changes.
_FINGERPRINTS = """
SELECT json_object_agg(table_name, fingerprint) FROM (
    SELECT table_name, (xpath('/row/f/text()', query_to_xml(format(
        'SELECT md5(string_agg(f, '''' ORDER BY f)) AS f'
        ' FROM (SELECT md5((to_jsonb(t) - %L)::text) AS f FROM %I AS t) AS rows',
        CASE WHEN table_name IN ('rdm_records_metadata', 'communities_metadata')
             THEN 'created' ELSE '' END, table_name), false, true, '')))[1]::text
        AS fingerprint
    FROM information_schema.tables
    WHERE table_schema = 'public' AND table_type = 'BASE TABLE') AS tables
"""
_CREATED = """
SELECT json_object_agg(kind || ' ' || id, replace(to_char(
    created::timestamptz, 'YYYY-MM-DD"T"HH24:MI:SS.US"+00:00"'), '.000000', ''))
FROM (SELECT 'record' AS kind, id, created FROM rdm_records_metadata
      UNION ALL SELECT 'draft', id, created FROM rdm_drafts_metadata
      UNION ALL SELECT 'community', id, created FROM communities_metadata) AS rows
"""
_PROBLEMS = """
SELECT coalesce(json_agg(json_build_array(entity_id, reason)), '[]')
FROM kcworks_created_dates_problem
WHERE run_id = (SELECT max(id) FROM kcworks_created_dates_run WHERE action = 'apply')
"""


@dataclass
class Snapshot:
    """What the database and the index hold."""

    tables: dict[str, str]
    """A fingerprint of each table, without `created` of records and communities."""
    created: dict[str, str]
    """By kind and primary key, such as ``record 1b4e28ba-...``."""
    documents: dict[str, dict[str, Any]]
    """By kind and id, like `created`; of vocabularies and others by index and id."""


def database_uri() -> str:
    """Return the address of the database of the instance in use."""
    return os.environ["INVENIO_SQLALCHEMY_DATABASE_URI"].replace("+psycopg2", "")


def search(path: str, method: str = "GET", body: dict | None = None) -> dict:
    """Return the JSON that OpenSearch answers to one request.

    Args:
        path: What is asked, with the slash at its start.
        method: The HTTP method.
        body: The JSON to send.

    Raises:
        HTTPError: OpenSearch refused.
    """
    host = ast.literal_eval(os.environ["INVENIO_SEARCH_HOSTS"])[0]
    base = host if "://" in host else f"http://{host}"
    request = urllib.request.Request(
        f"{base}{path}",
        method=method,
        data=None if body is None else json.dumps(body).encode(),
        headers={"Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=60) as response:
        return json.load(response)


def select(query: str) -> Any:
    """Return the JSON that a query gives, in UTC."""
    return json.loads(psql(database_uri(), f"SET TimeZone = 'UTC'; {query}"))


def take() -> Snapshot:
    """Read the database and the index."""
    return Snapshot(select(_FINGERPRINTS), select(_CREATED), documents())


def problems() -> list[list[str]]:
    """Return primary key and reason of the problems of the last upgrade."""
    return select(_PROBLEMS)


def documents() -> dict[str, dict[str, Any]]:
    """Return every document of the instance's index, except what only grows."""
    prefix = os.environ["INVENIO_SEARCH_INDEX_PREFIX"]
    others = ("template-*", "*stats*", "*percolators", "job-logs*")
    pattern = ",".join([f"/{prefix}*", *(f"-{prefix}{other}" for other in others)])
    search(f"{pattern}/_refresh", "POST")
    found = search(f"{pattern}/_search?size=10000")
    return {
        f"{kind_of(hit['_index'], prefix)} {hit['_id']}": hit["_source"]
        for hit in found["hits"]["hits"]
    }


def kind_of(index: str, prefix: str) -> str:
    """Return the kind of the documents of an index."""
    name = index.removeprefix(prefix)
    for start, kind in (
        ("rdmrecords-records-", "record"),
        ("rdmrecords-drafts-", "draft"),
        ("communities-", "community"),
    ):
        if name.startswith(start):
            return kind
    return name


def rest(api: str, token: str, item: dict[str, Any]) -> str | None:
    """Return `created` of an item from the REST API; none when it fails on a request.

    Args:
        api: The address of the API.
        token: Of somebody who may see everything.
        item: An item of the sample.
    """
    folder = "communities" if item["kind"] == "community" else "records"
    tail = "/draft" if item["kind"] == "draft" else ""
    address = f"{api}/{folder}/{item['label']}{tail}?include_deleted=1"
    headers = {"Authorization": f"Bearer {token}", "Accept": "application/json"}
    request = urllib.request.Request(address, headers=headers)
    try:
        with urllib.request.urlopen(request, timeout=60) as response:
            return json.load(response)["created"]
    except urllib.error.HTTPError:
        return None
