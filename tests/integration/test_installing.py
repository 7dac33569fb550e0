# SPDX-FileCopyrightText: 2026 kcworks-migrations contributors
# SPDX-License-Identifier: MIT
"""The commands without the tables of this package, and advice that mends that."""

import json
import re

import pytest
from invenio_db import db
from sqlalchemy import inspect
from support.instance import utc
from support.worker import forget_tasks

from kcworks_migrations.cli import created_dates
from kcworks_migrations.tasks import update_record_created_dates_task as records_task

LEGACY = "2016-02-29T13:11:39Z"
STAMPS = "SELECT version_num FROM alembic_version"
REVISIONS = ("7f3a51c9e0d2", "a94c06be7d15", "c51d8e2f60b7")


def our_tables() -> list:
    """Give the tables of this package, those that others refer to first."""
    return [t for t in db.metadata.sorted_tables if t.name.startswith("kcworks_")]


def have_tables(instance) -> bool:
    """Tell whether all tables of this package are there."""
    names = inspect(instance.engine).get_table_names()
    return {table.name for table in our_tables()} <= set(names)


def drop_tables(instance) -> None:
    # One by one: `drop_all` also drops the sequences of other modules.
    db.session.remove()
    for table in reversed(our_tables()):
        table.drop(instance.engine, checkfirst=True)


@pytest.fixture
def stamped(instance):
    """An instance where Alembic believes in tables that are not there."""
    stamps = [row[0] for row in instance.execute(STAMPS)]
    drop_tables(instance)
    yield instance
    drop_tables(instance)
    for table in our_tables():
        table.create(instance.engine)
    instance.execute("DELETE FROM alembic_version")
    for stamp in stamps:
        instance.execute("INSERT INTO alembic_version VALUES (:stamp)", stamp=stamp)


@pytest.fixture
def installed(stamped):
    """An instance where this package was installed, and nothing done yet."""
    stamped.execute(
        "DELETE FROM alembic_version WHERE version_num = ANY(:ours)",
        ours=list(REVISIONS),
    )
    return stamped


# --- right after installing ----------------------------------------------------------


@pytest.mark.parametrize("command", ["status", "problems", "show pid-0", "verify"])
def test_what_only_looks_needs_no_tables(installed, invoke, command):
    installed.record(LEGACY, label="pid-0")
    done = invoke(*command.split())
    assert not have_tables(installed)
    assert done.exit_code == 0, done.output
    assert "kcworks_created_dates_" not in done.output
    assert "Nothing has been done yet" in done.output
    assert "invenio kcworks-created-dates check" in done.output
    document = json.loads(invoke(*command.split(), "--json").stdout)
    assert document["message"].startswith("Nothing has been done yet")


def test_a_monitor_gets_one_line_without_tables(installed, invoke):
    done = invoke("status", "--check")
    assert (done.exit_code, done.output) == (0, "OK: no run yet\n")


def test_a_monitor_is_told_of_tables_that_are_gone(stamped, invoke):
    done = invoke("status", "--check")
    assert done.exit_code == 1
    assert done.stdout.startswith("PROBLEM: Alembic records the tables of this package")


def test_rollback_without_tables_is_refused(installed, invoke):
    """They may have been lost, and with them the only memory of the old dates."""
    assert invoke("rollback", "--yes").exit_code == 2


def test_update_makes_the_tables(installed, invoke):
    record = installed.record(LEGACY)
    done = invoke("update", "--yes")
    assert done.exit_code == 0, done.output
    assert have_tables(installed)
    assert installed.created(record) == utc(LEGACY[:-1])
    assert len(installed.backup()) == 1


def test_task_makes_the_tables(installed):
    record = installed.record(LEGACY)
    assert records_task.apply().get()["updated"] == 1
    assert have_tables(installed)
    assert installed.created(record) == utc(LEGACY[:-1])


@pytest.mark.parametrize("options", [("--dry-run",), ("--background", "--yes")])
def test_what_changes_nothing_here_makes_no_tables(installed, invoke, options):
    assert invoke("update", *options).exit_code == 0
    assert not have_tables(installed)
    forget_tasks()


def test_rehearse_needs_no_tables(installed, invoke):
    done = invoke("rehearse", "--yes")
    assert done.exit_code == 0, done.output
    assert "kcworks_created_dates_" not in done.output


# --- advice --------------------------------------------------------------------------


def follow(app, advice: str) -> list[str]:
    """Run the commands that an advice names, one after the other, as they stand."""
    commands = re.findall(r"(?:`|^ +)invenio ([^`\n]+)", advice, re.MULTILINE)
    for command in commands:
        name, *arguments = command.split()
        groups = app.cli.commands | {created_dates.name: created_dates}
        app.test_cli_runner().invoke(groups[name], arguments)
    return commands


@pytest.mark.parametrize("command", ["update", "rehearse"])
def test_advice_for_stamps_without_tables_mends_it(app, stamped, invoke, command):
    refused = invoke(command, "--yes")
    assert refused.exit_code == 2, refused.output
    advised = follow(app, refused.output)
    assert advised, refused.output
    done = invoke(command, "--yes")
    assert done.exit_code == 0, f"after {advised} it says: {done.output}"


def test_stamp_and_upgrade_mend_stamps_without_tables(app, stamped, invoke):
    advice = (
        f"`invenio alembic stamp {REVISIONS[0]}`, then"
        " `invenio alembic upgrade kcworks_migrations@head`"
    )
    assert len(follow(app, advice)) == 2
    done = invoke("update", "--yes")
    assert done.exit_code == 0, done.output
    assert have_tables(stamped)
