# SPDX-FileCopyrightText: 2026 kcworks-migrations contributors
# SPDX-License-Identifier: MIT
"""The operator's commands: what they print, and how they end."""

import csv
import io
import json

import pytest
from instance import utc

from kcworks_migrations.database import locked

LEGACY = "2016-02-29T13:11:39Z"


def test_update_ends_with_0_without_problems_and_1_with_some(instance, invoke):
    instance.record(LEGACY)
    assert invoke("update", "--yes").exit_code == 0
    instance.record("yesterday")
    assert invoke("update", "--yes").exit_code == 1


def test_update_records_only_and_communities_only(instance, invoke):
    record = instance.record(LEGACY, [{"group_identifier": "7"}])
    community = instance.community("7")
    imported = instance.created(record)
    assert invoke("update", "--yes", "--communities-only").exit_code == 0
    assert instance.created(record) == imported
    assert instance.created(community, "community") == utc("2016-02-29")
    assert invoke("rollback", "--yes").exit_code == 0
    assert invoke("update", "--yes", "--records-only").exit_code == 0
    assert instance.created(record) == utc("2016-02-29T13:11:39")
    assert instance.created(community, "community") == imported


@pytest.mark.parametrize(
    "arguments",
    [
        ("--records-only", "--communities-only"),
        ("--start-date", "2024-02-30"),
        ("--start-date", "2024-02-02", "--end-date", "2024-02-01"),
        ("--batch-size", "0"),
    ],
)
def test_update_with_wrong_options_ends_with_2(instance, invoke, arguments):
    instance.record(LEGACY)
    before = instance.all_created()
    result = invoke("update", "--yes", *arguments)
    assert result.exit_code == 2
    assert "Error" in result.output
    assert instance.all_created() == before


def test_update_without_a_terminal_and_yes_refuses(instance, invoke):
    record = instance.record(LEGACY)
    before = instance.created(record)
    for command in ("update", "rollback"):
        assert invoke(command).exit_code == 2
    assert instance.created(record) == before


def test_problems_as_lines_json_and_csv(instance, invoke):
    bad = instance.record("yesterday", label="bad-1")
    instance.record("2016-02-29T13:11:39+01:00", label="bad-2")
    invoke("update", "--yes")
    result = invoke("problems")
    assert "  - record bad-1: not ISO 8601 in UTC: yesterday" in result.output
    assert "2 problems of run" in result.output
    document = json.loads(invoke("problems", "--json").output)
    assert {p["reason"] for p in document["problems"]} == {"invalid_format", "not_utc"}
    only = invoke("problems", "--csv", "--reason", "invalid_format").output
    (row,) = csv.DictReader(io.StringIO(only))
    assert row == {
        "id": bad,
        "label": "bad-1",
        "kind": "record",
        "reason": "invalid_format",
        "value": "yesterday",
    }


def test_show_tells_the_history_of_a_date(instance, invoke):
    record = instance.record(LEGACY, [{"group_identifier": "7"}], label="abc-12")
    instance.community("7", slug="medieval")
    assert "never changed" in invoke("show", "abc-12").output
    invoke("update", "--yes")
    invoke("rollback", "--yes")
    for label in ("abc-12", record):
        output = invoke("show", label).output
        assert "from 2024-05-01 12:00:00.123456 UTC" in output
        assert f"because of {LEGACY}" in output
        assert "rollback: restored" in output
    assert f"because of {LEGACY} of record abc-12" in invoke("show", "medieval").output
    document = json.loads(invoke("show", "medieval", "--json").output)
    (entry,), (present,) = document["entries"], document["present"]
    assert entry["source_record_id"] == record
    assert present["database"] == "2024-05-01 12:00:00.123456 UTC"
    assert present["index"] == "none"


def test_show_tells_why_a_date_was_not_changed(instance, invoke):
    bad = instance.record("yesterday", ["no group"], label="bad-1")
    invoke("update", "--yes")
    output = invoke("show", "bad-1").output
    assert "  - record bad-1: not ISO 8601 in UTC: yesterday" in output
    assert "  - group bad-1: a group is not an object" in output
    assert "never changed" in output
    assert "in the database 2024-05-01 12:00:00.123456 UTC" in output
    document = json.loads(invoke("show", bad, "--json").output)
    assert {p["kind"] for p in document["problems"]} == {"record", "group"}
    assert [p["kind"] for p in document["present"]] == ["record"]
    assert invoke("show", "nobody").exit_code == 2


def test_status_shows_runs_and_what_waits(instance, invoke):
    instance.record(LEGACY)
    invoke("update", "--yes")
    output = invoke("status").output
    assert "apply from cli, succeeded" in output
    assert "Can be rolled back: 1 change\n" in output
    instance.execute("UPDATE kcworks_created_dates_run SET status = 'running'")
    output = invoke("status").output
    assert "apply from cli, killed" in output
    assert "the same command again" in output
    with locked(instance.engine, 1):
        assert "apply from cli, running" in invoke("status").output
        assert json.loads(invoke("status", "--json").output)["is_at_work"] is True
    instance.execute("UPDATE kcworks_created_dates_run SET status = 'succeeded'")
    instance.execute("UPDATE kcworks_created_dates_backup SET queued_at = NULL")
    assert "invenio kcworks-created-dates reindex" in invoke("status").output
    instance.queued("records")
    assert invoke("reindex").exit_code == 0
    assert len(instance.queued("records")) == 1
    assert invoke("reindex", "--all").exit_code == 0
    assert len(instance.queued("records")) == 1
