# SPDX-FileCopyrightText: 2026 kcworks-migrations contributors
# SPDX-License-Identifier: MIT
"""The undo that is printed works in the state in which it is printed."""

import json

import pytest
from support.faults import DATA_REVISION, TABLES_REVISION, forget_connections
from support.instance import utc

HEAD = "kcworks_migrations@head"
LEGACY = "2016-02-29T13:11:39Z"
DOWNGRADE = f"invenio alembic downgrade {TABLES_REVISION}"
ROLLBACK = "invenio kcworks-created-dates rollback"


@pytest.fixture
def alembic(app):
    """Alembic as `invenio alembic` uses it."""
    return app.extensions["invenio-db"].alembic


@pytest.fixture
def upgradable(instance, alembic):
    """An instance on which Alembic has the data revision to apply."""
    instance.record(LEGACY, [{"group_identifier": "7"}], label="one")
    instance.record("2017-03-04T05:06:07Z", label="two")
    instance.community("7", slug="seven")
    stamp(instance, DATA_REVISION, TABLES_REVISION)
    yield instance
    forget_connections(instance)
    stamp(instance, TABLES_REVISION, DATA_REVISION)


def stamp(instance, present: str, wanted: str) -> None:
    instance.execute(
        "UPDATE alembic_version SET version_num = :wanted WHERE version_num = :present",
        present=present,
        wanted=wanted,
    )


def is_applied(instance) -> bool:
    query = "SELECT count(*) FROM alembic_version WHERE version_num = :revision"
    return bool(instance.scalar(query, revision=DATA_REVISION))


def undo_in(output: str) -> str:
    [line] = [n for n in output.splitlines() if n.startswith("Undo everything: ")]
    return line.removeprefix("Undo everything: ")


def update(instance, alembic, invoke):
    invoke("update", "--yes")


def upgrade(instance, alembic, invoke):
    alembic.upgrade(HEAD)


def upgrade_down_and_update(instance, alembic, invoke):
    alembic.upgrade(HEAD)
    alembic.downgrade(TABLES_REVISION)
    invoke("update", "--yes")


def upgrade_without_stamp(instance, alembic, invoke):
    alembic.upgrade(HEAD)
    stamp(instance, DATA_REVISION, TABLES_REVISION)


def upgrade_rollback_and_update(instance, alembic, invoke):
    alembic.upgrade(HEAD)
    invoke("rollback", "--yes")
    invoke("update", "--yes")


@pytest.mark.parametrize(
    ("way", "expected"),
    [
        (update, ROLLBACK),
        (upgrade, DOWNGRADE),
        (upgrade_down_and_update, ROLLBACK),
        (upgrade_without_stamp, ROLLBACK),
        (upgrade_rollback_and_update, DOWNGRADE),
    ],
)
def test_status_names_the_undo_of_its_state(
    upgradable, alembic, invoke, typed, way, expected
):
    before = upgradable.all_created()
    way(upgradable, alembic, invoke)
    assert upgradable.all_created() != before
    output = invoke("status").output
    does = "would restore 3 changes" if expected == DOWNGRADE else "would do nothing"
    assert does in output
    found = json.loads(invoke("status", "--json").stdout)["alembic"]
    assert found["is_applied"] is is_applied(upgradable) is (expected == DOWNGRADE)
    assert undo_in(output) == expected
    typed(f"`{expected}`")
    assert upgradable.all_created() == before
    assert not is_applied(upgradable)
    assert "Undo everything" not in invoke("status").output


def test_rollback_says_that_alembic_still_records_the_revision(
    upgradable, alembic, invoke, typed
):
    before = upgradable.all_created()
    alembic.upgrade(HEAD)
    output = invoke("rollback", "--yes").output
    assert upgradable.all_created() == before
    assert "its upgrade would\nnot change the dates again" in output
    alembic.upgrade(HEAD)
    assert upgradable.all_created() == before
    assert DOWNGRADE in output
    typed(f"`{DOWNGRADE}`")
    alembic.upgrade(HEAD)
    assert upgradable.all_created() != before


def test_dry_run_of_a_rollback_tells_and_writes_nothing(upgradable, invoke, tmp_path):
    plan = tmp_path / "approved.csv"
    plan.write_text(
        "kind,label,id,new\n"
        f"record,,{id_of(upgradable, 'one')},2015-01-01\n"
        f"record,,{id_of(upgradable, 'two')},keep\n"
    )
    assert invoke("update", "--yes", "--plan", plan).exit_code == 0
    assert invoke("update", "--yes").exit_code == 0
    upgradable.execute("UPDATE communities_metadata SET created = '2020-02-02'")
    before = upgradable.all_created(), upgradable.backup()
    result = invoke("rollback", "--dry-run")
    assert result.exit_code == 0
    assert "This restores 2 created dates." in result.output
    assert "community seven, now 2020-02-02" in result.output
    assert "Takes back 2 decisions of approved.csv" in result.output
    assert f"update --plan {plan}" in result.output
    found = json.loads(invoke("rollback", "--dry-run", "--json").stdout)
    assert (found["standing"], found["changed_since"]) == (3, 1)
    assert [plan["decisions"] for plan in found["decisions"]] == [2]
    one = json.loads(
        invoke("rollback", "--dry-run", "--json", "--record", "one").stdout
    )
    assert (one["standing"], one["changed_since"]) == (1, 0)
    assert [plan["decisions"] for plan in one["decisions"]] == [1]
    assert (upgradable.all_created(), upgradable.backup()) == before


def id_of(instance, label: str) -> str:
    query = "SELECT id::text FROM rdm_records_metadata WHERE json->>'id' = :label"
    return instance.scalar(query, label=label)


@pytest.mark.parametrize("way", ["rollback", "downgrade"])
def test_undo_of_decisions_names_the_file_that_carries_them_out_again(
    upgradable, alembic, invoke, tmp_path, capsys, way
):
    plan = tmp_path / "approved.csv"
    plan.write_text(f"id,new\n{id_of(upgradable, 'one')},2015-01-01\n")
    assert invoke("update", "--yes", "--plan", plan).exit_code == 0
    alembic.upgrade(HEAD)
    capsys.readouterr()
    if way == "rollback":
        output = invoke("rollback", "--yes").output
    else:
        alembic.downgrade(TABLES_REVISION)
        output = "".join(capsys.readouterr())
    assert "Takes back 1 decision of approved.csv (sha256 " in output
    again = f"invenio kcworks-created-dates update --plan {plan}"
    assert output.count(again) >= 2
    assert "Do it again" not in output
    assert invoke(*again.split()[2:], "--yes").exit_code == 0
    assert upgradable.created(id_of(upgradable, "one")) == utc("2015-01-01")


def test_undo_without_an_approval_tells_how_to_do_it_again(
    upgradable, alembic, invoke, typed, capsys
):
    alembic.upgrade(HEAD)
    after = upgradable.all_created()
    capsys.readouterr()
    alembic.downgrade(TABLES_REVISION)
    output = capsys.readouterr().out
    [again] = [n for n in output.splitlines() if n.startswith("Do it again: ")]
    typed(f"`{again.removeprefix('Do it again: ')}`")
    assert upgradable.all_created() == after
    assert is_applied(upgradable)
