# SPDX-FileCopyrightText: 2026 kcworks-migrations contributors
# SPDX-License-Identifier: MIT
"""What the sample data is made of, and what is expected of it.

`expected` is the new `created`, written down by hand; nothing of the package is asked
for it. Without it, `created` has to stay what it is. `reasons` are the problems that
the upgrade has to report.
"""

from dataclasses import dataclass
from typing import Any

UNSET: Any = object()
"""Nothing is written with SQL."""


@dataclass(frozen=True)
class Community:
    """A community to make."""

    slug: str
    group: str | None
    """The group it belongs to; its oldest record is what counts."""
    expected: str | None = None
    parent: str | None = None
    is_parent: bool = False
    is_restricted: bool = False
    is_deleted: bool = False
    reasons: tuple[str, ...] = ()
    # Written with SQL:
    created: str | None = None
    raw: Any = UNSET
    """Instead of the group."""
    fields: Any = UNSET
    """Instead of all custom fields."""


@dataclass(frozen=True)
class Record:
    """A record to make."""

    name: str
    date: str | None
    """The legacy date."""
    expected: str | None = None
    groups: tuple[str, ...] = ()
    """The groups it was deposited to, years ago."""
    communities: tuple[str, ...] = ()
    """The communities it is in now."""
    version_of: str | None = None
    is_restricted: bool = False
    is_deleted: bool = False
    is_draft: bool = False
    """It is never published."""
    has_open_draft: bool = False
    """Somebody is editing it."""
    reasons: tuple[str, ...] = ()
    # Written with SQL:
    created: str | None = None
    raw: Any = UNSET
    """Instead of the legacy date."""
    raw_groups: Any = UNSET
    """Instead of the groups."""
    fields: Any = UNSET
    """Instead of all custom fields."""

    @property
    def is_clean(self) -> bool:
        """Whether the services could have written all of its document."""
        return self.raw is self.raw_groups is self.fields is UNSET


COMMUNITIES = (
    # The oldest record of the group gives the day.
    Community("medieval", "1000610", "2012-05-14T00:00:00+00:00", is_parent=True),
    # ... at midnight sharp, and in a community below another.
    Community("latin", "1000611", "2013-01-01T00:00:00+00:00", parent="medieval"),
    # No record of the group has a date. It embeds its parent, which changes.
    Community("music", "1000612", parent="medieval"),
    # ... a microsecond before midnight.
    Community("digital", "1000620", "2010-12-31T00:00:00+00:00"),
    # ... which is restricted.
    Community("film", "1000630", "2014-03-04T00:00:00+00:00"),
    # ... which is the second version of its record.
    Community("poetry", "1000640", "2015-08-09T00:00:00+00:00"),
    # ... which was deleted.
    Community("history", "1000650", "2011-07-08T00:00:00+00:00"),
    # ... which was deposited to several groups.
    Community("linguistics", "1000660", "2017-02-03T00:00:00+00:00"),
    # ... which is not in the community any more.
    Community("elsewhere", "1000720", "2018-09-10T00:00:00+00:00"),
    # Identifiers are compared without the spaces around them.
    Community("spaces", None, "2019-10-11T00:00:00+00:00", raw=" 1000730 "),
    Community("members", "1000750", "2020-11-12T00:00:00+00:00", is_restricted=True),
    Community("closed", "1000760", "2021-12-13T00:00:00+00:00", is_deleted=True),
    # Created in the afternoon of the day on which the oldest record was.
    Community(
        "same-day",
        "1000710",
        "2016-06-01T00:00:00+00:00",
        created="2016-06-01T15:00:00",
    ),
    # Right already, or older than the records of its group.
    Community("right", "1000700", created="2016-06-01T00:00:00"),
    Community("older", "1000690", created="2011-01-01T08:00:00.000001"),
    # Nothing to go by.
    Community("no-group", None),
    Community("no-records", "1000670"),
    Community("only-bad-dates", "1000680"),
    # Malformed.
    Community("number", None, raw=1000740, reasons=("not_a_string",)),
    Community("blank", None, raw="  ", reasons=("group_identifier_empty",)),
    Community(
        "lost-fields", None, fields=["lost"], reasons=("custom_fields_not_an_object",)
    ),
)

