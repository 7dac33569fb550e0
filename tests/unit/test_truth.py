# SPDX-FileCopyrightText: 2026 kcworks-migrations contributors
# SPDX-License-Identifier: MIT
"""What is decided about a document, without a database or an index."""

import copy
from datetime import UTC, datetime

import pytest

from kcworks_migrations.index.correct import _Turn
from kcworks_migrations.index.documents import Written
from kcworks_migrations.index.truth import Row, Truth
from kcworks_migrations.kinds import COMMUNITY, DRAFT, RECORD

TRUE = datetime(2016, 2, 29, 13, 11, 39, tzinfo=UTC)
TRUE_TEXT = "2016-02-29T13:11:39+00:00"
OLD_TEXT = "2024-05-01T12:00:00.123456+00:00"
STATE = ["3", "latest", "next"]


def entry(created=TRUE_TEXT, id="c", version=5, parent=None) -> dict:
    """Make the community that a document embeds."""
    made = {"id": id, "version_id": version, "created": created}
    return made | ({"parent": parent} if parent else {})


def document(created=TRUE_TEXT, entries=(), version=1) -> dict:
    """Make the document of a record or a draft as OpenSearch gives it."""
    parent = {"version_id": 3, "communities": {"entries": list(entries)}}
    versions = {"latest_id": "latest", "next_draft_id": "next"}
    source = {"created": created, "parent": parent, "versions": versions}
    return {"_id": "r", "_version": version, "_source": source}


def truth(kind=RECORD, row=None, **communities) -> Truth:
    """Make what the database says of the document and of communities."""
    return Truth(kind, {"r": row or Row(TRUE, 2, STATE)}, communities)


def wrong_ones(known: Truth, found: dict) -> list[str]:
    """Give the present values of the dates that are wrong."""
    return [owner["created"] for owner, _ in known.differences(found)]


def test_own_date_and_embedded_dates_are_compared():
    nested = entry(OLD_TEXT, "top")
    found = document(OLD_TEXT, [entry(), entry(OLD_TEXT, "d", parent=nested)])
    known = truth(c=Row(TRUE, 5, None), d=Row(TRUE, 5, "top"), top=Row(TRUE, 5, None))

    assert wrong_ones(known, found) == [OLD_TEXT] * 3
    assert known.correct(found)
    assert wrong_ones(known, found) == []
    assert not known.correct(found)


def test_correct_changes_the_dates_and_nothing_else():
    found = document(OLD_TEXT, [entry(OLD_TEXT)])
    wanted = copy.deepcopy(document(TRUE_TEXT, [entry(TRUE_TEXT)]))

    truth(c=Row(TRUE, 5, None)).correct(found)

    assert found == wanted


def test_own_date_of_a_draft_is_left_alone():
    known = truth(DRAFT, Row(None, 2, STATE), c=Row(TRUE, 5, None))

    assert wrong_ones(known, document(OLD_TEXT, [entry()])) == []
    assert wrong_ones(known, document(OLD_TEXT, [entry(OLD_TEXT)])) == [OLD_TEXT]


def test_a_community_that_the_database_does_not_know_decides_nothing():
    nameless = {"created": OLD_TEXT}
    found = document(entries=[entry(OLD_TEXT), nameless])

    assert wrong_ones(truth(), found) == []
    assert truth().is_same(truth(), "r", found)


def test_a_community_embeds_its_parent():
    parent = {"id": "top", "version_id": 5, "created": OLD_TEXT}
    source = {"created": TRUE_TEXT, "parent": parent}
    found = {"_id": "r", "_version": 1, "_source": source}
    known = truth(COMMUNITY, Row(TRUE, 2, "top"), top=Row(TRUE, 5, None))

    assert wrong_ones(known, found) == [OLD_TEXT]


@pytest.mark.parametrize(("version", "is_older"), [(0, True), (1, False), (2, False)])
def test_a_document_is_older_when_its_row_has_a_later_version(version, is_older):
    assert truth().is_older(document(version=version)) is is_older


def test_versions_that_a_document_embeds_decide_nothing():
    found = document(entries=[entry(version=4), entry(id="unknown")])
    known = truth(row=Row(TRUE, 2, ["4", "another", None]), c=Row(TRUE, 5, None))

    assert not known.is_older(found)
    assert wrong_ones(known, found) == []


def test_two_readings_differ_when_a_row_or_an_embedded_one_has_changed():
    found = document(entries=[entry()])
    before = truth(c=Row(TRUE, 5, None))

    assert before.is_same(truth(c=Row(TRUE, 5, None)), "r", found)
    assert not before.is_same(truth(c=Row(TRUE, 6, None)), "r", found)
    changed = truth(row=Row(TRUE, 3, STATE), c=Row(TRUE, 5, None))
    assert not before.is_same(changed, "r", found)
    assert not before.is_same(Truth(RECORD, {}, before.communities), "r", found)


@pytest.mark.parametrize(
    ("is_as_read", "status", "where"),
    [
        (True, 200, "written"),
        (False, 200, "anew"),  # something may have been overwritten
        (True, 409, "again"),
        (False, 409, "again"),
        (True, 403, "again, at the end"),
        (True, 429, "again"),
        (True, 503, "again, at the end"),
        (True, 400, "anew"),  # it may fit the mapping then
        (False, 400, "anew"),
        (True, 422, "refused"),
    ],
)
def test_an_answer_of_opensearch_decides_what_becomes_of_a_document(
    is_as_read, status, where
):
    turn = _Turn(None, RECORD, None, lambda: None, is_written=True, anew=set())

    again = turn._judge([Written("r", status, "what it said", is_as_read)])

    found = {"written": turn.outcome.written, "anew": turn.anew}
    found |= {"again": again, "refused": turn.outcome.refused}
    ids = {name: list(value) for name, value in found.items()}
    assert ids == {name: ["r"] * where.startswith(name) for name in found}
    assert turn.has_ended == where.endswith("at the end")
