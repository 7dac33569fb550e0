# SPDX-FileCopyrightText: 2026 kcworks-migrations contributors
# SPDX-License-Identifier: MIT
"""The index settles without a person: whatever went wrong, it compares again."""

import json
import re
import signal
from concurrent.futures import ThreadPoolExecutor

import pytest
from celery import current_app as celery_app
from invenio_app_rdm import config
from invenio_indexer.proxies import current_indexer_registry
from invenio_indexer.tasks import process_bulk_queue
from sqlalchemy import event
from support import faults, index
from support.instance import OURS
from support.settling import (
    assert_as_after_full_reindex,
    later,
    lose_messages,
    settle,
    tick,
)
from support.worker import QUEUE, forget_tasks

from kcworks_migrations.cli import created_dates
from kcworks_migrations.cli import status as cli_status
from kcworks_migrations.index import compare
from kcworks_migrations.index import settle as settling
from kcworks_migrations.index.documents import Index
from kcworks_migrations.kinds import RECORD
from kcworks_migrations.ledger.settling import LOOKS
from kcworks_migrations.report import notices
from kcworks_migrations.tasks import settle_created_dates_task

UNQUEUED = f"SELECT count(*) FROM {OURS}backup WHERE queued_at IS NULL"


def test_undisturbed_upgrade_settles_at_the_first_look(world):
    world.upgrade()
    index.drain()
    assert settle(world) == 1
    run = world.run()
    assert (run.settling["written"], run.settling["stale"]["count"]) == (0, 0)
    assert run.settling["right"] > 50 and run.settling["seconds"] >= 0
    assert_as_after_full_reindex()


def test_nothing_is_compared_before_it_is_due(world):
    world.upgrade()
    lose_messages(world)
    tick()
    assert world.run().settling is None
    later(world)
    tick()
    assert world.run().settling["written"] > 0


@pytest.mark.parametrize("indexing", ["created-only", "full"])
def test_messages_that_were_purged_are_made_up_for(world, app, monkeypatch, indexing):
    monkeypatch.setitem(app.config, "KCWORKS_CREATED_DATES_INDEXING", indexing)
    world.upgrade()
    lose_messages(world)
    assert settle(world) == 2  # the second one finds nothing to write
    assert_as_after_full_reindex()
    assert index.waiting() == 0


def test_pending_entries_are_indexed_and_marked(world):
    world.upgrade(is_queued=False)
    assert world.scalar(UNQUEUED) > 0
    verdict = world.verify(fix=True)
    assert verdict.is_clean and verdict.indexed > 0 == verdict.stale.count
    assert world.scalar(UNQUEUED) == 0
    assert settle(world) == 1
    assert_as_after_full_reindex()


def test_document_written_after_everything_else_is_found(world):
    """By a worker that had built it before the upgrade and was slow to write it."""
    world.upgrade()
    entry = world.backup(kind="record")[0]
    client = current_indexer_registry.get(RECORD.indexer).client
    name = index.name_of("record")
    before = client.get(index=name, id=entry.entity)
    index.drain()
    version = {"version": before["_version"], "version_type": "external_gte"}
    client.index(index=name, id=entry.entity, body=before["_source"], **version)
    assert settle(world) == 2
    assert_as_after_full_reindex()


def test_rollback_while_settling_stays_pending(world, monkeypatch):
    """Entries that are reopened behind the reading are not marked as done."""
    world.upgrade(is_queued=False)
    correct = compare.outbox.correct
    rolled_back = []

    def roll_back_first(*given):
        outcome = correct(*given)
        if not rolled_back:
            rolled_back.append(True)
            world.downgrade()
            world.empty_queues()
            world.execute(
                f"UPDATE {OURS}backup SET queued_at = NULL WHERE outcome = 'restored'"
            )
        return outcome

    monkeypatch.setattr(compare.outbox, "correct", roll_back_first)
    later(world)
    tick()
    monkeypatch.undo()
    assert rolled_back and world.run().settled_at is None
    assert world.scalar(UNQUEUED) > 0
    settle(world)
    assert world.scalar(UNQUEUED) == 0
    assert_as_after_full_reindex()


def test_run_that_ends_meanwhile_keeps_the_ledger_from_settling(world, monkeypatch):
    world.upgrade()
    index.drain()
    later(world)
    look, ran = settling.compare, []

    def run_meanwhile(*given, **more):
        verdict = look(*given, **more)
        ran.append(world.upgrade())
        return verdict

    monkeypatch.setattr(settling, "compare", run_meanwhile)
    tick()
    monkeypatch.undo()
    assert ran and world.run().settled_at is None
    assert settle(world) == 1
    assert all(row.settled_at for row in world.execute(f"SELECT * FROM {OURS}run"))


