# SPDX-FileCopyrightText: 2026 kcworks-migrations contributors
# SPDX-License-Identifier: MIT
"""What happens to a record and to a community."""

from collections.abc import Iterable
from datetime import datetime

from ..text import VALUE_LIMIT, escape
from .dates import LegacyDateError, floor_to_day, parse_legacy_date
from .values import (
    AS_DECIDED,
    NOT_IN_RULES,
    OLDER,
    Change,
    CommunityRow,
    Decided,
    Decision,
    NoRecords,
    Oldest,
    Problem,
    RecordRow,
    Skip,
)

GROUP_PROBLEMS = 20
"""How many of a record's malformed groups become problems; the last tells the rest."""


def read_date(
    type: str | None, text: str | None, earliest: datetime, now: datetime
) -> datetime:
    """Read the legacy date of a record.

    Args:
        type: The JSON type of the custom field.
        text: Its text.
        earliest: The first instant that is accepted, aware.
        now: The present, aware: a later date is refused.

    Returns:
        The instant, aware, in UTC.

    Raises:
        LegacyDateError: The value is no acceptable date.
    """
    if type != "string":
        raise LegacyDateError("not_a_string")
    instant = parse_legacy_date(text or "")
    check_range(instant, earliest, now)
    return instant


def check_range(instant: datetime, earliest: datetime, now: datetime) -> None:
    """Refuse a date that no record can have.

    Args:
        instant: The date, aware.
        earliest: The first instant that is accepted, aware.
        now: The present, aware.

    Raises:
        LegacyDateError: It is before the one or after the other.
    """
    if instant > now:
        raise LegacyDateError("in_future")
    if instant < earliest:
        raise LegacyDateError("too_early")


def decide_record(
    row: RecordRow, earliest: datetime, now: datetime
) -> tuple[Decision, datetime | None]:
    """Decide what happens to a record.

    Args:
        row: The record as it stands in the database.
        earliest: The first instant that is accepted, aware.
        now: The present, aware.

    Returns:
        The decision, and the valid legacy date of the record if it has one.
    """
    if row.decided is not None:
        return _decided(row, "record", row.decided), row.decided.created
    if row.date_type is None:
        return _without_field(row, "record"), None
    try:
        instant = read_date(row.date_type, row.date_text, earliest, now)
    except LegacyDateError as error:
        return _problem(row, "record", error.reason, row.date_text), None
    if row.created is None:
        return _problem(row, "record", "current_created_unreadable"), instant
    if instant == row.created:
        return Skip(row.id, row.label), instant
    change = Change(
        row.id,
        row.label,
        row.created,
        instant,
        row.date_text or "",
        is_later_version=is_later_version(row),
    )
    return change, instant


def _decided(row: RecordRow | CommunityRow, kind: str, decided: Decided) -> Decision:
    """Let a decision that stands be the date of a row, whatever the rules say."""
    if row.created is None:
        return _problem(row, kind, "current_created_unreadable")
    if row.created == decided.created:
        return Skip(row.id, row.label, AS_DECIDED)
    return Change(
        row.id,
        row.label,
        row.created,
        decided.created,
        decided.text,
        is_later_version=is_later_version(row),
        decided=decided,
    )


def _without_field(row: RecordRow | CommunityRow, kind: str) -> Decision:
    """Decide a row that has no legacy field, or no custom fields to have it in."""
    if row.fields_type in (None, "object", "null"):
        return Skip(row.id, row.label, NOT_IN_RULES)
    return _problem(row, kind, "custom_fields_not_an_object", row.fields_text)


def is_later_version(row: RecordRow | CommunityRow) -> bool:
    """Tell whether a row is a version of a record behind its first one."""
    return isinstance(row, RecordRow) and (row.version_index or 1) > 1


