# SPDX-FileCopyrightText: 2026 kcworks-migrations contributors
# SPDX-License-Identifier: MIT
"""The whole way through the real `invenio` program, each step a process of its own."""

import json
import os
import subprocess
import sys

import pytest
from support.instance import Instance, utc
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
def instance(app, engine):
    """An empty instance; each test leaves Alembic at the heads, as it was."""
    instance = Instance(engine)
    instance.empty()
    yield instance
    instance.empty()
    engine.dispose()


def test_upgrade_and_downgrade_through_invenio(instance):
    record = instance.record("2016-02-29T13:11:39Z", label="abcde-12345")
    bad = instance.record("yesterday")
    before = instance.checksums(without_created=False)

    base = invenio("alembic", "downgrade", "kcworks_migrations@base")
    assert base.returncode == 0, base.stderr
    tables = "SELECT count(*) FROM pg_tables WHERE tablename LIKE 'kcworks_%'"
    assert instance.scalar(tables) == 0

    refused = invenio(
        "alembic", "upgrade", INVENIO_KCWORKS_CREATED_DATES_BATCH_SIZE="0"
    )
    assert refused.returncode == 2
    assert "KCWORKS_CREATED_DATES_BATCH_SIZE is 0" in refused.stderr
    assert "Traceback" not in refused.stderr
    assert instance.created(record) == utc(IMPORTED)

    up = invenio("alembic", "upgrade")
    assert up.returncode == 0, up.stderr
    assert "Found 2 records with a legacy field" in up.stderr
    assert "1 problem; nothing was guessed:" in up.stdout
    assert instance.created(record) == utc("2016-02-29T13:11:39")
    assert instance.created(bad) == utc(IMPORTED)

    status = invenio("kcworks-created-dates", "status", "--json")
    document = json.loads(status.stdout)
    assert document["runs"][0]["status"] == "succeeded"
    assert document["standing"] == 1

    # Typed twice, the relative form would go one step further and drop the audit.
    for target, status in (
        ("kcworks_migrations@-1", 0),
        ("kcworks_migrations@-1", 1),
        ("a94c06be7d15", 0),
    ):
        down = invenio("alembic", "downgrade", target)
        assert down.returncode == status, down.stderr
        assert ("Error: The undo is done" in down.stderr) is (status == 1)
        assert "Traceback" not in down.stderr
        assert instance.checksums(without_created=False) == before
    assert instance.backup(outcome="restored")

    again = invenio("alembic", "upgrade", "kcworks_migrations@head")
    assert again.returncode == 0, again.stderr
    assert instance.created(record) == utc("2016-02-29T13:11:39")


def test_update_through_invenio_asks_and_refuses(instance):
    record = instance.record("2016-02-29T13:11:39Z")
    command = ("kcworks-created-dates", "update")

    dry = invenio(*command, "--dry-run")
    assert dry.returncode == 0, dry.stderr
    assert "Nothing was written" in dry.stdout
    unasked = invenio(*command)
    assert unasked.returncode == 2
    assert "--yes is needed" in unasked.stderr
    wrong = invenio(*command, "--yes", "--start-date", "2024-13-01")
    assert wrong.returncode == 2
    assert instance.created(record) == utc(IMPORTED)
    done = invenio(*command, "--yes")
    assert done.returncode == 0, done.stderr
    assert instance.created(record) == utc("2016-02-29T13:11:39")
