# SPDX-FileCopyrightText: 2026 kcworks-migrations contributors
# SPDX-License-Identifier: MIT
"""What is said of the index is true: also of looks that nobody takes, that die."""

import json
import signal

import pytest
from invenio_indexer.proxies import current_indexer_registry
from support import faults, index
from support.instance import OURS
from support.settling import (
    assert_as_after_full_reindex,
    later,
    lose_messages,
    settle,
    tick,
)

from kcworks_migrations.cli import created_dates
from kcworks_migrations.cli import status as cli_status
from kcworks_migrations.index import settle as settling
from kcworks_migrations.index.documents import Index
from kcworks_migrations.kinds import RECORD
from kcworks_migrations.ledger.settling import LOOKS
from kcworks_migrations.report import notices


@pytest.fixture
def command(app):
    """Call a command as it was printed; give its exit status and its output."""

    def command(line: str):
        words = line.removeprefix("invenio kcworks-created-dates ").split()
        result = app.test_cli_runner().invoke(created_dates, words)
        return result.exit_code, result.output

    return command


@pytest.fixture
def settled(world):
    """An instance whose dates are changed and whose index has settled."""
    world.upgrade()
    index.drain()
    assert settle(world) == 1
    return world


@pytest.fixture
def told():
    """Keep what the notices say."""
    summaries = []

    def tell(app, summary):
        summaries.append(summary)

    with notices.run_ended.connected_to(tell):
        yield summaries


def make_stale(instance) -> None:
    """Write an old date into the document of a changed record."""
    id = instance.backup(kind="record")[0].entity
    client = current_indexer_registry.get(RECORD.indexer).client
    name = index.name_of("record")
    found = client.get(index=name, id=id)
    body = found["_source"] | {"created": "2001-01-01T00:00:00+00:00"}
    version = {"version": found["_version"], "version_type": "external_gte"}
    client.index(index=name, id=id, body=body, refresh=True, **version)


def refuse(instance):
    """Let a proxy refuse to take the document of a changed record for good."""
    id = instance.backup(kind="record")[0].entity.encode()
    return lambda seen: "413" if seen.is_bulk and id in seen.body else ""


# --- nobody looks --------------------------------------------------------------------


def test_look_that_nobody_takes_is_overdue(world, status, command):
    world.upgrade()
    lose_messages(world)
    later(world, 12)
    code, line = status("--check")
    assert code == 0 and "next look due now" in line
    later(world, 6)
    code, line = status("--check")
    assert code == 0
    assert "overdue since 20" in line and "no beat or worker takes it" in line
    later(world, 3)
    code, line = status("--check")
    assert code == 1 and line.startswith("PROBLEM: ")
    step = line.split("`")[1]
    assert step == "invenio kcworks-created-dates verify --fix"
    command(step)  # corrects all
    assert "were stale and have been corrected" in status()[1]
    assert status("--check")[0] == 0
    later(world)
    command(step)  # finds nothing
    assert "settled at" in status()[1]
    assert_as_after_full_reindex()


def test_waiting_does_the_looks_that_are_due(world, status, monkeypatch):
    """There is no worker and no beat."""
    world.upgrade()
    lose_messages(world)
    monkeypatch.setattr(cli_status, "pause", lambda *given: later(world))
    code, line = status("--wait")
    assert code == 0
    assert line.startswith("Index: settled at ")
    assert_as_after_full_reindex()


def test_waiting_that_is_stopped_leaves_the_look_to_others(world, monkeypatch, command):
    world.upgrade()
    lose_messages(world)
    later(world)
    with monkeypatch.context() as patch:
        patch.setattr(
            settling, "RENEW_SECONDS", -1
        )  # looks whether it was stopped, too
        patch.setattr(settling.looks, "renew", lambda *given: _interrupt())
        assert command("status --wait")[0] == 3
    assert world.run().looks == 0
    tick()
    assert world.run().settling["written"] > 0


def _interrupt() -> None:
    signal.raise_signal(signal.SIGINT)


# --- settled is withdrawn first ------------------------------------------------------


def killed(instance, work) -> None:
    """Let a process do some work that kills it."""
    child = faults.Child(instance, work)
    assert child.wait() == -signal.SIGKILL, child.output()


def test_reindexing_that_is_killed_is_not_settled(settled, status):
    def work() -> None:
        Index.read = lambda *given: faults.kill_this_process()
        settled.send_pending(is_again=True, is_here=True)

    killed(settled, work)
    assert status()[1].startswith("Index: settling")
    assert settle(settled) >= 1
    assert_as_after_full_reindex()


def test_reindexing_where_nothing_is_pending_says_what_corrects(world, command):
    """There is no worker: everything was queued, and nothing is right."""
    world.upgrade()
    code, output = command("reindex --wait")
    assert code == 0 and "0 documents" not in output
    assert not index.verdict_of(world).is_clean
    assert command(output.splitlines()[-1].strip())[0] == 0
    assert_as_after_full_reindex()


def test_correction_that_is_killed_is_not_settled(settled, status):
    def work() -> None:
        Index.write = lambda *given: faults.kill_this_process()
        settled.verify(fix=True)

    make_stale(settled)
    killed(settled, work)
    assert status()[1].startswith("Index: settling")
    later(settled, 9)  # less than ten minutes after something may have been written
    settled.execute(f"UPDATE {OURS}run SET next_look_at = now()")
    tick()
    assert settled.run().settled_at is None
    assert settle(settled) >= 1
    assert_as_after_full_reindex()


