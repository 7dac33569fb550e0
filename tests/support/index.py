# SPDX-FileCopyrightText: 2026 kcworks-migrations contributors
# SPDX-License-Identifier: MIT
"""The search index as the tests see it, and the sample in it."""

import ast
import copy
import gzip
import http.client
import json
import os
import random
import threading
import uuid
from collections import defaultdict
from collections.abc import Callable, Iterable
from contextlib import contextmanager, suppress
from datetime import datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO
from types import SimpleNamespace
from typing import NamedTuple

import pytest
import sample as demo_sample
import snapshot
from invenio_db import db
from invenio_indexer.proxies import current_indexer_registry
from invenio_search import current_search_client
from invenio_search.engine import search
from invenio_search.utils import prefix_index
from sqlalchemy import text

from kcworks_migrations import interrupt
from kcworks_migrations.index import correct, documents
from kcworks_migrations.index.broker import connected
from kcworks_migrations.index.verdict import Verdict
from kcworks_migrations.kinds import KINDS, RECORD, kind_of
from support import faults
from support.instance import Instance, forget_broker_connections


def drain() -> None:
    """Do what the workers do: `process_bulk_queue` of each indexer.

    A worker has a new session for each task; the one of this process still holds what
    was read before the migration.
    """
    db.session.remove()
    # Nobody kept the heartbeat of pooled connections since the last use.
    forget_broker_connections()
    # What ours hand over goes to the ordinary ones, so these come last.
    for _, indexer in sorted(
        current_indexer_registry.all().items(), key=lambda i: "kcworks" not in i[0]
    ):
        indexer.process_bulk_queue(search_bulk_kwargs={"raise_on_error": False})


def turn() -> list[Exception]:
    """Do once what beat has the workers do; give what failed.

    Celery logs a task that fails, and the next tick is another try.
    """
    failures = []
    for _, indexer in sorted(
        current_indexer_registry.all().items(), key=lambda i: "kcworks" not in i[0]
    ):
        db.session.remove()
        forget_broker_connections()  # a failure leaves ones that can't be used
        try:
            indexer.process_bulk_queue(search_bulk_kwargs={"raise_on_error": False})
        except Exception as error:
            failures.append(error)
    return failures


def waiting(names: Iterable[str] = ()) -> int:
    """Count what waits in the queues of some indexers, or of all.

    What a worker has got is in none any more.
    """
    names = names or [n for kind in KINDS for n in (kind.own_indexer, kind.indexer)]
    with connected() as connection:
        queues = [current_indexer_registry.get(n).mq_queue(connection) for n in names]
        return sum(queue.queue_declare().message_count for queue in queues)


def verdict_of(instance: Instance, **more) -> Verdict:
    """Let the package say how the index is."""
    for name in ("rdmrecords", "communities"):
        current_search_client.indices.refresh(index=prefix_index(name))
    db.session.remove()
    return instance.verify(**more)


def instant(document) -> datetime:
    return datetime.fromisoformat(document["created"])


def stale_documents(instance: Instance) -> list[str]:
    """Give the rows without a document, and the documents with another date."""
    documents = snapshot.documents()
    rows = {
        f"{kind} {row[0]}": instance.created(row[0], kind)
        for kind, table in (
            ("record", "rdm_records_metadata"),
            ("community", "communities_metadata"),
        )
        for row in instance.execute(f"SELECT id::text FROM {table}")
    }
    communities = {k.split()[1]: v for k, v in rows.items() if k.startswith("comm")}
    stale = [
        key
        for key in rows
        if key not in documents or instant(documents[key]) != rows[key]
    ]
    for key, document in documents.items():
        entries = document.get("parent", {}).get("communities", {}).get("entries", [])
        for entry in entries:
            if instant(entry) != communities[entry["id"]]:
                stale.append(f"{key} embeds {entry['id']}")
    return stale


@contextmanager
def indices_at(app, host: str):
    """Copy the indices to another OpenSearch, which the application then talks to."""
    source = current_search_client._get_current_object()
    target = search.OpenSearch([host])
    indices = _definitions(source)
    for name, body in indices.items():
        target.indices.create(index=name, body=body)
    search.helpers.bulk(target, _actions(source, indices), request_timeout=60)
    with faults.search_at(app, host):
        yield
    target.indices.delete(index=",".join(indices))


def _definitions(client) -> dict[str, dict]:
    """Give what the indices of records, drafts and communities are made of, by name."""
    names = [prefix_index(f"{alias}*") for alias in ("rdmrecords", "communities")]
    found = client.indices.get(index=",".join(names))
    for body in found.values():
        for key in ("creation_date", "uuid", "version", "provided_name"):
            del body["settings"]["index"][key]
    return found


