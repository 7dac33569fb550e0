# SPDX-FileCopyrightText: 2026 kcworks-migrations contributors
# SPDX-License-Identifier: MIT
"""Rows that do not become what was asked: each is put back, told, and no other."""

from contextlib import contextmanager

import pytest
from support.faults import check_ledger, check_statistics, column_type_of_created

from kcworks_migrations.kinds import DATED

BODIES = {
    "keeps": "NEW.created := OLD.created; RETURN NEW;",
    "drops": "RETURN NULL;",
    "shifts": "NEW.created := NEW.created + interval '1 hour'; RETURN NEW;",
}
SOME = 5
"""Rows of each kind that the trigger is for."""


@contextmanager
def trigger(instance, body: str):
    """Let a trigger change what is written to some rows of both tables."""
    instance.execute(
        "CREATE OR REPLACE FUNCTION faults_dates() RETURNS trigger LANGUAGE plpgsql"
        f" AS $$ BEGIN {body} END $$"
    )
    for kind in DATED:
        instance.execute(
            f"CREATE TRIGGER faults BEFORE UPDATE ON {kind.table} FOR EACH ROW"
            " WHEN (OLD.version_id = 99) EXECUTE FUNCTION faults_dates()"
        )
    try:
        yield
    finally:
        instance.execute("DROP FUNCTION faults_dates CASCADE")


@pytest.fixture
def marked(filled):
    """A filled instance with rows that a trigger is for."""
    for kind in DATED:
        filled.execute(
            f"UPDATE {kind.table} SET version_id = 99 WHERE id IN"
            f" (SELECT id FROM {kind.table} ORDER BY id LIMIT {SOME})"
        )
    return filled


def refused(instance) -> set[str]:
    """Give the rows that did not become what the last run has asked."""
    return {
        row[0]
        for row in instance.execute(
            "SELECT entity_id::text FROM kcworks_created_dates_problem"
            " WHERE reason = 'not_stored' AND run_id = :run_id",
            run_id=instance.run().id,
        )
    }


@pytest.mark.parametrize("body", BODIES)
def test_change_that_is_not_stored_is_a_problem_of_its_row_alone(marked, body):
    marked.upgrade()
    wanted = marked.all_created()
    standing = {entry.entity for entry in marked.backup()}
    marked.downgrade()
    before = marked.all_created()
    marks = {
        row[0]
        for kind in DATED
        for row in marked.execute(
            f"SELECT id::text FROM {kind.table} WHERE version_id = 99"
        )
    }
    with trigger(marked, BODIES[body]):
        marked.upgrade(batch_size=50)
        assert refused(marked) == marks & standing
        assert {p for p in marked.problems() if p[2] == "locked"} == set()
        check_statistics(marked.run().statistics)
        check_ledger(marked, before)
    now = marked.all_created()
    for key, value in now.items():
        is_refused = key.split()[1] in marks
        assert value == (before if is_refused else wanted)[key]
    marked.upgrade()
    assert marked.all_created() == wanted
    marked.downgrade()
    assert marked.all_created() == before


@pytest.mark.parametrize("body", BODIES)
def test_old_date_that_is_not_stored_stays_to_be_restored(marked, invoke, body):
    before = marked.all_created()
    marked.upgrade()
    changed = marked.all_created()
    with trigger(marked, BODIES[body]):
        result = invoke("rollback", "--yes")
        assert result.exit_code == 3, result.output
        run = marked.run()
        assert run.status == "failed"
        left = refused(marked)
        assert f"{len(left)} rows did not take the old date" in result.output
        check_statistics(run.statistics)
        listed = invoke("problems", "--run", run.id)
        assert listed.output.count("not stored as asked") == len(left)
    standing = {e.entity for e in marked.backup() if e.outcome is None}
    assert standing == left
    assert {e.outcome for e in marked.backup()} == {None, "restored"}
    for key, value in marked.all_created().items():
        is_left = key.split()[1] in left
        assert value == (changed if is_left else before)[key]
    result = invoke("rollback", "--yes")
    assert result.exit_code == 0, result.output
    assert marked.all_created() == before


@pytest.fixture
def retyped(filled):
    """A function that gives `created` of records fewer digits, or all of them."""
    found = column_type_of_created(filled).replace("timestamp", "timestamp{}", 1)

    def retype(digits: str) -> None:
        retyped = found.format(digits)
        filled.execute(f"ALTER TABLE rdm_records_metadata ALTER created TYPE {retyped}")

    yield retype
    retype("")


def test_column_that_keeps_seconds_alone_keeps_the_undo_exact(filled, retyped):
    fraction = filled.record("2016-02-29T13:11:39.6Z")
    whole = filled.record("2016-02-29T13:11:39Z")
    retyped("(0)")
    before = filled.all_created()
    filled.upgrade()
    assert fraction in refused(filled)
    assert [entry.outcome for entry in filled.backup(entity_id=whole)] == [None]
    check_ledger(filled, before)
    filled.downgrade()
    assert filled.all_created() == before
    assert {entry.outcome for entry in filled.backup()} == {"restored"}


def test_column_that_lost_its_digits_since_keeps_its_entries(filled, retyped, invoke):
    record = filled.record("2016-02-29T13:11:39Z", created="2024-05-01T10:20:30.6")
    before = filled.all_created()
    filled.upgrade()
    retyped("(0)")
    assert invoke("rollback", "--yes", "--record", record).exit_code == 3
    assert refused(filled) == {record}
    [entry] = filled.backup(entity_id=record)
    assert entry.outcome is None
    retyped("")
    assert invoke("rollback", "--yes", "--record", record).exit_code == 0
    key = f"record {record}"
    assert filled.all_created()[key] == before[key]