GOOD_FORMS = (
    Record("seconds", "2016-02-29T13:11:39Z", "2016-02-29T13:11:39+00:00"),
    Record(
        "microseconds",
        "2016-02-29T13:11:39.123456Z",
        "2016-02-29T13:11:39.123456+00:00",
    ),
    Record("tenths", "2015-04-03T02:01:00.5Z", "2015-04-03T02:01:00.500000+00:00"),
    Record("offset zero", "2014-11-30T06:07:08+00:00", "2014-11-30T06:07:08+00:00"),
    Record(
        "offset, fraction",
        "2013-10-09T08:07:06.050403+00:00",
        "2013-10-09T08:07:06.050403+00:00",
    ),
    Record("fraction of 0", "2018-01-02T03:04:05.000Z", "2018-01-02T03:04:05+00:00"),
    # Hours that clocks in New York skipped or had twice.
    Record("summer begins", "2014-03-09T02:30:00Z", "2014-03-09T02:30:00+00:00"),
    Record("summer ends", "2014-11-02T01:30:00Z", "2014-11-02T01:30:00+00:00"),
    Record("last second", "2016-12-31T23:59:59Z", "2016-12-31T23:59:59+00:00"),
    Record("the earliest", "1980-01-01T00:00:00Z", "1980-01-01T00:00:00+00:00"),
    Record("before 1970", "1969-12-31T23:59:59Z", reasons=("too_early",)),
    # `created` becomes the legacy date, even if that is the later one.
    Record(
        "created too early",
        "2019-05-06T07:08:09Z",
        "2019-05-06T07:08:09+00:00",
        created="2012-01-01T00:00:00",
    ),
)

BAD_FORMS = (
    Record("day only", "2016-02-29", reasons=("date_only",)),
    Record("no time zone", "2016-02-29T13:11:39", reasons=("no_time_zone",)),
    Record("India", "2016-02-29T13:11:39+05:30", reasons=("not_utc",)),
    Record("New York", "2016-02-29T13:11:39-05:00", reasons=("not_utc",)),
    Record("year only", "2016", reasons=("invalid_format",)),
    Record("words", "sometime in 2016", reasons=("invalid_format",)),
    Record("without T", "2016-02-29 13:11:39Z", reasons=("invalid_format",)),
    Record("small z", "2016-02-29T13:11:39z", reasons=("invalid_format",)),
    Record("seven digits", "2016-02-29T13:11:39.1234567Z", reasons=("invalid_format",)),
    Record("hour 24", "2016-02-29T24:00:00Z", reasons=("invalid_format",)),
    Record("year 10000", "10000-01-01T00:00:00Z", reasons=("invalid_format",)),
    Record("Arabic digits", "٢٠١٦-02-29T13:11:39Z", reasons=("invalid_format",)),
    Record("very long", "2016-" * 150 + "end", reasons=("invalid_format",)),
    Record("no leap year", "2015-02-29T00:00:00Z", reasons=("impossible_date",)),
    Record("month 13", "2016-13-01T00:00:00Z", reasons=("impossible_date",)),
    Record("year 0", "0000-01-01T00:00:00Z", reasons=("impossible_date",)),
    Record("second 60", "1900-12-31T23:59:60Z", reasons=("impossible_date",)),
    Record("in the future", "2999-01-01T00:00:00Z", reasons=("in_future",)),
    # From here on the services would refuse or repair it.
    Record("a number", None, raw=1456751499, reasons=("not_a_string",)),
    Record("true", None, raw=True, reasons=("not_a_string",)),
    Record("null", None, raw=None, reasons=("not_a_string",)),
    Record("a list", None, raw=["2016-02-29T13:11:39Z"], reasons=("not_a_string",)),
    Record("an object", None, raw={"date": "2016"}, reasons=("not_a_string",)),
    Record("empty", None, raw="", reasons=("empty",)),
    Record("spaces", None, raw="  ", reasons=("empty",)),
    Record(
        "space first", None, raw=" 2016-02-29T13:11:39Z", reasons=("invalid_format",)
    ),
    Record(
        "escape codes",
        None,
        raw="\x1b[31m2016-02-29T13:11:39Z\r\n",
        reasons=("invalid_format",),
    ),
    Record(
        "lost fields", None, fields=["lost"], reasons=("custom_fields_not_an_object",)
    ),
)

