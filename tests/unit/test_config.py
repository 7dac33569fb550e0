# SPDX-FileCopyrightText: 2026 kcworks-migrations contributors
# SPDX-License-Identifier: MIT
"""The settings: what is refused and how, and what a run keeps of them."""

import json
from dataclasses import fields, replace
from datetime import date

import click
import pytest
from flask import Flask

from kcworks_migrations.config import (
    PREFIX,
    How,
    Notices,
    What,
    defaults,
    notices_from,
    options_from,
)
from kcworks_migrations.errors import RefusedError
from kcworks_migrations.ext import KCWorksMigrations
from kcworks_migrations.kinds import COMMUNITY, RECORD
from kcworks_migrations.values import Plan

FIELD_NAMES = ("RECORD_DATE_FIELD", "RECORD_GROUPS_FIELD", "COMMUNITY_GROUP_FIELD")
WHOLE_NUMBERS = {
    "BATCH_SIZE": (1, 100_000),
    "BATCH_SECONDS": (1, 600),
    "LOCK_TIMEOUT_SECONDS": (1, 600),
    "HEALTH_TIMEOUT_SECONDS": (1, 600),
    "HEALTH_PAUSE_SECONDS": (0, 3600),
    "QUEUE_DELAY_SECONDS": (0, 600),
}
DAYS = ("EARLIEST_DATE",)
FLAGS = (
    "HEALTH_GATES_DATABASE",
    "SETTLE_FROM_BEAT",
    "VERBOSE",
)
WORDS = {
    "INDEXING": ("created-only", "full"),
    "LATER_VERSIONS": ("change", "keep"),
    "ON_UPGRADE": ("apply", "wait"),
}
NOTICES = (
    "NOTICE_WHEN",
    "NOTICE_RECIPIENTS",
    "WEBHOOK_URL",
    "WEBHOOK_SECRET",
    "WEBHOOK_TIMEOUT_SECONDS",
)

REFUSED = [
    *((name, v) for name in FIELD_NAMES for v in (None, "", " \n", 7, ["a"], b"a")),
    *(
        (name, v)
        for name, (smallest, largest) in WHOLE_NUMBERS.items()
        for v in (
            smallest - 1,
            -2,
            largest + 1,
            1.0,
            1.5,
            "1",
            True,
            None,
            float("nan"),
        )
    ),
    *((name, v) for name in DAYS for v in (None, 1980, "", "1980", "1980-02-30")),
    *((name, v) for name in FLAGS for v in (None, 0, 1, "", "False", "true", [])),
    *(
        (name, v)
        for name in WORDS
        for v in (None, True, "", "Full", "created_only", [])
    ),
]
ACCEPTED = [
    *((name, "custom:field") for name in FIELD_NAMES),
    *((name, v) for name, limits in WHOLE_NUMBERS.items() for v in limits),
    *((name, date(1999, 12, 31)) for name in DAYS),
    *((name, v) for name in FLAGS for v in (False, True)),
    *((name, v) for name, words in WORDS.items() for v in words),
]


def value_of(options, name: str):
    group = next(o for o in options if hasattr(o, name.lower()))
    return getattr(group, name.lower())


def test_settings_under_test_are_all_there_are():
    names = (*FIELD_NAMES, *WHOLE_NUMBERS, *DAYS, *FLAGS, *WORDS, *NOTICES)

    assert {PREFIX + name for name in names} == set(defaults())


@pytest.mark.parametrize(("name", "value"), REFUSED)
def test_options_from_refused_value_names_the_setting(name, value):
    with pytest.raises(RefusedError) as caught:
        options_from({**defaults(), PREFIX + name: value})

    message = caught.value.format_message()
    assert message.startswith(f"{PREFIX}{name} is {value!r}, but must be ")
    assert "Nothing was changed" in message
    assert message.endswith(".")
    assert "\n" not in message


@pytest.mark.parametrize(("name", "limits"), WHOLE_NUMBERS.items())
def test_options_from_refused_number_says_the_range(name, limits):
    smallest, largest = limits
    wanted = f"a whole number from {smallest} to {largest}"
    with pytest.raises(RefusedError, match=wanted):
        options_from({PREFIX + name: smallest - 1})


@pytest.mark.parametrize(("name", "value"), ACCEPTED)
def test_options_from_accepted_value_keeps_it(name, value):
    assert value_of(options_from({PREFIX + name: value}), name) == value


@pytest.mark.parametrize(
    "name", ["BATCHSIZE", "BATCH_SIZES", "batch_size", "IS_DRY_RUN", ""]
)
def test_options_from_unknown_setting_names_it_and_the_known(name):
    with pytest.raises(RefusedError) as caught:
        options_from({**defaults(), PREFIX + name: 1000})

    message = caught.value.format_message()
    assert message.startswith(f"{PREFIX}{name} is '...', but must be left out")
    assert all(known in message for known in defaults())


def test_options_from_other_settings_ignores_them():
    others = {"KCWORKS_CREATED_DATE": 1, "BATCH_SIZE": 0, "SECRET_KEY": "x"}

    assert options_from(others) == options_from({})


def test_options_from_nothing_has_the_documented_defaults():
    assert options_from({}) == options_from(defaults()) == (What(), How())
    assert What().kinds == (RECORD, COMMUNITY)
    assert What().earliest_date == date(1980, 1, 1)
    assert How().batch_size == 1000


