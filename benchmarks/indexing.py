# SPDX-FileCopyrightText: 2026 kcworks-migrations contributors
# SPDX-License-Identifier: MIT
"""Times the created-only indexer against the ordinary drain, side by side.

Run on an instance of its own (``demo/setup.sh``: create_instance), as
``python benchmarks/indexing.py [DOCUMENTS] [QUEUED]``. One worker, the same ids: whole
documents by invenio-indexer, then in turns the dates alone by this package and, as the
floor, a bare partial `_bulk` update of the same leaf. Then the queueing of many ids.
"""

import statistics
import sys
import time
import uuid
from itertools import islice
from pathlib import Path

from invenio_app.factory import create_api
from invenio_db import db
from invenio_indexer.proxies import current_indexer_registry
from invenio_search import current_search_client
from sqlalchemy import text

from kcworks_migrations.broker import publisher
from kcworks_migrations.names import CREATED_ONLY_OF_KIND

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
sys.path.insert(0, str(Path(__file__).parents[1] / "demo"))
import index

ROUNDS = 3
ORDINARY, CREATED_ONLY = "records", CREATED_ONLY_OF_KIND["record"]
CHUNK = 500

# A published record of the sample in a community, as often as wanted: each copy has a
# row, a parent, a membership and a state of its own.
MULTIPLY = """
CREATE TEMPORARY TABLE copies AS
SELECT n, gen_random_uuid() AS id, gen_random_uuid() AS parent_id
FROM generate_series(1, {copies}) AS n;
CREATE TEMPORARY TABLE original AS
SELECT r.* FROM rdm_records_metadata AS r JOIN rdm_parents_community AS m
    ON m.record_id = r.parent_id
WHERE r.json IS NOT NULL AND r.deletion_status = 'P' ORDER BY r.id LIMIT 1;
INSERT INTO rdm_parents_metadata SELECT (jsonb_populate_record(
    NULL::rdm_parents_metadata, to_jsonb(p) || jsonb_build_object('id', c.parent_id))).*
FROM copies AS c, original AS o JOIN rdm_parents_metadata AS p ON p.id = o.parent_id;
INSERT INTO rdm_records_metadata SELECT (jsonb_populate_record(
    NULL::rdm_records_metadata, to_jsonb(o) || jsonb_build_object(
        'id', c.id, 'parent_id', c.parent_id,
        'json', o.json || jsonb_build_object('id', 'copy-' || c.n)))).*
FROM copies AS c, original AS o;
INSERT INTO rdm_parents_community SELECT (jsonb_populate_record(
    NULL::rdm_parents_community,
    to_jsonb(m) || jsonb_build_object('record_id', c.parent_id))).*
FROM copies AS c, original AS o JOIN rdm_parents_community AS m
    ON m.record_id = o.parent_id;
INSERT INTO rdm_versions_state (latest_index, parent_id, latest_id)
SELECT 1, parent_id, id FROM copies;
"""


def execute(*statements: str) -> None:
    """Execute statements, each committed."""
    for statement in statements:
        with db.engine.begin() as connection:
            connection.execute(text(statement))


def ids() -> list[str]:
    """Give the ids of the copies."""
    with db.engine.connect() as connection:
        query = "SELECT id::text FROM rdm_records_metadata WHERE json->>'id' LIKE"
        return [row[0] for row in connection.execute(text(f"{query} 'copy-%'"))]


def timed(work, *arguments) -> float:
    """Give the seconds that the work takes."""
    start = time.perf_counter()
    work(*arguments)
    return time.perf_counter() - start


def drain(name: str, wanted: list[str]) -> float:
    """Queue ids, and give the seconds that one worker needs to do them."""
    indexer = current_indexer_registry.get(name)
    indexer.bulk_index(wanted)
    db.session.remove()
    done: list[int] = []

    def work() -> None:
        done.extend(indexer.process_bulk_queue({"raise_on_error": False}, 10**9))

    seconds = timed(work)
    assert done == [len(wanted), 0], "documents were handed on or refused"
    return seconds


def partial_update(wanted: list[str], created: str) -> None:
    """Do with a bare `_bulk` what is least: send one leaf, read nothing."""
    name = index.name_of("record")
    some = iter(wanted)
    while chunk := list(islice(some, CHUNK)):
        body = []
        for id in chunk:
            body += [{"update": {"_id": id}}, {"doc": {"created": created}}]
        assert not current_search_client.bulk(body=body, index=name)["errors"]


def one_by_one(count: int) -> None:
    """Queue ids as invenio-indexer does: one message for each."""
    indexer = current_indexer_registry.get(ORDINARY)
    indexer.bulk_index(str(uuid.uuid4()) for _ in range(count))


def in_bulk(name: str, count: int) -> None:
    """Queue ids through one channel, and wait until the broker has confirmed all."""
    with publisher() as broker:
        some = (str(uuid.uuid4()) for _ in range(count))
        while chunk := list(islice(some, 2000)):
            broker.publish(name, chunk)


def purge(name: str) -> None:
    """Throw away what is queued."""
    from celery import current_app as celery_app

    with celery_app.connection_for_write() as connection:
        current_indexer_registry.get(name).mq_queue(connection).purge()


def main() -> None:
    """Print seconds, documents a second and ratios."""
    documents, queued = [*map(int, sys.argv[1:]), 1000, 20_000][:2]
    with create_api().app_context():
        index.fill(db.engine)
        execute(MULTIPLY.format(copies=documents))
        wanted = ids()
        ordinary = drain(ORDINARY, wanted)
        show("ordinary drain", documents, ordinary)
        ours, floor = [], []
        for _ in range(ROUNDS):
            execute(
                "UPDATE rdm_records_metadata SET created = created - interval '1 day'",
                "UPDATE communities_metadata SET created = created - interval '1 day'",
            )
            ours.append(drain(CREATED_ONLY, wanted))
            show("created-only", documents, ours[-1])
        # Last, as it raises the versions of the documents.
        for number in range(ROUNDS):
            floor.append(timed(partial_update, wanted, f"2000-01-0{number + 1}"))
            show("bare _bulk", documents, floor[-1])
        ours_median, floor_median = statistics.median(ours), statistics.median(floor)
        print(f"created-only is {ordinary / ours_median:.1f} times as fast as ordinary")
        print(f"and takes {ours_median / floor_median:.1f} times as long as bare _bulk")

        before = timed(one_by_one, queued)
        show("queueing, one publish per id", queued, before)
        purge(ORDINARY)
        for name in (ORDINARY, CREATED_ONLY):
            after = timed(in_bulk, name, queued)
            show(f"queueing in bulk to {name}", queued, after)
            print(f"    {before / after:.1f} times as fast")
            purge(name)
        execute("TRUNCATE rdm_records_metadata, rdm_parents_metadata CASCADE")
        index.empty_index()


def show(what: str, count: int, seconds: float) -> None:
    """Print one measurement."""
    print(f"{what}: {seconds:.2f} s, {count / seconds:.0f} a second", flush=True)


if __name__ == "__main__":
    main()
