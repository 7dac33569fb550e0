# SPDX-FileCopyrightText: 2026 kcworks-migrations contributors
# SPDX-License-Identifier: MIT
"""The rules of the dates once more: naive, slow, and without the package.

Written from ``design.md`` on whole documents, to be compared with what the package
makes of the same rows.
"""

from datetime import UTC, datetime

DATE, GROUPS = "hclegacy:record_creation_date", "hclegacy:groups_for_deposit"
GROUP = "kcr:commons_group_id"
LONGEST_IDENTIFIER = 500
EARLIEST = datetime(1980, 1, 1, tzinfo=UTC)


def is_number(text: str, length: int) -> bool:
    return len(text) == length and all(c in "0123456789" for c in text)


def date_of(value, now: datetime) -> datetime | None:
    """Read a legacy date; none when it is refused."""
    if not isinstance(value, str):
        return None
    if value.endswith("Z"):
        text = value[:-1]
    elif value.endswith("+00:00"):
        text = value[:-6]
    else:
        return None
    if text.count("T") != 1:
        return None
    day, _, time = text.partition("T")
    time, dot, fraction = time.partition(".")
    if dot and not (
        fraction and len(fraction) <= 6 and is_number(fraction, len(fraction))
    ):
        return None
    days, times = day.split("-"), time.split(":")
    if len(days) != 3 or len(times) != 3:
        return None
    parts = [*days, *times]
    if not all(is_number(p, n) for p, n in zip(parts, (4, 2, 2, 2, 2, 2), strict=True)):
        return None
    try:
        instant = datetime(
            *map(int, parts), int(fraction.ljust(6, "0") or 0), tzinfo=UTC
        )
    except ValueError:
        return None
    return instant if EARLIEST <= instant <= now else None


def custom_fields(document):
    """Give the custom fields, whatever they are; none when there are none."""
    return document.get("custom_fields") if isinstance(document, dict) else None


def has_field(document, name: str) -> bool:
    """Tell whether a row is found: it has the field, or fields that are no object."""
    fields = custom_fields(document)
    if isinstance(fields, dict):
        return name in fields
    return fields is not None


def record_outcome(document, created: datetime | None, now: datetime):
    """Give ``error``, ``skipped`` or the new `created`; none when not found."""
    if not has_field(document, DATE):
        return None
    fields = custom_fields(document)
    if not isinstance(fields, dict):
        return "error"
    instant = date_of(fields[DATE], now)
    if instant is None or created is None:
        return "error"
    return "skipped" if instant == created else instant


def groups_of(document) -> tuple[set[str], int]:
    """Give the identifiers of a record's groups, and how many entries are malformed."""
    fields = custom_fields(document)
    if not isinstance(fields, dict) or GROUPS not in fields:
        return set(), 0
    entries = fields[GROUPS]
    if not isinstance(entries, list):
        return set(), 1
    identifiers, malformed = set(), 0
    for entry in entries:
        identifier = entry.get("group_identifier") if isinstance(entry, dict) else None
        if is_identifier(identifier):
            identifiers.add(identifier.strip())
        else:
            malformed += 1
    return identifiers, malformed


def is_identifier(value) -> bool:
    return (
        isinstance(value, str)
        and len(value) <= LONGEST_IDENTIFIER
        and value.strip() != ""
    )


def community_outcome(document, created: datetime | None, records, now: datetime):
    """Give ``error``, ``no_records``, ``skipped`` or the new `created`.

    Args:
        document: The community's.
        created: Its present date; none when Python can't hold it.
        records: By identifier of a group, the documents of its records.
        now: The present.

    Returns:
        The outcome; none when the community is not found.
    """
    if not has_field(document, GROUP):
        return None
    fields = custom_fields(document)
    if not isinstance(fields, dict) or not is_identifier(fields[GROUP]):
        return "error"
    dates = []
    for record in records.get(fields[GROUP].strip(), []):
        value = custom_fields(record).get(DATE)
        if date_of(value, now) is not None:
            dates.append(date_of(value, now))
    if not dates:
        return "no_records"
    if created is None:
        return "error"
    day = min(dates).replace(hour=0, minute=0, second=0, microsecond=0)
    return day if day < created else "skipped"
