# SPDX-FileCopyrightText: 2026 kcworks-migrations contributors
# SPDX-License-Identifier: MIT
"""The form of a legacy date: what is accepted, what is refused and why."""

import json
import os
import shutil
import subprocess
import sys
from datetime import UTC, datetime, timedelta, timezone
from itertools import chain
from pathlib import Path

import arrow
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import kcworks_migrations
from kcworks_migrations.rules.dates import (
    LegacyDateError,
    floor_to_day,
    parse_legacy_date,
)
from kcworks_migrations.rules.values import REASONS
from kcworks_migrations.text import show

# A loaded machine is no failure.
unhurried = settings(deadline=None)


def utc(*numbers: int) -> datetime:
    return datetime(*numbers, tzinfo=UTC)


ACCEPTED = {
    "2016-02-29T13:11:39Z": utc(2016, 2, 29, 13, 11, 39),
    "2016-02-29T13:11:39+00:00": utc(2016, 2, 29, 13, 11, 39),
    "2016-02-29T13:11:39.1Z": utc(2016, 2, 29, 13, 11, 39, 100000),
    "2016-02-29T13:11:39.12Z": utc(2016, 2, 29, 13, 11, 39, 120000),
    "2016-02-29T13:11:39.123Z": utc(2016, 2, 29, 13, 11, 39, 123000),
    "2016-02-29T13:11:39.1234Z": utc(2016, 2, 29, 13, 11, 39, 123400),
    "2016-02-29T13:11:39.12345Z": utc(2016, 2, 29, 13, 11, 39, 123450),
    "2016-02-29T13:11:39.123456Z": utc(2016, 2, 29, 13, 11, 39, 123456),
    "2016-02-29T13:11:39.123456+00:00": utc(2016, 2, 29, 13, 11, 39, 123456),
    "2016-02-29T13:11:39.000001Z": utc(2016, 2, 29, 13, 11, 39, 1),
    "2016-02-29T13:11:39.000000+00:00": utc(2016, 2, 29, 13, 11, 39),
    "2016-02-29T00:00:00Z": utc(2016, 2, 29),
    "2016-12-31T23:59:59.999999Z": utc(2016, 12, 31, 23, 59, 59, 999999),
    "2000-02-29T12:00:00Z": utc(2000, 2, 29, 12),
    "1970-01-01T00:00:00Z": utc(1970, 1, 1),
    "1900-01-01T00:00:59Z": utc(1900, 1, 1, 0, 0, 59),
    "0001-01-01T00:00:00Z": utc(1, 1, 1),
    "9999-12-31T23:59:59.999999Z": utc(9999, 12, 31, 23, 59, 59, 999999),
}

