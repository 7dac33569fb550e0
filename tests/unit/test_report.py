# SPDX-FileCopyrightText: 2026 kcworks-migrations contributors
# SPDX-License-Identifier: MIT
"""The summary of a run, the line of a result, and what is printed while it runs."""

import logging
from datetime import UTC, datetime

import pytest

from kcworks_migrations.config import What
from kcworks_migrations.kinds import COMMUNITY, RECORD
from kcworks_migrations.ledger.history import Unfinished
from kcworks_migrations.ledger.statistics import Progress, Statistics, Tally
from kcworks_migrations.report import reporter as reporting
from kcworks_migrations.report.consequences import consequences
from kcworks_migrations.report.lines import (
    last_line,
    problem_lines,
    result_line,
    summary_lines,
)
from kcworks_migrations.report.reporter import Reporter
from kcworks_migrations.report.summary import PROBLEMS_SHOWN, Summary
from kcworks_migrations.rules.decide import (
    decide_community,
    decide_record,
    read_groups,
)
from kcworks_migrations.rules.values import (
    REASONS,
    Change,
    CommunityRow,
    NoRecords,
    Problem,
    RecordRow,
    Skip,
)

VERSION = "kcworks_migrations.report.consequences.version"
NOW = datetime(2026, 1, 31, tzinfo=UTC)
OLD = datetime(2024, 5, 1, 12, tzinfo=UTC)
NEW = datetime(2016, 2, 29, 13, 11, 39, tzinfo=UTC)
CHANGE = Change("id", "abcde-12345", OLD, NEW, "2016-02-29T13:11:39Z")


def problem(number: int = 0, reason="date_only", value="2016-02-29") -> Problem:
    return Problem(f"id {number}", f"abcde-{number:05}", "record", reason, value)


def summary(**changed) -> Summary:
    """Make the summary of an upgrade that changed something, without problems."""
    statistics = Statistics(Tally(updated=90, skipped=9), Tally(updated=8))
    values = {
        "run_id": 7,
        "action": "apply",
        "status": "succeeded",
        "statistics": statistics,
        "queued": 123,
    }
    return Summary(**(values | changed))


def with_problems(errors: int, **changed) -> Summary:
    return summary(
        statistics=Statistics(Tally(updated=90, errors=errors)),
        problems=[problem(n) for n in range(min(errors, PROBLEMS_SHOWN))],
        **changed,
    )


def text_of(of: Summary) -> str:
    return "\n".join(summary_lines(of))


# --- summary_lines -------------------------------------------------------------------


def test_summary_lines_of_upgrade_have_the_statistics_as_a_table():
    statistics = Statistics(Tally(90, 9, 0, 1), Tally(8, 2, 3, 4), Tally(errors=5))

    lines = summary_lines(summary(statistics=statistics))

    assert "Update of created dates: run 7, succeeded" in lines
    table = [line.split() for line in lines if line.startswith("  ")][:4]
    assert table == [
        ["found", "updated", "skipped", "no", "records", "errors"],
        ["records", "100", "90", "9", "0", "1"],
        ["communities", "17", "8", "2", "3", "4"],
        ["groups", "5", "0", "0", "0", "5"],
    ]


def test_summary_lines_align_the_columns():
    statistics = Statistics(
        Tally(12345678, 9, 0, 1), Tally(8, 2, 3, 4), Tally(0, 0, 0, 1)
    )

    lines = summary_lines(summary(statistics=statistics))

    header = next(n for n, line in enumerate(lines) if line.split()[:1] == ["found"])
    assert len({len(line) for line in lines[header : header + 4]}) == 1


def test_summary_lines_without_group_entries_have_no_row_for_them():
    assert "groups" not in text_of(summary())


def test_summary_lines_of_upgrade_name_the_undo_and_the_state():
    lines = summary_lines(summary())

    assert "Look at the state: invenio kcworks-created-dates status" in lines
    assert any(
        line.endswith("invenio alembic downgrade a94c06be7d15") for line in lines
    )
    assert "Queued for reindexing: 123 documents." in lines
    assert [f"  - {text}" for text in consequences()] == [
        line for line in lines if line.startswith("  - ")
    ]


def test_summary_lines_of_downgrade_name_the_upgrade():
    text = text_of(summary(action="revert"))

    assert "Restoration of created dates: run 7" in text
    assert "restored" in text
    assert "updated" not in text
    assert "invenio alembic upgrade kcworks_migrations@head" in text
    assert "downgrade" not in text
    assert not any(consequence in text for consequence in consequences())


