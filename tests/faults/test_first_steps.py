# SPDX-FileCopyrightText: 2026 kcworks-migrations contributors
# SPDX-License-Identifier: MIT
"""Before the tables exist: commands that start together, and advice that works."""

import json
import os
import sys
import time

import pytest
from support.faults import (
    DATA_REVISION,
    TABLES_REVISION,
    Child,
    Point,
    at,
    forget_connections,
    stop_this_process,
)
from support.instance import utc
from support.worker import Worker, result_of

from kcworks_migrations.cli import created_dates
from kcworks_migrations.tasks import (
    update_community_created_dates_task,
    update_record_created_dates_task,
)

FIRST_REVISION = "7f3a51c9e0d2"
OURS = (FIRST_REVISION, TABLES_REVISION, DATA_REVISION)
HEAD = "kcworks_migrations@head"
LEGACY = "2016-02-29T13:11:39Z"


@pytest.fixture
def alembic(app):
    """Alembic as `invenio alembic` uses it."""
    return app.extensions["invenio-db"].alembic


@pytest.fixture
def bare(instance, alembic):
    """An instance with a record and a community, without anything of ours."""
    instance.record(LEGACY, [{"group_identifier": "7"}], label="one")
    instance.community("7", slug="seven")
    alembic.downgrade("kcworks_migrations@base")
    others = stamps(instance)
    yield instance
    forget_connections(instance)
    instance.execute("DELETE FROM alembic_version")
    for stamp in others:
        instance.execute("INSERT INTO alembic_version VALUES (:stamp)", stamp=stamp)
    for table in ("problem", "backup", "run"):
        instance.execute(f"DROP TABLE IF EXISTS kcworks_created_dates_{table} CASCADE")
    alembic.upgrade(HEAD)


def stamps(instance) -> list[str]:
    return [
        row[0] for row in instance.execute("SELECT version_num FROM alembic_version")
    ]


def ours(instance) -> list[str]:
    return [stamp for stamp in stamps(instance) if stamp in OURS]


STARTED = {
    "update": ("kcworks-created-dates", "update", "--yes"),
    "upgrade": ("alembic", "upgrade", HEAD),
    "bare upgrade": ("alembic", "upgrade"),
}


def started(app, instance, name: str, point: Point | None = None) -> Child:
    """Start a command in a process of its own; at a point it holds itself."""

    def work() -> None:
        group, *arguments = STARTED[name]
        command = created_dates if "kcworks" in group else app.cli.commands[group]
        if point is None:
            run(command, arguments)
        with at(instance.engine, point, stop_this_process):
            run(command, arguments)

    def run(command, arguments) -> None:
        result = app.test_cli_runner().invoke(command, arguments)
        print(result.output)
        sys.stdout.flush()
        os._exit(result.exit_code)

    child = Child(instance, work)
    if point:
        child.wait_until_stopped()
    return child


BEGIN = Point("before", "INSERT INTO alembic_version")
BETWEEN = Point("committed", "INSERT INTO alembic_version")
MADE = Point("committed", "CREATE TABLE kcworks_created_dates_run")


@pytest.mark.parametrize("point", [BEGIN, BETWEEN, MADE], ids=["begin", "root", "made"])
@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("update", "update"),
        ("update", "bare upgrade"),
        ("upgrade", "update"),
        ("upgrade", "upgrade"),
    ],
)
def test_commands_started_together_leave_one_stamp(app, bare, first, second, point):
    """The first is held at a point until the second has done all it can."""
    held = started(app, bare, first, point)
    other = started(app, bare, second)
    deadline = time.monotonic() + 5
    while other.poll() is None and time.monotonic() < deadline:
        time.sleep(0.02)
    held.go_on()
    for child in (held, other):
        status, output = child.wait(), child.output()
        assert status in (0, 4), output
        goes_on = "run the same command again" in output or "goes on from" in output
        assert (status == 4) is goes_on, output
        assert "Traceback" not in output
    assert len(ours(bare)) == 1
    # Whoever was refused types the same again.
    for name in (first, second):
        again = started(app, bare, name)
        assert again.wait() == 0, again.output()
    assert len(ours(bare)) == 1
    changed = {entry.label: entry.new_created for entry in bare.backup()}
    assert changed == {"one": utc("2016-02-29T13:11:39"), "seven": utc("2016-02-29")}
    assert len(bare.backup()) == 2


def test_two_tasks_sent_at_once_both_do_their_part(app, bare, worker):
    """Each makes the tables if they are absent."""
    second = Worker(worker._log.with_name("second.log"))
    try:
        for one in (worker, second):
            one.start()
        tasks = [
            update_record_created_dates_task.delay(),
            update_community_created_dates_task.delay(),
        ]
        for task in tasks:
            result = result_of(task.id)
            assert result.state == "SUCCESS", result.result
    finally:
        second.kill()
    assert ours(bare) == [TABLES_REVISION]
    assert {entry.label for entry in bare.backup()} >= {"one"}


# --- advice ---------------------------------------------------------------------------


def revision_of(invoke) -> dict:
    """Give what `check` says of the revisions."""
    lines = json.loads(invoke("check", "--json").stdout)["lines"]
    [line] = [line for line in lines if line["name"] == "revision"]
    return line


