# SPDX-FileCopyrightText: 2026 kcworks-migrations contributors
# SPDX-License-Identifier: MIT
"""Times the created-only indexer against the ordinary drain, side by side.

Run on an instance of its own (``demo/setup.sh``: create_instance), as
``python benchmarks/indexing.py [DOCUMENTS] [SETTLED] [QUEUED]``:

- ten times so many by this package, the dates alone, in turns with the floor: a bare
  `_bulk` of the same whole documents;
- so many by this package and by invenio-indexer, whole, with one worker and with two:
  fresh ones, and as Invenio leaves them behind;
- large documents, for the memory of a worker;
- the settling of many documents (of 200,000 each look takes minutes);
- the queueing of a community with many records.

People who edit beside a drain are in ``tests/faults/test_load.py``.
"""

import os
import statistics
import sys
import time
import tracemalloc
import uuid
from itertools import islice
from pathlib import Path
from resource import RUSAGE_SELF, getrusage

from celery import current_app as celery_app
from flask import current_app
from invenio_app.factory import create_api
from invenio_db import db
from invenio_indexer.proxies import current_indexer_registry
from invenio_search import current_search_client
from sqlalchemy import text

from kcworks_migrations.config import options_from
from kcworks_migrations.index.broker import publisher
from kcworks_migrations.index.outbox import send_pending
from kcworks_migrations.interrupt import never
from kcworks_migrations.kinds import COMMUNITY, RECORD
from kcworks_migrations.report.reporter import Reporter

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
sys.path.insert(0, str(Path(__file__).parents[1] / "demo"))
import mark
from support import index
from support.faults import NOWHERE, Child, broker_at
from support.instance import Instance
from support.settling import later, tick

ROUNDS = 3
ORDINARY, CREATED_ONLY = "records", RECORD.own_indexer
CHUNKS = (100, 500)
"""How many documents a request of the floor writes: as many as ours do, and more."""
KILOBYTES, BIG_KILOBYTES, BIG_DOCUMENTS = 10, 560, 200
COPIES = "json->>'id' LIKE 'copy-%'"
STATES = {
    "fresh": "SELECT",
    "community edited": "UPDATE communities_metadata SET version_id = version_id + 1",
    # The document of the first version goes on to name the second as the latest.
    "third version": "UPDATE rdm_versions_state AS v SET latest_index = 3, latest_id ="
    f" (SELECT id FROM rdm_records_metadata WHERE NOT {COPIES} LIMIT 1)"
    f" FROM rdm_records_metadata AS r WHERE r.parent_id = v.parent_id AND r.{COPIES}",
    # That of a draft is then older than its row: it has to be made anew.
    "file uploaded": "UPDATE rdm_records_metadata SET version_id = version_id + 1"
    f" WHERE {COPIES}",
}
"""What Invenio changes in the database without indexing what embeds it."""


def execute(*statements: str) -> None:
    """Execute statements, each committed."""
    for statement in statements:
        with db.engine.begin() as connection:
            connection.execute(text(statement))


def timed(work, *arguments) -> float:
    """Give the seconds that the work takes."""
    start = time.perf_counter()
    work(*arguments)
    return time.perf_counter() - start


def in_children(work, number: int = 1) -> float:
    """Give the seconds that processes of their own need; print their memory."""

    def work_and_tell() -> None:
        before = getrusage(RUSAGE_SELF).ru_maxrss / 1024
        work()
        after = getrusage(RUSAGE_SELF).ru_maxrss / 1024
        print(f"{after:.0f} MiB resident at most, {after - before:.0f} by the work")

    def work_together() -> list[str]:
        children = [Child(Instance(db.engine), work_and_tell) for _ in range(number)]
        for child in children:
            assert child.wait() == 0, child.output()
        return [child.output().splitlines()[-1] for child in children]

    start = time.perf_counter()
    told = work_together()
    seconds = time.perf_counter() - start
    print("   ", "; ".join(told))
    return seconds


def drain(name: str, wanted: list[str], workers: int) -> float:
    """Queue ids, and give the seconds that some workers need to do them."""
    indexer = current_indexer_registry.get(name)
    indexer.bulk_index(wanted)

    def work() -> None:
        done = indexer.process_bulk_queue({"raise_on_error": False}, 10**9)
        assert done[1] == 0, "documents were refused"

    seconds = in_children(work, workers)
    assert not index.waiting(), "documents were handed on"
    return seconds


def made(count: int, kilobytes: int) -> list[str]:
    """Make an instance with so many documents of about so many bytes; give the ids."""
    index.fill(db.engine)
    execute(
        "UPDATE rdm_records_metadata SET json = jsonb_set(json,"
        " '{metadata,description}', (SELECT to_jsonb(string_agg(md5(n::text), ' '))"
        f" FROM generate_series(1, {(kilobytes - 3) * 1000 // 33}) AS n))"
    )
    return index.multiply(Instance(db.engine), count)


def read_documents(wanted: list[str], size: int) -> list[list]:
    """Give the bodies of the `_bulk` requests that write documents as they are."""
    name, bodies = index.name_of("record"), []
    some = iter(wanted)
    while chunk := list(islice(some, size)):
        body = []
        for d in current_search_client.mget(body={"ids": chunk}, index=name)["docs"]:
            version = {"version": d["_version"], "version_type": "external_gte"}
            body += [{"index": {"_id": d["_id"]} | version}, d["_source"]]
        bodies.append(body)
    return bodies


