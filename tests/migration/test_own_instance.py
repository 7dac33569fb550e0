# SPDX-FileCopyrightText: 2026 kcworks-migrations contributors
# SPDX-License-Identifier: MIT
"""Tests, demo and benchmarks write to an instance of their own, and to no other."""

import os
import runpy
import subprocess
import sys
from pathlib import Path

import clients
import mark
import pytest
from sqlalchemy import create_engine
from support.faults import make_tables, plain_uri
from support.instance import Instance

ROOT = Path(__file__).parents[2]
NAME = "kcworks_of_somebody"


@pytest.fixture(scope="module")
def somebodys(engine):
    """An instance with a record, in a database that nothing here has made."""
    server = plain_uri(engine)
    uri = clients.database_uri(server, NAME)
    clients.drop_database(server, NAME)
    postgres = clients.database_uri(server, "postgres")
    clients.psql(postgres, f'CREATE DATABASE "{NAME}"')
    make_tables(uri)
    other = Instance(create_engine(uri))
    other.record("2016-02-29T13:11:39Z")
    yield other
    other.engine.dispose()
    clients.drop_database(server, NAME)


@pytest.fixture
def untouched(somebodys, monkeypatch):
    """Let the environment name that instance; it must stay what it is."""
    uri = somebodys.engine.url.render_as_string(hide_password=False)
    monkeypatch.setenv(mark.URI, uri.replace("://", "+psycopg2://"))
    before = somebodys.checksums(without_created=False)
    yield somebodys
    assert somebodys.checksums(without_created=False) == before
    assert somebodys.scalar("SELECT count(*) FROM rdm_records_metadata") == 1


def test_tests_end_at_once(untouched):
    found = subprocess.run(
        [sys.executable, "-m", "pytest", "tests/integration/test_upgrade.py", "-x"],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert found.returncode == 2
    told = found.stdout + found.stderr
    assert f"The database {NAME} was not made by demo/setup.sh" in told
    assert "passed" not in told


@pytest.mark.parametrize(
    ("program", "arguments"),
    [
        ("demo/sample.py", ["sample.json"]),
        ("demo/populate.py", []),
        ("demo/copies.py", [".", "restore"]),
        ("demo/drain.py", ["purge"]),
        ("benchmarks/upgrade.py", ["10"]),
        ("benchmarks/plan.py", ["10"]),
        ("benchmarks/indexing.py", ["1", "1", "1"]),
    ],
)
@pytest.mark.parametrize("is_named", [True, False])
def test_programs_end_at_once(untouched, monkeypatch, program, arguments, is_named):
    if not is_named:  # the application would use what its own configuration names
        monkeypatch.delenv(mark.URI)
    monkeypatch.setattr(sys, "argv", [program, *arguments])
    with pytest.raises(SystemExit, match=NAME if is_named else "not set"):
        runpy.run_path(str(ROOT / program), run_name="__main__")


@pytest.mark.parametrize("command", ["env", "drop"])
def test_services_keep_off_a_database_on_a_server_of_somebody(untouched, command):
    uri = clients.database_uri(plain_uri(untouched.engine), "postgres")
    found = subprocess.run(
        [sys.executable, ROOT / "demo" / "services.py", command, NAME],
        env=os.environ | {"KCWORKS_POSTGRESQL_URI": uri},
        capture_output=True,
        text=True,
    )
    assert found.returncode
    assert f"the database {NAME} was not made by demo/setup.sh" in found.stderr


def test_database_that_can_not_be_asked_is_not_used(monkeypatch):
    monkeypatch.setenv(mark.URI, "postgresql://nobody@127.0.0.1:1/nothing")
    assert "can't be asked" in (mark.refusal() or "")
