# SPDX-FileCopyrightText: 2026 kcworks-migrations contributors
# SPDX-License-Identifier: MIT
"""Times the created-only indexer against the ordinary drain, side by side.

Run on an instance of its own (``demo/setup.sh``: create_instance), as
``python benchmarks/indexing.py [DOCUMENTS] [QUEUED]``. The same ids, with one worker
and with two: whole documents by invenio-indexer, then the dates alone by this package,
and in turns with them, as the floor, a bare `_bulk` of the same whole documents. Then
the same on documents as Invenio leaves them, whose communities were edited since; the
settling of all; and the queueing of a community with many records.
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

from invenio_app.factory import create_api
from invenio_db import db
from invenio_indexer.proxies import current_indexer_registry
from invenio_search import current_search_client
from sqlalchemy import text

from kcworks_migrations.config import options_from
from kcworks_migrations.index.broker import publisher
from kcworks_migrations.index.outbox import send_pending
from kcworks_migrations.interrupt import never
from kcworks_migrations.kinds import RECORD
from kcworks_migrations.report.reporter import Reporter

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
sys.path.insert(0, str(Path(__file__).parents[1] / "demo"))
from support import index
from support.faults import NOWHERE, Child, broker_at
from support.instance import Instance
from support.settling import later, tick

ROUNDS = 3
ORDINARY, CREATED_ONLY = "records", RECORD.own_indexer
CHUNK = 500


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


def drain(name: str, wanted: list[str], workers: int) -> float:
    """Queue ids, and give the seconds that some workers need to do them."""
    indexer = current_indexer_registry.get(name)
    indexer.bulk_index(wanted)

    def work() -> None:
        done = indexer.process_bulk_queue({"raise_on_error": False}, 10**9)
        assert done[1] == 0, "documents were refused"

    def work_together() -> None:
        children = [Child(Instance(db.engine), work) for _ in range(workers)]
        for child in children:
            assert child.wait() == 0, child.output()

    seconds = timed(work_together)
    assert not index.waiting(), "documents were handed on"
    return seconds


def read_documents(wanted: list[str]) -> list[list]:
    """Give the bodies of the `_bulk` requests that write documents as they are."""
    name, bodies = index.name_of("record"), []
    some = iter(wanted)
    while chunk := list(islice(some, CHUNK)):
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
    _, how = options_from({})
    silent = Reporter(is_silent=True)
    sent = send_pending(db.engine, how, silent, never, is_again=True)
    assert sent.error is None


def purge(name: str) -> None:
    """Throw away what is queued."""
    from celery import current_app as celery_app

    with celery_app.connection_for_write() as connection:
        current_indexer_registry.get(name).mq_queue(connection).purge()


def older() -> None:
    """Make every document stale."""
    for table in ("rdm_records_metadata", "communities_metadata"):
        execute(f"UPDATE {table} SET created = created - interval '1 day'")


def compare_drains(documents: int) -> None:
    """Print seconds, documents a second and ratios."""
    wanted = index.multiply(Instance(db.engine), documents)
    ordinary = {}
    for workers in (1, 2):
        ordinary[workers] = drain(ORDINARY, wanted, workers)
        show(f"ordinary drain, {workers} worker(s)", documents, ordinary[workers])
    ours: dict[int, list[float]] = {1: [], 2: []}
    floor = []
    for _ in range(ROUNDS):
        for workers in (1, 2):
            older()
            ours[workers].append(drain(CREATED_ONLY, wanted, workers))
            what = f"created-only, {workers} worker(s)"
            show(what, documents, ours[workers][-1])
        floor.append(timed(bare_bulk, read_documents(wanted)))
        show("bare _bulk", documents, floor[-1])
    medians = {workers: statistics.median(ours[workers]) for workers in ours}
    floor_median = statistics.median(floor)
    for workers, median in medians.items():
        times = ordinary[workers] / median
        print(f"{workers} worker(s): {times:.1f} times as fast as the ordinary drain")
    times = medians[1] / floor_median
    print(f"1 worker: {times:.1f} times as long as a bare _bulk")
    execute("UPDATE communities_metadata SET version_id = version_id + 1")
    older()
    left = drain(CREATED_ONLY, wanted, 1)
    show("created-only, communities edited since, 1 worker", documents, left)
    print(f"    {ordinary[1] / left:.1f} times as fast as the ordinary drain")


def settle() -> None:
    """Print how long two looks take: one that writes everything, one nothing."""
    instance = Instance(db.engine)
    instance.upgrade(is_queued=False)
    for what in ("corrects everything", "finds everything right"):
        later(instance)
        before = getrusage(RUSAGE_SELF).ru_maxrss
        seconds = timed(tick)
        more = (getrusage(RUSAGE_SELF).ru_maxrss - before) / 1024
        show(f"a look that {what}", instance.run().settling["documents"], seconds)
        print(f"    {more:.0f} MiB more than ever before")
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
            instance.upgrade(kinds=("community",))
        purge(CREATED_ONLY)
        seconds = timed(queue_community)
        show("a community with its records, from the database", records, seconds)
        tracemalloc.start()
        queue_community()
        print(f"    at most {tracemalloc.get_traced_memory()[1] / 2**20:.1f} MiB")
        tracemalloc.stop()
        purge(CREATED_ONLY)


def main() -> None:
    """Compare the drains, then the queueing."""
    documents, queued = [*map(int, sys.argv[1:]), 1000, 20_000][:2]
    os.environ["INVENIO_KCWORKS_CREATED_DATES_QUEUE_DELAY_SECONDS"] = "0"
    with create_api().app_context():
        index.fill(db.engine)
        compare_drains(documents)
        settle()
        compare_queueing(queued)
        Instance(db.engine).empty()
        index.empty_index()


def show(what: str, count: int, seconds: float) -> None:
    """Print one measurement."""
    print(f"{what}: {seconds:.2f} s, {count / seconds:.0f} a second", flush=True)


if __name__ == "__main__":
    main()
