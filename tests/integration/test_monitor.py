# SPDX-FileCopyrightText: 2026 kcworks-migrations contributors
# SPDX-License-Identifier: MIT
"""`status --check`: what somebody must see to, since when, and the command."""

import json
import signal
from contextlib import contextmanager

import pytest
from support import faults
from support.instance import OURS

from kcworks_migrations.errors import RunFailedError
from kcworks_migrations.index.verdict import Verdict
from kcworks_migrations.kinds import RECORD
from kcworks_migrations.ledger.runs import locked
from kcworks_migrations.ledger.standing import Selection
from kcworks_migrations.migration import revert

COMMAND = "invenio kcworks-created-dates"
UPGRADE = "invenio alembic upgrade kcworks_migrations@head"
CHANGE = "INSERT INTO kcworks_created_dates_backup"
RESTORE = "UPDATE kcworks_created_dates_backup AS b"
RUN_ROW = "INSERT INTO kcworks_created_dates_run"


@pytest.fixture
def check(instance, invoke):
    """Call `status --check`; give the exit status and what is wrong, from the JSON."""
    instance.many(20, 2)

    def check():
        done = invoke("status", "--check")
        document = json.loads(invoke("status", "--check", "--json").stdout)
        assert document["is_ok"] == (done.exit_code == 0)
        assert done.output.startswith("OK: " if document["is_ok"] else "PROBLEM: ")
        assert len(done.output.splitlines()) == 1
        for trouble in document["troubles"]:
            assert trouble["command"].rstrip(".") in done.output
        whole = json.loads(invoke("status", "--json").stdout)["check"]
        assert [t["command"] for t in whole["troubles"]] == [
            t["command"] for t in document["troubles"]
        ]
        return done.exit_code, document["troubles"]

    return check


@contextmanager
def failing(instance, point: faults.Point):
    """Let something fail at a point."""

    def fail(connection) -> None:
        raise RuntimeError("not today")

    with faults.at(instance.engine, point, fail), pytest.raises(RunFailedError):
        yield


def fail(instance, **given) -> int:
    """Let an update fail after its first batch; give its run."""
    with failing(instance, faults.Point("committed", CHANGE)):
        instance.upgrade(**given)
    return instance.run().id


def kill(instance) -> int:
    """Kill an update after its first batch; give its run."""

    def work() -> None:
        point = faults.Point("committed", CHANGE)
        with faults.at(instance.engine, point, faults.kill_this_process):
            instance.upgrade()

    child = faults.Child(instance, work)
    assert child.wait() == -signal.SIGKILL, child.output()
    return instance.run().id


@pytest.mark.parametrize(("end", "word"), [(fail, "failed"), (kill, "was killed")])
def test_run_that_did_not_finish(instance, invoke, check, end, word):
    assert check() == (0, [])
    run_id = end(instance)
    code, [trouble] = check()
    assert code == 1
    assert trouble["run"] == run_id and trouble["since"].endswith("Z")
    assert f"Run {run_id} (apply from alembic) {word} at " in trouble["fact"]
    assert f"PROBLEM: Run {run_id}" in invoke("status").output
    # As Alembic has it stamped here, its upgrade would do nothing.
    assert trouble["command"] == f"{COMMAND} update"
    assert invoke("update", "--yes").exit_code == 1  # a date is malformed
    assert check() == (0, [])


@pytest.mark.parametrize("way", ["of the run", "of all", "of its rows"])
def test_run_that_failed_and_was_rolled_back(instance, invoke, check, way):
    run_id = fail(instance)
    rows = [e for e in instance.backup() if e.run_id == run_id]
    options = {
        "of the run": ["--run", run_id],
        "of all": [],
        "of its rows": [w for e in rows for w in (f"--{e.kind}", e.label)],
    }[way]
    assert invoke("rollback", "--yes", *options).exit_code == 0
    assert check() == (0, [])


def test_run_that_failed_before_its_first_change_and_was_given_up(instance, check):
    with failing(instance, faults.Point("committed", RUN_ROW)):
        instance.upgrade()
    assert check()[0] == 1
    revert(instance.engine, "cli", Selection(run_id=instance.run().id))
    assert check() == (0, [])


