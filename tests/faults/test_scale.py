# SPDX-FileCopyrightText: 2026 kcworks-migrations contributors
# SPDX-License-Identifier: MIT
"""Many rows: bounded memory, and progress that tells the truth, of a rerun too."""

import re

import psutil
import pytest
from sqlalchemy import event, text
from support.faults import NOWHERE, Child, Point, at, broker_at, kill_this_process

from kcworks_migrations.report import reporter

CHANGE = "INSERT INTO kcworks_created_dates_backup"
LINE = re.compile(
    r"Processing batch (\d+) of (\d+) \((\d+) (\w+)\), (\d+) of (\d+) done"
    r"(?:, (\d+) a second, (\d+) s left)?$"
)
MEMORY_BOUND = 50 * 2**20


@pytest.fixture(autouse=True)
def every_line(monkeypatch):
    """Print the progress of every batch, not one of every few seconds."""
    monkeypatch.setattr(reporter, "LINE_SECONDS", 0)


def check_progress(output: str, noun: str, total: int) -> list[int]:
    """Check the progress lines of one kind; give the rows done at each."""
    lines = [m for m in map(LINE.match, output.splitlines()) if m and m[4] == noun]
    done = [int(line[5]) for line in lines]
    assert done == sorted(done), "it runs backwards"
    for line in lines:
        number, of, rows, _, before, total_shown = map(
            int, (*line.group(1, 2, 3), 0, *line.group(5, 6))
        )
        assert total_shown == total
        assert before + rows <= total, "more than 100 %"
        assert number <= of
    assert all(line[7] and line[8] for line in lines if int(line[5])), (
        "rate and time left"
    )
    assert int(lines[-1][5]) + int(lines[-1][3]) == total
    return done


def rss_growth(child: Child) -> int:
    """Give by how many bytes the memory of a child grew to its peak."""
    process = psutil.Process(child.pid)
    first = peak = process.memory_info().rss
    while child.poll() is None:
        try:
            peak = max(peak, process.memory_info().rss)
        except psutil.NoSuchProcess:
            break
    return peak - first


def rows_compared(plan) -> int:
    """Give how many pairs of rows a plan has compared one by one, in vain."""
    own = plan.get("Rows Removed by Join Filter", 0) * plan["Actual Loops"]
    return own + sum(map(rows_compared, plan.get("Plans", ())))


@pytest.mark.parametrize("is_known", [True, False], ids=["analyzed", "unknown"])
@pytest.mark.parametrize("way", ["upgrade", "downgrade"])
def test_no_statement_compares_each_row_of_a_batch_with_each_other(
    instance, monkeypatch, way, is_known
):
    instance.many(1000, 10)
    if way == "downgrade":
        instance.upgrade()
    if not is_known:  # a ledger that has just grown, which autovacuum comes to later
        nothing = text("SELECT 1")
        monkeypatch.setattr("kcworks_migrations.ledger.pending.ANALYZE_BACKUP", nothing)
        instance.execute(
            "DELETE FROM pg_statistic"
            " WHERE starelid = 'kcworks_created_dates_backup'::regclass"
        )
    compared: dict[str, int] = {}

    def explain(connection, cursor, statement, parameters, context, is_many) -> None:
        if "AS (" in statement and "kcworks_created_dates_backup" in statement:
            cursor.execute("SAVEPOINT before")
            options = "(ANALYZE, FORMAT JSON)"
            cursor.execute(f"EXPLAIN {options} {statement}", parameters)
            [[[plan]]] = cursor.fetchall()
            cursor.execute("ROLLBACK TO before")
            compared[statement] = rows_compared(plan["Plan"])

    event.listen(instance.engine, "before_cursor_execute", explain)
    try:
        getattr(instance, way)()
    finally:
        event.remove(instance.engine, "before_cursor_execute", explain)
    assert compared, "no statement was explained"
    assert max(compared.values()) < 10_000, compared


@pytest.mark.parametrize("is_known", [True, False], ids=["analyzed", "unknown"])
def test_no_page_reads_the_whole_ledger(instance, is_known):
    """For rows without the field, which we have dated."""
    instance.many(2000, 10)
    instance.upgrade()
    instance.execute(
        "UPDATE kcworks_created_dates_backup SET source = 'plan',"
        " source_file = 'plan.csv', source_sha256 = '' WHERE kind = 'record'"
    )
    instance.execute(
        "UPDATE rdm_records_metadata SET json = json #-"
        " '{custom_fields,hclegacy:record_creation_date}'"
    )
    if is_known:
        instance.execute("ANALYZE rdm_records_metadata, kcworks_created_dates_backup")
    plans: list[str] = []

    def explain(connection, cursor, statement, parameters, context, is_many) -> None:
        if "FROM kcworks_created_dates_backup" in statement and "LIMIT" in statement:
            cursor.execute(f"EXPLAIN {statement}", parameters)
            plans.append("\n".join(row[0] for row in cursor.fetchall()))

    event.listen(instance.engine, "before_cursor_execute", explain)
    try:
        summary = instance.preview(batch_size=100)
    finally:
        event.remove(instance.engine, "before_cursor_execute", explain)
    assert summary.statistics.records.total_found > 1500
    assert len(plans) > 10
    for plan in plans:
        assert "hashed SubPlan" not in plan
        assert "Seq Scan on kcworks_created_dates_backup" not in plan


