# SPDX-FileCopyrightText: 2026 kcworks-migrations contributors
# SPDX-License-Identifier: MIT
"""The operator's commands: what they print, and how they end."""

import csv
import faulthandler
import fcntl
import getpass
import io
import json
import os
import pty
import re
import signal
import socket
import struct
import sys
import termios
from contextlib import nullcontext, suppress

import pytest
from celery import current_app as celery_app
from flask.cli import ScriptInfo
from invenio_db import db
from invenio_search import current_search
from support.faults import Point, at, stamped_before_the_data
from support.instance import forget_broker_connections, utc

from kcworks_migrations import locks
from kcworks_migrations.cli import created_dates
from kcworks_migrations.ledger.runs import locked
from kcworks_migrations.migration.upgrade import Upgrade
from kcworks_migrations.report.reporter import Reporter

LEGACY = "2016-02-29T13:11:39Z"
COMMAND = "invenio kcworks-created-dates"


def test_update_ends_with_0_without_problems_and_1_with_some(instance, invoke):
    instance.record(LEGACY)
    assert invoke("update", "--yes").exit_code == 0
    instance.record("yesterday")
    assert invoke("update", "--yes").exit_code == 1


def test_update_records_only_and_communities_only(instance, invoke):
    record = instance.record(LEGACY, [{"group_identifier": "7"}])
    community = instance.community("7")
    imported = instance.created(record)
    assert invoke("update", "--yes", "--communities-only").exit_code == 0
    assert instance.created(record) == imported
    assert instance.created(community, "community") == utc("2016-02-29")
    assert invoke("rollback", "--yes").exit_code == 0
    assert invoke("update", "--yes", "--records-only").exit_code == 0
    assert instance.created(record) == utc("2016-02-29T13:11:39")
    assert instance.created(community, "community") == imported


@pytest.mark.parametrize(
    "arguments",
    [
        ("--records-only", "--communities-only"),
        ("--start-date", "2024-02-30"),
        ("--start-date", "2024-02-02", "--end-date", "2024-02-01"),
        ("--batch-size", "0"),
    ],
)
def test_update_with_wrong_options_ends_with_2(instance, invoke, arguments):
    instance.record(LEGACY)
    before = instance.all_created()
    result = invoke("update", "--yes", *arguments)
    assert result.exit_code == 2
    assert "Error" in result.output
    assert instance.all_created() == before


def test_update_without_a_terminal_and_yes_refuses(instance, invoke):
    record = instance.record(LEGACY)
    before = instance.created(record)
    for command in ("update", "rollback", "rehearse"):
        assert invoke(command).exit_code == 2
    assert instance.created(record) == before


def test_problems_as_lines_json_and_csv(instance, invoke):
    bad = instance.record("yesterday", label="bad-1")
    instance.record("2016-02-29T13:11:39+01:00", label="bad-2")
    invoke("update", "--yes")
    result = invoke("problems")
    assert '  - record bad-1: not ISO 8601 in UTC: "yesterday"' in result.output
    assert "2 problems of run" in result.output
    document = json.loads(invoke("problems", "--json").output)
    assert {p["reason"] for p in document["problems"]} == {"invalid_format", "not_utc"}
    only = invoke("problems", "--csv", "--reason", "invalid_format").output
    (row,) = csv.DictReader(io.StringIO(only.removeprefix("\ufeff")))
    assert (row["id"], row["label"], row["kind"]) == (bad, "bad-1", "record")
    assert (row["reason"], row["value"]) == ("invalid_format", "yesterday")
    assert row["new"] == "" and row["old"] == "2024-05-01T12:00:00.123456Z"


def test_show_tells_the_history_of_a_date(instance, invoke):
    record = instance.record(LEGACY, [{"group_identifier": "7"}], label="abc-12")
    instance.community("7", slug="medieval")
    assert "never changed" in invoke("show", "abc-12").output
    invoke("update", "--yes")
    invoke("rollback", "--yes")
    for label in ("abc-12", record):
        output = invoke("show", label).output
        assert "from 2024-05-01 12:00:00.123456 UTC" in output
        assert f"because of {LEGACY}" in output
        assert "rollback: restored" in output
    assert f"because of {LEGACY} of record abc-12" in invoke("show", "medieval").output
    document = json.loads(invoke("show", "medieval", "--json").output)
    (entry,), (present,) = document["entries"], document["present"]
    assert entry["source_record_id"] == record
    assert present["database"] == "2024-05-01 12:00:00.123456 UTC"
    assert present["index"] == "none"


