# SPDX-FileCopyrightText: 2026 kcworks-migrations contributors
# SPDX-License-Identifier: MIT
"""The decisions: change, skip, no records or problem, for every shape of a row."""

from datetime import UTC, datetime, timedelta
from typing import NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kcworks_migrations.config import What
from kcworks_migrations.rules.dates import LegacyDateError
from kcworks_migrations.rules.decide import (
    GROUP_PROBLEMS,
    decide_community,
    decide_record,
    note_oldest,
    read_date,
    read_groups,
)
from kcworks_migrations.rules.values import (
    REASONS,
    Change,
    CommunityRow,
    Decision,
    NoRecords,
    Oldest,
    Problem,
    RecordRow,
    Skip,
)
from kcworks_migrations.text import VALUE_LIMIT, escape

unhurried = settings(deadline=None)

NOW = datetime(2026, 1, 31, 12, 0, 0, tzinfo=UTC)
IMPORTED = datetime(2024, 5, 1, 12, 0, 0, 123456, tzinfo=UTC)
LEGACY = datetime(2016, 2, 29, 13, 11, 39, tzinfo=UTC)
LEGACY_TEXT = "2016-02-29T13:11:39Z"
EARLIEST = What().earliest


class JsonValue(NamedTuple):
    """A value in a document as the query gives it: its type and its text."""

    type: str | None
    text: str | None


ABSENT = JsonValue(None, None)
OF_AN_OBJECT = JsonValue("object", None)


def string(text: str) -> JsonValue:
    return JsonValue("string", text)


def record(
    legacy=LEGACY_TEXT,
    entries=None,
    custom_fields=OF_AN_OBJECT,
    groups=None,
    **changed,
) -> RecordRow:
    """Make a record as the query gives it: a text stands for a JSON string."""
    date = string(legacy) if isinstance(legacy, str) else legacy
    if groups is None:
        groups = ABSENT if entries is None else JsonValue("array", None)
    row = RecordRow(
        "00000000-0000-0000-0000-000000000001",
        "abcde-12345",
        IMPORTED,
        *custom_fields,
        *date,
        1,
        *groups,
        None if entries is None else len(entries),
        [i.text or "" for e, i in entries or () if is_text(e, i)],
        [[*e, *i] for e, i in entries or () if not is_text(e, i)][:GROUP_PROBLEMS],
    )
    return row._replace(**changed)


def is_text(entry: JsonValue, identifier: JsonValue) -> bool:
    """Tell whether the query gives the identifier of a group whatever their number."""
    is_of_text = (entry.type, identifier.type) == ("object", "string")
    return is_of_text and len(identifier.text or "") <= 500


def community(group="1000610", custom_fields=OF_AN_OBJECT, **changed) -> CommunityRow:
    row = CommunityRow(
        "00000000-0000-0000-0000-00000000000c",
        "a-group",
        IMPORTED,
        *custom_fields,
        *(string(group) if isinstance(group, str) else group),
    )
    return row._replace(**changed)


def exactly(decision: Decision) -> tuple:
    """Give what tells decisions apart: as tuples, `Skip` equals `NoRecords`."""
    return type(decision), *decision


def oldest_at(instant: datetime) -> Oldest:
    return Oldest(instant, "the source", "record id", "record label")


# --- read_date -----------------------------------------------------------------------


@pytest.mark.parametrize(
    "value",
    [
        JsonValue("number", "2016"),
        JsonValue("boolean", "true"),
        JsonValue("null", None),
        JsonValue("array", f'["{LEGACY_TEXT}"]'),
        JsonValue("object", f'{{"date": "{LEGACY_TEXT}"}}'),
        # A text that is a good date does not make another type a string.
        JsonValue("number", LEGACY_TEXT),
    ],
    ids=lambda value: value.type,
)
def test_read_date_of_another_type(value):
    with pytest.raises(LegacyDateError) as caught:
        read_date(*value, EARLIEST, NOW)

    assert caught.value.reason == "not_a_string"


@pytest.mark.parametrize("text", ["", None])
def test_read_date_of_empty_string(text):
    with pytest.raises(LegacyDateError) as caught:
        read_date("string", text, EARLIEST, NOW)

    assert caught.value.reason == "empty"


def test_read_date_of_this_very_instant():
    assert read_date("string", "2026-01-31T12:00:00Z", EARLIEST, NOW) == NOW


@pytest.mark.parametrize(
    "text", ["2026-01-31T12:00:00.000001Z", "9999-12-31T00:00:00Z"]
)
def test_read_date_in_the_future(text):
    with pytest.raises(LegacyDateError) as caught:
        read_date("string", text, EARLIEST, NOW)

    assert caught.value.reason == "in_future"


