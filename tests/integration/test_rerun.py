# SPDX-FileCopyrightText: 2026 kcworks-migrations contributors
# SPDX-License-Identifier: MIT
"""A rerun is a run of its own: it reads everything as it is now, and does the rest."""

import os
import signal

import pytest
from flask import current_app
from support.faults import (
    Child,
    Point,
    at,
    check_ledger,
    check_statistics,
    kill_this_process,
    outcome,
)
from support.faults import fill as fill_with
from support.instance import INDEXERS, OURS, utc

from kcworks_migrations import migration
from kcworks_migrations.config import options_from
from kcworks_migrations.errors import RunFailedError, RunStoppedError
from kcworks_migrations.kinds import COMMUNITY, RECORD
from kcworks_migrations.migration import upgrade

BATCH_SIZE = 20
LEGACY = "2016-02-29T13:11:39Z"
CHANGE = f"INSERT INTO {OURS}backup"
ROLLBACK = "invenio kcworks-created-dates rollback --run"

FAILED = (RuntimeError, RunFailedError)
"""Before a run has its row, an error comes out as it is."""


@pytest.fixture(autouse=True)
def small_batches(app, monkeypatch):
    monkeypatch.setitem(app.config, "KCWORKS_CREATED_DATES_BATCH_SIZE", BATCH_SIZE)


def fill(instance, records: int = 50, communities: int = 4) -> None:
    """Fill the instance with the same rows each time."""
    instance.empty()
    fill_with(instance, records, communities)


FEW = {"records": BATCH_SIZE + 5, "communities": 2}
"""Two batches: what comes behind the second is as behind the first."""


def queued(instance) -> dict[str, set[str]]:
    """Take every message from the queues; give the ids by indexer."""
    return {name: set(instance.queued(name)) for name in INDEXERS}


def runs(instance):
    return instance.execute(f"SELECT * FROM {OURS}run ORDER BY id")


def check_runs(instance, action: str, count: int) -> None:
    """Check that so many runs of a kind were there, and how each of them ended.

    All but the last failed, unless one failed behind its end.
    """
    found = [run for run in runs(instance) if run.action == action]
    assert len(found) == count
    for run in found:
        assert run.status in ("failed", "succeeded"), "nothing kept it from being told"
        assert (run.status == "failed") == run.statistics["stopped_early"]
        check_statistics(run.statistics)
        if run.status == "failed":
            for kind in (RECORD, COMMUNITY):
                seen = run.statistics[kind.plural]["total_found"]
                assert run.statistics[f"stopped_at_{kind}"] == seen
            assert "Run the same command again to do the rest" in run.message
    assert found[-1].status == "succeeded"


@pytest.mark.parametrize("event", ["statement", "commit"])
def test_apply_failing_anywhere_is_completed_by_the_rerun(instance, failing_at, event):
    fill(instance, **FEW)
    before = instance.all_created()
    with failing_at(event, 0) as counter:
        instance.upgrade()
    whole, documents = outcome(instance), queued(instance)
    assert {"records", "communities"} <= {name for name in documents if documents[name]}
    for number in range(1, counter.count + 1):
        fill(instance, **FEW)
        with failing_at(event, number), pytest.raises(FAILED):
            instance.upgrade()
        check_ledger(instance, before)
        begun = len(runs(instance))
        summary = instance.upgrade()
        assert outcome(instance) == whole, f"failed at {event} {number}"
        assert queued(instance) == documents, f"failed at {event} {number}"
        assert summary.pending == 0
        check_runs(instance, "apply", begun + 1)


@pytest.mark.parametrize("event", ["statement", "commit"])
def test_revert_failing_anywhere_is_completed_by_the_rerun(instance, failing_at, event):
    fill(instance, **FEW)
    before = instance.all_created()
    instance.upgrade()
    queued(instance)
    with failing_at(event, 0) as counter:
        instance.downgrade()
    whole, documents = outcome(instance), queued(instance)
    for number in range(1, counter.count + 1):
        fill(instance, **FEW)
        instance.upgrade()
        queued(instance)
        with failing_at(event, number), pytest.raises(FAILED):
            instance.downgrade()
        check_ledger(instance, before)
        begun = len(runs(instance)) - 1
        summary = instance.downgrade()
        assert outcome(instance) == whole, f"failed at {event} {number}"
        assert queued(instance) == documents, f"failed at {event} {number}"
        assert summary.pending == 0
        assert instance.all_created() == before
        assert {entry.outcome for entry in instance.backup()} == {"restored"}
        check_runs(instance, "revert", begun + 1)