def read_groups(row: RecordRow) -> tuple[set[str], list[Problem], int]:
    """Read the groups to which a record was deposited.

    Args:
        row: The record as it stands in the database.

    Returns:
        The trimmed identifiers, a problem for each of the first `GROUP_PROBLEMS`
        entries that have no usable one, and how many such entries there are.
    """
    if row.groups_type is None:
        return set(), [], 0
    if row.groups_type != "array":
        problem = _problem(row, "group", "groups_not_a_list", row.groups_text)
        return set(), [problem], 1
    texts = row.group_identifiers or ()
    blank = [text for text in texts if not text.strip()]
    malformed = (row.group_count or 0) - len(texts) + len(blank)
    found = [_group_reason_and_value(*entry) for entry in row.other_groups or ()]
    found += [("group_identifier_empty", text) for text in blank]
    problems = [_problem(row, "group", *each) for each in found[:GROUP_PROBLEMS]]
    if more := malformed - len(problems):
        value = f"{(problems[-1].value or '')[:40]} … and {more} more"
        problems[-1] = problems[-1]._replace(value=value)
    return {text.strip() for text in texts} - {""}, problems, malformed


def _group_reason_and_value(
    entry_type: str | None, entry_text: str | None, type: str | None, text: str | None
) -> tuple[str, str | None]:
    """Say what is wrong with a group that has no identifier, or none of text."""
    if entry_type != "object":
        return "group_not_an_object", entry_text
    if type in (None, "null"):
        return "group_identifier_missing", entry_text
    is_text = type == "string"
    return "value_too_long" if is_text else "group_identifier_not_a_string", text


def _identifier_reason(text: str) -> str | None:
    """Refuse an identifier that is blank, or was cut by the query."""
    if len(text) > VALUE_LIMIT:
        return "value_too_long"
    return None if text.strip() else "group_identifier_empty"


def note_oldest(
    oldest: dict[str, Oldest], row: RecordRow, instant: datetime, groups: Iterable[str]
) -> None:
    """Keep the record for each of its groups in which it is the oldest so far.

    Of records with the same date the one with the smallest id is kept, so that the
    outcome does not depend on the order of reading.

    Args:
        oldest: The oldest record by group identifier; changed in place.
        row: The record.
        instant: Its valid legacy date, aware, in UTC.
        groups: The identifiers of its groups.
    """
    for group in groups:
        known = oldest.get(group)
        if known is None or (instant, row.id) < (known.instant, known.record_id):
            oldest[group] = Oldest(instant, row.date_text or "", row.id, row.label)


def decide_community(row: CommunityRow, oldest: dict[str, Oldest]) -> Decision:
    """Decide what happens to a community.

    Args:
        row: The community as it stands in the database.
        oldest: The oldest record by group identifier.

    Returns:
        The decision: a change only to an earlier day than the ``created`` that nobody
        has computed. So it follows the records' dates when these are corrected.
    """
    if row.decided is not None:
        return _decided(row, "community", row.decided)
    if row.group_type is None:
        return _without_field(row, "community")
    if row.group_type != "string":
        return _problem(row, "community", "not_a_string", row.group_text)
    text = row.group_text or ""
    reason = _identifier_reason(text)
    if reason is not None:
        return _problem(row, "community", reason, text)
    group_id = escape(text.strip())
    found = oldest.get(text.strip())
    if found is None:
        return NoRecords(row.id, row.label, group_id)
    if row.created is None:
        reason = "current_created_unreadable"
        return Problem(row.id, row.label, "community", reason, None, group_id)
    original, day = row.original or row.created, floor_to_day(found.instant)
    new_created = min(day, original)
    if new_created == row.created:
        if original < day:
            return Skip(row.id, row.label, OLDER)
        return Skip(row.id, row.label)
    source = found.source_value, found.record_id, found.record_label, group_id
    return Change(row.id, row.label, row.created, new_created, *source)


def _problem(
    row: RecordRow | CommunityRow, kind: str, reason: str, value: str | None = None
) -> Problem:
    value = None if value is None else escape(value)
    return Problem(row.id, row.label, kind, reason, value)
