# SPDX-FileCopyrightText: 2026 kcworks-migrations contributors
# SPDX-License-Identifier: MIT
"""Hostile text in values, identifiers, slugs, titles and statements of others."""

import json
import logging

import pytest
from support.faults import Point, at, other_connection

from kcworks_migrations.cli import created_dates
from kcworks_migrations.errors import RunFailedError

LEGACY = "2016-02-29T13:11:39Z"

TEXTS = (
    "\x1b[2J\x1b]0;owned\x07",
    "one\nERROR two\r\nthree\x0b\x0c\u2028four\u2029five\x85six",
    "a\tb\x08\x7f\x9b31m",
    "\u202eright to left\u2066\u200b\ufeff",
    "'; DROP TABLE rdm_records_metadata; --",
    '$$; DELETE FROM communities_metadata; $$ " \\',
    "%s %d %(message)s %% {0} {} {record.__class__}",
    ":name ${name} $(touch /tmp/owned) `touch /tmp/owned`",
    "\\N",
    "\\n\\x1b[31m",
    "NULL",
    "{a,b}",
    "x" * 100_000,
    "🜁 ﷽ \U000e0041",
)


def printable_lines(text: str) -> None:
    """Check that nothing in a text would be interpreted by a terminal."""
    for line in text.split("\n"):
        assert line.isprintable(), repr(line)
        assert len(line) < 1000


@pytest.fixture
def hostile(instance):
    """Records and communities with each text everywhere; those to be changed."""
    records, communities = {}, {}
    for number, hostile in enumerate(TEXTS):
        group = {"group_identifier": f"g{hostile[:400]}", "group_name": hostile}
        fields = {
            "hclegacy:record_creation_date": LEGACY,
            "hclegacy:groups_for_deposit": [group],
        }
        titled = {"id": hostile, "metadata": {"title": hostile}}
        records[hostile] = instance.record(document=titled | {"custom_fields": fields})
        communities[hostile] = instance.community(
            f"g{hostile[:400]}", slug=f"{number}{hostile[:200]}"
        )
        instance.record(hostile, label=hostile)
        instance.record(hostile, [hostile, {hostile: hostile}], label=hostile)
        instance.record(custom_fields=hostile, label=hostile)
        instance.record(LEGACY, hostile, label=hostile)
        instance.community(custom_fields=hostile, slug=f"{number}b{hostile[:200]}")
    return records, communities


def test_runs_over_hostile_text_print_and_log_nothing_hostile(
    instance, hostile, app, capsys, caplog
):
    caplog.set_level(logging.DEBUG, "kcworks_migrations")
    before = instance.checksums(without_created=True)
    instance.upgrade(verbose=True)
    run_id = instance.run().id
    runner = app.test_cli_runner()
    commands = (["status"], ["status", "--json"], ["problems", "--run", str(run_id)])
    outputs = [runner.invoke(created_dates, command) for command in commands]
    instance.execute("UPDATE rdm_records_metadata SET created = '2020-02-02'")
    instance.downgrade()
    outputs.append(runner.invoke(created_dates, ["problems"]))
    for result in outputs:
        assert result.exit_code == 0, result.output
        printable_lines(result.output)
    assert json.loads(outputs[1].output)["runs"]
    printed = capsys.readouterr()
    printable_lines(printed.out)
    printable_lines(printed.err)
    assert len(caplog.records) > 10 * len(TEXTS)
    for record in caplog.records:
        assert record.getMessage().isprintable()
    assert instance.checksums(without_created=True) == before


def test_apply_keeps_hostile_rows_apart(instance, hostile):
    records, communities = hostile
    instance.upgrade()
    changed = {e.entity: e for e in instance.backup()}
    # A line feed in a label must not shift the columns of the rows behind it.
    assert set(records.values()) <= set(changed)
    for number, (text, community) in enumerate(communities.items()):
        entry = changed[community]
        assert entry.label.startswith(str(number)) and entry.label.isprintable()
        assert str(entry.source_record_id) == records[text]
        assert entry.source_value == LEGACY
    for entry in changed.values():
        assert entry.label.isprintable() and len(entry.label) <= 255
    for _, _, reason, value in instance.problems():
        assert value is None or value.isprintable() and len(value) <= 500, reason


def test_error_of_the_database_is_printed_harmlessly(instance):
    record = instance.record(LEGACY)
    instance.execute("""
        CREATE OR REPLACE FUNCTION faults_fail() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            RAISE EXCEPTION E'\\x1b[2J\\u009b31m\\u202e %', NEW.id;
        END $$""")
    instance.execute(
        "CREATE TRIGGER faults BEFORE UPDATE ON rdm_records_metadata"
        " FOR EACH ROW EXECUTE FUNCTION faults_fail()"
    )
    try:
        with pytest.raises(RunFailedError, match=record) as error:
            instance.upgrade()
    finally:
        instance.execute("DROP FUNCTION faults_fail CASCADE")
    printable_lines(error.value.message)
    printable_lines(instance.run().message)


def test_lock_holder_is_named_harmlessly_and_without_its_statement(
    instance, short_pauses
):
    instance.record(LEGACY)
    holder = other_connection(instance)
    pid = holder.info.backend_pid

    def lock(connection) -> None:
        holder.cursor().execute("SET application_name = '\x1b[2Jsomebody'")
        holder.cursor().execute("/* \x1b[2J\n\u202e */ LOCK TABLE rdm_records_metadata")

    begun = Point("committed", "INSERT INTO kcworks_created_dates_run")
    try:
        with (
            at(instance.engine, begun, lock),
            pytest.raises(RunFailedError, match="somebody") as error,
        ):
            instance.upgrade(lock_timeout_seconds=1)
    finally:
        holder.close()
    printable_lines(error.value.message)
    assert f"Process {pid} (" in error.value.message
    assert "LOCK TABLE" not in error.value.message