def test_show_tells_why_a_date_was_not_changed(instance, invoke):
    bad = instance.record("yesterday", ["no group"], label="bad-1")
    invoke("update", "--yes")
    output = invoke("show", "bad-1").output
    assert '  - record bad-1: not ISO 8601 in UTC: "yesterday"' in output
    assert "  - group bad-1: a group is not an object" in output
    assert "never changed" in output
    assert "in the database 2024-05-01 12:00:00.123456 UTC" in output
    document = json.loads(invoke("show", bad, "--json").output)
    assert {p["kind"] for p in document["problems"]} == {"record", "group"}
    assert [p["kind"] for p in document["present"]] == ["record"]
    assert invoke("show", "nobody").exit_code == 2


def test_status_shows_runs_and_what_is_pending(instance, invoke):
    instance.record(LEGACY)
    invoke("update", "--yes")
    output = invoke("status").output
    assert "apply from cli, succeeded" in output
    assert "Can be rolled back: 1 change\n" in output
    instance.execute("UPDATE kcworks_created_dates_run SET status = 'running'")
    assert "apply from cli, failed" in invoke("status").output
    with locked(instance.engine, 1) as database:
        # Something else than this run is at work, which nobody may take for it.
        assert "apply from cli, failed" in invoke("status").output
        assert "at work: a run holds the lock" in invoke("update", "--yes").output
        instance.execute(
            "UPDATE kcworks_created_dates_run"
            " SET status = 'running', backend_pid = :pid",
            pid=database.transaction(locks.holder, database),
        )
        assert "apply from cli, running" in invoke("status").output
        assert "at work: run " in invoke("update", "--yes").output
        assert json.loads(invoke("status", "--json").output)["is_at_work"] is True
    instance.execute("UPDATE kcworks_created_dates_run SET status = 'succeeded'")
    instance.execute("UPDATE kcworks_created_dates_backup SET queued_at = NULL")
    assert "invenio kcworks-created-dates reindex" in invoke("status").output
    instance.queued("records")
    assert invoke("reindex").exit_code == 0
    assert len(instance.queued("records")) == 1
    assert invoke("reindex", "--all").exit_code == 0
    assert len(instance.queued("records")) == 1


def test_status_shows_who_started_a_run_and_why(instance, invoke):
    instance.record(LEGACY)
    assert invoke("update", "--yes", "--reason", "asked\x1b for").exit_code == 0
    output = invoke("status").output
    assert f"started by {getpass.getuser()}@{socket.gethostname()}" in output
    assert "because: asked\\x1b for" in output
    assert invoke("rollback", "--yes", "--reason", "a mistake").exit_code == 0
    document = json.loads(invoke("status", "--json").stdout)
    assert [run["reason"] for run in document["runs"]] == ["a mistake", "asked\x1b for"]
    assert invoke("update", "--yes", "--reason", " ").exit_code == 2


def steps_of(output: str) -> list[str]:
    """Give the commands that `status` names as the next ones."""
    _, _, steps = output.partition("Next:\n")
    return [line.split("    ")[0].strip() for line in steps.splitlines()]


@pytest.mark.parametrize("status", ["running", "failed", "stopped"])
@pytest.mark.parametrize(
    ("action", "origin", "rest"),
    [
        ("apply", "cli", f"{COMMAND} update"),
        ("apply", "alembic", "invenio alembic upgrade kcworks_migrations@head"),
        ("rehearse", "cli", f"{COMMAND} update"),
    ],
)
def test_status_tells_both_ways_on_from_a_run_that_did_not_finish(
    instance, invoke, status, action, origin, rest
):
    instance.many(20, 2)
    invoke("update", "--yes", "--limit", 3)
    instance.execute(
        "UPDATE kcworks_created_dates_run SET status = :status, action = :action,"
        " origin = :origin, options = options - 'limit'",
        status=status,
        action=action,
        origin=origin,
    )
    run_id = instance.run().id
    undo = f"{COMMAND} rollback --run {run_id}"
    # Alembic records the revision when its run has succeeded.
    is_of_alembic = origin == "alembic"
    with stamped_before_the_data(instance) if is_of_alembic else nullcontext():
        output = invoke("status").output
    assert "to undo its 5 changes" in output
    assert steps_of(output)[:2] == [rest, undo]
    assert invoke(*undo.split()[2:], "--yes").exit_code == 0
    assert undo not in invoke("status").output
    assert invoke("update", "--yes").exit_code == 1
    assert (
        steps_of(invoke("status").output)[0] == f"{COMMAND} problems --run {run_id + 2}"
    )


