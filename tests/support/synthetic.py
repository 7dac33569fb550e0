# SPDX-FileCopyrightText: 2026 kcworks-migrations contributors
# SPDX-License-Identifier: MIT
"""Rows made with SQL, for tests and benchmarks that need many or malformed ones.

What the services can make is made through the services (``demo/sample.py``); these
rows have what the database asks for and what the rules read, and nothing more.
"""

import json
import uuid
from datetime import datetime

from sqlalchemy import text

IMPORTED = "2024-05-01T12:00:00.123456"
"""`created` of every row here before the migration, in UTC."""

_MANY_PARENTS = text("""
INSERT INTO rdm_parents_metadata (id, created, updated, json, version_id)
SELECT md5('parent' || n)::uuid, '2024-05-01', '2024-05-01', '{}', 1
FROM generate_series(1, :records) AS n
""")
# A document of about 2,500 bytes, as on the real instance. One record in fifty has a
# date that is refused, one in twenty is right already. After 400,000 records the dates
# begin again, in 2010, or they would reach the future.
_MANY_RECORDS = text("""
INSERT INTO rdm_records_metadata
    (id, created, updated, json, version_id, "index", deletion_status, parent_id)
SELECT md5('record' || n)::uuid,
    CASE WHEN n % 20 = 0 THEN instant
         ELSE TIMESTAMP '2024-05-01 12:00:00.123456' END,
    '2024-05-02',
    jsonb_build_object(
        'id', 'syn-' || n, 'pid', jsonb_build_object('pk', n, 'status', 'R'),
        'metadata', jsonb_build_object(
            'title', 'Record ' || n,
            'description', (SELECT string_agg(md5((n * 50 + i)::text), ' ')
                            FROM generate_series(1, 60) AS i)),
        'custom_fields', jsonb_build_object(
            'hclegacy:submitter_id', n::text,
            'hclegacy:record_creation_date', CASE
                WHEN n % 50 = 7 THEN '2016-02-30T00:00:00Z'
                ELSE to_char(instant, 'YYYY-MM-DD"T"HH24:MI:SS"Z"') END,
            'hclegacy:groups_for_deposit', jsonb_build_array(jsonb_build_object(
                'group_identifier', (1000000 + n % :communities)::text,
                'group_name', 'Group ' || n % :communities)))),
    3, 1, 'P', md5('parent' || n)::uuid
FROM generate_series(1, :records) AS n CROSS JOIN LATERAL (
    SELECT TIMESTAMP '2010-01-01' + n % 400000 * INTERVAL '17 minutes') AS d(instant)
""")
_MANY_COMMUNITIES = text("""
INSERT INTO communities_metadata
    (id, created, updated, json, version_id, slug, deletion_status)
SELECT md5('community' || n)::uuid, '2024-05-01 12:00:00.123456', '2024-05-02',
    jsonb_build_object('custom_fields', jsonb_build_object(
        'kcr:commons_group_id', (1000000 + n - 1)::text)),
    2, 'syn-community-' || n, 'P'
FROM generate_series(1, :communities) AS n
""")
_MANY_MEMBERSHIPS = text("""
INSERT INTO rdm_parents_community (community_id, record_id)
SELECT md5('community' || (1 + n % :communities))::uuid, md5('parent' || n)::uuid
FROM generate_series(1, :records) AS n
""")


def insert_many(connection, records: int, communities: int) -> None:
    """Insert many records, each in one of the communities."""
    connection.execute(text("SET LOCAL TimeZone = 'UTC'"))
    numbers = {"records": records, "communities": communities}
    for statement in (
        _MANY_PARENTS,
        _MANY_RECORDS,
        _MANY_COMMUNITIES,
        _MANY_MEMBERSHIPS,
    ):
        used = {k: v for k, v in numbers.items() if f":{k}" in str(statement)}
        connection.execute(statement, used)


def insert_record(connection, custom_fields, *, created=IMPORTED, **more) -> str:
    """Insert one record with these custom fields; give its UUID.

    Args:
        connection: An open connection.
        custom_fields: Any JSON value.
        created: The present `created`, in UTC.
        **more: `index`, `parent_id`, `label`, `document` (instead of custom fields).
    """
    record_id = more.get("id") or str(uuid.uuid4())
    document = more.get("document") or {
        "id": more.get("label", f"pid-{record_id[:8]}"),
        "custom_fields": custom_fields,
    }
    _set_utc(connection)
    connection.execute(
        text("""
            INSERT INTO rdm_records_metadata
              (id, created, updated, json, version_id, "index", deletion_status,
               parent_id)
            VALUES (CAST(:id AS uuid), :created, '2024-05-02', CAST(:json AS jsonb), 1,
                    :index, 'P', CAST(:parent_id AS uuid))
        """),
        {
            "id": record_id,
            "created": _as_text(created),
            "json": json.dumps(document),
            "index": more.get("index", 1),
            "parent_id": more.get("parent_id"),
        },
    )
    return record_id


def insert_community(connection, custom_fields, *, created=IMPORTED, **more) -> str:
    """Insert one community with these custom fields; give its UUID.

    Args:
        connection: An open connection.
        custom_fields: Any JSON value.
        created: The present `created`, in UTC.
        **more: `slug`, `parent` (the UUID of the parent community).
    """
    community_id = more.get("id") or str(uuid.uuid4())
    document = {"custom_fields": custom_fields}
    if "parent" in more:
        document["parent"] = {"id": more["parent"]}
    _set_utc(connection)
    connection.execute(
        text("""
            INSERT INTO communities_metadata
              (id, created, updated, json, version_id, slug, deletion_status)
            VALUES (CAST(:id AS uuid), :created, '2024-05-02', CAST(:json AS jsonb), 1,
                    :slug, 'P')
        """),
        {
            "id": community_id,
            "created": _as_text(created),
            "json": json.dumps(document),
            "slug": more.get("slug", f"slug-{community_id[:8]}"),
        },
    )
    return community_id


def _set_utc(connection) -> None:
    # A text without a zone then means UTC in a column of either type.
    connection.execute(text("SET LOCAL TimeZone = 'UTC'"))


def _as_text(created) -> str:
    if isinstance(created, datetime):
        return created.replace(tzinfo=None).isoformat()
    return created
