# SPDX-FileCopyrightText: 2026 kcworks-migrations contributors
# SPDX-License-Identifier: MIT
"""Does the application know the custom fields by the names in the settings?"""

from collections.abc import Iterable

from flask import current_app

from ..config import Options
from ..rules import escape
from .line import Line, fine, warning


def fields(options: Options) -> Iterable[Line]:
    """Look whether the application knows the custom fields by their names."""
    wanted = {
        "RDM_CUSTOM_FIELDS": (options.record_date_field, options.record_groups_field),
        "COMMUNITIES_CUSTOM_FIELDS": (options.community_group_field,),
    }
    missing = [
        f"{setting} has no {escape(name)}"
        for setting, names in wanted.items()
        for name in names
        if name not in {field.name for field in current_app.config.get(setting, ())}
    ]
    if missing:
        todo = "See that KCWORKS_CREATED_DATES_..._FIELD name the right fields."
        yield warning("custom_fields", f"{'; '.join(missing)}.", todo)
    else:
        yield fine("custom_fields", "The application has the three custom fields.")
