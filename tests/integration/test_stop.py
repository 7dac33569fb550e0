# SPDX-FileCopyrightText: 2026 kcworks-migrations contributors
# SPDX-License-Identifier: MIT
"""``stop``, and Ctrl-C while a batch waits for a lock."""

import os
import signal
import subprocess
import sys
import time

import pytest
from flask.cli import ScriptInfo
from sqlalchemy import event
from support.faults import Child, other_connection, wait_until
from support.instance import OURS

from kcworks_migrations.cli import created_dates

LEGACY = "2016-02-29T13:11:39Z"
CHANGE = f"INSERT INTO {OURS}backup"
PREFIX = "KCWORKS_CREATED_DATES_"

UPDATE_SLOWLY = """
from invenio_app.factory import create_api
with (app := create_api()).app_context():
    from kcworks_migrations.cli import created_dates
    created_dates(["update", "--yes", "--batch-size", "5", "--delay", "0.2"])
"""


def test_stop_ends_a_run_of_another_process_after_its_batch(instance, invoke):
    assert "No run is at work" in invoke("stop").output
    instance.many(1000, 5)
    other = subprocess.Popen(
        [sys.executable, "-W", "ignore", "-c", UPDATE_SLOWLY],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    try:
        while not instance.backup():
            assert other.poll() is None, other.stdout.read()
            time.sleep(0.1)
        status = invoke("status").output
        assert "apply from cli, running" in status
        assert "of 1000 done" in status and "left" in status
        result = invoke("stop")
        assert f"Run {instance.run().id} has ended: stopped." in result.output
        assert other.wait(60) == 3
    finally:
        other.kill()
        other.stdout.close()
    run = instance.run()
    assert run.status == "stopped" and "command stop" in run.message
    changed = len(instance.backup())
    assert 0 < changed < 1000
    invoke("update", "--yes")
    rerun = instance.run()
    assert rerun.id == run.id + 1
    assert rerun.statistics["records"]["total_found"] == 1000
    assert len(instance.backup(kind="record")) > changed
    entities = [row.entity for row in instance.backup()]
    assert len(entities) == len(set(entities))  # what was done was not done again


# --- while a batch waits for a lock --------------------------------------------------


@pytest.fixture
def waiting(app, instance, monkeypatch, tmp_path):
    """An update whose batch waits for a table that somebody holds, and comes back.

    Gives its process, and what tells how often the batch was tried.
    """
    monkeypatch.setitem(app.config, f"{PREFIX}LOCK_TIMEOUT_SECONDS", 1)
    instance.record(LEGACY)
    tries = tmp_path / "tries"
    tries.touch()

    def note(connection, cursor, statement, *more) -> None:
        if CHANGE in statement:
            with tries.open("a") as file:
                file.write(".")

    def update() -> None:
        event.listen(instance.engine, "before_cursor_execute", note)
        done = app.test_cli_runner().invoke(created_dates, ["update", "--yes"])
        os._exit(done.exit_code)

    holder = other_connection(instance)
    holder.cursor().execute("LOCK TABLE rdm_records_metadata IN EXCLUSIVE MODE")
    child = Child(instance, update)
    wait_until(tries.read_text, "a batch is tried")
    yield child, lambda: len(tries.read_text())
    child.kill()
    holder.close()


def check_noticed(child: Child, tries, tries_before: int) -> None:
    """Check that the batch was not tried again and again after somebody asked."""

    def more() -> int:
        return tries() - tries_before

    wait_until(lambda: child.poll() is not None or more() > 1, "it ends or goes on")
    assert more() <= 1, "the batch was tried again and again"
    assert child.wait() > 0, child.output()


def test_ctrl_c_is_noticed_while_a_batch_waits_for_a_lock(waiting):
    child, tries = waiting
    before = tries()
    os.kill(child.pid, signal.SIGINT)
    check_noticed(child, tries, before)


def test_stop_is_noticed_while_a_batch_waits_for_a_lock(
    app, instance, waiting, tmp_path
):
    child, tries = waiting
    said = tmp_path / "said"
    said.touch()

    def stop() -> None:
        sys.stdout = said.open("w", buffering=1)
        created_dates.main(["stop"], obj=ScriptInfo(create_app=lambda: app))

    stopping = Child(instance, stop)
    try:
        wait_until(said.read_text, "the run is asked to stop")
        assert "asked to stop" in said.read_text()
        check_noticed(child, tries, tries())
    finally:
        stopping.kill()
