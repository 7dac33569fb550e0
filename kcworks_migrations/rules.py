# SPDX-FileCopyrightText: 2026 kcworks-migrations contributors
# SPDX-License-Identifier: MIT
"""The rules of the dates: pure functions on frozen values, no clock, no database.

A row of the database comes in as `RecordRow` or `CommunityRow`, and goes out as one
of `Change`, `Skip`, `NoRecords` or `Problem`.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date, datetime
from typing import NamedTuple

from .dates import floor_to_day, parse_legacy_date, show
from .errors import LegacyDateError

REASONS = {
    "empty": "empty",
    "not_a_string": "not text",
    "date_only": "a date without a time",
    "no_time_zone": "no time zone",
    "not_utc": "an offset other than UTC",
    "invalid_format": "not ISO 8601 in UTC",
    "impossible_date": "no such day or time",
    "in_future": "in the future",
    "custom_fields_not_an_object": "custom_fields is not an object",
    "groups_not_a_list": "the groups are not a list",
    "group_not_an_object": "a group is not an object",
    "group_identifier_missing": "a group without an identifier",
    "group_identifier_not_a_string": "the identifier of a group is not text",
    "group_identifier_empty": "the identifier of a group is empty",
    "value_too_long": "longer than 500 characters",
    "current_created_unreadable": "the present created is outside the years 1 to 9999",
    "locked": "held by somebody each time it was tried",
    "changed_since": "changed by somebody since",
    "index_refused": "refused by the search index",
    "unlike_plan": "no longer what the plan says",
}
"""Every reason of a problem, and what it says to a person."""

VALUE_LIMIT = 500
"""Characters of an offending value that are kept; of any other text that is read."""


def escape(text: str, limit: int = VALUE_LIMIT) -> str:
    r"""Make foreign text safe to print, to log and to store.

    Control, format (bidirectional) and unassigned characters become escapes such as
    ``\x1b``, so that no terminal and no log line interprets them.

    Args:
        text: Any text.
        limit: The most characters to give back.

    Returns:
        Printable text, cut at the limit.
    """
    text = text[:limit]
    if text.isprintable():
        return text
    return "".join(
        c if c.isprintable() else c.encode("unicode_escape").decode() for c in text
    )[:limit]


class JsonValue(NamedTuple):
    """A value in a document: its JSON type and its text, cut by the query.

    The type is none when the value is absent.
    """

    type: str | None
    text: str | None


class RecordRow(NamedTuple):
    """What is read of one published record."""

    id: str
    label: str
    created: datetime | None
    version_index: int | None
    custom_fields: JsonValue
    legacy_date: JsonValue
    groups: JsonValue
    """``array`` with no text, or another type with its text."""
    group_entries: tuple[tuple[JsonValue, JsonValue], ...]
    """Of each entry in the list: the entry itself and its identifier."""


class CommunityRow(NamedTuple):
    """What is read of one community."""

    id: str
    label: str
    created: datetime | None
    custom_fields: JsonValue
    group_id: JsonValue


class Change(NamedTuple):
    """`created` of the row is to become another instant."""

    id: str
    label: str
    old_created: datetime
    new_created: datetime
    source_value: str
    source_record_id: str | None = None
    source_record_label: str | None = None
    is_later_version: bool = False


class Skip(NamedTuple):
    """The row is right already, or filtered out."""

    id: str
    label: str


class NoRecords(NamedTuple):
    """No record with a valid legacy date was deposited to the community's group."""

    id: str
    label: str


class Problem(NamedTuple):
    """The row, or a group of it, could not be used."""

    id: str
    label: str
    kind: str
    reason: str
    value: str | None


Decision = Change | Skip | NoRecords | Problem


class Oldest(NamedTuple):
    """The oldest record of a group."""

    instant: datetime
    source_value: str
    record_id: str
    record_label: str


class Planned(NamedTuple):
    """One line of a frozen plan: what `created` is, and what it is to become."""

    old_created: datetime
    new_created: datetime


@dataclass(frozen=True)
class Filters:
    """Which rows are changed; every record counts for the communities all the same.

    The days are UTC days of the present ``created`` of records, both included.
    """

    start_date: date | None = None
    end_date: date | None = None
    first_versions_only: bool = False
    excluded: frozenset[str] = frozenset()
    """PIDs, slugs and UUIDs of rows that stay as they are."""
    planned: Mapping[str, Planned] | None = None
    """By UUID, the only changes that are made; none for all."""

    def let_through(self, row: RecordRow) -> bool:
        """Tell whether the record may be changed."""
        if self.first_versions_only and (row.version_index or 1) > 1:
            return False
        if row.created is None:
            return True
        day = row.created.date()
        return (self.start_date or day) <= day <= (self.end_date or day)

    def narrow(self, kind: str, decision: "Decision") -> "Decision":
        """Let a change pass, skip it, or make it a problem if the plan differs."""
        if not isinstance(decision, Change):
            return decision
        id, label = decision.id, decision.label
        if self.excluded and (id in self.excluded or label in self.excluded):
            return Skip(id, label)
        if self.planned is None:
            return decision
        planned = self.planned.get(id)
        if planned is None:
            return Skip(id, label)
        if planned != (decision.old_created, decision.new_created):
            value = f"{show(decision.old_created)} to {show(decision.new_created)}"
            return Problem(id, label, kind, "unlike_plan", value)
        return decision