def stamp_twice(instance, alembic, app) -> None:
    alembic.upgrade(TABLES_REVISION)
    instance.execute("INSERT INTO alembic_version VALUES (:s)", s=FIRST_REVISION)


def stamp_twice_when_done(instance, alembic, app) -> None:
    alembic.upgrade(HEAD)
    instance.execute("INSERT INTO alembic_version VALUES (:s)", s=FIRST_REVISION)


def stamp_all(instance, alembic, app) -> None:
    result = app.test_cli_runner().invoke(app.cli.commands["alembic"], ["stamp"])
    assert result.exit_code == 0


def stamp_tables(instance, alembic, app) -> None:
    alembic.stamp(TABLES_REVISION)


def lose_a_table(instance, alembic, app) -> None:
    alembic.upgrade(TABLES_REVISION)
    instance.execute("DROP TABLE kcworks_created_dates_problem")


def lose_runs(instance, alembic, app) -> None:
    alembic.upgrade(TABLES_REVISION)
    instance.execute("DROP TABLE kcworks_created_dates_run CASCADE")


def lose_the_stamp(instance, alembic, app) -> None:
    alembic.upgrade(TABLES_REVISION)
    instance.execute(f"DELETE FROM alembic_version WHERE version_num IN {OURS}")


def lose_stamp_and_table(instance, alembic, app) -> None:
    lose_the_stamp(instance, alembic, app)
    instance.execute("DROP TABLE kcworks_created_dates_problem")


def stamp_the_root(instance, alembic, app) -> None:
    alembic.upgrade(FIRST_REVISION)


def make_new_database(instance, alembic, app) -> None:
    """As `invenio db create` leaves it: tables from the models, heads stamped."""
    alembic.upgrade(TABLES_REVISION)
    instance.execute(
        "UPDATE alembic_version SET version_num = :new WHERE version_num = :old",
        new=DATA_REVISION,
        old=TABLES_REVISION,
    )


@pytest.mark.parametrize(
    "damage",
    [
        stamp_twice,
        stamp_twice_when_done,
        stamp_all,
        stamp_tables,
        lose_a_table,
        lose_runs,
        lose_the_stamp,
        lose_stamp_and_table,
        stamp_the_root,
        make_new_database,
    ],
)
def test_what_check_advises_leads_to_a_working_state(
    app, bare, alembic, invoke, typed, damage
):
    damage(bare, alembic, app)
    typed(revision_of(invoke)["what_to_do"])
    for _ in range(2):
        line = revision_of(invoke)
        assert line["level"] != "stop", line
        if line["fact"].startswith("Done already"):
            break
        typed(line["what_to_do"])
    assert revision_of(invoke)["fact"].startswith("Done already")
    assert len(ours(bare)) == 1
    alembic.upgrade(HEAD)
    assert ours(bare) == [DATA_REVISION]
    assert {entry.label for entry in bare.backup()} == {"one", "seven"}


@pytest.mark.parametrize("damage", [stamp_twice, stamp_twice_when_done])
def test_status_recognises_two_stamps(app, bare, alembic, invoke, typed, damage):
    damage(bare, alembic, app)
    told, _, steps = invoke("status").output.partition("Next:")
    assert f"Alembic has stamped {FIRST_REVISION} and " in told
    typed(" ".join(steps.split()))
    assert "Alembic has stamped" not in invoke("status").output
    alembic.upgrade(HEAD)
    assert ours(bare) == [DATA_REVISION]


@pytest.mark.parametrize("damage", [stamp_all, stamp_tables, lose_a_table, lose_runs])
@pytest.mark.parametrize(
    "command", ["status", "update --yes", "rollback --yes", "reindex", "verify"]
)
def test_commands_tell_that_a_table_is_missing(
    app, bare, alembic, invoke, typed, damage, command
):
    damage(bare, alembic, app)
    result = invoke(*command.split())
    assert result.exit_code == 2
    assert "records the tables of this package as created, but" in result.output
    typed(result.output.partition("Otherwise ")[2])
    assert invoke("status").exit_code == 0


def test_status_of_a_new_database_names_what_changes_dates(
    app, bare, alembic, invoke, typed
):
    """There Alembic's upgrade does nothing, as the revision is stamped."""
    make_new_database(bare, alembic, app)
    output = invoke("status").output
    assert "alembic upgrade" not in output
    invenio = "invenio kcworks-created-dates "
    assert f"{invenio}update\n" in output
    typed(f"`{invenio}update`")
    assert len(bare.backup()) == 2


def test_table_of_an_earlier_build_is_not_taken_over(bare, alembic, app, invoke):
    lose_stamp_and_table(bare, alembic, app)
    bare.execute("ALTER TABLE kcworks_created_dates_run DROP COLUMN reason")
    update = invoke("update", "--yes")
    assert update.exit_code == 2
    assert "lacks reason. Nothing was changed: export it" in update.output
    assert "Traceback" not in update.output
    upgrade = app.cli.commands["alembic"], ["upgrade", HEAD]
    result = app.test_cli_runner().invoke(*upgrade)
    assert result.exit_code == 2
    assert "is of an earlier build and lacks reason" in result.output
    assert ours(bare) == [FIRST_REVISION]