def test_tick_without_due_work_costs_one_query(world, engine):
    world.upgrade()
    statements = []

    def note(connection, cursor, statement, *more) -> None:
        statements.append(statement)

    event.listen(engine, "before_cursor_execute", note)
    try:
        settle_created_dates_task()
    finally:
        event.remove(engine, "before_cursor_execute", note)
    assert len(statements) == 1


def test_two_ticks_at_once_make_one_look(world, monkeypatch, app):
    world.upgrade()
    index.drain()
    later(world)
    looks = []
    look = settling.compare
    monkeypatch.setattr(
        settling,
        "compare",
        lambda *given, **more: looks.append(1) or look(*given, **more),
    )

    def one(_):
        with app.app_context():
            tick()

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(one, range(2)))
    assert looks == [1]


def test_look_that_was_killed_is_made_up_for(world, monkeypatch):
    world.upgrade()
    lose_messages(world)
    later(world)

    def fail(*given, **more):
        raise MemoryError

    monkeypatch.setattr(settling, "compare", fail)
    with pytest.raises(MemoryError):
        tick()
    monkeypatch.undo()
    tick()
    assert world.run().settling is None
    later(world, 60)
    tick()
    assert world.run().settling["written"] > 0


def test_looks_that_each_find_something_become_daily(world):
    world.upgrade()
    index.drain()
    entry = world.backup(kind="record")[0]
    client = current_indexer_registry.get(RECORD.indexer).client
    name = index.name_of("record")
    pauses = []
    for _ in range(LOOKS):
        found = client.get(index=name, id=entry.entity)
        body = found["_source"] | {"created": "2001-01-01T00:00:00+00:00"}
        version = {"version": found["_version"], "version_type": "external_gte"}
        client.index(index=name, id=entry.entity, body=body, **version)
        later(world, 24 * 60)
        tick()
        pauses.append(
            world.scalar(
                "SELECT round(extract(epoch FROM next_look_at - clock_timestamp())"
                f" / 600) FROM {OURS}run ORDER BY id DESC LIMIT 1"
            )
        )
    assert [int(p) for p in pauses] == [1, 2, 4, 8, 16, 144]


def test_refused_documents_do_not_keep_it_from_settling(world, app):
    world.upgrade()
    with index.proxied(app, 10, {}) as proxy:
        proxy.largest_bytes = 1_000
        index.drain()
        assert settle(world) >= 1
    run = world.run()
    assert run.settling["refused"]["count"] > 0
    assert not run.settling["is_clean"]


def test_opensearch_that_is_down_is_made_up_for(world, app):
    with faults.search_at(app, "127.0.0.1:1"):
        assert world.upgrade().pending > 0
        later(world)
        tick()
        run = world.run()
        assert run.settled_at is None and run.settling["error"]
    assert settle(world) >= 1
    assert_as_after_full_reindex()


def test_broker_that_is_dead_through_the_whole_run_is_made_up_for(world):
    with faults.broker_at(faults.NOWHERE):
        assert world.upgrade().pending > 0
        later(world)
        tick()
    assert settle(world) >= 1
    assert_as_after_full_reindex()


def test_opensearch_that_takes_no_writes_is_made_up_for(world):
    """As at its disk watermark, while the queues drain and at the first look."""
    world.upgrade()
    with index.read_only():
        index.turn()
        assert index.waiting() > 0
        later(world)
        tick()
        assert world.run().settling["error"]
    lose_messages(world)
    assert settle(world) == 2
    assert_as_after_full_reindex()


def test_killed_worker_is_made_up_for(world):
    world.upgrade()

    def work_until_killed() -> None:
        write = Index.write

        def killed(self, documents):
            write(self, documents)
            faults.kill_this_process()

        Index.write = killed
        process_bulk_queue(indexer_name=RECORD.own_indexer)

    child = faults.Child(world, work_until_killed)
    assert child.wait() == -signal.SIGKILL, child.output()
    waits = "the broker has given the message back"
    faults.wait_until(lambda: index.waiting([RECORD.own_indexer]), waits)
    lose_messages(world)
    assert settle(world) == 2
    assert_as_after_full_reindex()


