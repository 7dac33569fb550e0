# SPDX-FileCopyrightText: 2026 kcworks-migrations contributors
# SPDX-License-Identifier: MIT
"""``rehearse``: there and back on real rows and documents, and nothing stays."""

import json
from contextlib import contextmanager

import pytest
from support import index
from support.faults import (
    NOWHERE,
    Child,
    Point,
    at,
    broker_at,
    check_ledger,
    kill_this_process,
    other_connection,
    search_at,
    stop_this_process,
)
from support.instance import OURS

from kcworks_migrations import rehearsal
from kcworks_migrations.cli import created_dates
from kcworks_migrations.errors import RunInProgressError
from kcworks_migrations.index import outbox
from kcworks_migrations.migration import downgrade, upgrade


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


def test_rehearse_leaves_every_byte_and_one_run(sample, rehearsed):
    before = sample.checksums(without_created=False)
    status, document = rehearsed("--limit", "12")
    assert (status, document["wrong"]) == (0, [])
    assert document["rows"] == 12
    assert document["documents"] >= 24  # there and back
    assert sample.checksums(without_created=False) == before
    (run,) = sample.execute(f"SELECT * FROM {OURS}run")
    assert (run.action, run.status) == ("rehearse", "succeeded")
    assert "12 rows there and back" in run.message
    # The audit has what was done, and that it was undone.
    assert {entry.outcome for entry in sample.backup(run_id=run.id)} == {"restored"}
    assert all(entry.queued_at for entry in sample.backup())
    assert not sample.problems()


def test_rehearse_tells_what_the_run_will_change(sample, rehearsed):
    _, document = rehearsed("--limit", "5")
    assert document["rows_in_all"] == sample.upgrade().statistics.updated > 5


def test_rehearse_after_the_upgrade_has_nothing_to_do(sample, rehearsed):
    sample.upgrade()
    status, document = rehearsed()
    assert (status, document["rows"]) == (0, 0)


@pytest.mark.parametrize("is_there", [True, False])
def test_rehearse_sees_another_byte(sample, rehearsed, monkeypatch, is_there):
    """The comparison is real: one changed column is found, there and back."""
    read = rehearsal._row_sums
    times = []

    def meddle(database, chosen):
        sums = read(database, chosen)
        times.append(sums)
        # Read before, then changed, then restored.
        if len(times) == (2 if is_there else 3):
            id = next(iter(sums))
            version, _, created = sums[id]
            sums[id] = (version, "another checksum", created)
        return sums

    monkeypatch.setattr(rehearsal, "_row_sums", meddle)
    status, document = rehearsed("--limit", "5")
    assert status == 1
    assert len(document["wrong"]) == 1


def fail(*args):
    raise RuntimeError("in the middle")


def interrupt(*args):
    raise KeyboardInterrupt


@pytest.mark.parametrize(
    ("where", "name", "act", "ended"),
    [
        (outbox, "correct", fail, "failed"),
        (outbox, "correct", interrupt, "stopped"),
        (rehearsal, "_compare_rows", fail, "failed"),
        (upgrade.Upgrade, "_write", fail, "failed"),
    ],
)
def test_rehearse_restores_the_rows_when_something_fails(
    app, sample, rehearsed, monkeypatch, where, name, act, ended
):
    before = sample.all_created()
    present = getattr(where, name)
    times = []

    def once(*args, **options):
        times.append(args)
        return act(*args) if len(times) == 1 else present(*args, **options)

    monkeypatch.setattr(where, name, once)
    result = app.test_cli_runner().invoke(created_dates, ["rehearse", "--yes"])
    assert result.exit_code == 3, result.output
    assert "Its rows are as they were before" in result.output
    assert sample.all_created() == before
    assert sample.run().status == ended
    assert "Its rows are as they were before" in sample.run().message


KILLED_AT = {
    "changed": Point("committed", f"INSERT INTO {OURS}backup"),
    "restored": Point("committed", "SET outcome ="),
}


@pytest.fixture(params=KILLED_AT)
def killed(request, app, sample, rehearsed):
    """A rehearsal that was killed when its rows were changed, or restored."""

    def until_killed() -> None:
        with at(sample.engine, KILLED_AT[request.param], kill_this_process):
            command = ["rehearse", "--yes", "--limit", "5"]
            app.test_cli_runner().invoke(created_dates, command)

    before = sample.all_created()
    assert Child(sample, until_killed).wait() < 0
    check_ledger(sample, before)
    assert bool(sample.backup(outcome="restored")) is (request.param == "restored")
    return before