def _actions(client, indices: Iterable[str]):
    """Yield what writes each document of some indices, with its version."""
    for name in indices:
        for hit in search.helpers.scan(client, index=name, version=True):
            kept = {key: hit[key] for key in ("_index", "_id", "_version", "_source")}
            yield kept | {"_version_type": "external_gte"}


def embedded(document):
    """Yield the communities that a document embeds, parents included."""
    parent = document.get("parent", {})
    for owner in parent.get("communities", {}).get("entries", []):
        yield owner
        if "parent" in owner:
            yield owner["parent"]
    if "slug" in parent:  # of a sub-community
        yield parent


def empty_index() -> None:
    """Remove every document of records, drafts and communities."""
    for name in ("rdmrecords", "communities"):
        current_search_client.delete_by_query(
            index=prefix_index(name),
            body={"query": {"match_all": {}}},
            refresh=True,
            conflicts="proceed",
        )


def fill(engine) -> SimpleNamespace:
    """Fill an empty instance with the sample; give both.

    To make it through the services takes half a minute: that is done once, and then
    its rows and documents are put back.
    """
    instance = Instance(engine)
    instance.empty()
    if not _kept:
        # The sample makes a user and sets; those of an earlier test run may be there.
        instance.execute("DELETE FROM oaiserver_set")
        instance.execute("UPDATE accounts_user SET email = id || '@example.org'")
        empty_index()
        drain()
        _kept.append(_Kept(instance, demo_sample.fill()))
    else:
        instance.empty_queues()
        _kept[0].put_back(instance)
    return SimpleNamespace(instance=instance, sample=copy.deepcopy(_kept[0].sample))


class _Kept:
    """The sample as it was made: what every table and index then held."""

    def __init__(self, instance: Instance, sample: demo_sample.Sample) -> None:
        db.session.remove()
        self.sample = sample
        self._checksums = instance.checksums(without_created=False)
        # Those that others refer to first.
        names = [table.name for table in db.metadata.sorted_tables]
        self._rows = {name: BytesIO() for name in names if name in self._checksums}
        assert self._rows.keys() == self._checksums.keys()
        connection = faults.other_connection(instance)
        for name, rows in self._rows.items():
            connection.cursor().copy_expert(f'COPY "{name}" TO STDOUT', rows)
        connection.close()
        client = current_search_client
        self._indices = _definitions(client)
        self._documents = [*_actions(client, self._indices)]
        self._found = snapshot.documents()

    def put_back(self, instance: Instance) -> None:
        """Let every table and index hold what they held."""
        db.session.remove()
        connection = faults.other_connection(instance)
        cursor = connection.cursor()
        names = ", ".join(f'"{name}"' for name in self._rows)
        cursor.execute(f"TRUNCATE {names} CASCADE")
        for name, rows in self._rows.items():
            rows.seek(0)
            cursor.copy_expert(f'COPY "{name}" FROM STDIN', rows)
        connection.commit()
        connection.close()
        assert instance.checksums(without_created=False) == self._checksums
        # Made anew, as those that are there remember the versions of what was deleted.
        client = current_search_client
        client.indices.delete(index=",".join(self._indices))
        for name, body in self._indices.items():
            client.indices.create(index=name, body=body)
        search.helpers.bulk(client, self._documents, request_timeout=60)
        assert snapshot.documents() == self._found


_kept: list[_Kept] = []
"""The sample, when it was made."""


class Request(NamedTuple):
    """A request that a proxy has seen."""

    method: str
    path: str
    body: bytes
    """Not compressed any more."""

    @property
    def is_bulk(self) -> bool:
        return self.path.split("?")[0].endswith("_bulk")


