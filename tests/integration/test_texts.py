# SPDX-FileCopyrightText: 2026 kcworks-migrations contributors
# SPDX-License-Identifier: MIT
"""Texts that PostgreSQL can't hold are refused before anything is done."""

import pytest
from support.instance import OURS

from kcworks_migrations import migration
from kcworks_migrations.errors import RefusedError
from kcworks_migrations.ledger import runs
from kcworks_migrations.tasks import update_community_created_dates_task as communities
from kcworks_migrations.tasks import update_record_created_dates_task as records

NUL, HALF, BYTE = "a\0b", "a\ud800b", "caf\udce9"
"""The last is what Python makes of a byte that is not UTF-8."""
TEXTS = [NUL, HALF, BYTE]
WANTED = "must be a text that PostgreSQL takes: not empty, without NUL, of whole"


@pytest.fixture
def dated(instance):
    """An instance with something to change, where nothing must be changed."""
    instance.record("2016-02-29T13:11:39Z", label="pid-0")
    yield instance
    assert not instance.scalar(f"SELECT count(*) FROM {OURS}run")
    assert not instance.backup()


@pytest.mark.parametrize("text", [*TEXTS, " "])
@pytest.mark.parametrize("command", ["update", "rollback", "rehearse"])
def test_commands_refuse_a_reason(dated, invoke, command, text):
    result = invoke(command, "--yes", "--reason", text)
    assert result.exit_code == 2
    assert f"{text!r} is not a text that PostgreSQL takes" in result.output


@pytest.mark.parametrize("text", [*TEXTS, " "])
@pytest.mark.parametrize("task", [records, communities])
def test_tasks_refuse_a_reason(dated, task, text):
    with pytest.raises(Exception, match=f"{WANTED}.*Nothing was changed"):
        task.apply(kwargs={"reason": text}).get()


@pytest.mark.parametrize("text", [*TEXTS, " "])
def test_functions_refuse_a_reason(dated, text):
    for work in (migration.apply, migration.revert):
        with pytest.raises(RefusedError, match=WANTED):
            work(dated.engine, reason=text)


def test_reason_in_the_environment_is_refused_by_its_name(dated, monkeypatch):
    monkeypatch.setenv("KCWORKS_CREATED_DATES_REASON", BYTE)
    for work in (migration.apply, migration.revert):
        with pytest.raises(RefusedError, match=f"DATES_REASON is .*{WANTED}"):
            work(dated.engine, "alembic")


@pytest.mark.parametrize("text", TEXTS)
def test_names_are_refused(dated, invoke, text):
    for arguments in (
        ["show", text],
        ["rollback", "--yes", "--record", text],
        ["rollback", "--yes", "--community", text],
    ):
        result = invoke(*arguments)
        assert result.exit_code == 2
        assert "is not a PID, slug or UUID" in result.output
    with pytest.raises(Exception, match="no record and no community: "):
        records.apply(kwargs={"exclude": [text]}).get()


def test_blank_reason_in_the_environment_is_none(instance, monkeypatch):
    monkeypatch.setenv("KCWORKS_CREATED_DATES_REASON", " ")
    instance.upgrade()
    assert instance.run().reason is None


def test_user_whose_name_is_not_utf_8_may_begin_a_run(instance, monkeypatch):
    monkeypatch.setattr(runs.getpass, "getuser", lambda: BYTE)
    instance.upgrade()
    assert instance.run().started_by.startswith(r"caf\udce9@")
