# SPDX-FileCopyrightText: 2026 kcworks-migrations contributors
# SPDX-License-Identifier: MIT
"""What the rules are told of a row, and what they say to it."""

from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple

REASONS = {
    "empty": "empty",
    "not_a_string": "not text",
    "date_only": "a date without a time",
    "no_time_zone": "no time zone",
    "not_utc": "an offset other than UTC",
    "invalid_format": "not ISO 8601 in UTC",
    "impossible_date": "no such day or time",
    "in_future": "in the future",
    "too_early": "before EARLIEST_DATE",
    "custom_fields_not_an_object": "custom_fields is not an object",
    "groups_not_a_list": "the groups are not a list",
    "group_not_an_object": "a group is not an object",
    "group_identifier_missing": "a group without an identifier",
    "group_identifier_not_a_string": "the identifier of a group is not text",
    "group_identifier_empty": "the identifier of a group is empty",
    "value_too_long": "longer than 500 characters",
    "current_created_unreadable": "the present created is outside the years 1 to 9999",
    "moved": "no longer what the plan says it was",
    "gone": "the row is gone since the plan was read",
    "locked": "locked by another session at every attempt",
    "not_stored": "not stored as asked (a trigger, or the column's type)",
    "changed_since": "changed by somebody since",
    "index_refused": "refused by the search index",
    "evidence_gone": "its date stays, though what gave it is gone",
}
"""Every reason of a problem, and what it says to a person."""


MATCHES = "dates already match"
OLDER = "older than its oldest record"
"""Why a row is skipped that has its date already."""

NOT_IN_RULES = "no legacy field"
"""Why a row is skipped that only a plan can name."""

AS_DECIDED = "as decided in a plan"
"""Why a row is skipped whose decision is carried out."""

NOT_IN_PLAN = "not in the plan"
"""Why a change is skipped that the plan lacks."""

LATER_VERSION = "later version"
"""Why a change is skipped where `LATER_VERSIONS` says keep."""


class Decided(NamedTuple):
    """A curator's decision: the row's true date, until it is rolled back."""

    created: datetime
    """Aware, in UTC."""
    text: str
    """The cell of the plan."""
    file: str
    sha256: str
    note: str | None


class RecordRow(NamedTuple):
    """What is read of one published record, in the order of the query.

    A value in the document comes as its JSON type, none when it is absent, and its
    text, cut by the query.
    """

    id: str
    label: str
    created: datetime | None
    fields_type: str | None
    fields_text: str | None
    """None for an object, which is what custom fields should be."""
    date_type: str | None
    date_text: str | None
    version_index: int | None
    groups_type: str | None
    groups_text: str | None
    """None for a list, which is what groups should be."""
    group_count: int | None
    """How many entries the list has."""
    group_identifiers: Sequence[str] | None
    """Of the entries in the list whose identifier is text, and not too long."""
    other_groups: Sequence[Sequence[str | None]] | None
    """The first of the others: type and text of the entry, and of its identifier."""
    decided: Decided | None = None
    """The decision that stands."""


class CommunityRow(NamedTuple):
    """What is read of one community, in the same form."""

    id: str
    label: str
    created: datetime | None
    fields_type: str | None
    fields_text: str | None
    group_type: str | None
    group_text: str | None
    decided: Decided | None = None
    original: datetime | None = None
    """What `created` was before this package changed it to what it is."""


class Change(NamedTuple):
    """`created` of the row is to become another instant, or a decision to stand."""

    id: str
    label: str
    old_created: datetime
    new_created: datetime
    source_value: str
    source_record_id: str | None = None
    source_record_label: str | None = None
    group_id: str | None = None
    """Of a community."""
    is_later_version: bool = False
    decided: Decided | None = None
    """The curator's decision that it carries out; none where the rules say so."""
    computed: datetime | None = None
    """What the rules give, where a line of a plan says otherwise."""
    approved: Decided | None = None
    """The line of a plan on which an ordinary change rests, where the rules give
    another date by now: nobody has decided it, so a later run may move it."""

    @property
    def is_kept(self) -> bool:
        """Tell whether the row stays at its present date, as decided."""
        return self.decided is not None and self.old_created == self.new_created


class Skip(NamedTuple):
    """The row is right already, or was not asked for."""

    id: str
    label: str
    reason: str = MATCHES


class NoRecords(NamedTuple):
    """No record with a valid legacy date was deposited to the community's group."""

    id: str
    label: str
    group_id: str


class Problem(NamedTuple):
    """The row, or a group of it, could not be used."""

    id: str
    label: str
    kind: str
    """``record``, ``community``, or ``group``: an entry in a record's list."""
    reason: str
    """One of `REASONS`."""
    value: str | None
    group_id: str | None = None
    """Of a community, where it is known."""


Decision = Change | Skip | NoRecords | Problem


class Oldest(NamedTuple):
    """The oldest record of a group."""

    instant: datetime
    source_value: str
    record_id: str
    record_label: str
