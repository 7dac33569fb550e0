# SPDX-FileCopyrightText: 2026 kcworks-migrations contributors
# SPDX-License-Identifier: MIT
"""The whole way through the `invenio` program, each step a process of its own.

Some steps start the real program. As that takes long, the others are forked from this
process, which has everything loaded.
"""

import json
import os
import subprocess
import sys

import pytest
from flask.cli import ScriptInfo
from invenio_app.cli import cli
from support.faults import Child
from support.instance import Instance, utc
from support.plans import IDS, PLANS, make_rows
from support.synthetic import IMPORTED


def invenio(*arguments: str, **environment: str) -> subprocess.CompletedProcess:
    """Run `invenio` without a terminal."""
    return subprocess.run(
        [os.path.join(os.path.dirname(sys.executable), "invenio"), *arguments],
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        env={**os.environ, "PYTHONWARNINGS": "ignore", **environment},
        timeout=300,
    )


@pytest.fixture
def forked(app, instance):
    """Run a command of `invenio` without a terminal; give its status and output."""

    def run(*arguments: str) -> None:
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        sys.stdin = open(0)
        try:
            cli.main(arguments, "invenio", obj=ScriptInfo(create_app=lambda: app))
        except SystemExit as end:
            sys.stdout.flush()
            os._exit(end.code or 0)

    def forked(*arguments: str) -> tuple[int, str]:
        child = Child(instance, lambda: run(*arguments))
        return child.wait(), child.output()

    return forked


@pytest.fixture
def instance(app, engine):
    """An empty instance; each test leaves Alembic at the heads, as it was."""
    instance = Instance(engine)
    instance.empty()
    yield instance
    instance.empty()
    engine.dispose()


def test_upgrade_and_downgrade_through_invenio(instance, forked):
    record = instance.record("2016-02-29T13:11:39Z", label="abcde-12345")
    bad = instance.record("yesterday")
    before = instance.checksums(without_created=False)

    status, output = forked("alembic", "downgrade", "kcworks_migrations@base")
    assert status == 0, output
    tables = "SELECT count(*) FROM pg_tables WHERE tablename LIKE 'kcworks_%'"
    assert instance.scalar(tables) == 0

    refused = invenio(
        "alembic", "upgrade", INVENIO_KCWORKS_CREATED_DATES_BATCH_SIZE="0"
    )
    assert refused.returncode == 2
    assert "KCWORKS_CREATED_DATES_BATCH_SIZE is 0" in refused.stderr
    assert "No date was changed: " in refused.stderr
    assert "what comes after it in any module is not applied" in refused.stderr
    assert "`invenio alembic upgrade` goes on from there" in refused.stderr
    assert "Traceback" not in refused.stderr
    assert instance.created(record) == utc(IMPORTED)

    up = invenio("alembic", "upgrade")
    assert up.returncode == 0, up.stderr
    assert "Found 2 records with a legacy field" in up.stderr
    assert "1 problem; nothing was guessed:" in up.stdout
    assert instance.created(record) == utc("2016-02-29T13:11:39")
    assert instance.created(bad) == utc(IMPORTED)

    document = json.loads(forked("kcworks-created-dates", "status", "--json")[1])
    assert document["runs"][0]["status"] == "succeeded"
    assert document["standing"] == 1

    # Typed twice, the relative form would go one step further and drop the audit.
    down = invenio("alembic", "downgrade", "kcworks_migrations@-1")
    assert down.returncode == 0, down.stderr
    assert instance.checksums(without_created=False) == before
    assert "The undo is done" not in down.stderr
    assert "Traceback" not in down.stderr
    for target, wanted in (("kcworks_migrations@-1", 2), ("a94c06be7d15", 0)):
        status, output = forked("alembic", "downgrade", target)
        assert status == wanted, output
        assert ("Error: The undo is done" in output) is (status == 2)
        assert "Traceback" not in output
        assert instance.checksums(without_created=False) == before
    assert instance.backup(outcome="restored")

    status, output = forked("alembic", "upgrade", "kcworks_migrations@head")
    assert status == 0, output
    assert instance.created(record) == utc("2016-02-29T13:11:39")