def test_summary_lines_of_run_that_changed_nothing():
    statistics = Statistics(Tally(skipped=99), Tally(skipped=8))

    text = text_of(summary(statistics=statistics, queued=0))

    assert "Nothing had to be changed." in text
    assert "What else changes" not in text
    assert "downgrade" not in text
    assert "queued" not in text


def test_summary_lines_of_run_that_changed_something_do_not_say_nothing():
    assert "Nothing" not in text_of(summary())


def test_summary_lines_of_dry_run_say_that_nothing_was_written():
    text = text_of(with_problems(3, run_id=None, queued=0))

    assert "Update of created dates: dry run" in text
    assert "Nothing was written" in text
    assert "3 problems; nothing was guessed:" in text
    assert "--run" not in text
    assert "downgrade" not in text


def test_summary_lines_count_later_versions():
    statistics = Statistics(Tally(updated=5, later_versions=2))

    assert "2 of the updated records are later versions" in text_of(
        summary(statistics=statistics)
    )
    assert "later versions" not in text_of(summary())


@pytest.mark.parametrize(
    ("errors", "shown", "more"),
    [(0, 0, None), (1, 1, None), (10, 10, None), (11, 10, 1), (1234, 10, 1224)],
)
def test_summary_lines_show_the_first_ten_problems_and_how_many_more(
    errors, shown, more
):
    of = with_problems(errors)

    lines = summary_lines(of)

    assert [line for line in lines if line.startswith("  - record ")] == [
        line for n in range(shown) for line in problem_lines(problem(n))
    ]
    assert [line for line in lines if "more" in line and "README" not in line] == (
        [f"  ... and {more} more"] if more else []
    )
    command = "All of them: invenio kcworks-created-dates problems --run 7"
    assert (command in lines) is (errors > 0)
    assert any(line.startswith(f"{errors} problem") for line in lines) is (errors > 0)


def test_summary_lines_count_problems_of_all_kinds():
    statistics = Statistics(
        Tally(updated=1, errors=1), Tally(errors=20), Tally(errors=300)
    )

    assert "321 problems" in text_of(summary(statistics=statistics))


@pytest.mark.parametrize("error", ["connection refused", None])
def test_summary_lines_warn_of_what_is_pending_with_count_and_command(error):
    text = text_of(summary(queued=0, pending=98, queue_error=error))

    words = " ".join(text.split())
    assert "WARNING: 98 changes not queued for reindexing yet" in words
    assert (error or "not sent yet") in words
    assert "The dates in the database are right" in words
    command = "\n  invenio kcworks-created-dates reindex\n"
    assert command in text, "the command has a line of its own, to be copied"


def test_summary_lines_with_nothing_pending_do_not_warn():
    assert "WARNING" not in text_of(summary())


@pytest.mark.parametrize(
    "of",
    [
        summary(),
        summary(action="revert"),
        summary(
            queued=0, pending=200_000, queue_error="[Errno 111] Connection refused"
        ),
        summary(statistics=Statistics(), queued=0),
        summary(statistics=Statistics(Tally(9, 9, 9, 9, 9)), run_id=None),
        summary(
            run_id=123_456,
            statistics=Statistics(
                Tally(10**7, 10**7, 10**7, 10**7, 10**6), Tally(10**6), Tally(10**6)
            ),
            queued=10**7,
        ),
    ],
    ids=["upgrade", "downgrade", "pending", "nothing", "dry run", "large"],
)
@pytest.mark.parametrize("line", ["12.1.0", "13.0.9", "14.0.5"])
def test_summary_lines_fit_80_columns(of, line, monkeypatch):
    monkeypatch.setattr(VERSION, lambda name: line)

    lines = text_of(of).splitlines()

    assert [line for line in lines if len(line) > 80] == []


def test_reporter_end_prints_the_lines_on_standard_output(capsys):
    Reporter().end(with_problems(11))

    printed = capsys.readouterr()
    assert printed.out.splitlines() == text_of(with_problems(11)).splitlines()
    assert printed.err == ""


def test_summary_lines_name_earlier_runs_that_did_not_finish():
    lines = summary_lines(summary(unfinished=[Unfinished(5, "apply", "failed", 12)]))

    assert "  run 5 (apply, failed): 12 changes;" in lines
    assert "    to undo: invenio kcworks-created-dates rollback --run 5" in lines


@pytest.mark.parametrize(("status", "count"), [("failed", 3), ("succeeded", 0)])
def test_early_end_names_earlier_runs_that_did_not_finish(capsys, status, count):
    ended = summary(status=status, unfinished=[Unfinished(5, "apply", "failed", 12)])

    Reporter().ended(ended)

    assert len(capsys.readouterr().err.splitlines()) == count