def test_status_offers_no_undo_behind_an_update_that_has_done_the_rest(
    instance, invoke
):
    instance.record(LEGACY)
    invoke("update", "--yes")
    instance.execute("UPDATE kcworks_created_dates_run SET status = 'failed'")
    invoke("update", "--yes")
    assert steps_of(invoke("status").output) == [f"{COMMAND} verify"]


def test_status_tells_how_to_restore_the_rest(instance, invoke):
    instance.record(LEGACY, label="pid-0")
    instance.record(LEGACY, label="pid-1")
    invoke("update", "--yes")
    run_id = instance.run().id
    invoke("rollback", "--yes", "--run", run_id, "--record", "pid-0")
    instance.execute(
        "UPDATE kcworks_created_dates_run SET status = 'stopped' WHERE id > :id",
        id=run_id,
    )
    [step, _] = steps_of(invoke("status").output)
    assert step == f"{COMMAND} rollback --run {run_id} --record pid-0"


def test_show_of_a_draft_that_the_index_refused(instance, invoke):
    record = instance.record(LEGACY)
    invoke("update", "--yes")
    instance.execute(
        "INSERT INTO kcworks_created_dates_problem (run_id, last_run_id, kind,"
        " entity_id, label, reason, value, found_at) SELECT id, id, 'draft',"
        " CAST(:id AS uuid), :id, 'index_refused', 'why', now()"
        " FROM kcworks_created_dates_run",
        id=record,
    )
    result = invoke("show", record)
    assert result.exit_code == 0
    words = " ".join(result.output.split())
    assert f'draft {record}: refused by the search index: "why"' in words
    assert f"problems --run {instance.run().id}" in invoke("status").output


@pytest.mark.parametrize(
    "options", [["--limit", 3], ["--records-only"], ["--start-date", "2020-01-01"]]
)
def test_status_tells_to_repeat_the_options_of_a_run_that_did_not_finish(
    instance, invoke, options
):
    """An update without them would change other rows."""
    instance.many(20, 2)
    invoke("update", "--yes", *options)
    instance.execute("UPDATE kcworks_created_dates_run SET status = 'stopped'")
    again, undo, *_ = steps_of(invoke("status").output)
    assert again == "the same command again, with its options"
    assert undo == f"{COMMAND} rollback --run {instance.run().id}"


def test_status_goes_on_naming_what_a_smaller_run_did_not_finish(instance, invoke):
    instance.many(20, 2)
    instance.upgrade()
    instance.execute("UPDATE kcworks_created_dates_run SET status = 'failed'")
    failed = instance.run().id
    invoke("update", "--yes", "--records-only")
    undo = f"{COMMAND} rollback --run {failed}"
    assert undo in steps_of(invoke("status").output)
    invoke("update", "--yes")
    assert undo not in steps_of(invoke("status").output)


def test_dry_run_that_is_interrupted_ends_with_3(instance, invoke, monkeypatch):
    instance.many(100, 5)

    def interrupt(self, *args):
        os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(Reporter, "batch", interrupt)
    result = invoke("update", "--dry-run", "--batch-size", 10)
    assert result.exit_code == 3
    assert "it was stopped by SIGINT" in result.output


def test_problems_of_no_run_are_a_wrong_usage(instance, invoke):
    assert "There is no run yet" in invoke("problems").output
    instance.upgrade()
    result = invoke("problems", "--run", instance.run().id + 1)
    assert result.exit_code == 2
    assert f"known: {instance.run().id}." in result.output


def test_an_unexpected_error_of_a_run_ends_with_3_and_shows_its_trace(
    instance, invoke, monkeypatch
):
    instance.record(LEGACY)

    def fail(*args):
        raise ValueError("who would have\x1b[31m thought")

    monkeypatch.setattr(Upgrade, "retry_locked", fail)
    result = invoke("update", "--yes")
    assert result.exit_code == 3
    assert "Traceback" in result.output and "in fail" in result.output
    assert "is not complete: ValueError: who would have\\x1b[31m" in result.output
    assert "\x1b" not in result.output
    assert instance.run().status == "failed"
    monkeypatch.undo()
    assert invoke("update", "--yes").exit_code == 0