def test_progress_of_a_rerun_begins_anew_and_is_right(instance):
    instance.many(3000, 10)

    def work() -> None:
        with at(instance.engine, Point("commit", CHANGE, 12), kill_this_process):
            instance.upgrade(batch_size=100)

    killed = Child(instance, work)
    killed.wait()
    (last,) = re.findall(r"(\d+) of 3000 done", killed.output())[-1:]
    assert int(last) == 1100
    rerun = Child(instance, lambda: instance.upgrade(batch_size=100))
    assert rerun.wait() == 0, rerun.output()
    done = check_progress(rerun.output(), "records", 3000)
    assert done == [*range(0, 3000, 100)]
    check_progress(rerun.output(), "communities", 10)


def test_progress_never_passes_100_percent_while_rows_are_added(instance, capsys):
    instance.many(300, 3)

    def add(connection) -> None:
        for _ in range(60):
            instance.record("2016-02-29T13:11:39Z")

    with at(instance.engine, Point("committed", CHANGE), add):
        instance.upgrade(batch_size=20)
    assert instance.run().statistics["records"]["total_found"] > 340
    shown = re.findall(r"records\), (\d+) of 300 done", capsys.readouterr().err)
    done = [*map(int, shown)]
    assert done == sorted(done)
    assert done[-1] == 280, "told when there should be nothing left"


def output_in_bounds(instance, work, is_queued: bool) -> str:
    """Let a child work in bounded memory; give what it printed."""

    def work_off_line() -> None:
        with broker_at(NOWHERE):
            work()

    child = Child(instance, work if is_queued else work_off_line)
    growth = rss_growth(child)
    assert child.wait() == 0, child.output()[-5000:]
    print(*child.output().splitlines()[-40:], sep="\n")
    print(f"{growth / 2**20:.1f} MB more than at the start")
    assert growth < MEMORY_BOUND
    return child.output()


def check_scale(instance, records: int, communities: int, is_queued: bool) -> None:
    instance.many(records, communities)
    output = output_in_bounds(instance, instance.upgrade, is_queued)
    check_progress(output, "records", records)
    check_progress(output, "communities", communities)
    changes = instance.scalar("SELECT count(*) FROM kcworks_created_dates_backup")
    statistics = instance.run().statistics
    assert statistics["records"]["total_found"] == records
    assert changes == sum(
        statistics[kind]["updated"] for kind in ("records", "communities")
    )
    output = output_in_bounds(instance, instance.downgrade, is_queued=False)
    check_progress(output, "changes", changes)
    assert instance.run().statistics["records"]["errors"] == 0


HUGE = "repeat('x', 1000000)"
HUGE_RECORDS = {
    "id": f"jsonb_build_object('id', {HUGE}, 'custom_fields', {{right}})",
    "fields": f"jsonb_build_object('custom_fields', {HUGE})",
    "date": "jsonb_build_object('custom_fields', jsonb_build_object("
    f"'hclegacy:record_creation_date', {HUGE}))",
    "groups": "jsonb_build_object('custom_fields', {right} || jsonb_build_object("
    f"'hclegacy:groups_for_deposit', {HUGE}))",
    "entry": "jsonb_build_object('custom_fields', {right} || jsonb_build_object("
    f"'hclegacy:groups_for_deposit', jsonb_build_array({HUGE})))",
    "identifier": "jsonb_build_object('custom_fields', {right} || jsonb_build_object("
    "'hclegacy:groups_for_deposit', jsonb_build_array(jsonb_build_object("
    f"'group_identifier', {HUGE}))))",
}
HUGE_COMMUNITIES = {
    "fields": f"jsonb_build_object('custom_fields', {HUGE})",
    "group": "jsonb_build_object('custom_fields', jsonb_build_object("
    f"'kcr:commons_group_id', {HUGE}))",
}


@pytest.mark.parametrize(
    ("kind", "document"),
    [("record", name) for name in HUGE_RECORDS]
    + [("community", name) for name in HUGE_COMMUNITIES],
)
def test_apply_over_huge_values_in_bounded_memory(instance, kind, document):
    instance.many(80, 80)
    right = (
        "jsonb_build_object('hclegacy:record_creation_date', '2016-02-29T13:11:39Z')"
    )
    table, documents = {
        "record": ("rdm_records_metadata", HUGE_RECORDS),
        "community": ("communities_metadata", HUGE_COMMUNITIES),
    }[kind]
    instance.execute(
        f"UPDATE {table} SET json = {documents[document].format(right=right)}"
    )
    output_in_bounds(instance, instance.upgrade, is_queued=True)
    statistics = instance.run().statistics
    assert statistics["records"]["total_found"] == 80
    assert statistics["communities"]["total_found"] == 80


def test_runs_over_50_000_rows_in_bounded_memory(instance):
    check_scale(instance, 50_000, 500, is_queued=False)


@pytest.mark.slow
def test_runs_over_1_000_000_rows_in_bounded_memory(instance):
    check_scale(instance, 1_000_000, 1000, is_queued=True)
    instance.empty()
    instance.empty_queues()
