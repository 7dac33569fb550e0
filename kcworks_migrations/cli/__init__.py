# SPDX-FileCopyrightText: 2026 kcworks-migrations contributors
# SPDX-License-Identifier: MIT
"""The command group ``invenio kcworks-created-dates``, with all its commands."""

from . import index, look, rehearse, status, undo, update
from .group import created_dates

__all__ = ("created_dates", "index", "look", "rehearse", "status", "undo", "update")