def ask_to_stop(connection) -> None:
    os.kill(os.getpid(), signal.SIGTERM)


def end_early(instance, how: str, **given) -> int:
    """Let an update end after its first batch; give its run."""
    first_batch = Point("committed", CHANGE)

    def fail(connection) -> None:
        raise RuntimeError("not today")

    if how == "killed":

        def work() -> None:
            with at(instance.engine, first_batch, kill_this_process):
                instance.upgrade(**given)

        assert Child(instance, work).wait() == -signal.SIGKILL
    else:
        act, error = {
            "stopped": (ask_to_stop, RunStoppedError),
            "failed": (fail, RunFailedError),
        }[how]
        with at(instance.engine, first_batch, act), pytest.raises(error):
            instance.upgrade(**given)
    return instance.run().id


@pytest.mark.parametrize("how", ["killed", "stopped", "failed"])
def test_end_of_a_run_names_the_unfinished_one_and_its_way_back(
    instance, invoke, capsys, how
):
    fill(instance)
    before = instance.all_created()
    unfinished = end_early(instance, how)
    standing = len(instance.backup())
    assert 0 < standing <= 2 * BATCH_SIZE
    capsys.readouterr()
    summary = instance.upgrade()
    status = "stopped" if how == "stopped" else "failed"
    told = {"id": unfinished, "action": "apply", "status": status, "standing": standing}
    assert summary.as_dict()["unfinished"] == [told]
    printed = capsys.readouterr().out
    assert f"run {unfinished} (apply, {status}): {standing} changes;" in printed
    assert f"to undo: {ROLLBACK} {unfinished}" in printed

    # A community's date of the rerun does not stand in the way of the first run's.
    assert invoke("rollback", "--yes", "--run", unfinished).exit_code == 0
    now = instance.all_created()
    undone = {e.outcome for e in instance.backup(run_id=unfinished)}
    others = {e.outcome for e in instance.backup(run_id=summary.run_id)}
    assert (undone, others) == ({"restored"}, {None})
    for entry in instance.backup(run_id=unfinished):
        key = f"{entry.kind} {entry.entity}"
        assert now[key] == before[key]
    check_ledger(instance, before)
    # Nothing of it stands any more.
    assert instance.upgrade().unfinished == []


def test_every_unfinished_run_is_named_until_an_end_undoes_it(instance, capsys):
    fill(instance)
    first = end_early(instance, "failed")
    assert "did not finish" not in capsys.readouterr().err
    second = end_early(instance, "stopped")
    # One that ends early names those before it, too.
    assert f"to undo: {ROLLBACK} {first}" in capsys.readouterr().err
    summary = instance.upgrade()
    named = [(run.id, run.standing) for run in summary.unfinished]
    counts = [len(instance.backup(run_id=id)) for id in (first, second)]
    assert named == [*zip((first, second), counts, strict=True)]
    instance.downgrade()
    assert instance.upgrade().unfinished == []


def test_end_of_a_restoration_names_no_unfinished_run(instance, capsys):
    fill(instance)
    end_early(instance, "failed")
    capsys.readouterr()
    instance.downgrade()
    assert "did not finish" not in capsys.readouterr().out


def test_rerun_with_other_options_is_about_what_it_is_asked_for(instance):
    fill(instance)
    end_early(instance, "failed")
    records = instance.upgrade(kinds=(RECORD,))
    assert records.statistics.records.total_found == 50
    assert records.statistics.communities.total_found == 0
    assert not instance.backup(kind="community")
    whole = instance.upgrade(batch_size=7)
    assert whole.statistics.records.total_found == 50
    assert whole.statistics.records.updated == 0
    assert whole.statistics.communities.updated == 4