def bare_bulk(bodies: list[list]) -> None:
    """Do what is least: write whole documents, read nothing, compare nothing."""
    for body in bodies:
        answer = current_search_client.bulk(body=body, index=index.name_of("record"))
        assert not answer["errors"]


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


def queue_community() -> None:
    """Queue a changed community with all that embeds it, as a run does at its end."""
    _, how = options_from(current_app.config)
    silent = Reporter(is_silent=True)
    sent = send_pending(db.engine, how, silent, never, is_again=True)
    assert sent.error is None


def purge(name: str) -> None:
    """Throw away what is queued."""
    with celery_app.connection_for_write() as connection:
        current_indexer_registry.get(name).mq_queue(connection).purge()


def older() -> None:
    """Make every document stale."""
    for table in ("rdm_records_metadata", "communities_metadata"):
        execute(f"UPDATE {table} SET created = created - interval '1 day'")


def compare_drains(wanted: list[str]) -> None:
    """Print how long the same documents take both ways, in each state."""
    for state, change in STATES.items():
        seconds = {}
        for name in (CREATED_ONLY, ORDINARY):
            for workers in (1, 2):
                execute(change)
                older()
                seconds[name, workers] = drain(name, wanted, workers)
                way = "created-only" if name == CREATED_ONLY else "ordinary"
                what = f"{state}: {way}, {workers} worker(s)"
                show(what, len(wanted), seconds[name, workers])
        for workers in (1, 2):
            times = seconds[ORDINARY, workers] / seconds[CREATED_ONLY, workers]
            print(f"{state}, {workers} worker(s): {times:.1f} times as fast")


def compare_floor(wanted: list[str]) -> None:
    """Print how much longer than a bare `_bulk` a worker takes."""
    seconds: dict[int, list[float]] = {size: [] for size in (0, *CHUNKS)}
    for _ in range(ROUNDS):
        older()
        seconds[0].append(drain(CREATED_ONLY, wanted, 1))
        show("created-only, 1 worker", len(wanted), seconds[0][-1])
        for size in CHUNKS:
            bodies = read_documents(wanted, size)
            seconds[size].append(timed(bare_bulk, bodies))
            show(f"bare _bulk of {size} at once", len(wanted), seconds[size][-1])
    for size in CHUNKS:
        times = statistics.median(seconds[0]) / statistics.median(seconds[size])
        print(f"1 worker: {times:.2f} times as long as a bare _bulk of {size} at once")


def large_documents() -> None:
    """Print what large documents take, and the memory of the worker."""
    wanted = made(BIG_DOCUMENTS, BIG_KILOBYTES)
    older()
    seconds = drain(CREATED_ONLY, wanted, 1)
    show(f"created-only, documents of {BIG_KILOBYTES} kB", len(wanted), seconds)


def settle(documents: int) -> None:
    """Print how long two looks take: one that writes everything, one nothing."""
    made(documents, KILOBYTES)
    instance = Instance(db.engine)
    instance.upgrade(is_queued=False)
    for what in ("corrects everything", "finds everything right"):
        later(instance)
        seconds = in_children(tick)
        found = instance.run().settling
        show(f"a look that {what}", found["documents"], seconds)
    assert instance.run().settled_at is not None


def compare_queueing(queued: int) -> None:
    """Print how long the queueing takes, and what it holds in memory."""
    before = timed(one_by_one, queued)
    show("queueing, one publish per id", queued, before)
    purge(ORDINARY)
    for name in (ORDINARY, CREATED_ONLY):
        after = timed(in_bulk, name, queued)
        show(f"queueing in bulk to {name}", queued, after)
        print(f"    {before / after:.1f} times as fast")
        purge(name)
    instance = Instance(db.engine)
    for records in (queued // 10, queued):
        instance.empty()
        instance.many(records, 1)
        with broker_at(NOWHERE):
            instance.upgrade(kinds=(COMMUNITY,))
        purge(CREATED_ONLY)
        seconds = timed(queue_community)
        show("a community with its records, from the database", records, seconds)
        tracemalloc.start()
        queue_community()
        print(f"    at most {tracemalloc.get_traced_memory()[1] / 2**20:.1f} MiB")
        tracemalloc.stop()
        purge(CREATED_ONLY)


def main() -> None:
    """Compare the drains, then the settling and the queueing."""
    given = [int(argument) for argument in sys.argv[1:]]
    documents, settled, queued = [*given, *(1000, 20_000, 20_000)[len(given) :]]
    os.environ["INVENIO_KCWORKS_CREATED_DATES_QUEUE_DELAY_SECONDS"] = "0"
    with create_api().app_context():
        wanted = made(10 * documents, KILOBYTES)
        compare_floor(wanted)
        compare_drains(wanted[:documents])
        large_documents()
        settle(settled)
        compare_queueing(queued)
        Instance(db.engine).empty()
        index.empty_index()


def show(what: str, count: int, seconds: float) -> None:
    """Print one measurement."""
    print(f"{what}: {seconds:.2f} s, {count / seconds:.0f} a second", flush=True)


if __name__ == "__main__":
    mark.require()
    main()
