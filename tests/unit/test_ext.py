# SPDX-FileCopyrightText: 2026 kcworks-migrations contributors
# SPDX-License-Identifier: MIT
"""What the extension gives to an application."""

import pytest
from flask import Flask

from kcworks_migrations.ext import KCWorksMigrations

ENTRY = "kcworks-created-dates-settle"


@pytest.mark.parametrize("before", [None, {}, {"other": {"task": "of.another"}}])
def test_beat_schedule_gets_an_entry_in_a_new_dictionary(before):
    app = Flask("test")
    app.config["CELERY_BEAT_SCHEDULE"] = before
    kept = dict(before or {})

    KCWorksMigrations(app)

    schedule = app.config["CELERY_BEAT_SCHEDULE"]
    assert schedule[ENTRY]["task"].endswith(".settle_created_dates_task")
    assert {name: schedule[name] for name in kept} == kept
    assert (before or {}) == kept


def test_beat_schedule_stays_when_the_setting_says_so():
    app = Flask("test")
    app.config["KCWORKS_CREATED_DATES_SETTLE_FROM_BEAT"] = False

    KCWorksMigrations(app)

    assert ENTRY not in app.config.get("CELERY_BEAT_SCHEDULE", {})