# The date is right already where the index refuses the document, so that no change of
# it has to reach the index.
BAD_GROUPS = (
    Record(
        "group: a number",
        "2011-03-04T05:06:07Z",
        "2011-03-04T05:06:07+00:00",
        raw_groups=[{"group_identifier": 1000680, "group_name": "n"}],
        reasons=("group_identifier_not_a_string",),
    ),
    Record(
        "group: missing",
        "2011-03-05T05:06:07Z",
        "2011-03-05T05:06:07+00:00",
        raw_groups=[{"group_name": "nameless"}, {"group_identifier": None}],
        reasons=("group_identifier_missing", "group_identifier_missing"),
    ),
    Record(
        "group: blank",
        "2011-03-06T05:06:07Z",
        "2011-03-06T05:06:07+00:00",
        raw_groups=[{"group_identifier": "  "}],
        reasons=("group_identifier_empty",),
    ),
    Record(
        "groups: no list",
        "2011-03-07T05:06:07Z",
        "2011-03-07T05:06:07+00:00",
        raw_groups={"group_identifier": "1000680"},
        reasons=("groups_not_a_list",),
    ),
    Record(
        "group: nested",
        "2011-03-08T05:06:07Z",
        created="2011-03-08T05:06:07",
        raw_groups=[{"group_identifier": {"id": "1000680"}}],
        reasons=("group_identifier_not_a_string",),
    ),
    Record(
        "group: text",
        "2011-03-09T05:06:07Z",
        created="2011-03-09T05:06:07",
        raw_groups=["1000680"],
        reasons=("group_not_an_object",),
    ),
    Record(
        "groups: text",
        "2011-03-10T05:06:07Z",
        created="2011-03-10T05:06:07",
        raw_groups="1000680",
        reasons=("groups_not_a_list",),
    ),
)

WITHOUT_CHANGE = (
    Record("no legacy date", None),
    Record("group, no date", None, groups=("1000612",), communities=("music",)),
    Record("right", "2017-06-05T04:03:02Z", created="2017-06-05T04:03:02"),
    Record(
        "right to the end",
        "2017-06-05T04:03:02.000001Z",
        created="2017-06-05T04:03:02.000001",
    ),
    Record("never published", "2016-01-01T01:01:01Z", is_draft=True),
)

VERSIONS = (
    Record(
        "poem",
        "2016-08-09T10:11:12Z",
        "2016-08-09T10:11:12+00:00",
        groups=("1000640",),
        communities=("poetry",),
    ),
    Record(
        "poem, 2",
        "2015-08-09T10:11:12Z",
        "2015-08-09T10:11:12+00:00",
        groups=("1000640",),
        version_of="poem",
    ),
    Record(
        "poem, 3",
        "2016-08-09T10:11:12Z",
        "2016-08-09T10:11:12+00:00",
        groups=("1000640",),
        version_of="poem, 2",
        has_open_draft=True,
    ),
    Record("essay", "2018-04-05T06:07:08Z", "2018-04-05T06:07:08+00:00"),
    Record("essay, 2", None, version_of="essay"),
    Record("essay, 3", "2018-04-05T06:07:08Z", version_of="essay, 2", is_draft=True),
)

