# SPDX-FileCopyrightText: 2026 kcworks-migrations contributors
# SPDX-License-Identifier: MIT
"""The commands without the tables of this package, and advice that mends that."""

import re

import pytest
from invenio_db import db
from sqlalchemy import inspect
from support.instance import utc
from support.rebuild import given, rebuild

from kcworks_migrations.cli import created_dates

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
@rebuild("what only looks says that nothing has been done yet")
def test_what_only_looks_needs_no_tables(installed, invoke, command):
    installed.record(LEGACY, label="pid-0")
    done = invoke(*command.split())
    given(not have_tables(installed), "the tables are there")
    assert done.exit_code == 0, done.output
    assert "kcworks_created_dates_" not in done.output


@rebuild("an update makes the tables")
def test_update_makes_the_tables(installed, invoke):
    record = installed.record(LEGACY)
    done = invoke("update", "--yes")
    assert done.exit_code == 0, done.output
    assert have_tables(installed)
    assert installed.created(record) == utc(LEGACY[:-1])
    assert len(installed.backup()) == 1


@rebuild("a rehearsal makes the tables")
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
@rebuild("the advice names the stamp that mends it")
def test_advice_for_stamps_without_tables_mends_it(app, stamped, invoke, command):
    refused = invoke(command, "--yes")
    given(refused.exit_code != 0, refused.output)
    advised = follow(app, refused.output)
    given(advised, refused.output)
    done = invoke(command, "--yes")
    assert done.exit_code == 0, f"after {advised} it says: {done.output}"


def test_stamp_and_upgrade_mend_stamps_without_tables(app, stamped, invoke):
    advice = (
        f"`invenio alembic stamp {REVISIONS[0]}`, then"
        " `invenio alembic upgrade kcworks_migrations@head`"
    )
    given(len(follow(app, advice)) == 2, advice)
    done = invoke("update", "--yes")
    assert done.exit_code == 0, done.output
    assert have_tables(stamped)


@rebuild("the advice touches no instance that is there")
def test_advice_for_a_missing_alembic_version_makes_no_database(instance, invoke):
    instance.execute("ALTER TABLE alembic_version RENAME TO hidden_alembic_version")
    try:
        done = invoke("check")
    finally:
        instance.execute("ALTER TABLE hidden_alembic_version RENAME TO alembic_version")
    given("alembic_version" in done.output, done.output)
    assert not re.search(r"invenio\s+db\s", done.output), done.output
