# SPDX-FileCopyrightText: 2026 kcworks-migrations contributors
# SPDX-License-Identifier: MIT
"""What a person should see before dates are changed."""

from datetime import UTC, datetime, timedelta

from kcworks_migrations.kinds import COMMUNITY, RECORD
from kcworks_migrations.report.views import Suspicions
from kcworks_migrations.rules.values import Change

OLD = datetime(2024, 5, 1, 12, tzinfo=UTC)
NEW = datetime(2016, 2, 29, 13, 11, 39, tzinfo=UTC)
CHANGE = Change("id", "abcde-12345", OLD, NEW, "2016-02-29T13:11:39Z")


def suspicions(*changes, kind=RECORD) -> Suspicions:
    seen = Suspicions()
    for change in changes:
        seen.add(kind, [change])
    return seen


def at(new, label="x") -> Change:
    return CHANGE._replace(new_created=new, label=label)


def test_suspicions_of_nothing():
    seen = suspicions()

    assert seen.many() == [] and seen.lines([]) == []


def test_suspicions_have_the_ends_and_an_example_each():
    seen = suspicions(
        at(NEW, "middle"),
        at(datetime(1999, 1, 1, tzinfo=UTC), "first"),
        at(OLD + timedelta(microseconds=1), "younger"),
    )

    assert seen.lines([]) == [
        "oldest new date: 1999-01-01 00:00:00 UTC, record first",
        "newest new date: 2024-05-01 12:00:00.000001 UTC, record younger",
        "the first of January at midnight: 1 row, such as record first",
        "later than the present date: 1 row, such as record younger",
    ]


def test_instant_that_many_records_get_with_the_first_of_them():
    early = datetime(1850, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)
    changes = [at(NEW + timedelta(seconds=n)) for n in range(50)]
    changes[7:7] = [at(early)] * 12
    changes += [at(NEW)] * 9

    assert suspicions(*changes).many() == [(early, 12, 7), (NEW, 10, 0)]
    assert suspicions(*changes[:7], *changes[8:10]).many() == []


def test_days_of_communities_are_midnights_and_no_suspicion():
    day = datetime(2016, 1, 1, tzinfo=UTC)
    seen = suspicions(*[at(day)] * 20, kind=COMMUNITY)

    assert seen.many() == []
    assert [line.split(":")[0] for line in seen.lines([])] == [
        "oldest new date",
        "newest new date",
    ]
