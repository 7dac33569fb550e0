# SPDX-FileCopyrightText: 2026 kcworks-migrations contributors
# SPDX-License-Identifier: MIT
"""The Flask extension: the settings' defaults, and the indexers for the dates."""

from flask import Flask

from . import config


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
        app.extensions["kcworks-migrations"] = self


def finalize_app(app: Flask) -> None:
    """Register the indexers, once every extension is there."""
    # Only here, so that the models and settings load without the indexer.
    from .index.indexer import register

    register(app)