def test_limit_counts_per_run(instance):
    fill(instance)
    given = {"limit": 10, "batch_size": 4, "kinds": (RECORD,)}
    end_early(instance, "killed", **given)
    done = len(instance.backup())
    assert 0 < done < 10
    assert instance.upgrade(**given).statistics.records.updated == 10
    assert len(instance.backup()) == done + 10
    assert instance.upgrade(**given).statistics.records.updated == 10


def test_limit_of_a_task_that_is_delivered_again_counts_what_it_did(instance):
    fill(instance)
    what, how = options_from(
        current_app.config, limit=10, batch_size=4, kinds=(RECORD,)
    )

    def apply(task_id: str):
        return migration.apply(instance.engine, "celery", what, how, task_id=task_id)

    with at(instance.engine, Point("committed", CHANGE), ask_to_stop):
        with pytest.raises(RunStoppedError):
            apply("one")
    done = len(instance.backup())
    assert 0 < done < 10
    assert apply("one").statistics.records.updated == 10 - done
    assert apply("one").statistics.records.updated == 0
    assert apply("another").statistics.records.updated == 10


def test_delay_pauses_only_after_a_batch_that_wrote(instance, monkeypatch):
    pauses = []
    monkeypatch.setattr(upgrade, "pause", lambda seconds, *_: pauses.append(seconds))
    # By their ids: ten to be changed, ten that are right, ten that are refused.
    for number in range(30):
        legacy = ("2016-01-01T00:00:00Z", LEGACY, "a date")[number // 10]
        id = f"00000000-0000-4000-8000-{number:012}"
        instance.record(legacy, id=id, created=LEGACY.rstrip("Z"))
    instance.upgrade(batch_size=5, delay=0.25)
    assert len(instance.backup()) == 10
    assert pauses == [0.25, 0.25]
    pauses.clear()
    instance.upgrade(batch_size=5, delay=0.25)
    assert pauses == [], "a rerun hurries through what is done"


def test_stop_is_noticed_during_a_delay(instance):
    instance.many(40, 1)

    def ask(connection) -> None:
        instance.execute(f"UPDATE {OURS}run SET stop_requested_at = now()")

    # Behind the batch, so that only the pause can notice it.
    with at(instance.engine, Point("committed", CHANGE), ask):
        with pytest.raises(RunStoppedError, match="the command stop"):
            instance.upgrade(delay=600)
    assert instance.run().status == "stopped"


@pytest.fixture
def killed(instance):
    """An instance where an update was killed after its first batch, weeks ago."""
    for _ in range(60):
        instance.record(LEGACY)
    end_early(instance, "killed")
    assert 0 < len(instance.backup()) < 60
    instance.execute(f"UPDATE {OURS}run SET started_at = started_at - interval '30 d'")
    return instance


def test_rerun_changes_rows_that_were_imported_since(killed):
    # Its UUID is before those of the batch that was done.
    imported = killed.record(LEGACY, id="00000000-0000-4000-8000-000000000001")
    killed.upgrade()
    assert killed.created(imported) == utc(LEGACY[:-1])


def test_rerun_counts_the_rows_that_are_there(killed):
    killed.execute(
        f"DELETE FROM rdm_records_metadata WHERE id IN (SELECT entity_id FROM {OURS}"
        "backup ORDER BY id LIMIT 10)"
    )
    killed.upgrade()
    assert killed.run().statistics["records"]["total_found"] == 50


def test_rerun_leaves_the_killed_run_what_it_was(killed):
    def changes():
        found = killed.backup(run_id=first.id)
        return [(e.id, e.old_created, e.changed_at) for e in found]

    [first] = runs(killed)
    entries = changes()
    killed.upgrade()
    assert changes() == entries
    closed, rerun = runs(killed)
    assert (closed.status, closed.message[:7]) == ("failed", "killed:")
    assert closed.finished_at == closed.progress_at == first.progress_at
    assert rerun.statistics["records"]["skipped"] == len(entries)
