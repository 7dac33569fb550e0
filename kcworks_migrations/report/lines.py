# SPDX-FileCopyrightText: 2026 kcworks-migrations contributors
# SPDX-License-Identifier: MIT
"""A run, a preview and problems as text for people."""

import textwrap

from ..kinds import COMMUNITY, Kind
from ..ledger.statistics import Statistics, Tally
from ..rules.values import REASONS, Problem
from ..text import COMMAND, WIDTH, counted, duration, show, wrapped
from ..values import Plan
from .consequences import consequences
from .plan import PlanView
from .steps import way_back_lines
from .summary import Summary


def result_line(kind: Kind, tally: Tally) -> str:
    """Give the one line that says how the rows of a kind came out."""
    parts = [f"{tally.updated} updated", f"{tally.skipped} skipped"]
    if kind is COMMUNITY:
        parts.append(f"{tally.no_records} no records")
    parts.append(f"{tally.errors} errors")
    return f"{kind.name.capitalize()} updates complete: {', '.join(parts)}"


def last_line(summary: Summary, message: str | None = None) -> str:
    """Give the one line that ends a run in the log."""
    s = summary.statistics
    verb = "restored" if summary.action == "revert" else "updated"
    more = f" {message}" if message else ""
    return (
        f"{summary.action} {summary.status}: {s.records.updated} records and"
        f" {s.communities.updated} communities {verb}, {s.errors} errors,"
        f" {summary.queued} documents queued, {summary.pending} changes pending.{more}"
    )


def summary_lines(summary: Summary) -> list[str]:
    """Give the summary of a run as lines of text."""
    is_revert = summary.action == "revert"
    what = "Restoration" if is_revert else "Update"
    run = f"run {summary.run_id}, {summary.status}" if summary.run_id else "dry run"
    lines = ["", f"{what} of created dates: {run}", ""]
    if summary.plan:
        lines += [*_plan_lines(summary, summary.plan), ""]
    lines += table_lines(summary.statistics, "restored" if is_revert else "updated")
    if summary.has_settled is not None:
        return lines + [*index_lines(summary), *_problem_lines(summary)]
    if summary.message:
        lines += wrapped(summary.message)
        return lines + _problem_lines(summary) + unfinished_lines(summary)
    kept = summary.statistics.kept
    if kept:
        rows = counted(kept, "row")
        lines.append(f"{rows} to stay at their present date from now on, as decided.")
    elif not (is_revert or summary.statistics.updated or _has_missed(summary)):
        lines.append("Nothing had to be changed.")
    lines += _later_version_lines(summary.statistics.records)
    lines += _problem_lines(summary) + _gone_lines(summary)
    if summary.queued:
        lines.append(f"Queued for reindexing: {counted(summary.queued, 'document')}.")
    if summary.pending:
        changes = counted(summary.pending, "change")
        lines.append(f"WARNING: {changes} not queued for reindexing yet:")
        lines += textwrap.wrap(summary.queue_error or "not sent yet", 76)
        lines.append("The dates in the database are right. When that is mended, run")
        lines.append(f"  {COMMAND} reindex")
    if summary.run_id is None:
        return lines + _preview_lines(summary)
    if summary.statistics.updated or kept:
        if not is_revert:
            lines.append("What else changes (more in the README):")
            lines += [f"  - {text}" for text in consequences()]
        lines.append(f"Look at the state: {COMMAND} status")
        lines += way_back_lines(
            summary.action,
            summary.origin,
            summary.run_id,
            summary.is_applied,
            summary.plans,
            summary.on_upgrade,
        )
        if is_revert:
            lines += [
                "This package may be removed when `status` says that the index",
                "has settled: until then its workers have documents to correct.",
            ]
    return lines + unfinished_lines(summary)


def _later_version_lines(tally: Tally) -> list[str]:
    """Say what became of later versions, which carry a copy of the legacy date."""
    lines = []
    for count, which in (
        (tally.later_versions, "updated"),
        (tally.later_versions_kept, "skipped"),
    ):
        if count:
            verb = "is a later version" if count == 1 else "are later versions"
            lines.append(f"{count} of the {which} records {verb} of a record.")
    return lines


def index_lines(summary: Summary) -> list[str]:
    """Say whether the index has settled after a run, and what was found in it."""
    if summary.has_settled is None:
        return []
    words = "has settled" if summary.has_settled else "does not settle"
    return [f"The index {words}.", *summary.index]


def table_lines(statistics: Statistics, verb: str) -> list[str]:
    """Give the statistics as a table, with an empty line behind it."""
    words = ("found", verb, "skipped", "no records", "errors")
    lines = [" " * 14 + "".join(f"{w:>11}" for w in words)]
    for name in ("records", "communities", "groups"):
        t: Tally = getattr(statistics, name)
        if name != "groups" or t.total_found:
            numbers = (t.total_found, t.updated, t.skipped, t.no_records, t.errors)
            lines.append(f"  {name:<12}" + "".join(f"{n:>11}" for n in numbers))
    return [*lines, ""]