REFUSED = {
    "empty": ["", " ", "\n", "\t \r\n", "\u00a0", "\u3000\u2028"],
    "date_only": ["2016-02-29", "2016-02-30", "0000-00-00"],
    "no_time_zone": [
        "2016-02-29T13:11:39",
        "2016-02-29T13:11:39.123456",
        "2016-02-29T13:11:39.123456789",
        "2016-02-29 13:11:39",
        "2016-02-29T13:11",
        "2016-02-29T24:00:00",
    ],
    "not_utc": [
        "2016-02-29T13:11:39+01:00",
        "2016-02-29T13:11:39-05:00",
        "2016-02-29T13:11:39-0500",
        "2016-02-29T13:11:39.123456+05:30",
        "2016-02-29 13:11:39+00:01",
        "2016-02-29T13:11+01:00",
    ],
    "impossible_date": [
        "0000-01-01T00:00:00Z",
        "1900-01-01T00:00:60Z",
        "1900-02-29T00:00:00Z",
        "2016-00-01T00:00:00Z",
        "2016-02-00T00:00:00Z",
        "2016-02-29T13:11:60Z",
        "2016-02-29T13:60:39+00:00",
        "2016-02-29T13:11:99.5Z",
        "2016-02-30T13:11:39Z",
        "2016-04-31T13:11:39.5Z",
        "2016-13-01T13:11:39Z",
        "2017-02-29T13:11:39Z",
        "2016-12-31T23:59:60Z",
    ],
    "invalid_format": [
        # Years of other lengths.
        "10000-01-01T00:00:00Z",
        "+10000-01-01T00:00:00Z",
        "-2016-02-29T13:11:39Z",
        "016-02-29T13:11:39Z",
        "16-02-29T13:11:39Z",
        # Hours that newer Pythons read, or that no day has.
        "2016-02-29T24:00:00Z",
        "2016-02-29T24:00:00+00:00",
        "2016-02-29T25:00:00Z",
        "2016-02-29T99:00:00Z",
        # Other letters and other spellings of UTC.
        "2016-02-29t13:11:39Z",
        "2016-02-29T13:11:39z",
        "2016-02-29t13:11:39z",
        "2016-02-29 13:11:39Z",
        "2016-02-29T13:11:39+0000",
        "2016-02-29T13:11:39+00",
        "2016-02-29T13:11:39-00:00",
        "2016-02-29T13:11:39-0000",
        "2016-02-29T13:11:39\u221200:00",
        "2016-02-29T13:11:39+00:00:00",
        "2016-02-29T13:11:39Z+00:00",
        "2016-02-29T13:11:39ZZ",
        "2016-02-29T13:11:39 Z",
        "2016-02-29T13:11:39UTC",
        "2016-02-29T13:11:39 UTC",
        "2016-02-29T13:11:39[UTC]",
        # Fractions.
        "2016-02-29T13:11:39.Z",
        "2016-02-29T13:11:39,5Z",
        "2016-02-29T13:11:39.1234567Z",
        "2016-02-29T13:11:39.0000000+00:00",
        "2016-02-29T13:11:39.123 456Z",
        "2016-02-29T13:11:39.-1Z",
        # Fewer, other or doubled parts.
        "2016-02-29T13:11Z",
        "2016-02-29T13Z",
        "2016-02-29Z",
        "2016-02-29T",
        "2016-2-29T13:11:39Z",
        "2016-02-29T1:11:39Z",
        "20160229T131139Z",
        "2016-W09-1T13:11:39Z",
        "2016-060T13:11:39Z",
        "2016/02/29T13:11:39Z",
        "29-02-2016T13:11:39Z",
        "02/29/2016 13:11:39",
        "February 29, 2016",
        "2016",
        "1456751499",
        "1456751499.5",
        "now",
        "null",
        "T",
        "Z",
        # White space and control characters around and inside.
        "2016-02-29T13:11:39Z\n",
        "2016-02-29T13:11:39+00:00\n",
        "2016-02-29\n",
        "2016-02-29T13:11:39\n",
        "2016-02-29T13:11:39+01:00\n",
        " 2016-02-29T13:11:39Z",
        "2016-02-29T13:11:39Z ",
        "\ufeff2016-02-29T13:11:39Z",
        "2016-02-29T13:11:39Z\x00",
        "2016-02-29T13:11:39\x00Z",
        "\x002016-02-29T13:11:39Z",
        "2016-02-29T13:11:39Z\x1b[2J",
        "2016-02-29T13:11:39Z; DROP TABLE rdm_records_metadata",
        # Digits and signs of other scripts that look like, or are read as, ours.
        "２０１６-02-29T13:11:39Z",
        "٢٠١٦-٠٢-٢٩T١٣:١١:٣٩Z",
        "२०१६-०२-२९T१३:११:३९Z",
        "𝟚𝟘𝟙𝟞-02-29T13:11:39Z",
        "2016-02-2９T13:11:39Z",
        "2016-02-29T13:11:3٩Z",
        "2016-02-29T13:11:39.12345６Z",
        "2016-02-29T13:11:39.²Z",
        "2016-02-２９",
        "2016-02-29T13:11:３９",
        "2016-02-29T13:11:39+0１:00",
        "2016‐02‐29T13:11:39Z",
        "2016-02-29Т13:11:39Z",
        "2016-02-29T13：11：39Z",
        "2016-02-29T13:11:39Ζ",
        "2016-02-29T13:11:39\ud800Z",
        # Long.
        "2016-02-29T13:11:39." + "1" * 500 + "Z",
        "2" * 501,
    ],
}
REFUSALS = [(text, reason) for reason, texts in REFUSED.items() for text in texts]


