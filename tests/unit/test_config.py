# SPDX-FileCopyrightText: 2026 kcworks-migrations contributors
# SPDX-License-Identifier: MIT
"""The settings: what is refused and how, and what a run keeps of them."""

import json
import re
from dataclasses import fields, replace
from datetime import date

import pytest
from click import ClickException
from flask import Flask

from kcworks_migrations import config
from kcworks_migrations.config import (
    HOW,
    PREFIX,
    Notices,
    Options,
    defaults,
    notices_from,
    options_from,
)
from kcworks_migrations.errors import SettingError
from kcworks_migrations.ext import KCWorksMigrations
from kcworks_migrations.rules import Filters

FIELD_NAMES = ("RECORD_DATE_FIELD", "RECORD_GROUPS_FIELD", "COMMUNITY_GROUP_FIELD")
WHOLE_NUMBERS = {
    "BATCH_SIZE": (1, 100_000),
    "BATCH_SECONDS": (1, 600),
    "LOCK_TIMEOUT_SECONDS": (1, 600),
    "HEALTH_TIMEOUT_SECONDS": (1, 600),
    "HEALTH_PAUSE_SECONDS": (0, 3600),
    "QUEUE_DELAY_SECONDS": (0, 600),
}
FLAGS = ("FIRST_VERSIONS_ONLY", "HEALTH_GATES_DATABASE", "VERBOSE")
WORDS = {"INDEXING": ("created-only", "full")}
NOTICES = (
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
    *((name, v) for name in FLAGS for v in (False, True)),
    *((name, v) for name, words in WORDS.items() for v in words),
]


def value_of(options: Options, name: str):
    if name == "FIRST_VERSIONS_ONLY":
        return options.filters.first_versions_only
    return getattr(options, name.lower())


def test_settings_under_test_are_all_there_are():
    names = (*FIELD_NAMES, *WHOLE_NUMBERS, *FLAGS, *WORDS, *NOTICES)

    assert {PREFIX + name for name in names} == set(defaults())


@pytest.mark.parametrize(("name", "value"), REFUSED)
def test_options_from_refused_value_names_the_setting(name, value):
    with pytest.raises(SettingError) as caught:
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
    with pytest.raises(SettingError, match=wanted):
        options_from({PREFIX + name: smallest - 1})


@pytest.mark.parametrize(("name", "value"), ACCEPTED)
def test_options_from_accepted_value_keeps_it(name, value):
    assert value_of(options_from({PREFIX + name: value}), name) == value


@pytest.mark.parametrize(
    "name", ["BATCHSIZE", "BATCH_SIZES", "batch_size", "IS_DRY_RUN", ""]
)
def test_options_from_unknown_setting_names_it_and_the_known(name):
    with pytest.raises(SettingError) as caught:
        options_from({**defaults(), PREFIX + name: 1000})

    message = caught.value.format_message()
    assert message.startswith(f"{PREFIX}{name} is '...', but must be left out")
    assert all(known in message for known in defaults())


def test_options_from_other_settings_ignores_them():
    others = {"KCWORKS_CREATED_DATE": 1, "BATCH_SIZE": 0, "SECRET_KEY": "x"}

    assert options_from(others) == options_from({})


def test_options_from_nothing_has_the_documented_defaults():
    assert options_from({}) == options_from(defaults())
    assert options_from({}) == Options(
        record_date_field="hclegacy:record_creation_date",
        record_groups_field="hclegacy:groups_for_deposit",
        community_group_field="kcr:commons_group_id",
        batch_size=1000,
        batch_seconds=5,
        lock_timeout_seconds=5,
        indexing="created-only",
        health_timeout_seconds=5,
        health_pause_seconds=30,
        queue_delay_seconds=1,
        health_gates_database=False,
        verbose=False,
        filters=Filters(),
        kinds=("record", "community"),
        is_dry_run=False,
    )


def test_setting_error_is_one_that_click_prints():
    assert issubclass(SettingError, ClickException)
    assert SettingError("NAME", "value", "other").exit_code != 0


def test_init_app_sets_defaults_and_keeps_what_the_instance_has():
    app = Flask("instance")
    app.config[PREFIX + "BATCH_SIZE"] = 7

    KCWorksMigrations(app)

    assert app.config[PREFIX + "BATCH_SIZE"] == 7
    assert options_from(app.config) == replace(options_from({}), batch_size=7)
    assert {name for name in app.config if name.startswith(PREFIX)} == set(defaults())
    assert isinstance(app.extensions["kcworks-migrations"], KCWorksMigrations)


def test_of_run_leaves_out_how_it_is_done():
    options = options_from({})
    otherwise = replace(
        options,
        batch_size=7,
        batch_seconds=8,
        lock_timeout_seconds=9,
        health_timeout_seconds=10,
        health_pause_seconds=11,
        queue_delay_seconds=12,
        health_gates_database=True,
        verbose=True,
        is_dry_run=True,
    )

    assert otherwise.of_run() == options.of_run()
    assert not set(options.of_run()) & set(HOW)
    assert set(HOW) < {f.name for f in fields(Options)}


@pytest.mark.parametrize(
    "changed",
    [
        {"record_date_field": "x"},
        {"record_groups_field": "x"},
        {"community_group_field": "x"},
        {"kinds": ("record",)},
        {"filters": Filters(start_date=date(2024, 5, 1))},
        {"filters": Filters(end_date=date(2024, 5, 1))},
        {"filters": Filters(first_versions_only=True)},
    ],
    ids=str,
)
def test_of_run_tells_apart_what_is_done(changed):
    options = options_from({})

    assert replace(options, **changed).of_run() != options.of_run()


def test_of_run_is_what_json_gives_back():
    options = replace(
        options_from({}), filters=Filters(date(2024, 5, 1), date(2024, 5, 31), True)
    )

    kept = json.loads(json.dumps(options.of_run()))

    assert kept == {
        "record_date_field": "hclegacy:record_creation_date",
        "record_groups_field": "hclegacy:groups_for_deposit",
        "community_group_field": "kcr:commons_group_id",
        "kinds": ["record", "community"],
        "start_date": "2024-05-01",
        "end_date": "2024-05-31",
        "first_versions_only": True,
    }


def test_defaults_are_each_documented_under_their_name():
    source = open(config.__file__, encoding="utf-8").read()
    for name in defaults():
        after = re.split(rf"\n{name}(?:: .*)? = ", source)[1].split("\n", 1)[1]
        assert after.startswith('"""'), f"{name} has no text under it"


def test_notices_are_off_by_default():
    assert notices_from({}) == Notices((), None, "", 5)


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
    with pytest.raises(SettingError):
        options_from({PREFIX + name: value})


def test_the_secret_is_not_told():
    config = {PREFIX + "WEBHOOK_SECRET": 123456789}
    with pytest.raises(SettingError) as raised:
        notices_from(config)
    assert "123456789" not in str(raised.value)
    secret = {PREFIX + "WEBHOOK_SECRET": "hush", PREFIX + "WEBHOOK_URL": "http://h"}
    assert "hush" not in repr(notices_from(secret))
    assert "hush" not in repr(options_from(secret).of_run())
