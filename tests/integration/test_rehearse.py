# SPDX-FileCopyrightText: 2026 kcworks-migrations contributors
# SPDX-License-Identifier: MIT
"""``rehearse``: there and back on real rows and documents, and nothing stays."""

import json
from contextlib import ExitStack

import pytest
from support import index
from support.faults import Child, Point, at, check_ledger, search_at, stop_this_process
from support.instance import OURS

from kcworks_migrations import database, migration, rehearse, upgrade
from kcworks_migrations.cli import created_dates
from kcworks_migrations.database import locked
from kcworks_migrations.errors import RunInProgressError, RunInterruptedError


@pytest.fixture(scope="module")
def sample(app, engine):
    """The sample, with real documents."""
    filled = index.fill(engine)
    filled.instance.empty_queues()
    return filled.instance


@pytest.fixture
def rehearsed(app, sample):
    """Call `rehearse --json`; give the exit status and the document."""
    sample.execute(f"TRUNCATE {OURS}run CASCADE")
    sample.empty_queues()

    def rehearsed(*arguments):
        result = app.test_cli_runner().invoke(
            created_dates, ["rehearse", "--yes", "--json", *arguments]
        )
        assert result.exception is None or result.exit_code, result.output
        return result.exit_code, json.loads(result.stdout)

    yield rehearsed
    sample.downgrade()
    sample.empty_queues()


def test_rehearse_leaves_every_byte_and_only_a_run(sample, rehearsed):
    before = sample.checksums(without_created=False)
    status, document = rehearsed("--limit", "12")
    assert (status, document["wrong"]) == (0, [])
    assert document["rows"] == 12
    assert document["documents"] >= 24  # there and back
    assert sample.checksums(without_created=False) == before
    (run,) = sample.execute(f"SELECT * FROM {OURS}run")
    assert (run.action, run.status) == ("rehearse", "succeeded")
    assert "12 rows there and back" in run.message
    assert not sample.backup()
    assert not sample.problems()


def test_rehearse_forecasts_what_the_run_does(sample, rehearsed):
    _, document = rehearsed("--limit", "5")
    summary = sample.upgrade()
    assert document["forecast"]["rows"] == summary.statistics.updated
    assert document["forecast"]["documents"] == summary.sent


def test_rehearse_does_not_stand_in_the_way_of_an_incremental_run(sample, rehearsed):
    rehearsed("--limit", "5")
    summary = sample.upgrade()
    assert summary.statistics.updated == len(sample.backup()) > 5


def test_rehearse_after_the_upgrade_has_nothing_to_do(sample, rehearsed):
    sample.upgrade()
    status, document = rehearsed()
    assert (status, document["rows"]) == (0, 0)


@pytest.mark.parametrize("is_there", [True, False])
def test_rehearse_sees_another_byte(sample, rehearsed, monkeypatch, is_there):
    """The comparison is real: one changed column is found, there and back."""
    compare = rehearse._compare_rows

    def meddle(result, chosen, before, after, now_there):
        if now_there == is_there:
            id = chosen["record"][0].id
            version, _, created = after[id]
            after[id] = (version, "another checksum", created)
        compare(result, chosen, before, after, now_there)

    monkeypatch.setattr(rehearse, "_compare_rows", meddle)
    status, document = rehearsed("--limit", "5")
    assert status == 1
    assert len(document["wrong"]) == 1


def fail(*args):
    raise RuntimeError("in the middle")


def interrupt(*args):
    raise KeyboardInterrupt


@pytest.mark.parametrize(
    ("where", "name", "act"),
    [
        (rehearse, "drain", fail),
        (rehearse, "drain", interrupt),
        (upgrade.Upgrade, "_retry_locked", interrupt),
        (migration.reindex, "dispatch", fail),
    ],
)
def test_rehearse_puts_the_rows_back_when_something_fails(
    app, sample, rehearsed, monkeypatch, where, name, act
):
    before = sample.all_created()
    present = getattr(where, name)
    times = []

    def once(*args):
        times.append(args)
        return act(*args) if len(times) == 1 else present(*args)

    monkeypatch.setattr(where, name, once)
    result = app.test_cli_runner().invoke(created_dates, ["rehearse", "--yes"])
    assert result.exit_code == 3
    assert "Its rows are as they were before" in result.output
    assert sample.all_created() == before


