# SPDX-FileCopyrightText: 2026 kcworks-migrations contributors
# SPDX-License-Identifier: MIT
"""Legacy dates: the one form that is accepted, and how instants are shown.

``datetime.fromisoformat`` reads more on a newer Python than on an older one, and
``arrow.get`` guesses, so the form is checked first: the same text is accepted, and
means the same, on every Python.
"""

import re
from datetime import datetime

import arrow

from .errors import LegacyDateError

# Hours end at 23 and there are one to six digits of a fraction: what the database
# can hold exactly. `[0-9]`, because `\d` also matches digits of other scripts.
_ACCEPTED = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}T(?:[01][0-9]|2[0-3]):[0-9]{2}:[0-9]{2}"
    r"(?:\.[0-9]{1,6})?(?:Z|\+00:00)"
).fullmatch

# The form with any offset, or none: only to name what is wrong with a refused value.
_NAMED_FORMS = (
    ("date_only", re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}").fullmatch),
    (
        "no_time_zone",
        re.compile(
            r"[0-9]{4}-[0-9]{2}-[0-9]{2}[T ][0-9]{2}:[0-9]{2}(:[0-9]{2}(\.[0-9]+)?)?"
        ).fullmatch,
    ),
    (
        "not_utc",
        re.compile(
            r"[0-9]{4}-[0-9]{2}-[0-9]{2}[T ][0-9]{2}:[0-9]{2}(:[0-9]{2}(\.[0-9]+)?)?"
            r"[+-](?!00:?00)[0-9]{2}:?[0-9]{2}"
        ).fullmatch,
    ),
)


def parse_legacy_date(text: str) -> datetime:
    """Read a legacy creation date.

    Accepted is ISO 8601 in UTC to the second, with or without a fraction of up to
    six digits, ending in ``Z`` or ``+00:00``.

    Args:
        text: The value of the custom field.

    Returns:
        The instant, aware, in UTC.

    Raises:
        LegacyDateError: The text has another form or names no real instant.
    """
    if not _ACCEPTED(text):
        raise LegacyDateError(_reason_of_refusal(text))
    try:
        return datetime.fromisoformat(text)
    except ValueError as error:  # month 13, February 30, second 60, year 0
        raise LegacyDateError("impossible_date") from error


def _reason_of_refusal(text: str) -> str:
    if not text.strip():
        return "empty"
    for reason, matches in _NAMED_FORMS:
        if matches(text):
            return reason
    return "invalid_format"


def floor_to_day(instant: datetime) -> datetime:
    """Give the start of the UTC day in which the instant lies.

    Args:
        instant: An aware datetime in UTC.

    Returns:
        Midnight UTC of that day, aware.
    """
    return arrow.get(instant).floor("day").datetime


def show(instant: datetime | None) -> str:
    """Format an instant for people: UTC, to the second, microseconds if there are any.

    Args:
        instant: An aware datetime, or none.

    Returns:
        Text such as ``2016-02-29 13:11:39 UTC``, or ``-`` for none.
    """
    if instant is None:
        return "-"
    fraction = ".SSSSSS" if instant.microsecond else ""
    return arrow.get(instant).to("utc").format(f"YYYY-MM-DD HH:mm:ss{fraction} [UTC]")