IN_COMMUNITIES = (
    Record(
        "chant",
        "2012-05-14T09:30:00Z",
        "2012-05-14T09:30:00+00:00",
        groups=("1000610",),
        communities=("medieval",),
    ),
    Record(
        "charter",
        "2013-07-01T00:00:00Z",
        "2013-07-01T00:00:00+00:00",
        groups=("1000610",),
        communities=("medieval",),
        has_open_draft=True,
    ),
    Record(
        "glossary",
        "2013-01-01T00:00:00Z",
        "2013-01-01T00:00:00+00:00",
        groups=("1000611",),
        communities=("latin",),
    ),
    Record(
        "grammar",
        "2022-02-22T22:22:22Z",
        "2022-02-22T22:22:22+00:00",
        groups=("1000611",),
        communities=("latin",),
        has_open_draft=True,
    ),
    Record("hymnal", None, communities=("music",), has_open_draft=True),
    Record(
        "corpus",
        "2010-12-31T23:59:59.999999Z",
        "2010-12-31T23:59:59.999999+00:00",
        groups=("1000620",),
        communities=("digital",),
    ),
    Record(
        "atlas",
        "2017-02-03T04:05:06Z",
        "2017-02-03T04:05:06+00:00",
        groups=("1000620", "1000660"),
        communities=("digital", "linguistics"),
    ),
    Record(
        "dictionary",
        "2018-02-03T04:05:06Z",
        "2018-02-03T04:05:06+00:00",
        groups=("1000660",),
        communities=("linguistics",),
    ),
    Record(
        "bad in a group",
        "2009",
        groups=("1000660",),
        communities=("linguistics",),
        reasons=("invalid_format",),
    ),
    Record(
        "screenplay",
        "2014-03-04T05:06:07Z",
        "2014-03-04T05:06:07+00:00",
        groups=("1000630",),
        is_restricted=True,
    ),
    Record(
        "film review",
        "2019-03-04T05:06:07Z",
        "2019-03-04T05:06:07+00:00",
        groups=("1000630",),
        communities=("film", "no-group"),
    ),
    Record(
        "withdrawn",
        "2011-07-08T09:10:11Z",
        "2011-07-08T09:10:11+00:00",
        groups=("1000650",),
        communities=("history",),
        is_deleted=True,
    ),
    Record(
        "annals",
        "2020-01-31T12:00:00Z",
        "2020-01-31T12:00:00+00:00",
        groups=("1000650",),
        communities=("history",),
    ),
    Record(
        "lecture",
        "2018-09-10T11:12:13Z",
        "2018-09-10T11:12:13+00:00",
        groups=("1000720",),
        communities=("no-group",),
    ),
    Record(
        "syllabus",
        "2019-10-11T12:13:14Z",
        "2019-10-11T12:13:14+00:00",
        groups=("1000730",),
        communities=("spaces",),
    ),
    Record(
        "reading list",
        "2019-10-12T12:13:14Z",
        "2019-10-12T12:13:14+00:00",
        raw_groups=[{"group_identifier": "\t1000730 ", "group_name": "g"}],
        communities=("spaces",),
    ),
    Record(
        "minutes",
        "2020-11-12T13:14:15Z",
        "2020-11-12T13:14:15+00:00",
        groups=("1000750",),
        communities=("members",),
        is_restricted=True,
    ),
    Record(
        "report",
        "2021-12-13T14:15:16Z",
        "2021-12-13T14:15:16+00:00",
        groups=("1000760",),
    ),
    Record(
        "thesis",
        "2016-06-01T10:00:00Z",
        "2016-06-01T10:00:00+00:00",
        groups=("1000700",),
        communities=("right",),
    ),
    Record(
        "poster",
        "2016-06-01T18:00:00Z",
        "2016-06-01T18:00:00+00:00",
        groups=("1000710",),
        communities=("same-day",),
    ),
    Record(
        "slides",
        "2015-05-05T05:05:05Z",
        "2015-05-05T05:05:05+00:00",
        groups=("1000690",),
        communities=("older",),
    ),
    Record(
        "photograph",
        "2023-09-08T07:06:05Z",
        "2023-09-08T07:06:05+00:00",
        groups=("1000740",),
        communities=("number",),
    ),
    Record(
        "all bad",
        "2016-02-30T00:00:00Z",
        groups=("1000680",),
        communities=("only-bad-dates",),
        reasons=("impossible_date",),
    ),
)

RECORDS = (
    *GOOD_FORMS,
    *BAD_FORMS,
    *BAD_GROUPS,
    *WITHOUT_CHANGE,
    *VERSIONS,
    *IN_COMMUNITIES,
)