def test_update_through_invenio_asks_and_refuses(instance, forked):
    record = instance.record("2016-02-29T13:11:39Z")
    command = ("kcworks-created-dates", "update")

    status, output = forked(*command, "--dry-run")
    assert status == 0, output
    assert "Nothing was written" in output
    status, output = forked(*command)
    assert status == 2
    assert "--yes is needed" in output
    status, output = forked(*command, "--yes", "--start-date", "2024-13-01")
    assert status == 2
    assert instance.created(record) == utc(IMPORTED)
    done = invenio(*command, "--yes")
    assert done.returncode == 0, done.stderr
    assert instance.created(record) == utc("2016-02-29T13:11:39")


def test_upgrade_that_waits_for_an_approved_plan(instance, forked, tmp_path):
    record = instance.record("2016-02-29T13:11:39Z")
    other = instance.record("2017-03-04T05:06:07Z")
    before = instance.checksums(without_created=False)
    status, output = forked("alembic", "downgrade", "kcworks_migrations@base")
    assert status == 0, output

    wait = {"INVENIO_KCWORKS_CREATED_DATES_ON_UPGRADE": "wait"}
    up = invenio("alembic", "upgrade", **wait)
    assert up.returncode == 0, up.stderr
    assert "no date was changed" in up.stderr
    assert "kcworks-created-dates update --plan plan.csv" in up.stderr
    assert instance.created(record) == utc(IMPORTED)
    assert not instance.execute("SELECT 1 FROM kcworks_created_dates_run")

    path = tmp_path / "plan.csv"
    path.write_text(f"id,new\n{record},2015-01-01\n")
    done = invenio(
        "kcworks-created-dates", "update", "--yes", "--plan", str(path), **wait
    )
    assert done.returncode == 0, done.stderr
    assert "the file's own, not computed: 1" in done.stderr
    assert instance.created(record) == utc("2015-01-01")
    assert instance.created(other) == utc(IMPORTED)

    down = invenio("alembic", "downgrade", "a94c06be7d15", **wait)
    assert down.returncode == 0, down.stderr
    assert instance.checksums(without_created=False) == before
    status, output = forked("alembic", "upgrade", "kcworks_migrations@head")
    assert status == 0, output
    assert instance.created(record) == utc("2016-02-29T13:11:39")


def test_round_trip_of_a_plan_through_calc(instance, forked):
    """The file is what LibreOffice Calc made of `problems --csv`, filled in."""
    make_rows(instance)
    before = instance.all_created()
    ours = "kcworks-created-dates"
    update = (ours, "update", "--plan", str(PLANS / "calc-utf-8.csv"))

    for command in (("downgrade", "kcworks_migrations@base"), ("upgrade",)):
        status, output = forked("alembic", *command)
        assert status == 0, output
    assert instance.created(IDS[1]) == utc(IMPORTED)
    status, output = forked(ours, "problems", "--csv")
    assert f"record,{IDS[1]},1e5-7," in output
    assert ",invalid_format,29.2.2016," in output

    status, output = forked(*update, "--dry-run")
    assert status == 0, output
    assert "2016-02-29 00:00:00 UTC, computed: none" in output
    done = invenio(*update, "--yes", "--reason", "the printed catalogue")
    assert done.returncode == 0, done.stderr
    assert instance.created(IDS[1]) == utc("2016-02-29")
    status, output = forked(ours, "show", "1e5-7")
    assert "2016-02-29 in calc-utf-8.csv" in output
    assert "note: aus dem gedruckten Katalog, für „später“" in output
    after = instance.all_created()
    for again in ((*update, "--yes"), (ours, "update", "--yes")):
        status, output = forked(*again)
        assert (status, "Nothing had to be changed." in output) == (0, True), output
    assert instance.all_created() == after

    down = invenio("alembic", "downgrade", "a94c06be7d15")
    assert down.returncode == 0, down.stderr
    assert instance.all_created() == before
    assert forked("alembic", "upgrade", "kcworks_migrations@head")[0] == 0
