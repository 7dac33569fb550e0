# SPDX-FileCopyrightText: 2026 kcworks-migrations contributors
# SPDX-License-Identifier: MIT
"""Reads the options of a run from the settings and from what somebody asks for.

A command, a task and the instance's configuration all come through here.
"""

import os
from collections.abc import Mapping
from dataclasses import fields
from typing import Any, NoReturn, TypeVar

from .errors import RefusedError
from .options import How, Notices, What
from .values import DAY, NAMES, Value
from .values import REASON as REASON_TYPE

PREFIX = "KCWORKS_CREATED_DATES_"

REASON = PREFIX + "REASON"
"""The environment variable that says why, where Alembic calls."""

SETTLE_TASK = "kcworks_migrations.tasks.settle_created_dates_task"
"""The Celery task by which the index settles."""

T = TypeVar("T")


def defaults() -> dict[str, Any]:
    """Give every setting with its default value."""
    return {
        PREFIX + f.name.upper(): f.default
        for group in (What, How, Notices)
        for f in fields(group)
        if f.metadata["is_setting"]
    }


def options_from(config: Mapping[str, Any], **given: Any) -> tuple[What, How]:
    """Make the options of a run from the settings and from what somebody asks for.

    Args:
        config: The configuration of the application.
        **given: Options by their names; those that are none are not asked for.

    Returns:
        What to do and how.

    Raises:
        TypeError: There is no option of that name.
        RefusedError: A setting is unknown (a typing error would otherwise be ignored
            in silence), or a value can't be used.
    """
    known = defaults()
    for name in config:
        if name.startswith(PREFIX) and name not in known:
            wanted = "left out: there is no such setting, only " + ", ".join(known)
            _refuse(name, "...", wanted)  # its value may be a secret
    notices_from(config)
    if unknown := given.keys() - {f.name for g in (What, How) for f in fields(g)}:
        raise TypeError(f"there are no options {', '.join(unknown)}")
    asked = {name: value for name, value in given.items() if value is not None}
    what, how = _read(What, config, asked), _read(How, config, asked)
    if what.start_date and what.end_date and what.start_date > what.end_date:
        raise RefusedError(
            f"The start date, {what.start_date}, is later than the end date,"
            f" {what.end_date}.",
            "correct that and try again.",
        )
    return what, how


def notices_from(config: Mapping[str, Any]) -> Notices:
    """Check the settings of notices.

    Returns:
        The settings.

    Raises:
        RefusedError: One of them can't be used; its text has neither URL nor secret.
    """
    notices = _read(Notices, config, {})
    if notices.webhook_url and not notices.webhook_secret:
        _refuse(PREFIX + "WEBHOOK_SECRET", None, "set beside WEBHOOK_URL")
    return notices


def _read(group: type[T], config: Mapping[str, Any], asked: Mapping[str, Any]) -> T:
    """Make a group of options: what is asked for, else what the settings say."""
    values = {}
    for f in fields(group):  # type: ignore[arg-type]
        name, wanted = PREFIX + f.name.upper(), f.metadata["value"]
        if f.metadata["is_setting"]:
            values[f.name] = checked(name, wanted, config.get(name, f.default))
        if f.name in asked:
            values[f.name] = checked(f.name, wanted, asked[f.name])
    return group(**values)


def checked(name: str, wanted: Value, value: Any) -> Any:
    """Check one value.

    Returns:
        It, in the type that the package uses.

    Raises:
        RefusedError: It can't be used.
    """
    try:
        if wanted is DAY and isinstance(value, str):
            value = wanted.read(value)  # a message of a task has no other form
        is_good = wanted.is_good(value)
    except ValueError:
        is_good = False
    if not is_good:
        _refuse(name, "..." if wanted.is_hidden else value, wanted.wanted)
    return frozenset(value) if wanted is NAMES else value


def _refuse(name: str, value: object, wanted: str) -> NoReturn:
    """Refuse a setting or an option that can't be used.

    Raises:
        RefusedError: In any case.
    """
    raise RefusedError(
        f"{name} is {value!r}, but must be {wanted}.",
        "correct that and run the same command again.",
    )


def reason_of(origin: str, given: str | None) -> str | None:
    """Check why a run is made, which for Alembic the environment says.

    Args:
        origin: Who asks for the run.
        given: What its caller says.

    Returns:
        Why; none where nobody says it.
    """
    if given is None and origin == "alembic":
        reason = os.environ.get(REASON, "").strip() or None
        return checked(REASON, REASON_TYPE, reason)
    return checked("reason", REASON_TYPE, given)