@pytest.mark.parametrize(("text", "instant"), ACCEPTED.items(), ids=ascii)
def test_parse_legacy_date_of_accepted_form(text, instant):
    parsed = parse_legacy_date(text)

    assert parsed == instant
    assert parsed.utcoffset() == timedelta(0)
    assert parsed.tzinfo is UTC


@pytest.mark.parametrize(("text", "reason"), REFUSALS, ids=lambda v: ascii(v)[:50])
def test_parse_legacy_date_of_refused_form(text, reason):
    with pytest.raises(LegacyDateError) as caught:
        parse_legacy_date(text)

    assert caught.value.reason == reason
    assert reason in REASONS


def test_parse_legacy_date_of_impossible_date_keeps_the_cause():
    with pytest.raises(LegacyDateError) as caught:
        parse_legacy_date("2016-02-30T13:11:39Z")

    assert isinstance(caught.value.__cause__, ValueError)


def outcome(text: str) -> str:
    try:
        return parse_legacy_date(text).isoformat()
    except LegacyDateError as error:
        return error.reason


@unhurried
@given(
    instant=st.datetimes(timezones=st.just(UTC)),
    digits=st.integers(0, 6),
    suffix=st.sampled_from(["Z", "+00:00"]),
)
def test_parse_legacy_date_of_any_instant_equals_arrow(instant, digits, suffix):
    fraction = f".{instant.microsecond:06}"[: digits + 1] if digits else ""
    text = f"{instant:%m-%dT%H:%M:%S}{fraction}{suffix}"
    text = f"{instant.year:04}-{text}"

    parsed = parse_legacy_date(text)

    assert parsed == arrow.get(text).datetime
    assert parsed.replace(microsecond=0) == instant.replace(microsecond=0)
    assert f"{parsed.microsecond:06}"[:digits] == fraction[1:]


def is_as_written(text: str, instant: datetime) -> bool:
    """Tell whether the instant, written again, is the text: nothing was guessed."""
    body = text.removesuffix("Z").removesuffix("+00:00")
    seconds, _, fraction = body.partition(".")
    written = instant.isoformat(timespec="microseconds")
    return written == f"{seconds}.{fraction:0<6}+00:00" and body != text


def check_any(text: str) -> None:
    """Check that the text is refused with a known reason, or read as arrow does."""
    try:
        instant = parse_legacy_date(text)
    except LegacyDateError as error:
        assert error.reason in REASONS
    else:
        assert instant.tzinfo is UTC
        assert instant == arrow.get(text).datetime
        assert is_as_written(text, instant)


# Characters that a lenient parser might take for something.
TEMPTING = "0123456789 -+:.,TtZzWUC/\n\t\x00\u0660\u0966\uff11\u2212\u2010\u00b2\ufeff"


# Surrogates included, which `st.text` leaves out.
ANY_CHARACTER = st.integers(0, sys.maxunicode).map(chr)


@unhurried
@given(st.lists(st.sampled_from(TEMPTING) | ANY_CHARACTER).map("".join))
def test_parse_legacy_date_of_any_text_is_read_or_refused(text):
    check_any(text)


@unhurried
@given(
    text=st.sampled_from(list(ACCEPTED)),
    edits=st.lists(
        st.tuples(
            st.integers(0, 34),
            st.integers(0, 2),
            st.text(TEMPTING, max_size=2),
        ),
        min_size=1,
        max_size=3,
    ),
)
def test_parse_legacy_date_of_nearly_accepted_text_is_read_or_refused(text, edits):
    for start, length, replacement in edits:
        text = text[:start] + replacement + text[start + length :]

    check_any(text)


@unhurried
@given(
    st.from_regex(
        r"\A[0-9]{4}-[01][0-9]-[0-3][0-9]T[0-2][0-9]:[0-6][0-9]:[0-6][0-9]"
        r"(\.[0-9]{0,8})?(Z|[+-][0-9]{2}:?[0-9]{2})?\Z"
    )
)
def test_parse_legacy_date_of_plausible_text_is_read_or_refused(text):
    check_any(text)