@pytest.mark.parametrize(
    ("text", "is_accepted"),
    [
        ("1979-12-31T23:59:59.999999Z", False),
        ("1980-01-01T00:00:00Z", True),
        ("1970-01-01T00:00:00Z", False),
        ("0001-01-01T00:00:00Z", False),
    ],
)
def test_read_date_before_the_earliest(text, is_accepted):
    if is_accepted:
        assert read_date("string", text, EARLIEST, NOW) == EARLIEST
        return
    with pytest.raises(LegacyDateError) as caught:
        read_date("string", text, EARLIEST, NOW)
    assert caught.value.reason == "too_early"


# --- decide_record -------------------------------------------------------------------


def test_decide_record_with_older_date():
    decision, instant = decide_record(record(), EARLIEST, NOW)

    assert decision == Change(
        id="00000000-0000-0000-0000-000000000001",
        label="abcde-12345",
        old_created=IMPORTED,
        new_created=LEGACY,
        source_value=LEGACY_TEXT,
    )
    assert instant == LEGACY


def test_decide_record_with_younger_date():
    row = record(created=datetime(2010, 1, 1, tzinfo=UTC))

    decision, instant = decide_record(row, EARLIEST, NOW)

    assert isinstance(decision, Change)
    assert decision.new_created == instant == LEGACY


@pytest.mark.parametrize(
    "text", [LEGACY_TEXT, "2016-02-29T13:11:39.000+00:00", "2016-02-29T13:11:39.0Z"]
)
def test_decide_record_with_equal_instant(text):
    row = record(text, created=LEGACY)

    decision, instant = decide_record(row, EARLIEST, NOW)

    assert exactly(decision) == (Skip, row.id, row.label, "dates already match")
    assert instant == LEGACY


def test_decide_record_one_microsecond_apart():
    row = record(created=LEGACY + timedelta(microseconds=1))

    decision, _ = decide_record(row, EARLIEST, NOW)

    assert isinstance(decision, Change)


@pytest.mark.parametrize(
    ("version_index", "is_later"), [(None, False), (0, False), (1, False), (2, True)]
)
def test_decide_record_of_a_version(version_index, is_later):
    decision, _ = decide_record(record(version_index=version_index), EARLIEST, NOW)

    assert isinstance(decision, Change)
    assert decision.is_later_version is is_later


@pytest.mark.parametrize(
    ("value", "reason", "kept"),
    [
        (string(""), "empty", ""),
        (string("2016-02-29"), "date_only", "2016-02-29"),
        (string("2016-02-29T13:11:39"), "no_time_zone", "2016-02-29T13:11:39"),
        (
            string("2016-02-29T13:11:39+01:00"),
            "not_utc",
            "2016-02-29T13:11:39+01:00",
        ),
        (string("2016-02-30T13:11:39Z"), "impossible_date", "2016-02-30T13:11:39Z"),
        (string("2099-01-01T00:00:00Z"), "in_future", "2099-01-01T00:00:00Z"),
        (string("yesterday"), "invalid_format", "yesterday"),
        (string("\x1b[2J\x00\u202e"), "invalid_format", r"\x1b[2J\x00\u202e"),
        (string("9" * 501), "invalid_format", "9" * 500),
        (JsonValue("number", "1456751499"), "not_a_string", "1456751499"),
        (JsonValue("null", None), "not_a_string", None),
        (JsonValue("object", '{"a": "\x07"}'), "not_a_string", r'{"a": "\x07"}'),
    ],
)
def test_decide_record_with_refused_date(value, reason, kept):
    row = record(value)

    decision, instant = decide_record(row, EARLIEST, NOW)

    assert decision == Problem(row.id, row.label, "record", reason, kept)
    assert instant is None


@pytest.mark.parametrize(
    "fields",
    [JsonValue("array", "[1]"), JsonValue("string", "x"), JsonValue("number", "7")],
    ids=lambda fields: fields.type,
)
def test_decide_record_with_custom_fields_of_another_type(fields):
    row = record(ABSENT, custom_fields=fields)

    assert decide_record(row, EARLIEST, NOW) == (
        Problem(
            row.id, row.label, "record", "custom_fields_not_an_object", fields.text
        ),
        None,
    )


def test_decide_record_with_unreadable_created_still_counts_for_communities():
    row = record(created=None)

    assert decide_record(row, EARLIEST, NOW) == (
        Problem(row.id, row.label, "record", "current_created_unreadable", None),
        LEGACY,
    )


