# SPDX-FileCopyrightText: 2026 kcworks-migrations contributors
# SPDX-License-Identifier: MIT
"""What else changes in the application when dates become older."""

from importlib.metadata import PackageNotFoundError, version

CONSEQUENCES = (
    (range(0, 13), "BibTeX citations now carry the year of the true date."),
    (range(13, 99), "JSON-LD, CSV and other exports now carry the true date."),
    (range(14, 99), "GracePeriodPolicy and FileModificationGracePeriodPolicy close."),
    (range(0, 99), "Purge the caches in front of the instance: ETags do not change."),
    (range(0, 99), "Lists by date change as the documents are reindexed."),
)
"""What else changes, by the major version of invenio-app-rdm; more in the README."""


def consequences() -> list[str]:
    """Give what else changes on the running line of the application."""
    try:
        major = int(version("invenio-app-rdm").split(".")[0])
    except PackageNotFoundError:
        major = 12
    return [text for majors, text in CONSEQUENCES if major in majors][:3]