def test_correction_with_nothing_to_write_stays_settled(settled, status):
    before = settled.run().settled_at
    assert settled.verify(fix=True).is_clean
    assert settled.run().settled_at == before


# --- verify without writing ----------------------------------------------------------


def test_what_verify_finds_asks_for_a_look(settled, status, command):
    make_stale(settled)
    assert command("verify")[0] == 1
    line = status()[1]
    assert line.startswith("Index: settling: 1 of ")
    assert line.endswith(" documents was stale; next look in 10 min")
    assert settle(settled) == 2
    assert_as_after_full_reindex()


def test_verify_overwrites_no_stronger_look(world, status, command, app):
    world.upgrade()
    with index.proxied(app, 10, {}) as proxy:
        proxy.decide = refuse(world)
        index.drain()
        settle(world)
    before = status("--check")
    assert before[0] == 1 and "documents refused: 0" not in before[1]
    command("verify")
    assert status("--check") == before


def test_verify_keeps_an_earlier_time(world, command):
    """It must not put off the look that is due soon, however often somebody asks."""
    world.upgrade()
    lose_messages(world)
    later(world, 9)
    before = world.run().next_look_at
    command("verify")
    assert world.run().next_look_at == before


# --- looks that die, or can't look ---------------------------------------------------


def test_looks_that_die_are_seen(world, status, monkeypatch, told):
    world.upgrade()
    lose_messages(world)
    told.clear()
    with monkeypatch.context() as patch:
        patch.setattr(settling, "compare", lambda *given, **more: exit())
        for number in range(LOOKS):
            later(world, 60)
            assert status("--check")[0] == 0 or number == 0  # nobody has come so far
            with pytest.raises(SystemExit):
                tick()
        assert "has not ended yet" in status()[1]
        code, line = status("--check")
        assert code == 1 and f"{LOOKS} looks in a row did not end clean" in line
    later(world, 60)
    assert "has died" in status()[1]
    tick()
    [summary] = told
    assert summary.has_settled is False
    assert "has died" in summary.index[0]
    assert world.run().settling["written"] > 0
    later(world, 24 * 60)
    settle(world)
    assert world.run().looks == 0 and status("--check")[0] == 0


@pytest.mark.parametrize("error", [TypeError("no such field"), TimeoutError("late")])
def test_look_that_fails_is_told(world, status, monkeypatch, caplog, told, error):
    world.upgrade()
    lose_messages(world)
    told.clear()

    def fail(*given, **more):
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(settling, "compare", fail)
        for _ in range(LOOKS):
            later(world, 24 * 60)
            with pytest.raises(type(error)):
                tick()
    why = f"the documents could not be compared: {type(error).__name__}: {error}"
    code, line = status("--check")
    assert code == 1 and why in line and "0 of 0" not in line
    assert f"{type(error).__name__}: {error}" in caplog.text
    [summary] = told
    assert why in summary.index[0]


def test_opensearch_that_is_away_is_told(world, status, app, caplog):
    world.upgrade()
    lose_messages(world)
    with faults.search_at(app, "127.0.0.1:1"):
        later(world)
        tick()
    line = status()[1]
    assert "the documents could not be compared: " in line and "refused" in line
    assert "stale" not in line
    assert "could not be compared" in caplog.text


def test_look_at_work_keeps_its_lease(world, monkeypatch):
    world.upgrade()
    lose_messages(world)
    later(world)
    monkeypatch.setattr(settling, "RENEW_SECONDS", 0)
    compare, looks = settling.compare, []

    def slow(database, how, sample, is_written, check_stop, **more):
        looks.append(1)
        if len(looks) == 1:
            for _ in range(3):
                later(world, 50)
                check_stop()
                tick()
        return compare(database, how, sample, is_written, check_stop, **more)

    monkeypatch.setattr(settling, "compare", slow)
    tick()
    assert looks == [1]
    assert world.run().settling["written"] > 0


# --- refused -------------------------------------------------------------------------


def refused(instance) -> int:
    return instance.scalar(
        f"SELECT count(*) FROM {OURS}problem WHERE reason = 'index_refused'"
    )


def test_refused_documents_are_looked_at_daily(world, status, app, told):
    world.upgrade()
    with index.proxied(app, 10, {}) as proxy:
        proxy.decide = refuse(world)
        index.drain()
        settle(world)
        count = refused(world)
        assert count > 0 and status("--check")[0] == 1
        told.clear()
        later(world, 24 * 60)
        tick()
    assert world.run().settled_at and refused(world) == count
    assert told == []
    later(world, 23 * 60)
    tick()
    assert refused(world) == count
    later(world, 61)
    tick()  # OpenSearch takes them by now
    assert refused(world) == 0
    assert world.run().settled_at is None
    assert settle(world) >= 1
    assert status("--check")[0] == 0
    assert_as_after_full_reindex()


def test_problem_of_a_row_that_is_gone_ends(world, app):
    world.upgrade()
    with index.proxied(app, 10, {}) as proxy:
        proxy.decide = refuse(world)
        index.drain()
        settle(world)
    assert refused(world) > 0
    id = world.backup(kind="record")[0].entity
    for table in ("rdm_records_metadata", "rdm_drafts_metadata"):
        world.execute(f"UPDATE {table} SET json = NULL WHERE id = :id", id=id)
    world.verify(fix=True)
    assert refused(world) == 0


def test_json_has_the_same(world, command):
    world.upgrade()
    lose_messages(world)
    later(world, 21)
    code, output = command("status --check --json")
    assert code == 1
    assert json.loads(output)["is_stuck"] is True