def test_earliest_date_may_be_a_text():
    what, _ = options_from({PREFIX + "EARLIEST_DATE": "1999-12-31"})
    assert what.earliest_date == date(1999, 12, 31)


# --- what somebody asks for ----------------------------------------------------------

GIVEN = {
    "start_date": (["2024-05-01", date(2024, 5, 1)], ["2024-5-x", 5, ""]),
    "end_date": (["2024-05-01"], ["2024-02-30"]),
    "limit": ([1, 10**9], [0, -1, True, "7", 1.5]),
    "exclude": ([["a"], ("a", "b")], ["a", [7], {"a": 1}]),
    "batch_size": ([1, 100_000], [0, 100_001, "7"]),
    "delay": ([0, 0.5, 3600], [-1, 3601, "1", True]),
    "verbose": ([True, False], [1, "yes"]),
}


@pytest.mark.parametrize("name", GIVEN)
def test_options_from_what_is_given(name):
    for value in GIVEN[name][0]:
        kept = value_of(options_from({}, **{name: value}), name)
        assert kept in (
            value,
            date(2024, 5, 1),
            frozenset(value if name == "exclude" else ()),
        )
    for value in GIVEN[name][1]:
        with pytest.raises(RefusedError, match=f"^{name} is "):
            options_from({}, **{name: value})


def test_options_from_what_is_not_given_keeps_the_setting():
    settings = {PREFIX + "BATCH_SIZE": 7, PREFIX + "VERBOSE": True}
    _, how = options_from(settings, batch_size=None, verbose=None)
    assert (how.batch_size, how.verbose) == (7, True)
    assert options_from(settings, batch_size=8)[1].batch_size == 8


def test_options_from_an_option_that_is_none_of_ours():
    with pytest.raises(TypeError, match="batchsize"):
        options_from({}, batchsize=7)


def test_options_from_days_in_the_wrong_order():
    with pytest.raises(RefusedError, match="is later than the end date"):
        options_from({}, start_date="2024-05-02", end_date="2024-05-01")


@pytest.mark.parametrize("group", [What, How, Notices])
def test_every_option_is_declared_with_its_bounds_and_its_help(group):
    for f in fields(group):
        assert isinstance(f.metadata["value"], click.ParamType)
        assert f.metadata["help"].endswith(".")


# --- the rest ------------------------------------------------------------------------


def test_init_app_sets_defaults_and_keeps_what_the_instance_has():
    app = Flask("instance")
    app.config[PREFIX + "BATCH_SIZE"] = 7

    KCWorksMigrations(app)

    assert app.config[PREFIX + "BATCH_SIZE"] == 7
    assert options_from(app.config) == (What(), How(batch_size=7))
    assert {name for name in app.config if name.startswith(PREFIX)} == set(defaults())
    assert isinstance(app.extensions["kcworks-migrations"], KCWorksMigrations)


@pytest.mark.parametrize(
    "changed",
    [
        {"record_date_field": "x"},
        {"record_groups_field": "x"},
        {"community_group_field": "x"},
        {"kinds": (RECORD,)},
        {"start_date": date(2024, 5, 1)},
        {"end_date": date(2024, 5, 1)},
        {"later_versions": "keep"},
        {"plan": Plan("plan.csv", "0" * 64, {})},
        {"earliest_date": date(1990, 1, 1)},
        {"limit": 1},
        {"exclude": frozenset({"a"})},
        {"only": frozenset({"a"})},
    ],
    ids=str,
)
def test_kept_tells_apart_what_is_done(changed):
    assert replace(What(), **changed).kept() != What().kept()


def test_kept_is_what_json_takes():
    what = What(start_date=date(2024, 5, 1), exclude=frozenset({"a", "b"}), limit=7)

    kept = json.loads(json.dumps(what.kept(), default=str))

    assert kept.pop("exclude").startswith("2 rows, sha256 ")
    assert kept == {
        "record_date_field": "hclegacy:record_creation_date",
        "record_groups_field": "hclegacy:groups_for_deposit",
        "community_group_field": "kcr:commons_group_id",
        "earliest_date": "1980-01-01",
        "kinds": ["record", "community"],
        "start_date": "2024-05-01",
        "later_versions": "change",
        "limit": 7,
    }


def test_notices_are_off_by_default():
    assert notices_from({}) == Notices((), None, None, 5)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("NOTICE_RECIPIENTS", "operator@example.org"),
        ("NOTICE_RECIPIENTS", ["operator"]),
        ("NOTICE_RECIPIENTS", ["operator@example.org\nBcc: all@example.org"]),
        ("WEBHOOK_URL", "file:///etc/passwd"),
        ("WEBHOOK_URL", "https://example.org/without-a-secret"),
        ("WEBHOOK_SECRET", ""),
        ("WEBHOOK_TIMEOUT_SECONDS", 0),
    ],
)
def test_wrong_settings_of_notices_are_refused_at_the_start(name, value):
    with pytest.raises(RefusedError):
        options_from({PREFIX + name: value})


def test_the_secret_is_not_told():
    config = {PREFIX + "WEBHOOK_SECRET": 123456789}
    with pytest.raises(RefusedError) as raised:
        notices_from(config)
    assert "123456789" not in str(raised.value)
    secret = {PREFIX + "WEBHOOK_SECRET": "hush", PREFIX + "WEBHOOK_URL": "http://h"}
    assert "hush" not in repr(notices_from(secret))
    assert "hush" not in repr(options_from(secret))