def test_nothing_is_looked_for_without_our_tables(world):
    for name in ("run", "backup", "problem"):
        world.execute(f"ALTER TABLE {OURS}{name} RENAME TO away_{name}")
    try:
        tick()
    finally:
        for name in ("run", "backup", "problem"):
            world.execute(f"ALTER TABLE away_{name} RENAME TO {OURS}{name}")


def test_beat_is_told_and_its_schedule_is_a_dictionary_of_ours(app):
    schedule = app.config["CELERY_BEAT_SCHEDULE"]
    entry = schedule["kcworks-created-dates-settle"]
    assert entry["task"] == "kcworks_migrations.tasks.settle_created_dates_task"
    assert schedule is not config.CELERY_BEAT_SCHEDULE
    assert config.CELERY_BEAT_SCHEDULE.items() <= schedule.items()


def test_status_says_how_the_index_is(world, status, app):
    world.upgrade()
    assert status() == (0, "Index: settling, next look in 10 min")
    lose_messages(world)
    later(world)
    tick()
    code, line = status()
    assert code == 0
    assert re.fullmatch(
        r"Index: settling: \d\d were stale and have been corrected;"
        r" a second look will confirm it; next look in 10 min",
        line,
    )
    settle(world)
    code, line = status()
    assert re.fullmatch(r"Index: settled at .* UTC \(\d+ documents right\)", line)
    result = app.test_cli_runner().invoke(created_dates, ["status", "--json"])
    index_json = json.loads(result.output)["index"]
    assert index_json["settled_at"].endswith("Z") and not index_json["is_stuck"]


def test_status_for_a_monitor(world, status):
    assert status("--check")[0] == 0
    world.upgrade(is_queued=False)
    later(world, 5)
    code, line = status("--check")
    assert code == 0
    assert line == (
        "OK: settling, next look in 5 min; oldest pending change: 5 min;"
        " documents refused: 0"
    )
    settle(world)
    code, line = status("--check")
    assert code == 0
    assert line.endswith("; oldest pending change: none; documents refused: 0")


def test_status_waits_until_the_index_has_settled(world, status, monkeypatch):
    world.upgrade()
    index.drain()
    waits = []

    def settle_at_the_second(seconds, check_stop):
        waits.append(seconds)
        if len(waits) == 2:
            settle(world)

    monkeypatch.setattr(cli_status, "pause", settle_at_the_second)
    assert status("--wait")[0] == 0
    assert len(waits) == 2


def test_verify_keeps_what_it_found(world):
    world.upgrade()
    lose_messages(world)
    found = world.verify()
    assert world.run().settling["stale"]["count"] == found.stale.count > 0
    assert world.run().settled_at is None
    assert world.verify(fix=True).written == found.stale.count + found.missing.count
    assert settle(world) == 1
    assert_as_after_full_reindex()


@pytest.mark.parametrize(
    ("when", "sent"),
    [
        ("ended", [False]),
        ("settled", [True]),
        ("both", [False, True]),
    ],
)
def test_notice_is_sent_when_it_is_wanted(world, app, monkeypatch, when, sent):
    monkeypatch.setitem(app.config, "KCWORKS_CREATED_DATES_NOTICE_WHEN", when)
    told = []

    def tell(app, summary):
        told.append(notices.subject_of(summary).endswith(", index settled"))

    with notices.run_ended.connected_to(tell):
        world.upgrade()
        index.drain()
        settle(world)
    assert told == sent


def test_notice_names_what_does_not_settle(world, monkeypatch):
    world.upgrade()
    lose_messages(world)
    told = []

    def tell(app, summary):
        told.append(summary)

    world.execute(f"UPDATE {OURS}run SET looks = {LOOKS - 1}")
    with notices.run_ended.connected_to(tell):
        later(world)
        tick()
    [summary] = told
    assert summary.has_settled is False
    assert notices.subject_of(summary).endswith("index does not settle")
    assert any(line.startswith("  stale: record ") for line in summary.index)


def test_worker_of_an_image_without_the_package_is_made_up_for(world):
    """It throws our messages away."""
    world.upgrade()
    lose_messages(world)
    assert settle(world) == 2
    assert_as_after_full_reindex()


def test_no_task_is_left_in_a_worker_until_a_look_is_due(world):
    """One with a countdown may keep a worker from taking any other."""
    forget_tasks()
    world.upgrade()
    world.empty_queues()
    world.send_pending(is_again=True)
    assert world.verify(fix=True).has_written
    world.downgrade()
    with celery_app.connection_for_read() as connection:
        queue = connection.default_channel.queue_declare(QUEUE, passive=True)
    assert queue.message_count == 0