JSON_TYPES = ["string", "number", "boolean", "null", "array", "object"]
JSON_VALUES = st.builds(
    JsonValue,
    st.sampled_from(JSON_TYPES),
    st.none() | st.text(max_size=30) | st.just(LEGACY_TEXT),
)


@unhurried
@given(
    row=st.builds(
        record,
        legacy=JSON_VALUES,
        custom_fields=JSON_VALUES,
        created=st.none() | st.datetimes(timezones=st.just(UTC)),
        version_index=st.none() | st.integers(),
    ),
)
def test_decide_record_of_any_row_decides_and_never_fails(row):
    decision, instant = decide_record(row, EARLIEST, NOW)

    assert (decision.id, decision.label) == (row.id, row.label)
    if isinstance(decision, Problem):
        assert decision.reason in REASONS
    else:
        assert isinstance(decision, Change | Skip)
        assert instant is not None


# --- read_groups ---------------------------------------------------------------------

OBJECT = OF_AN_OBJECT


def test_read_groups_of_record_without_groups():
    assert read_groups(record()) == (set(), [], 0)


def test_read_groups_of_empty_list():
    assert read_groups(record(entries=[])) == (set(), [], 0)


def test_read_groups_trims_and_merges_identifiers():
    row = record(
        entries=[
            (OBJECT, string(" 1000610\t")),
            (OBJECT, string("1000610")),
            (OBJECT, string("\u00a01000611\n")),
            (OBJECT, string("hc:Group A")),
        ]
    )

    assert read_groups(row) == ({"1000610", "1000611", "hc:Group A"}, [], 0)


@pytest.mark.parametrize(
    "groups",
    [
        JsonValue("string", "1000610"),
        JsonValue("number", "1000610"),
        JsonValue("boolean", "true"),
        JsonValue("null", None),
        JsonValue("object", '{"group_identifier": "1000610"}'),
    ],
    ids=lambda groups: groups.type,
)
def test_read_groups_of_another_type(groups):
    row = record(groups=groups)

    assert read_groups(row) == (
        set(),
        [Problem(row.id, row.label, "group", "groups_not_a_list", groups.text)],
        1,
    )


@pytest.mark.parametrize(
    ("entry", "identifier", "reason", "value"),
    [
        # An entry that is no object is shown whole.
        (string("1000610"), ABSENT, "group_not_an_object", "1000610"),
        (JsonValue("number", "7"), ABSENT, "group_not_an_object", "7"),
        (JsonValue("null", None), ABSENT, "group_not_an_object", None),
        (JsonValue("array", '["7"]'), ABSENT, "group_not_an_object", '["7"]'),
        # So is one without an identifier.
        (
            JsonValue("object", '{"group_name": "A"}'),
            ABSENT,
            "group_identifier_missing",
            '{"group_name": "A"}',
        ),
        (
            JsonValue("object", '{"group_identifier": null}'),
            JsonValue("null", None),
            "group_identifier_missing",
            '{"group_identifier": null}',
        ),
        # Of others the identifier is shown.
        (OBJECT, JsonValue("number", "610"), "group_identifier_not_a_string", "610"),
        (
            OBJECT,
            JsonValue("object", '{"id": "610"}'),
            "group_identifier_not_a_string",
            '{"id": "610"}',
        ),
        (OBJECT, JsonValue("array", "[]"), "group_identifier_not_a_string", "[]"),
        (
            OBJECT,
            JsonValue("boolean", "false"),
            "group_identifier_not_a_string",
            "false",
        ),
        (OBJECT, string(""), "group_identifier_empty", ""),
        (OBJECT, string(" \n"), "group_identifier_empty", r" \n"),
        (OBJECT, string("6" * 501), "value_too_long", "6" * 500),
    ],
)
def test_read_groups_with_unusable_entry_keeps_the_others(
    entry, identifier, reason, value
):
    row = record(
        entries=[(OBJECT, string("a")), (entry, identifier), (OBJECT, string("b"))]
    )

    assert read_groups(row) == (
        {"a", "b"},
        [Problem(row.id, row.label, "group", reason, value)],
        1,
    )


def test_read_groups_reports_each_unusable_entry():
    row = record(
        entries=[(string("x"), ABSENT), (OBJECT, string("")), (OBJECT, OBJECT)]
    )

    _, problems, malformed = read_groups(row)

    assert malformed == 3
    assert {problem.reason for problem in problems} == {
        "group_not_an_object",
        "group_identifier_empty",
        "group_identifier_not_a_string",
    }