SOME = {"start_date": "2000-01-01", "limit": 15, "batch_size": 5}


@pytest.mark.parametrize(
    ("given", "is_made_up_for"),
    [
        (SOME, True),
        ({}, True),
        ({"start_date": "1999-01-01"}, True),
        ({"start_date": "2001-01-01"}, False),
        ({"end_date": "2100-01-01"}, False),
        ({"limit": 20}, True),
        ({"limit": 14, "start_date": "2000-01-01"}, False),
        ({"exclude": ["syn-1"]}, False),
        ({"kinds": (RECORD,)}, False),
    ],
)
def test_later_run_makes_up_for_it_with_the_same_or_wider_options(
    instance, check, given, is_made_up_for
):
    run_id = fail(instance, **SOME)
    [trouble] = check()[1]
    assert trouble["command"] == (
        f"{COMMAND} update --start-date 2000-01-01 --limit 15"
    )
    instance.upgrade(**given)
    assert [t["run"] for t in check()[1]] == [run_id] * (not is_made_up_for)


def test_restoration_that_failed(instance, invoke, check):
    instance.upgrade(kinds=(RECORD,))
    with failing(instance, faults.Point("committed", RESTORE)):
        revert(instance.engine, "cli")
    run_id = instance.run().id
    [trouble] = check()[1]
    assert (trouble["run"], trouble["command"]) == (run_id, f"{COMMAND} rollback")
    instance.upgrade(kinds=(RECORD,))  # a part of it
    assert check()[0] == 1
    instance.downgrade()
    assert check() == (0, [])


def test_run_that_hangs(instance, engine, invoke, check):
    instance.upgrade()
    with locked(engine, 1) as database:
        instance.execute(
            f"UPDATE {OURS}run SET status = 'running', backend_pid = :pid,"
            " progress_at = progress_at - interval '59 minutes'",
            pid=database.pid,
        )
        assert check() == (0, [])
        past = "progress_at = progress_at - interval '2 minutes'"
        instance.execute(f"UPDATE {OURS}run SET {past}")
        code, [trouble] = check()
        assert (code, trouble["run"]) == (1, instance.run().id)
        assert "holds the lock, without progress since" in trouble["fact"]
        assert invoke("status", "--wait").exit_code == 1  # it ends
        statement = trouble["command"].split("`")[1]
        instance.execute(statement)
    [trouble] = check()[1]
    assert "was killed" in trouble["fact"]


def test_changes_that_are_pending_though_the_index_has_settled(instance, invoke, check):
    instance.upgrade()
    instance.execute(
        f"UPDATE {OURS}run SET settled_at = now(), next_look_at = NULL,"
        " settling = CAST(:found AS jsonb)",
        found=json.dumps(Verdict().as_dict()),
    )
    assert check() == (0, [])
    instance.execute(f"UPDATE {OURS}backup SET queued_at = NULL")
    [trouble] = check()[1]
    assert trouble["command"] == f"{COMMAND} reindex"
    assert invoke("reindex").exit_code == 0
    assert check() == (0, [])


@pytest.mark.parametrize(
    ("table", "column"),
    [("run", "progress_at"), ("run", "finished_at"), ("backup", "changed_at")],
)
def test_ledger_ahead_of_the_clock(instance, check, table, column):
    instance.upgrade()
    ahead = f"UPDATE {OURS}{table} SET {column} = now() + interval"
    instance.execute(f"{ahead} '50 seconds'")
    assert check() == (0, [])
    instance.execute(f"{ahead} '62 seconds'")
    code, [trouble] = check()
    assert code == 1 and "ahead of the database's clock" in trouble["fact"]


def test_two_revisions_stamped(instance, check):
    """From two upgrades at once, before this was locked."""
    instance.upgrade()
    instance.execute("INSERT INTO alembic_version VALUES ('7f3a51c9e0d2')")
    try:
        code, [trouble] = check()
        assert code == 1 and "Alembic has stamped 7f3a51c9e0d2" in trouble["fact"]
        instance.execute(trouble["command"].split("`")[1])
        assert check() == (0, [])
    finally:
        instance.execute(
            "DELETE FROM alembic_version WHERE version_num = '7f3a51c9e0d2'"
        )
