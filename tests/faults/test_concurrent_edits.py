# SPDX-FileCopyrightText: 2026 kcworks-migrations contributors
# SPDX-License-Identifier: MIT
"""Editors at work through the services while a run goes on."""

import json
from datetime import UTC, datetime

import pytest
from invenio_db import db
from support import deposits, naive
from support.faults import (
    Child,
    Point,
    application_name,
    at,
    check_ledger,
    other_connection,
    stop_this_process,
    wait_until,
)
from support.instance import utc

DATE = "2011-02-03T04:05:06Z"
ROUNDS = 4
GROUP = "77"
CHANGE = "INSERT INTO kcworks_created_dates_backup"
RESTORE = "UPDATE kcworks_created_dates_backup AS b"


@pytest.fixture
def deposited(filled, app):
    """A filled instance with some real records and communities."""
    filled.execute("DELETE FROM oaiserver_set")  # of communities of other tests
    deposits.empty_index()
    with deposits.no_tasks():
        pids = [deposits.publish(f"Record {n}", DATE, GROUP).id for n in range(6)]
        communities = [
            str(deposits.create_community(f"faults-{n}", GROUP).id) for n in range(4)
        ]
    db.session.remove()
    filled.pids, filled.communities = pids, communities
    yield filled
    deposits.empty_index()


def editor(pids, log):
    """Give the work of somebody who edits records and tells what was saved."""

    def work() -> None:
        with deposits.no_tasks():
            for number in range(ROUNDS):
                for pid in pids:
                    title = f"Edit {number} of {pid}"
                    deposits.edit(pid, title)
                    log.write_text(json.dumps([title, *json.loads(log.read_text())]))

    log.write_text("[]")
    return work


def depositor(instance):
    """Give the work of somebody who publishes, deletes and restores."""

    def work() -> None:
        with deposits.no_tasks():
            for number in range(ROUNDS):
                pid = deposits.publish(f"New {number}", DATE, GROUP).id
                deposits.delete(pid)
                deposits.restore(pid)
                deposits.delete(deposits.publish(f"Gone {number}", DATE, GROUP).id)
                deposits.new_version(instance.pids[0], DATE)

    return work


def curator(instance):
    """Give the work of somebody who edits, creates and deletes communities."""

    def work() -> None:
        first, second, *rest = instance.communities
        with deposits.no_tasks():
            for number in range(ROUNDS):
                deposits.edit_community(first, f"Title {number}")
                deposits.delete_community(second)
                deposits.restore_community(second)
                new = deposits.create_community(f"new-{number}", GROUP)
                deposits.delete_community(str(new.id))
                for community in rest:
                    deposits.edit_community(community, f"Title {number}")

    return work


def is_at_work(child: Child) -> bool:
    return child.poll() is None


def check_rules(instance) -> None:
    """Check that every row has the date that the naive rules give it."""
    now = datetime.now(UTC)
    by_group: dict[str, list] = {}
    for document, created in rows(instance, "rdm_records_metadata"):
        outcome = naive.record_outcome(document, created, now)
        assert not isinstance(outcome, datetime), (document, created)
        if naive.has_field(document, naive.DATE):
            for identifier in naive.groups_of(document)[0]:
                by_group.setdefault(identifier, []).append(document)
    for document, created in rows(instance, "communities_metadata"):
        outcome = naive.community_outcome(document, created, by_group, now)
        assert not isinstance(outcome, datetime), (document, created)


def rows(instance, table: str):
    for document, created in instance.execute(f"SELECT json, created FROM {table}"):
        yield document, created.replace(tzinfo=created.tzinfo or UTC)


def test_runs_lose_no_edit_and_raise_no_conflict(deposited, tmp_path):
    log = tmp_path / "edits.json"
    children = [
        Child(deposited, work)
        for work in (
            editor(deposited.pids[1:], log),
            depositor(deposited),
            curator(deposited),
        )
    ]
    runs = 0
    while any(is_at_work(child) for child in children):
        deposited.upgrade(batch_size=20)
        deposited.downgrade()
        runs += 2
    for child in children:
        assert child.wait() == 0, child.output()
    assert runs > 2
    titles = {
        row[0]
        for row in deposited.execute(
            "SELECT json->'metadata'->>'title' FROM rdm_records_metadata"
        )
    }
    edits = json.loads(log.read_text())
    assert len(edits) == ROUNDS * len(deposited.pids[1:])
    assert {f"Edit {ROUNDS - 1} of {pid}" for pid in deposited.pids[1:]} <= titles
    history = deposited.execute(
        "SELECT json->'metadata'->>'title' FROM rdm_records_metadata_version"
    )
    assert set(edits) <= {row[0] for row in history}
    deposited.upgrade()
    deposited.upgrade()
    check_rules(deposited)
    assert deposited.upgrade().statistics.updated == 0