def test_last_line_is_one_line_with_the_numbers_and_the_reason():
    line = last_line(summary(status="failed", pending=98), "Away.")

    assert line == (
        "apply failed: 90 records and 8 communities updated, 0 errors, 123 documents"
        " queued, 98 changes pending. Away."
    )


# --- problems ------------------------------------------------------------------------


def test_problem_lines_names_row_reason_and_value():
    assert problem_lines(problem(7)) == [
        '  - record abcde-00007: a date without a time: "2016-02-29"'
    ]


@pytest.mark.parametrize("reason", REASONS)
def test_problem_lines_without_value_ends_with_the_reason(reason):
    (line,) = problem_lines(problem(reason=reason, value=None))

    assert line == f"  - record abcde-00000: {REASONS[reason]}"


def test_problem_lines_of_empty_value_differs_from_none():
    assert problem_lines(problem(value="")) != problem_lines(problem(value=None))


def test_problem_lines_cuts_a_long_value():
    lines = problem_lines(problem(value="x" * 500))

    assert len(lines) == 3
    assert max(len(line) for line in lines) <= 80


HOSTILE = "\x1b[2J\x1b]0;title\x07\r\nroot: all is well\x00\u202e\u2028\u200b"


def hostile_problems() -> list[Problem]:
    """Decide on rows with hostile values, as a run does."""
    text = ["string", HOSTILE]
    groups = ("array", None, 1, [], [[*text, *text]])
    record = RecordRow("id", "label", OLD, "object", None, *text, 1, *groups)
    of_date, _ = decide_record(record, What().earliest, NOW)
    _, of_entries, _ = read_groups(record)
    of_community = decide_community(
        CommunityRow("id", "label", OLD, "object", None, "number", HOSTILE), {}
    )
    return [of_date, *of_entries, of_community]


def test_summary_lines_of_hostile_values_print_no_control_characters():
    problems = hostile_problems()
    assert [p.kind for p in problems] == ["record", "group", "community"]
    statistics = Statistics(Tally(errors=1), Tally(errors=1), Tally(errors=1))

    lines = summary_lines(summary(statistics=statistics, problems=problems))

    shown = [line for line in lines if "all is well" in line]
    assert len(shown) == 3
    for line in shown:
        assert line.isprintable()
        assert r"\x1b[2J\x1b]0;title\x07\r\nroot: all is well\x00\u202e" in line


# --- result_line and consequences ----------------------------------------------------


def test_result_line_of_records():
    assert result_line(RECORD, Tally(5, 4, 0, 3)) == (
        "Record updates complete: 5 updated, 4 skipped, 3 errors"
    )


def test_result_line_of_communities():
    assert result_line(COMMUNITY, Tally(5, 4, 2, 3)) == (
        "Community updates complete: 5 updated, 4 skipped, 2 no records, 3 errors"
    )


@pytest.mark.parametrize(
    ("line", "word", "other_words"),
    [
        ("12.1.0", "BibTeX", ["JSON-LD", "GracePeriodPolicy"]),
        ("13.0.9", "JSON-LD", ["BibTeX", "GracePeriodPolicy"]),
        ("14.0.5", "FileModificationGracePeriodPolicy", ["BibTeX"]),
        ("14.0.0b1.dev2", "FileModificationGracePeriodPolicy", ["BibTeX"]),
    ],
)
def test_consequences_of_line(line, word, other_words, monkeypatch):
    monkeypatch.setattr(VERSION, lambda name: line)

    texts = consequences()

    assert len(texts) in (2, 3)
    assert word in " ".join(texts)
    assert any("caches" in text for text in texts)
    assert not any(other in " ".join(texts) for other in other_words)


# --- Reporter ------------------------------------------------------------------------


def test_line_is_printed_on_standard_error_and_logged(capsys, caplog):
    caplog.set_level(logging.INFO, logger="kcworks_migrations")

    Reporter().line("Starting")
    Reporter().line("Careful", logging.WARNING)

    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err == "Starting\nWARNING: Careful\n"
    assert [(r.levelname, r.getMessage()) for r in caplog.records] == [
        ("INFO", "Starting"),
        ("WARNING", "Careful"),
    ]


def test_lines_of_a_run_carry_its_number_in_the_log(capsys, caplog):
    caplog.set_level(logging.INFO, logger="kcworks_migrations")
    reporter = Reporter()
    reporter.run_id = 7

    reporter.line("Starting")

    assert capsys.readouterr().err == "Starting\n"
    assert caplog.messages == ["Run 7: Starting"]