def test_a_killed_rehearsal_is_completed_by_an_upgrade(app, sample, killed):
    rehearsal_id = sample.run().id
    assert "update" in status_of(app)
    sample.upgrade()
    check_ledger(sample, killed)
    of_rehearsal = "SELECT status FROM kcworks_created_dates_run WHERE id = :id"
    assert sample.scalar(of_rehearsal, id=rehearsal_id) == "failed"
    wanted = sample.all_created()
    sample.downgrade()
    assert sample.all_created() == killed
    sample.upgrade()
    assert sample.all_created() == wanted


def test_a_killed_rehearsal_is_undone_by_a_rollback(app, sample, killed):
    standing = [entry for entry in sample.backup() if entry.outcome is None]
    command = f"rollback --run {sample.run().id}"
    assert (command in status_of(app)) is bool(standing)
    if standing:
        done = app.test_cli_runner().invoke(created_dates, [*command.split(), "--yes"])
        assert done.exit_code == 0, done.output
    assert sample.all_created() == killed


@contextmanager
def locked_row(sample, point: Point):
    """Let somebody hold the first record that is changed, from a point on."""
    holder = other_connection(sample)

    def hold(connection) -> None:
        first = f"SELECT entity_id FROM {OURS}backup WHERE kind = 'record' LIMIT 1"
        holder.cursor().execute(
            f"SELECT FROM rdm_records_metadata WHERE id = ({first}) FOR UPDATE"
        )

    with at(sample.engine, point, hold):
        yield
    holder.close()


@pytest.fixture
def short_pauses(monkeypatch):
    for module in (upgrade, downgrade):
        monkeypatch.setattr(module, "PAUSES_SECONDS", (0.1, 0.1))


def test_rehearse_that_can_not_restore_a_row_says_how_to(
    app, sample, rehearsed, short_pauses
):
    before = sample.all_created()
    with locked_row(sample, Point("committed", f"INSERT INTO {OURS}backup")):
        result = app.test_cli_runner().invoke(
            created_dates, ["rehearse", "--yes", "--limit", "5"]
        )
    undo = f"rollback --run {sample.run().id}"
    assert result.exit_code == 3, result.output
    assert "1 row stayed locked" in result.output and undo in result.output
    assert "as they were before" not in result.output
    assert sample.run().status == "failed"
    assert undo in status_of(app)
    done = app.test_cli_runner().invoke(created_dates, [*undo.split(), "--yes"])
    assert done.exit_code == 0, done.output
    assert sample.all_created() == before


def test_rehearse_leaves_out_a_row_that_stays_locked(
    app, sample, rehearsed, short_pauses
):
    before = sample.all_created()
    holder = other_connection(sample)
    holder.cursor().execute("SELECT FROM rdm_records_metadata FOR UPDATE")
    try:
        status, document = rehearsed("--limit", "10")
    finally:
        holder.close()
    assert (status, document["wrong"]) == (0, [])
    assert document["locked"] > 0
    assert {entry.kind for entry in sample.backup()} == {"community"}
    assert sample.all_created() == before


def test_rehearse_refuses_while_reindexing_is_pending(app, sample, rehearsed):
    with broker_at(NOWHERE):
        sample.upgrade(limit=1)
    before = sample.all_created()
    result = app.test_cli_runner().invoke(created_dates, ["rehearse", "--yes"])
    assert result.exit_code == 2, result.output
    assert "reindex --wait" in result.output
    assert sample.all_created() == before


def test_nobody_else_works_between_the_halves_of_a_rehearsal(app, sample, rehearsed):
    before = sample.all_created()
    # The rows are read three times: before, changed and restored.
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
    try:
        with pytest.raises(RunInProgressError):
            sample.upgrade()
    finally:
        child.go_on()
    assert child.wait() == 0, child.output()
    assert "Every row and document was right" in child.output()
    assert sample.all_created() == before


def status_of(app) -> str:
    return app.test_cli_runner().invoke(created_dates, ["status"]).output


def test_rehearse_without_opensearch_restores_the_rows_and_says_so(
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