def unfinished_lines(summary: Summary) -> list[str]:
    """Name earlier runs that did not come to their end, and the way back from each."""
    if summary.action == "revert" or not summary.unfinished:
        return []
    lines = ["Earlier runs did not finish; what they have changed stands as well:"]
    for run in summary.unfinished:
        changes = counted(run.standing, "change")
        lines.append(f"  run {run.id} ({run.action}, {run.status}): {changes};")
        lines.append(f"    to undo: {COMMAND} rollback --run {run.id}")
    return lines


def _preview_lines(summary: Summary) -> list[str]:
    """Give some changes of a preview, what would follow, and how to do it."""
    lines = ["For example:"] * any(summary.sample.values())
    for kind, changes in summary.sample.items():
        for c in changes:
            lines.append(f"  {kind} {c.label}")
            lines.append(f"    {show(c.old_created)} to {show(c.new_created)}")
            if c.source_record_label:
                oldest = f"{c.source_record_label} of {c.source_value}"
                lines.append(f"    the oldest record is {oldest}")
    found = summary.statistics.records.total_found
    found += summary.statistics.communities.total_found
    rate = found / max(summary.seconds, 0.001)
    if summary.suspicious:
        lines.append("Worth a look; nothing was refused for it:")
        lines += [f"  - {text}" for text in summary.suspicious]
    return [
        *lines,
        f"To change: {counted(summary.statistics.updated, 'row')}. To reindex:"
        f" {counted(summary.documents, 'document')}.",
        f"Reading took {duration(summary.seconds)}, {rate:,.0f} rows a second; an"
        " update also writes.",
        "[DRY RUN] Nothing was written: this is what an update would do. To do it:",
        *summary.to_do,
    ]


def found_line(kind: Kind, total: int, plan: Plan | None) -> str:
    """Say how many rows of a kind are looked at."""
    which = "in the plan" if plan else "with a legacy field or a decision"
    return f"Found {total} {kind.plural} {which}"


def _has_missed(summary: Summary) -> bool:
    """Tell whether some line of a plan was not carried out."""
    return summary.plan is not None and not summary.plan.is_carried_out


def _plan_lines(summary: Summary, plan: PlanView) -> list[str]:
    """Say what became of a plan's lines, and which were not carried out."""
    if summary.run_id is None:
        return plan.lines()
    more = f"{COMMAND} problems --run {summary.run_id}"
    return [f"The plan {plan.plan.name}:", *plan.account(more)]


def _problem_lines(summary: Summary) -> list[str]:
    if not summary.statistics.errors:
        return []
    lines = []
    if not summary.plan:  # its account has named them
        problems = counted(summary.statistics.errors, "problem")
        lines.append(f"{problems}; nothing was guessed:")
        lines += [line for p in summary.problems for line in problem_lines(p)]
        more = summary.statistics.errors - len(summary.problems)
        if more > 0:
            lines.append(f"  ... and {more} more")
    if summary.run_id:
        lines.append(f"All of them: {COMMAND} problems --run {summary.run_id}")
    return lines


def _gone_lines(summary: Summary) -> list[str]:
    """Name dates that stand although nothing gives them any more."""
    count = summary.statistics.evidence_gone
    if not count:
        return []
    lines = [
        f"{counted(count, 'date')} of earlier runs that nothing gives any more (the"
        " field was",
        "removed or can't be read, or no dated record is left in the group); kept:",
    ]
    lines += [line for problem in summary.gone for line in problem_lines(problem)]
    if (more := count - len(summary.gone)) > 0:
        lines.append(f"  ... and {more} more")
    if summary.run_id:
        command = f"{COMMAND} problems --run {summary.run_id} --reason evidence_gone"
        lines += ["All of them (`rollback --record PID` restores one):", f"  {command}"]
    return lines


def quoted(value: str | None) -> str:
    """Give an offending value in quotes behind a colon, or nothing for none."""
    return "" if value is None else f': "{value}"'


def problem_lines(problem: Problem) -> list[str]:
    """Give one problem as a line, or as a few when its value is long."""
    group = f" (group {problem.group_id})" if problem.group_id else ""
    line = f"  - {problem.kind} {problem.label}{group}: {REASONS[problem.reason]}"
    value = quoted(problem.value)
    if len(line) + len(value) <= WIDTH:
        return [line + value]
    parts = textwrap.wrap(
        value.removeprefix(": "),
        WIDTH - 6,
        max_lines=2,
        drop_whitespace=False,
        placeholder=" ...",
    )
    return [f"{line}:", *(f"      {part}" for part in parts)]