class Proxy:
    """A real HTTP server in front of OpenSearch that can be told to fail."""

    def __init__(self, target: str) -> None:
        """Start it in a thread of its own.

        Args:
            target: Host and port of OpenSearch.
        """
        self.failures: list[str | Callable[[], str]] = []
        """What happens to the next `_bulk` requests: ``429`` for the whole request,
        ``item`` for its first write, ``cut`` and ``cut after`` for the connection,
        ``hang`` and ``late`` for no answer before the client gives up, without doing
        the request and after it, nothing for none; or what is done first, which gives
        one of these."""
        self.decide: Callable[[Request], str] = lambda request: ""
        """Gives what happens to each other request, also ``413`` for one too large."""
        self.seen: list[Request] = []
        self.largest_bytes = 0
        """Above it a request is too large; 0 for no bound."""
        proxy = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def log_message(self, *args) -> None:
                pass

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                if self.headers.get("Content-Encoding") == "gzip":
                    body = gzip.decompress(body)
                seen = Request(self.command, self.path, body)
                proxy.seen.append(seen)
                if seen.is_bulk and proxy.failures:
                    failure = proxy.failures.pop(0)
                else:
                    failure = proxy.decide(seen)
                if callable(failure):
                    failure = failure()
                if seen.is_bulk and 0 < proxy.largest_bytes < len(body):
                    failure = "413"
                if failure == "413":
                    self.answer(413, b'{"error": "too large", "status": 413}')
                    return
                if failure == "hang":
                    self.wait_for_the_client()
                    return
                if failure == "429":
                    self.answer(429, b'{"error": "busy", "status": 429}')
                    return
                if failure == "cut":
                    self.close_connection = True
                    return
                connection = http.client.HTTPConnection(target, timeout=60)
                kind = {"Content-Type": self.headers["Content-Type"]}
                connection.request(self.command, self.path, body, kind)
                response = connection.getresponse()
                content = response.read()
                if failure == "cut after":
                    self.close_connection = True
                    return
                if failure == "late":
                    self.wait_for_the_client()
                    return
                if failure == "item":
                    answers = json.loads(content)
                    for item in answers["items"][:2]:
                        [answer] = item.values()
                        answer |= {"status": 429, "error": {"type": "busy"}}
                    content = json.dumps(answers).encode()
                self.answer(response.status, content)

            do_GET = do_HEAD = do_PUT = do_DELETE = do_POST

            def wait_for_the_client(self) -> None:
                """Give no answer until the client has closed the connection."""
                self.close_connection = True
                with suppress(OSError):
                    self.connection.recv(1)

            def answer(self, status: int, content: bytes) -> None:
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        # It looks so often, in seconds, whether it is to end.
        serve, poll = self._server.serve_forever, 0.02
        threading.Thread(target=serve, args=[poll], daemon=True).start()
        self.host = f"127.0.0.1:{self._server.server_port}"

    def stop(self) -> None:
        """End the server."""
        self._server.shutdown()
        self._server.server_close()


@contextmanager
def proxied(app, timeout: float, settings: dict):
    """Let the application talk to OpenSearch through a proxy; give that.

    Args:
        app: The application.
        timeout: Of the client, in seconds: for one that is meant to be over, fewer than
            anybody would set, as the test waits for it.
        settings: The others of the client.
    """
    [host] = ast.literal_eval(os.environ["INVENIO_SEARCH_HOSTS"])
    proxy = Proxy(host)
    settings = settings | {"timeout": timeout}
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(app.config, "SEARCH_CLIENT_CONFIG", settings)
        patch.setitem(app.config, "INDEXER_BULK_REQUEST_TIMEOUT", timeout)
        # Pauses before further tries are not what is looked at.
        for module in (interrupt, correct):
            patch.setattr(module, "pause", lambda seconds, check_stop=None: None)
        try:
            with faults.search_at(app, proxy.host):
                yield proxy
        finally:
            proxy.stop()


def name_of(kind: str) -> str:
    """Give the name of the index that documents of a kind are written to."""
    return documents.alias_of(kind_of(kind))


# A published record of the sample in a community, as often as wanted: each copy has a
# row, a parent, a membership, a state and a legacy date of its own.
_COPIES = (
    """
    CREATE TEMPORARY TABLE original ON COMMIT DROP AS
    SELECT r.* FROM rdm_records_metadata AS r
    WHERE r.parent_id IN (SELECT record_id FROM rdm_parents_community)
      AND r.json IS NOT NULL AND r.deletion_status = 'P' ORDER BY r.id LIMIT 1
    """,
    """
    CREATE TEMPORARY TABLE copies ON COMMIT DROP AS
    SELECT n, md5(random()::text)::uuid AS id, md5(random()::text)::uuid AS parent_id
    FROM generate_series(1, :count) AS n
    """,
    """
    INSERT INTO rdm_parents_metadata SELECT (jsonb_populate_record(
        NULL::rdm_parents_metadata,
        to_jsonb(p) || jsonb_build_object('id', c.parent_id))).*
    FROM copies AS c, original AS o
    JOIN rdm_parents_metadata AS p ON p.id = o.parent_id
    """,
    """
    INSERT INTO rdm_records_metadata SELECT (jsonb_populate_record(
        NULL::rdm_records_metadata, to_jsonb(o) || jsonb_build_object(
            'id', c.id, 'parent_id', c.parent_id,
            'json', jsonb_set(o.json || jsonb_build_object('id', 'copy-' || c.n),
                '{custom_fields,hclegacy:record_creation_date}',
                to_jsonb(to_char(TIMESTAMP '2010-01-01' + c.n * INTERVAL '17 minutes',
                                 'YYYY-MM-DD"T"HH24:MI:SS"Z"')))))).*
    FROM copies AS c, original AS o
    """,
    """
    INSERT INTO rdm_parents_community SELECT (jsonb_populate_record(
        NULL::rdm_parents_community,
        to_jsonb(m) || jsonb_build_object('record_id', c.parent_id))).*
    FROM copies AS c, original AS o
    JOIN rdm_parents_community AS m ON m.record_id = o.parent_id
    """,
    """
    INSERT INTO rdm_versions_state (latest_index, parent_id, latest_id)
    SELECT 1, parent_id, id FROM copies
    """,
)
SELECT_COPIES = """
SELECT id::text, parent_id::text, json->>'id' AS pid,
       json->'custom_fields'->>'hclegacy:record_creation_date' AS legacy
FROM rdm_records_metadata WHERE json->>'id' LIKE 'copy-%' ORDER BY id
"""