def test_silent_reporter_logs_and_prints_nothing(capsys, caplog):
    caplog.set_level(logging.INFO, logger="kcworks_migrations")
    reporter = Reporter(is_silent=True, is_verbose=True)

    reporter.line("Starting")
    reporter.decisions(RECORD, [CHANGE])
    reporter.ended(summary())
    reporter.end(summary())

    assert capsys.readouterr() == ("", "")
    assert caplog.messages == ["Starting", last_line(summary())]


def batches(reporter: Reporter) -> None:
    """Work on 2,500 records in three batches."""
    progress = Progress("records", 2500)
    with reporter.phase(progress):
        for rows in (1000, 1000, 500):
            reporter.batch(progress, 1000)
            progress = progress.after(rows)
            reporter.advance(progress)


def test_every_batch_is_logged_and_a_line_is_printed_every_few_seconds(
    capsys, caplog, monkeypatch
):
    caplog.set_level(logging.INFO, logger="kcworks_migrations")

    batches(Reporter())

    starts = [
        "Processing batch 1 of 3 (1000 records), 0 of 2500 done",
        "Processing batch 2 of 3 (1000 records), 1000 of 2500 done, ",
        "Processing batch 3 of 3 (500 records), 2000 of 2500 done, ",
    ]
    lines = caplog.messages
    assert len(lines) == len(starts)
    assert all(map(str.startswith, lines, starts))
    assert lines[0] == starts[0], "nothing is done, so there is no rate"
    assert lines[1].endswith(" s left")
    assert capsys.readouterr().err == ""
    monkeypatch.setattr(reporting, "LINE_SECONDS", 0)

    batches(Reporter())

    printed = capsys.readouterr().err.splitlines()
    assert len(printed) == len(starts)
    assert all(map(str.startswith, printed, starts))
    assert all("\r" not in line and "\x1b" not in line for line in printed)


def test_advance_tells_the_progress_to_who_asked():
    told: list[dict] = []

    batches(Reporter(on_progress=told.append))

    assert [progress["done"] for progress in told] == [1000, 2000, 2500]
    assert {progress["phase"] for progress in told} == {"records"}


def test_decisions_in_verbose_print_each_row(capsys):
    Reporter(is_verbose=True).decisions(RECORD, [CHANGE, Skip("id", "fghij-67890")])

    assert capsys.readouterr().err.splitlines() == [
        "Updated record abcde-12345 from 2024-05-01 12:00:00 UTC"
        " to 2016-02-29 13:11:39 UTC",
        "Skipped record fghij-67890 (dates already match)",
    ]


def test_decisions_not_in_verbose_are_logged_at_debug_only(capsys, caplog):
    caplog.set_level(logging.DEBUG, logger="kcworks_migrations")

    Reporter().decisions(RECORD, [CHANGE])

    assert capsys.readouterr().err == ""
    assert [r.levelname for r in caplog.records] == ["DEBUG"]
    assert "Updated record abcde-12345" in caplog.text


def test_decisions_at_info_are_silent_about_changes(capsys, caplog):
    caplog.set_level(logging.INFO, logger="kcworks_migrations")

    Reporter().decisions(RECORD, [CHANGE])

    assert capsys.readouterr().err == ""
    assert caplog.records == []


def test_decisions_with_problem_log_an_error_with_reason_and_value(caplog):
    Reporter().decisions(RECORD, [problem(7)])

    assert [(r.levelname, r.getMessage()) for r in caplog.records] == [
        (
            "ERROR",
            'Failed to update record abcde-00007: a date without a time: "2016-02-29"',
        )
    ]


def test_decisions_of_communities_in_verbose_name_the_group(capsys, caplog):
    change = CHANGE._replace(label="slug-0", group_id="12345")
    decisions = [change, NoRecords("id", "slug-1", "67890")]

    Reporter(is_verbose=True).decisions(COMMUNITY, decisions)

    assert capsys.readouterr().err.splitlines() == [
        "Found oldest record for group 12345: 2016-02-29",
        "Updated community slug-0 from 2024-05-01 12:00:00 UTC"
        " to 2016-02-29 13:11:39 UTC",
        "WARNING: No records found for community slug-1 (group 67890)",
    ]
    assert [r.levelname for r in caplog.records] == ["WARNING"]


def test_decisions_with_a_prefix_say_what_would_happen(capsys):
    Reporter(is_verbose=True, prefix="[DRY RUN] ").decisions(RECORD, [CHANGE])

    assert capsys.readouterr().err.startswith(
        "[DRY RUN] Would update record abcde-12345 from"
    )
