# SPDX-FileCopyrightText: 2026 kcworks-migrations contributors
# SPDX-License-Identifier: MIT
"""Legacy dates: the one form that is accepted.

``datetime.fromisoformat`` reads more on a newer Python than on an older one, so the
form is checked first: the same text is accepted, and means the same, on every Python.
"""

import re
from datetime import datetime

# Hours end at 23 and there are one to six digits of a fraction: what the database
# can hold exactly. `[0-9]`, because `\d` also matches digits of other scripts.
_ACCEPTED = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}T(?:[01][0-9]|2[0-3]):[0-9]{2}:[0-9]{2}"
    r"(?:\.[0-9]{1,6})?(?:Z|\+00:00)"
).fullmatch

# The form with any offset, or none: only to name what is wrong with a refused value.
_TO_THE_MINUTE = (
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}[T ][0-9]{2}:[0-9]{2}(:[0-9]{2}(\.[0-9]+)?)?"
)
_NAMED_FORMS = (
    ("date_only", re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}").fullmatch),
    ("no_time_zone", re.compile(_TO_THE_MINUTE).fullmatch),
    (
        "not_utc",
        re.compile(_TO_THE_MINUTE + r"[+-](?!00:?00)[0-9]{2}:?[0-9]{2}").fullmatch,
    ),
)


class LegacyDateError(ValueError):
    """A legacy date is refused."""

    def __init__(self, reason: str) -> None:
        """Keep the reason, one of the words in `values.REASONS`."""
        super().__init__(reason)
        self.reason = reason


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
    return instant.replace(hour=0, minute=0, second=0, microsecond=0)
