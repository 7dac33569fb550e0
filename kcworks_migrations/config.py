# SPDX-FileCopyrightText: 2026 kcworks-migrations contributors
# SPDX-License-Identifier: MIT
"""The settings, each declared once with its unit, and the options of a run."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from datetime import date, datetime
from hashlib import sha256
from typing import Any, NamedTuple

from .errors import SettingError
from .rules import Filters

PREFIX = "KCWORKS_CREATED_DATES_"

KCWORKS_CREATED_DATES_RECORD_DATE_FIELD = "hclegacy:record_creation_date"
"""Custom field of a record with its true creation date."""

KCWORKS_CREATED_DATES_RECORD_GROUPS_FIELD = "hclegacy:groups_for_deposit"
"""Custom field of a record with the list of groups it was deposited to; each entry
is an object with a ``group_identifier``."""

KCWORKS_CREATED_DATES_COMMUNITY_GROUP_FIELD = "kcr:commons_group_id"
"""Custom field of a community with the identifier of its group."""

KCWORKS_CREATED_DATES_BATCH_SIZE = 1000
"""Rows of one transaction: 1 to 100,000."""

KCWORKS_CREATED_DATES_BATCH_SECONDS = 5
"""Seconds that one transaction should take at most: 1 to 600. A batch that takes longer
is halved, and grows again when there is room."""

KCWORKS_CREATED_DATES_LOCK_TIMEOUT_SECONDS = 5
"""Seconds that a batch waits for a locked table before it pauses and tries again:
1 to 600. A locked row is not waited for."""

KCWORKS_CREATED_DATES_FIRST_VERSIONS_ONLY = False
"""Whether only the first version of each record is changed. Later versions carry a
copy of the legacy date, so that by default they get it as well."""

KCWORKS_CREATED_DATES_INDEXING = "created-only"
"""How stale documents are brought right: ``created-only`` changes the dates in them,
``full`` lets the services' own indexers build them anew, which takes many times as
long."""

KCWORKS_CREATED_DATES_HEALTH_TIMEOUT_SECONDS = 5
"""Seconds that OpenSearch may take to tell its health, at each try of its client:
1 to 600."""

KCWORKS_CREATED_DATES_HEALTH_PAUSE_SECONDS = 30
"""Seconds to pause when OpenSearch is red or unreachable, before the one more look that
decides whether to stop: 0 to 3,600."""

KCWORKS_CREATED_DATES_QUEUE_DELAY_SECONDS = 1
"""Seconds between two batches of ids for the indexing queues, which spares OpenSearch:
0 to 600."""

KCWORKS_CREATED_DATES_HEALTH_GATES_DATABASE = False
"""Whether a sick OpenSearch also stops the changes in the database. They do not need
it: what they make stale waits until it can be sent."""

KCWORKS_CREATED_DATES_NOTICE_RECIPIENTS: tuple[str, ...] = ()
"""Addresses that get a mail when a run has ended, through the instance's own mail."""

KCWORKS_CREATED_DATES_WEBHOOK_URL: str | None = None
"""Where to post a JSON document when a run has ended."""

KCWORKS_CREATED_DATES_WEBHOOK_SECRET: str | None = None
"""The key of the document's signature; needed with an URL."""

KCWORKS_CREATED_DATES_WEBHOOK_TIMEOUT_SECONDS = 5
"""Seconds that each of four tries may take to connect, and to be answered: 1 to 60."""

KCWORKS_CREATED_DATES_VERBOSE = False
"""Whether each changed row is printed, beside being logged at DEBUG."""


HOW = (
    "batch_size",
    "batch_seconds",
    "lock_timeout_seconds",
    "delay_seconds",
    "indexing",
    "health_timeout_seconds",
    "health_pause_seconds",
    "queue_delay_seconds",
    "health_gates_database",
    "verbose",
    "is_dry_run",
)

INDEXING = ("created-only", "full")


class Since(NamedTuple):
    """From where an incremental run looks: the run it builds on, and an instant."""

    run_id: int
    instant: datetime


@dataclass(frozen=True)
class Options:
    """What a run is to do, checked.

    The fields in `HOW` say how it is done; the others say what is done, and a run is
    only continued by one that has the same.
    """

    record_date_field: str
    record_groups_field: str
    community_group_field: str
    batch_size: int
    batch_seconds: int
    lock_timeout_seconds: int
    indexing: str
    health_timeout_seconds: int
    health_pause_seconds: int
    queue_delay_seconds: int
    health_gates_database: bool
    verbose: bool
    filters: Filters = field(default_factory=Filters)
    kinds: tuple[str, ...] = ("record", "community")
    limit: int | None = None
    """The most rows of each kind that are changed."""
    since: Since | None = None
    """Only records that changed since are looked at; none for all."""
    delay_seconds: float = 0
    """How long to wait between two batches."""
    is_dry_run: bool = False

    def of_run(self) -> dict[str, Any]:
        """Give what the run row keeps: what is done, not how."""
        names = [f.name for f in fields(self) if f.name not in (*HOW, "filters")]
        kept = {name: getattr(self, name) for name in names}
        kept |= {f.name: getattr(self.filters, f.name) for f in fields(self.filters)}
        if self.since:
            kept["since"] = [self.since.run_id, self.since.instant.isoformat()]
        kept["excluded"] = _digest(self.filters.excluded)
        if self.filters.planned is not None:
            lines = (f"{id} {p}" for id, p in self.filters.planned.items())
            kept["planned"] = _digest(lines)
        return {
            name: value.isoformat() if isinstance(value, date) else value
            for name, value in kept.items()
            if value is not None
        }