def multiply(instance: Instance, count: int) -> list[str]:
    """Add copies of a record of the sample, and their documents; give their ids.

    To make so many through the services, or to have their documents built, would take
    hours. Only one that has no later version is a fit original.
    """
    with instance.engine.begin() as connection:
        for statement in _COPIES:
            values = {"count": count} if ":count" in statement else {}
            connection.execute(text(statement.replace(":SS", r"\:SS")), values)
    instance.execute("ANALYZE")
    rows = instance.execute(SELECT_COPIES)
    indexer = current_indexer_registry.get(RECORD.indexer)
    indexer.bulk_index([rows[0].id])
    drain()
    name, client = name_of("record"), current_search_client
    first = client.get(index=name, id=rows[0].id)

    def actions():
        for row in rows:
            source = copy.copy(first["_source"])
            source |= {"id": row.pid, "uuid": row.id}
            source["parent"] = source["parent"] | {"uuid": row.parent_id}
            source["versions"] = source["versions"] | {"latest_id": row.id}
            source["custom_fields"] = source["custom_fields"] | {
                "hclegacy:record_creation_date": row.legacy
            }
            yield {
                "_index": name,
                "_id": row.id,
                "_version": first["_version"],
                "_version_type": "external_gte",
                "_source": source,
            }

    # A node with little memory takes no more at once.
    size = {"max_chunk_bytes": 10_000_000}
    search.helpers.bulk(client, actions(), request_timeout=60, **size)
    return [row.id for row in rows]


def draft(instance: Instance, ids: list[str]) -> None:
    """Give each of these copies a draft, as an edit does, and the draft a document."""
    instance.execute(
        "INSERT INTO rdm_drafts_metadata SELECT (jsonb_populate_record("
        " NULL::rdm_drafts_metadata, to_jsonb(r) || jsonb_build_object("
        " 'fork_version_id', r.version_id, 'version_id', 1, 'expires_at', NULL))).*"
        " FROM rdm_records_metadata AS r WHERE r.id = ANY(CAST(:ids AS uuid[]))",
        ids=ids,
    )
    client, name = current_search_client, name_of("draft")
    found = client.mget(index=name_of("record"), body={"ids": ids})["docs"]
    version = {"_version": 0, "_version_type": "external_gte"}
    actions = [
        {"_index": name, "_id": hit["_id"], "_source": hit["_source"], **version}
        for hit in found
    ]
    search.helpers.bulk(client, actions, request_timeout=60, refresh=True)


_PATTERNS = ("%Y-%m-%dT%H:%M:%SZ", "%Y-%m-%dT%H:%M:%S+00:00", "%Y-%m-%dT%H:%M:%S.%fZ")
_TABLES = (
    "communities_metadata",
    "rdm_parents_metadata",
    "rdm_drafts_metadata",
    "rdm_records_metadata",
    "rdm_versions_state",
    "rdm_parents_community",
)


def generate(instance: Instance, sample: demo_sample.Sample, count: int, seed: int):
    """Add varied copies of the sample: so many communities, and twice so many records.

    Of a record its versions and drafts come along, and all go together into none to
    three communities, some of which stand below another. Dates and groups are random.

    Args:
        instance: The instance, with the sample in it.
        sample: What is in it.
        count: How many communities.
        seed: Of the random choices.
    """
    chance = random.Random(seed)
    with instance.engine.begin() as connection:
        rows = {
            table: [
                row[0]
                for row in connection.execute(
                    text(f"SELECT to_jsonb(t) FROM {table} AS t ORDER BY t")
                )
            ]
            for table in _TABLES
        }
        for table, made in _generated(chance, rows, sample, count).items():
            statement = text(
                f"INSERT INTO {table} SELECT * FROM"
                f" jsonb_populate_record(NULL::{table}, CAST(:row AS jsonb))"
            )
            for row in made:
                connection.execute(statement, {"row": json.dumps(row)})