def read_date(value: JsonValue, now: datetime) -> datetime:
    """Read the legacy date of a record.

    Args:
        value: The value of the custom field.
        now: The present, aware: a later date is refused.

    Returns:
        The instant, aware, in UTC.

    Raises:
        LegacyDateError: The value is no acceptable date.
    """
    if value.type != "string":
        raise LegacyDateError("not_a_string")
    instant = parse_legacy_date(value.text or "")
    if instant > now:
        raise LegacyDateError("in_future")
    return instant


def decide_record(
    row: RecordRow, filters: Filters, now: datetime
) -> tuple[Decision, datetime | None]:
    """Decide what happens to a record.

    Args:
        row: The record as it stands in the database.
        filters: Which records are changed.
        now: The present, aware.

    Returns:
        The decision, and the valid legacy date of the record if it has one.
    """
    if row.legacy_date.type is None:
        problem = "custom_fields_not_an_object"
        return _problem(row, "record", problem, row.custom_fields), None
    try:
        instant = read_date(row.legacy_date, now)
    except LegacyDateError as error:
        return _problem(row, "record", error.reason, row.legacy_date), None
    decision: Decision = Skip(row.id, row.label)
    if row.created is None:
        decision = _problem(row, "record", "current_created_unreadable", None)
    elif instant != row.created and filters.let_through(row):
        decision = Change(
            row.id,
            row.label,
            row.created,
            instant,
            row.legacy_date.text or "",
            is_later_version=(row.version_index or 1) > 1,
        )
    return decision, instant


def read_groups(row: RecordRow) -> tuple[set[str], list[Problem]]:
    """Read the groups to which a record was deposited.

    Args:
        row: The record as it stands in the database.

    Returns:
        The trimmed identifiers, and a problem for each entry that has no usable one.
    """
    if row.groups.type is None:
        return set(), []
    if row.groups.type != "array":
        return set(), [_problem(row, "group", "groups_not_a_list", row.groups)]
    identifiers, problems = set(), []
    for entry, identifier in row.group_entries:
        reason = _group_entry_reason(entry, identifier)
        if reason is None:
            identifiers.add((identifier.text or "").strip())
        else:
            value = entry if identifier.type in (None, "null") else identifier
            problems.append(_problem(row, "group", reason, value))
    return identifiers, problems


def _group_entry_reason(entry: JsonValue, identifier: JsonValue) -> str | None:
    if entry.type != "object":
        return "group_not_an_object"
    if identifier.type in (None, "null"):
        return "group_identifier_missing"
    if identifier.type != "string":
        return "group_identifier_not_a_string"
    return _identifier_reason(identifier.text or "")


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
            text = row.legacy_date.text or ""
            oldest[group] = Oldest(instant, text, row.id, row.label)


def decide_community(row: CommunityRow, oldest: dict[str, Oldest]) -> Decision:
    """Decide what happens to a community.

    Args:
        row: The community as it stands in the database.
        oldest: The oldest record by group identifier.

    Returns:
        The decision: a change only to an earlier day than the present ``created``.
    """
    if row.group_id.type is None:
        problem = "custom_fields_not_an_object"
        return _problem(row, "community", problem, row.custom_fields)
    if row.group_id.type != "string":
        return _problem(row, "community", "not_a_string", row.group_id)
    text = row.group_id.text or ""
    reason = _identifier_reason(text)
    if reason is not None:
        return _problem(row, "community", reason, row.group_id)
    found = oldest.get(text.strip())
    if found is None:
        return NoRecords(row.id, row.label)
    if row.created is None:
        return _problem(row, "community", "current_created_unreadable", None)
    new_created = floor_to_day(found.instant)
    if new_created >= row.created:
        return Skip(row.id, row.label)
    return Change(
        row.id,
        row.label,
        row.created,
        new_created,
        found.source_value,
        found.record_id,
        found.record_label,
    )


def _problem(
    row: RecordRow | CommunityRow, kind: str, reason: str, value: JsonValue | None
) -> Problem:
    text = value.text if value is not None else None
    return Problem(
        row.id, row.label, kind, reason, None if text is None else escape(text)
    )