@pytest.mark.parametrize(
    "entry",
    [
        (JsonValue("null", None), ABSENT),
        (string("x" * 501), ABSENT),
        (OBJECT, string("")),
        (OBJECT, string("6" * 501)),
    ],
)
def test_read_groups_lists_the_first_unusable_entries_and_counts_all(entry):
    usable = (OBJECT, string("a"))
    row = record(entries=[*[entry] * 30, usable])

    identifiers, problems, malformed = read_groups(row)

    assert (identifiers, len(problems), malformed) == ({"a"}, 20, 30)
    told = [problem.value or "" for problem in problems]
    assert [v for v in told if "more" in v] == [told[-1]]
    assert told[-1].endswith("… and 10 more")
    assert len(told[-1]) <= 500


def test_read_groups_with_longest_identifier():
    assert read_groups(record(entries=[(OBJECT, string("6" * 500))])) == (
        {"6" * 500},
        [],
        0,
    )


@unhurried
@given(
    groups=JSON_VALUES | st.just(ABSENT),
    entries=st.lists(st.tuples(JSON_VALUES, JSON_VALUES | st.just(ABSENT)), max_size=4),
)
def test_read_groups_of_any_shape_uses_or_reports_each_entry(groups, entries):
    row = record(entries=entries, groups=groups)

    identifiers, problems, malformed = read_groups(row)

    assert malformed == len(problems)
    assert all(i and i == i.strip() for i in identifiers)
    assert all(p.kind == "group" and p.reason in REASONS for p in problems)
    if groups.type == "array":
        usable = [
            (identifier.text or "").strip()
            for entry, identifier in entries
            if entry.type == "object" and identifier.type == "string"
        ]
        assert identifiers == {text for text in usable if text}
        assert len(problems) == len(entries) - sum(1 for text in usable if text)


# --- note_oldest ---------------------------------------------------------------------


def test_note_oldest_keeps_the_oldest_of_each_group():
    oldest: dict[str, Oldest] = {}
    early, late = LEGACY, LEGACY + timedelta(days=1)
    first = record("the first", id="1", label="one")
    second = record("the second", id="2", label="two")

    note_oldest(oldest, first, late, {"a", "b"})
    note_oldest(oldest, second, early, {"b", "c"})

    assert oldest == {
        "a": Oldest(late, "the first", "1", "one"),
        "b": Oldest(early, "the second", "2", "two"),
        "c": Oldest(early, "the second", "2", "two"),
    }


def test_note_oldest_of_record_without_groups():
    oldest: dict[str, Oldest] = {}

    note_oldest(oldest, record(), LEGACY, set())

    assert oldest == {}


# Few different instants and groups, so that ties happen.
NOTES = st.lists(
    st.tuples(
        st.integers(0, 2).map(lambda hours: LEGACY + timedelta(hours=hours)),
        st.sets(st.sampled_from("abc")),
    ),
    max_size=6,
).map(lambda notes: [(str(number), *note) for number, note in enumerate(notes)])


@unhurried
@given(notes=NOTES, data=st.data())
def test_note_oldest_in_any_order_gives_the_same(notes, data):
    outcomes = []
    for order in (notes, data.draw(st.permutations(notes))):
        oldest: dict[str, Oldest] = {}
        for record_id, instant, groups in order:
            row = record(id=record_id, label=f"label {record_id}")
            note_oldest(oldest, row, instant, groups)
        outcomes.append(oldest)

    assert outcomes[0] == outcomes[1]
    assert {name: (o.instant, o.record_id) for name, o in outcomes[0].items()} == {
        name: min((i, r) for r, i, groups in notes if name in groups)
        for name in {name for _, _, groups in notes for name in groups}
    }


# --- decide_community ----------------------------------------------------------------


def test_decide_community_with_older_record():
    row = community()

    assert decide_community(row, {"1000610": oldest_at(LEGACY)}) == Change(
        id=row.id,
        label="a-group",
        old_created=IMPORTED,
        new_created=datetime(2016, 2, 29, tzinfo=UTC),
        source_value="the source",
        source_record_id="record id",
        source_record_label="record label",
        group_id="1000610",
    )


@pytest.mark.parametrize(
    "group", ["1000610", " 1000610", "1000610\r\n", "\u00a01000610"]
)
def test_decide_community_compares_trimmed_identifiers(group):
    decision = decide_community(community(group), {"1000610": oldest_at(LEGACY)})

    assert isinstance(decision, Change)


@pytest.mark.parametrize("group", ["1000611", "01000610", "1000 610", "100061"])
def test_decide_community_of_another_group(group):
    row = community(group)

    decision = decide_community(row, {"1000610": oldest_at(LEGACY)})

    assert exactly(decision) == (NoRecords, row.id, row.label, row.group_text)