def find_python(minor: str) -> str | None:
    """Find a Python of the version that really runs (a shim may not)."""
    versions = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    candidates = chain(
        versions.glob(f"{minor}.*/bin/python"), [shutil.which(f"python{minor}")]
    )
    for candidate in filter(None, candidates):
        version = "import sys; print('%d.%d' % sys.version_info[:2])"
        ran = subprocess.run(
            [candidate, "-c", version], capture_output=True, text=True, check=False
        )
        if ran.stdout.strip() == minor:
            return str(candidate)
    return None


PARSE_ALL = """
import json, sys
from kcworks_migrations.rules.dates import LegacyDateError, parse_legacy_date
def outcome(text):
    try:
        return parse_legacy_date(text).isoformat()
    except LegacyDateError as error:
        return error.reason
print(json.dumps([outcome(text) for text in json.load(sys.stdin)]))
"""


@pytest.mark.parametrize("minor", ["3.11", "3.12", "3.13"])
def test_parse_legacy_date_on_another_python(minor, tmp_path):
    if minor == f"{sys.version_info.major}.{sys.version_info.minor}":
        pytest.skip(f"{minor} is the Python that runs the tests")
    python = find_python(minor)
    if python is None:
        pytest.skip(f"Python {minor} is not on this machine")
    package = Path(kcworks_migrations.__file__).parent
    (tmp_path / package.name).symlink_to(package)
    texts = [*ACCEPTED, *(text for text, _ in REFUSALS)]

    ran = subprocess.run(
        [python, "-B", "-c", PARSE_ALL],
        input=json.dumps(texts),
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={"PYTHONPATH": str(tmp_path)},
        check=False,
    )

    assert ran.returncode == 0, ran.stderr
    expected = [i.isoformat() for i in ACCEPTED.values()] + [r for _, r in REFUSALS]
    assert dict(zip(texts, json.loads(ran.stdout), strict=True)) == dict(
        zip(texts, expected, strict=True)
    )


@pytest.mark.parametrize(
    ("instant", "start"),
    [
        (utc(2016, 2, 29, 13, 11, 39, 123456), utc(2016, 2, 29)),
        (utc(2016, 2, 29, 23, 59, 59, 999999), utc(2016, 2, 29)),
        (utc(2016, 2, 29), utc(2016, 2, 29)),
        (utc(1, 1, 1, 0, 0, 0, 1), utc(1, 1, 1)),
    ],
)
def test_floor_to_day_of_instant(instant, start):
    floored = floor_to_day(instant)

    assert floored == start
    assert floored.utcoffset() == timedelta(0)


# The last day is left out: arrow computes its end as well, which lies in year 10000.
# Dates in the future are refused long before.
@unhurried
@given(st.datetimes(max_value=datetime(9999, 12, 30), timezones=st.just(UTC)))
def test_floor_to_day_of_any_instant_is_its_midnight(instant):
    floored = floor_to_day(instant)

    assert floored.date() == instant.date()
    assert floored.time() == datetime.min.time()
    assert timedelta(0) <= instant - floored < timedelta(days=1)


@pytest.mark.parametrize(
    ("instant", "shown"),
    [
        (None, "-"),
        (utc(2016, 2, 29, 13, 11, 39), "2016-02-29 13:11:39 UTC"),
        (utc(2016, 2, 29, 13, 11, 39, 1), "2016-02-29 13:11:39.000001 UTC"),
        (utc(2016, 2, 29, 13, 11, 39, 500000), "2016-02-29 13:11:39.500000 UTC"),
        (utc(1, 1, 1), "0001-01-01 00:00:00 UTC"),
        (
            datetime(2016, 2, 29, 23, 0, tzinfo=timezone(timedelta(hours=-5))),
            "2016-03-01 04:00:00 UTC",
        ),
    ],
)
def test_show_of_instant(instant, shown):
    assert show(instant) == shown