def _generated(chance, rows, sample, count):
    def new_id() -> str:
        return str(uuid.UUID(int=chance.getrandbits(128), version=4))

    broken = {item.id for item in sample.items if item.is_broken}
    made = {table: [] for table in _TABLES}
    above = next(
        row["json"]["parent"]
        for row in rows["communities_metadata"]
        if "parent" in row["json"]
    )
    whole = [
        row
        for row in rows["communities_metadata"]
        if row["id"] not in broken and row["deletion_status"] == "P"
    ]
    for number in range(count):
        row = copy.deepcopy(chance.choice(whole))
        id = new_id()
        row |= {"id": id, "slug": f"generated-{id}"}
        group = {"kcr:commons_group_id": str(7_000_000 + number)}
        row["json"]["custom_fields"] = group
        row["json"].pop("parent", None)
        if number > count // 2:
            other = chance.choice(made["communities_metadata"][: count // 2])
            row["json"]["parent"] = _reference(above, other)
        made["communities_metadata"].append(row)
    bad = {
        row["parent_id"] for row in rows["rdm_records_metadata"] if row["id"] in broken
    }
    parents = [row for row in rows["rdm_parents_metadata"] if row["id"] not in bad]
    for number in range(2 * count):
        original = chance.choice(parents)
        ids = defaultdict(new_id)
        members = chance.sample(made["communities_metadata"], chance.randint(0, 3))
        parent = copy.deepcopy(original) | {"id": ids[original["id"]]}
        parent["json"]["communities"] = {}
        if members:
            chosen = [row["id"] for row in members]
            parent["json"]["communities"] = {"ids": chosen, "default": chosen[0]}
        made["rdm_parents_metadata"].append(parent)
        for table in _TABLES[2:5]:
            for row in rows[table]:
                if row["parent_id"] == original["id"]:
                    made[table].append(_copy_of(row, ids, chance, members, number))
        made["rdm_parents_community"] += [
            {"community_id": row["id"], "record_id": parent["id"]} for row in members
        ]
    return made


def _reference(like, row):
    """Make what a sub-community keeps of the one above it."""
    reference = {**like, "id": row["id"]}
    if "@v" in reference:
        reference["@v"] = f"{row['id']}::{row['version_id'] - 1}"
    return reference


def _copy_of(row, ids, chance, members, number):
    row = copy.deepcopy(row)
    for name in ("id", "parent_id", "latest_id", "next_draft_id"):
        if row.get(name):
            row[name] = ids[row[name]]
    if not row.get("json"):
        return row
    row["json"]["id"] = f"gen-{number}-{row['index']}"
    fields = row["json"].get("custom_fields") or {}
    if "hclegacy:record_creation_date" in fields:
        instant = datetime(2005, 1, 1) + timedelta(
            microseconds=chance.randrange(15 * 365 * 86400 * 10**6)
        )
        fields["hclegacy:record_creation_date"] = instant.strftime(
            chance.choice(_PATTERNS)
        )
    if members and chance.random() < 0.8:
        groups = [m["json"]["custom_fields"]["kcr:commons_group_id"] for m in members]
        fields["hclegacy:groups_for_deposit"] = [
            {"group_identifier": group, "group_name": "g"} for group in groups
        ]
    row["json"]["custom_fields"] = fields
    return row


@contextmanager
def forgetful():
    """Let OpenSearch forget at once which version a deleted document had."""
    names = [prefix_index(name) for name in ("rdmrecords", "communities")]

    def remember(seconds: str | None) -> None:
        for name in names:
            current_search_client.indices.put_settings(
                index=name, body={"index.gc_deletes": seconds}
            )

    remember("0s")
    try:
        yield
    finally:
        remember(None)


INDICES = ("rdmrecords-records", "communities")


def set_on_indices(settings) -> None:
    for name in INDICES:
        current_search_client.indices.put_settings(
            index=prefix_index(name), body=settings
        )


@contextmanager
def read_only():
    """Do what OpenSearch does at its disk watermark: writing answers 429."""
    try:
        set_on_indices({"index.blocks.read_only_allow_delete": True})
        yield
    finally:
        set_on_indices({"index.blocks.read_only_allow_delete": None})