def test_rehearse_waits_for_another_run_to_put_the_rows_back(
    sample, rehearsed, monkeypatch
):
    before = sample.all_created()
    holding = ExitStack()
    present = rehearse._compare_documents

    def hold(*args):
        present(*args)
        holding.enter_context(locked(sample.engine, 1))

    monkeypatch.setattr(rehearse, "_compare_documents", hold)

    def release(seconds):
        monkeypatch.setattr(rehearse, "_compare_documents", present)
        holding.close()

    monkeypatch.setattr(rehearse.time, "sleep", release)
    monkeypatch.setattr(database, "LOCK_PAUSES_SECONDS", ())
    status, document = rehearsed("--limit", "5")
    assert (status, document["wrong"]) == (0, [])
    assert sample.all_created() == before


def test_status_tells_of_a_rehearsal_that_was_killed(app, sample, rehearsed):
    summary = migration.apply(sample.engine, "rehearse")
    output = app.test_cli_runner().invoke(created_dates, ["status"]).output
    assert f"rollback --run {summary.run_id}    the rehearsal was killed" in output


@pytest.fixture(params=["new", "interrupted before"])
def upgrade_later(request, sample, rehearsed, monkeypatch):
    """An upgrade that follows a rehearsal, and may have begun before it."""
    if request.param == "interrupted before":
        with monkeypatch.context() as patch, pytest.raises(RunInterruptedError):
            patch.setattr(upgrade.Upgrade, "_do_kind", interrupt)
            sample.upgrade()
    return sample.upgrade


def test_an_upgrade_between_the_halves_of_a_rehearsal_keeps_its_dates(
    app, sample, upgrade_later
):
    """It finds the rehearsal's rows right: put back after it, they would be wrong."""
    before = sample.all_created()
    # Between the halves, the rows are compared with what they were.
    point = Point("before", "md5((to_jsonb(t)", 3)

    def until_point() -> None:
        with at(sample.engine, point, stop_this_process):
            done = app.test_cli_runner().invoke(
                created_dates,
                ["rehearse", "--yes", "--limit", "5"],
                catch_exceptions=False,
            )
            print(done.output)

    child = Child(sample, until_point)
    child.wait_until_stopped()
    rehearsal = sample.run().id
    try:
        upgrade_later()
        wanted, told = sample.all_created(), "are left as they are"
    except RunInProgressError:
        wanted, told = before, "Every row and document was right"
    child.go_on()
    assert child.wait() == 0, child.output()
    assert told in child.output()
    assert sample.all_created() == wanted
    check_ledger(sample, before)
    assert "rollback --run" not in status_of(app)
    command = ["rollback", "--yes", "--run", str(rehearsal)]
    assert app.test_cli_runner().invoke(created_dates, command).exit_code > 1
    assert sample.all_created() == wanted
    sample.downgrade()
    assert sample.all_created() == before
    assert sample.upgrade().statistics.updated > 5
    assert wanted in (before, sample.all_created())


def test_status_after_a_killed_rehearsal_and_an_upgrade_advises_no_rollback(
    app, sample, upgrade_later
):
    """The rows that the rehearsal left changed have their true dates."""
    summary = migration.apply(sample.engine, "rehearse", sample.options(limit=3))
    assert f"rollback --run {summary.run_id}" in status_of(app)
    upgrade_later()
    assert "rollback --run" not in status_of(app)


def status_of(app) -> str:
    return app.test_cli_runner().invoke(created_dates, ["status"]).output


def test_rehearse_without_opensearch_puts_the_rows_back_and_says_so(
    app, sample, rehearsed, monkeypatch
):
    monkeypatch.setitem(app.config, "KCWORKS_CREATED_DATES_HEALTH_PAUSE_SECONDS", 0)
    before = sample.all_created()
    with search_at(app, "127.0.0.1:1"):
        status, document = rehearsed("--limit", "3")
        verified = app.test_cli_runner().invoke(created_dates, ["verify"])
    assert status == 1
    assert any("the index: " in text for text in document["wrong"])
    assert sample.all_created() == before
    # Its entries wait for the index, so that there is something to compare.
    assert verified.exit_code == 3
    assert "OpenSearch failed: " in verified.output