@pytest.mark.parametrize("command", ["update --yes", "status", "verify"])
def test_an_unexpected_error_beside_a_run_has_a_status_of_its_own(
    instance, engine, invoke, caplog, command
):
    """It must not end as `done with problems` does."""

    def fail(connection) -> None:
        raise RuntimeError("who would have\x1b[31m thought")

    with at(engine, Point("before", ""), fail):
        failed = invoke(*command.split())
    assert failed.exit_code == 5
    for told in (failed.stderr, caplog.text):
        assert "Traceback" in told and "in fail" in told and "\x1b" not in told
    assert f"`{COMMAND} status`" in failed.stderr


def test_ctrl_c_outside_a_run_does_not_end_like_done_with_problems(engine, invoke):
    def interrupt(connection) -> None:
        raise KeyboardInterrupt

    with at(engine, Point("before", ""), interrupt):
        result = invoke("status")
    assert result.exit_code == 3
    assert "Stopped by Ctrl-C." in result.output


def test_show_of_a_date_that_python_does_not_have(instance, invoke):
    instance.record(LEGACY, created="0044-03-15 BC", label="old")
    # As PostgreSQL writes it: a timestamptz, which 14 has, with its offset.
    shown = r"in the database 0044-03-15 00:00:00(\+00)? BC$"
    assert re.search(shown, invoke("show", "old").output, re.MULTILINE)


# --- on a terminal -------------------------------------------------------------------


def as_on_a_terminal(app, arguments) -> None:
    """Run a command in a forked process; never returns."""
    status = 70
    try:
        sys.stdin = open(0)
        sys.stdout, sys.stderr = (open(n, "w", buffering=1) for n in (1, 2))
        faulthandler.dump_traceback_later(60, exit=True)  # says where it hangs
        celery_app._after_fork()
        current_search._client = None
        created_dates.main(arguments, obj=ScriptInfo(create_app=lambda: app))
    except SystemExit as end:
        status = end.code or 0
    finally:
        os._exit(status)


@pytest.fixture
def on_terminal(app, instance):
    """Run a command in a process of its own, on a real terminal of 80 columns."""

    def run(*arguments: str, answer: str = "") -> tuple[int, str]:
        db.session.remove()
        instance.engine.dispose()  # no connection may be used by two
        forget_broker_connections()
        child, terminal = pty.fork()
        if child == 0:
            as_on_a_terminal(app, arguments)
        fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("4H", 24, 80, 0, 0))
        shown = b""
        with suppress(OSError):  # the other end has closed it
            while part := os.read(terminal, 4096):
                shown += part
                if answer and shown.endswith(b"[y/N]: "):
                    os.write(terminal, answer.encode())
        os.close(terminal)
        _, status = os.waitpid(child, 0)
        return os.waitstatus_to_exitcode(status), shown.decode()

    return run


def test_commands_that_write_ask_on_a_terminal(instance, on_terminal):
    record = instance.record(LEGACY)
    before = instance.created(record)
    # Python does not notice a Ctrl-C right before it begins to wait: hence the \n.
    for answer in ("n\n", "\n", "\x03\n"):
        status, shown = on_terminal("update", answer=answer)
        assert status == 3 and "Nothing was changed" in shown, shown
    assert instance.created(record) == before
    status, shown = on_terminal("update", answer="y\n")
    assert status == 0 and instance.created(record) != before
    assert "Records  [####################]  1/1" in shown
    status, shown = on_terminal("rollback", answer="y\n")
    assert status == 0 and instance.created(record) == before


def test_errors_on_a_terminal_are_broken_between_words(instance, on_terminal):
    with locked(instance.engine, 1):
        status, shown = on_terminal("update", "--yes")
    assert status == 4
    lines = shown.splitlines()
    error = lines[lines.index(next(x for x in lines if x.startswith("Error"))) :]
    assert len(error) > 1 and max(map(len, error)) <= 80
    assert " ".join(error).endswith("then run the same command again.")


def test_colours_are_left_out_where_nobody_wants_them(
    instance, on_terminal, invoke, monkeypatch
):
    assert "\x1b[" in on_terminal("check")[1]
    assert "\x1b[" not in invoke("check").output
    monkeypatch.setenv("NO_COLOR", "1")
    assert "\x1b[" not in on_terminal("check")[1]
