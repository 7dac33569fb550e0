# SPDX-FileCopyrightText: 2026 kcworks-migrations contributors
# SPDX-License-Identifier: MIT
"""The Flask extension: the settings' defaults, and the indexers for the dates."""

from datetime import timedelta

from flask import Flask

from . import config

BEAT_ENTRY = "kcworks-created-dates-settle"
BEAT = {"task": config.SETTLE_TASK, "schedule": timedelta(minutes=5)}
"""A look that is not due costs one query."""


class KCWorksMigrations:
    """Extension that Invenio loads through its entry points."""

    def __init__(self, app: Flask | None = None) -> None:
        """Initialise the application if one is given."""
        if app is not None:
            self.init_app(app)

    def init_app(self, app: Flask) -> None:
        """Set the defaults of the settings that the instance does not have."""
        for name, value in config.defaults().items():
            app.config.setdefault(name, value)
        if app.config[f"{config.PREFIX}SETTLE_FROM_BEAT"] is True:
            # A dictionary of its own: the one of the instance may be the default of
            # another module.
            schedule = app.config.get("CELERY_BEAT_SCHEDULE") or {}
            app.config["CELERY_BEAT_SCHEDULE"] = {**schedule, BEAT_ENTRY: BEAT}
        app.extensions["kcworks-migrations"] = self


def finalize_app(app: Flask) -> None:
    """Register the indexers, once every extension is there."""
    # Only here, so that the models and settings load without the indexer.
    from .index.indexer import register

    register(app)