def _digest(lines: Iterable[str]) -> str | None:
    """Give what tells two lists apart without keeping them; none for an empty one."""
    ordered = sorted(lines)
    digest = sha256("\n".join(ordered).encode()).hexdigest()
    return f"{len(ordered)} rows, sha256 {digest}" if ordered else None


def defaults() -> dict[str, Any]:
    """Give every setting with its default value."""
    return {name: v for name, v in globals().items() if name.startswith(PREFIX)}


def options_from(config: Mapping[str, Any]) -> Options:
    """Check the settings and make the options of a run from them.

    Args:
        config: The configuration of the application.

    Returns:
        The options.

    Raises:
        SettingError: A setting is unknown (a typing error would otherwise be
            ignored in silence) or its value can't be used.
    """
    known = defaults()
    for name in config:
        if name.startswith(PREFIX) and name not in known:
            wanted = "left out: there is no such setting, only " + ", ".join(known)
            raise SettingError(name, "...", wanted)  # it may be a secret
    values = _values(config)
    for name in ("RECORD_DATE_FIELD", "RECORD_GROUPS_FIELD", "COMMUNITY_GROUP_FIELD"):
        if not isinstance(values[name], str) or not values[name].strip():
            raise SettingError(
                PREFIX + name, values[name], "the name of a custom field"
            )
    notices_from(config)
    if values["INDEXING"] not in INDEXING:
        wanted = " or ".join(repr(word) for word in INDEXING)
        raise SettingError(PREFIX + "INDEXING", values["INDEXING"], wanted)
    return Options(
        record_date_field=values["RECORD_DATE_FIELD"],
        record_groups_field=values["RECORD_GROUPS_FIELD"],
        community_group_field=values["COMMUNITY_GROUP_FIELD"],
        batch_size=_whole_number(values, "BATCH_SIZE", 1, 100_000),
        batch_seconds=_whole_number(values, "BATCH_SECONDS", 1, 600),
        lock_timeout_seconds=_whole_number(values, "LOCK_TIMEOUT_SECONDS", 1, 600),
        indexing=values["INDEXING"],
        health_timeout_seconds=_whole_number(values, "HEALTH_TIMEOUT_SECONDS", 1, 600),
        health_pause_seconds=_whole_number(values, "HEALTH_PAUSE_SECONDS", 0, 3600),
        queue_delay_seconds=_whole_number(values, "QUEUE_DELAY_SECONDS", 0, 600),
        health_gates_database=_flag(values, "HEALTH_GATES_DATABASE"),
        verbose=_flag(values, "VERBOSE"),
        filters=Filters(first_versions_only=_flag(values, "FIRST_VERSIONS_ONLY")),
    )


@dataclass(frozen=True)
class Notices:
    """Who is told when a run has ended, checked."""

    recipients: tuple[str, ...]
    webhook_url: str | None = field(repr=False)
    webhook_secret: str = field(repr=False)
    webhook_timeout_seconds: int


def notices_from(config: Mapping[str, Any]) -> Notices:
    """Check the settings of notices.

    Returns:
        The settings.

    Raises:
        SettingError: One of them can't be used; its text has neither URL nor secret.
    """
    values = _values(config)
    recipients, url = values["NOTICE_RECIPIENTS"], values["WEBHOOK_URL"]
    if not isinstance(recipients, list | tuple) or not all(
        isinstance(r, str) and "@" in r and r.isprintable() for r in recipients
    ):
        wanted = "a list of mail addresses"
        raise SettingError(PREFIX + "NOTICE_RECIPIENTS", recipients, wanted)
    if url is not None and not (
        isinstance(url, str) and url.startswith(("https://", "http://"))
    ):
        raise SettingError(PREFIX + "WEBHOOK_URL", "...", "an URL of http or https")
    secret = values["WEBHOOK_SECRET"]
    if secret is not None and not (isinstance(secret, str) and secret):
        raise SettingError(PREFIX + "WEBHOOK_SECRET", "...", "a text, or left out")
    if url and not secret:
        raise SettingError(PREFIX + "WEBHOOK_SECRET", None, "set beside WEBHOOK_URL")
    return Notices(
        recipients=tuple(recipients),
        webhook_url=url,
        webhook_secret=secret or "",
        webhook_timeout_seconds=_whole_number(values, "WEBHOOK_TIMEOUT_SECONDS", 1, 60),
    )


def _values(config: Mapping[str, Any]) -> dict[str, Any]:
    """Give every setting by its name without the prefix."""
    return {
        name.removeprefix(PREFIX): config.get(name, default)
        for name, default in defaults().items()
    }


def _whole_number(
    values: Mapping[str, Any], name: str, smallest: int, largest: int
) -> int:
    value = values[name]
    if type(value) is not int or not smallest <= value <= largest:
        wanted = f"a whole number from {smallest} to {largest}"
        raise SettingError(PREFIX + name, value, wanted)
    return value


def _flag(values: Mapping[str, Any], name: str) -> bool:
    if not isinstance(values[name], bool):
        raise SettingError(PREFIX + name, values[name], "True or False")
    return values[name]
