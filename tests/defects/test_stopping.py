# SPDX-FileCopyrightText: 2026 kcworks-migrations contributors
# SPDX-License-Identifier: MIT
"""How a command ends: by its exit status, and when somebody asks it to stop."""

import os
import signal
import sys

import pytest
from flask.cli import ScriptInfo
from sqlalchemy import event
from support.faults import Child, Point, at, other_connection, wait_until
from support.instance import OURS
from support.rebuild import given, preparing, rebuild

from kcworks_migrations.cli import created_dates

LEGACY = "2016-02-29T13:11:39Z"
CHANGE = f"INSERT INTO {OURS}backup"
PREFIX = "KCWORKS_CREATED_DATES_"

# --- the exit status -----------------------------------------------------------------


def fail(connection) -> None:
    """Fail as nobody has thought of: a stand-in for any defect."""
    raise RuntimeError("nobody has thought of this")


@pytest.mark.parametrize("command", ["update --yes", "status", "verify"])
@rebuild("an error that nobody has thought of has an exit status of its own")
def test_unexpected_error_does_not_end_like_done_with_problems(
    instance, engine, invoke, command
):
    instance.record("yesterday")
    done = invoke("update", "--yes")
    given(len(instance.problems()) == 1, done.output)
    given(instance.run().status == "succeeded", done.output)
    with at(engine, Point("before", ""), fail):
        failed = invoke(*command.split())
    given(failed.exit_code != 0, failed.output)
    assert failed.exit_code != done.exit_code


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
    with preparing("a batch is tried"):
        wait_until(tries.read_text, "it is")
    yield child, lambda: len(tries.read_text())
    child.kill()
    holder.close()


def check_noticed(child: Child, tries, tries_before: int) -> None:
    """Check that the batch was not tried again and again after somebody asked."""

    def more() -> int:
        return tries() - tries_before

    with preparing("the update ends or goes on"):
        wait_until(lambda: child.poll() is not None or more() > 1, "it does")
    assert more() <= 1, "the batch was tried again and again"
    assert child.wait() > 0, child.output()


@rebuild("one helper waits between tries, and notices Ctrl-C")
def test_ctrl_c_is_noticed_while_a_batch_waits_for_a_lock(waiting):
    child, tries = waiting
    before = tries()
    os.kill(child.pid, signal.SIGINT)
    check_noticed(child, tries, before)


@rebuild("one helper waits between tries, and notices `stop`")
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
        with preparing("the run is asked to stop"):
            wait_until(said.read_text, "it was")
        given("asked to stop" in said.read_text(), said.read_text())
        check_noticed(child, tries, tries())
    finally:
        stopping.kill()