def test_record_with_a_new_version_since_the_upgrade_is_reverted_alone(deposited):
    before = deposited.all_created()
    deposited.upgrade()
    with deposits.no_tasks():
        version = deposits.new_version(deposited.pids[0], "2009-01-01T00:00:00Z")
        version_id = str(version._record.id)
        deposits.edit(deposited.pids[1], "Edited after the upgrade")
    db.session.remove()
    made = deposited.created(version_id)
    deposited.downgrade()
    now = deposited.all_created()
    assert deposited.created(version_id) == made > utc("2024-01-01")
    assert {key: now[key] for key in before} == before
    summary = deposited.upgrade()
    assert deposited.created(version_id) == utc("2009-01-01")
    assert summary.statistics.records.later_versions == 1
    check_rules(deposited)


def test_record_deleted_and_restored_since_the_upgrade_is_reverted(deposited):
    before = deposited.all_created()
    deposited.upgrade()
    with deposits.no_tasks():
        deposits.delete(deposited.pids[0])
        deposits.delete(deposited.pids[1])
        deposits.restore(deposited.pids[1])
        deposits.delete_community(deposited.communities[0])
    db.session.remove()
    check_ledger(deposited, before)
    summary = deposited.downgrade()
    assert summary.statistics.errors == 0
    assert deposited.all_created() == before


def lockable(instance, table: str) -> int:
    """Count the rows that an editor could change at once."""
    connection = other_connection(instance)
    cursor = connection.cursor()
    cursor.execute(f"SELECT id FROM {table} FOR UPDATE SKIP LOCKED")
    count = cursor.rowcount
    connection.close()
    return count


@pytest.mark.parametrize(
    ("action", "table", "number", "in_batch"),
    [
        ("upgrade", "rdm_records_metadata", 3, 40),
        ("upgrade", "communities_metadata", 9, 6),
        ("downgrade", "rdm_records_metadata", 3, 40),
        ("downgrade", "communities_metadata", 1, 6),
    ],
)
def test_runs_hold_the_rows_of_their_batch_until_its_end(
    filled, app, monkeypatch, action, table, number, in_batch
):
    monkeypatch.setitem(app.config, "KCWORKS_CREATED_DATES_BATCH_SIZE", 40)
    if action == "downgrade":
        filled.upgrade()
    statement = {"upgrade": CHANGE, "downgrade": RESTORE}[action]
    rows = filled.scalar(f"SELECT count(*) FROM {table}")
    seen = {}

    def look(when):
        def count(connection) -> None:
            seen[when] = lockable(filled, table)

        return count

    with (
        at(filled.engine, Point("after", statement, number), look("within")),
        at(filled.engine, Point("committed", statement, number), look("behind")),
    ):
        getattr(filled, action)()
    assert rows - in_batch <= seen["within"] < rows
    assert seen["behind"] == rows


def test_edit_of_a_row_in_the_batch_waits_for_its_end_and_is_kept(deposited):
    pid = deposited.pids[0]
    record = deposited.scalar(
        "SELECT id::text FROM rdm_records_metadata WHERE json->>'id' = :pid", pid=pid
    )

    def stop_within_the_batch() -> None:
        with at(deposited.engine, Point("after", CHANGE), stop_this_process):
            deposited.upgrade()

    def edit() -> None:
        with deposits.no_tasks():
            deposits.edit(pid, "Edited within the batch")

    run = Child(deposited, stop_within_the_batch)
    run.wait_until_stopped()
    editor = Child(deposited, edit)
    wait_until(
        lambda: deposited.scalar(
            "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
            " AND application_name = :name",
            name=application_name(editor.pid),
        ),
        "the editor waits for the row",
    )
    assert is_at_work(editor)
    run.go_on()
    for child in (run, editor):
        assert child.wait() == 0, child.output()
    title = "SELECT json->'metadata'->>'title' FROM rdm_records_metadata WHERE id = :id"
    assert deposited.scalar(title, id=record) == "Edited within the batch"
    assert deposited.created(record) == utc("2011-02-03T04:05:06")