@pytest.mark.parametrize(
    ("created", "is_changed"),
    [
        # The floor is what is compared: a day that began before `created`.
        (datetime(2016, 2, 29, 0, 0, 0, 1, tzinfo=UTC), True),
        (datetime(2016, 2, 29, tzinfo=UTC), False),
        (datetime(2016, 2, 28, 23, 59, 59, 999999, tzinfo=UTC), False),
        (datetime(2010, 1, 1, tzinfo=UTC), False),
        (datetime(2016, 3, 1, tzinfo=UTC), True),
    ],
)
def test_decide_community_changes_only_to_an_earlier_day(created, is_changed):
    row = community(created=created)

    decision = decide_community(row, {"1000610": oldest_at(LEGACY)})

    if is_changed:
        assert isinstance(decision, Change)
        assert decision.new_created == datetime(2016, 2, 29, tzinfo=UTC)
    else:
        is_equal = created == datetime(2016, 2, 29, tzinfo=UTC)
        reason = "dates already match" if is_equal else "older than its oldest record"
        assert exactly(decision) == (Skip, row.id, row.label, reason)


@pytest.mark.parametrize(
    ("value", "reason", "kept"),
    [
        (JsonValue("number", "1000610"), "not_a_string", "1000610"),
        (JsonValue("null", None), "not_a_string", None),
        (JsonValue("array", '["1000610"]'), "not_a_string", '["1000610"]'),
        (JsonValue("object", "{}"), "not_a_string", "{}"),
        (string(""), "group_identifier_empty", ""),
        (string(" \t"), "group_identifier_empty", r" \t"),
        (string("6" * 501), "value_too_long", "6" * 500),
    ],
)
def test_decide_community_with_unusable_identifier(value, reason, kept):
    row = community(value)
    # Even where a careless comparison would find a group.
    oldest = {name: oldest_at(LEGACY) for name in ("1000610", "", "6" * 500, "6" * 501)}

    assert decide_community(row, oldest) == Problem(
        row.id, row.label, "community", reason, kept
    )


def test_decide_community_with_custom_fields_of_another_type():
    row = community(ABSENT, custom_fields=JsonValue("array", "[]"))

    assert decide_community(row, {}) == Problem(
        row.id, row.label, "community", "custom_fields_not_an_object", "[]"
    )


def test_decide_community_with_unreadable_created():
    row = community(created=None)

    assert decide_community(row, {"1000610": oldest_at(LEGACY)}) == Problem(
        row.id, row.label, "community", "current_created_unreadable", None, "1000610"
    )


def test_decide_community_with_unreadable_created_and_no_records():
    row = community(created=None)

    assert exactly(decide_community(row, {})) == (
        NoRecords,
        row.id,
        row.label,
        "1000610",
    )


# --- escape --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "escaped"),
    [
        ("", ""),
        ("plain text, naïve 漢字 😀", "plain text, naïve 漢字 😀"),
        ("\x1b[31mred", r"\x1b[31mred"),
        ("a\nb\r\tc", r"a\nb\r\tc"),
        ("\x00\x07\x7f\x9b", r"\x00\x07\x7f\x9b"),
        ("\u202eevil\u2066\u200b\ufeff", r"\u202eevil\u2066\u200b\ufeff"),
        ("line\u2028end\u0085", r"line\u2028end\x85"),
        ("\ud800", r"\ud800"),
        ("\U000e0001\U0010ffff", r"\U000e0001\U0010ffff"),
        (r"a\x1b", r"a\x1b"),
    ],
)
def test_escape_of_text(text, escaped):
    assert escape(text) == escaped


def test_escape_cuts_at_the_limit():
    assert escape("x" * 501) == "x" * VALUE_LIMIT
    assert escape("x" * 500) == "x" * 500
    assert escape("x" * 500 + "\x1b") == "x" * 500
    assert escape("abc", limit=2) == "ab"
    # The escapes count as well: the column and the terminal get no more.
    assert len(escape("\x1b" * 500)) == 500


@unhurried
@given(
    text=st.lists(st.integers(0, 0x10FFFF).map(chr) | st.characters(codec="ascii")).map(
        "".join
    ),
    limit=st.integers(0, 40),
)
def test_escape_of_any_text_is_printable_and_storable(text, limit):
    escaped = escape(text, limit)

    assert escaped.isprintable()
    assert len(escaped) <= limit
    escaped.encode()  # the database takes no lone surrogate


def test_reasons_are_sentences_for_a_person():
    for reason, sentence in REASONS.items():
        assert reason == reason.lower()
        assert len(reason) <= 64, "the column holds 64 characters"
        assert sentence.strip(" .") == sentence
