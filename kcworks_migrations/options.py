# SPDX-FileCopyrightText: 2026 kcworks-migrations contributors
# SPDX-License-Identifier: MIT
"""The settings and the options of a run, each declared once: default, bounds, help.

`What` is what a run does, and is kept in its row; `How` is how it works. A setting is
named ``KCWORKS_CREATED_DATES_`` and the name of its field in capitals.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field, fields
from datetime import UTC, date, datetime, time
from functools import partial
from hashlib import sha256
from typing import Any

from .kinds import DATED, Kind
from .values import (
    ADDRESSES,
    DAY,
    FIELD_NAME,
    FLAG,
    NAMES,
    PLAN,
    SECRET,
    SOME_KINDS,
    URL,
    Plan,
    Value,
    number,
    whole,
    word,
)


def option(
    value: Value, help: str, default: Any = None, is_setting: bool = False
) -> Any:
    """Declare an option of a command and a task.

    Args:
        value: What it may be.
        help: What it does, with its unit.
        default: What it is when nobody gives it.
        is_setting: Whether the instance may have another default.

    Returns:
        The field of a dataclass.
    """
    more = {"value": value, "help": help, "is_setting": is_setting}
    return field(default=default, metadata=more, repr=not value.is_hidden)


setting = partial(option, is_setting=True)
"""Declares a setting of the instance, which an option of the same name overrides."""


@dataclass(frozen=True)
class What:
    """What a run does."""

    kinds: tuple[Kind, ...] = option(SOME_KINDS, "Which rows to change.", DATED)
    record_date_field: str = setting(
        FIELD_NAME,
        "Custom field of a record with its true creation date.",
        "hclegacy:record_creation_date",
    )
    record_groups_field: str = setting(
        FIELD_NAME,
        "Custom field of a record with the list of groups it was deposited to.",
        "hclegacy:groups_for_deposit",
    )
    community_group_field: str = setting(
        FIELD_NAME,
        "Custom field of a community with the identifier of its group.",
        "kcr:commons_group_id",
    )
    earliest_date: date = setting(
        DAY, "An earlier legacy date (UTC) becomes a problem.", date(1980, 1, 1)
    )
    later_versions: str = setting(
        word("change", "keep"),
        "Later versions of a record carry a copy of its legacy date, though they may"
        " have been made here: change gives it to them, keep leaves them alone.",
        "change",
    )
    start_date: date | None = option(
        DAY, "Only records whose created is on this UTC day or later."
    )
    end_date: date | None = option(
        DAY, "Only records whose created is on this UTC day or before."
    )
    limit: int | None = option(
        whole(1), "Change N records and N communities at most, to try it on a few."
    )
    exclude: frozenset[str] = option(
        NAMES,
        "Leave these rows alone: a plan, or PIDs, slugs or UUIDs, one a line.",
        frozenset(),
    )
    only: frozenset[str] | None = option(
        NAMES, "Change only these rows: PIDs, slugs or UUIDs."
    )
    plan: Plan | None = option(
        PLAN, "Change only the rows of this CSV file, to the dates that it gives."
    )

    @property
    def earliest(self) -> datetime:
        """The first instant that is no problem, aware, in UTC."""
        return datetime.combine(self.earliest_date, time(), UTC)

    def kept(self) -> dict[str, Any]:
        """Give what the run row keeps: all that is not none, names as a digest."""
        kept = {f.name: getattr(self, f.name) for f in fields(self)}
        kept["kinds"] = [kind.name for kind in self.kinds]
        kept["plan"] = self.plan and self.plan.kept()
        for name in ("exclude", "only"):
            kept[name] = _digest(kept[name] or ())
        return {name: value for name, value in kept.items() if value is not None}


def _digest(names: Iterable[str]) -> str | None:
    """Give what tells two lists apart without keeping them; none for an empty one."""
    ordered = sorted(names)
    digest = sha256("\n".join(ordered).encode()).hexdigest()
    return f"{len(ordered)} rows, sha256 {digest}" if ordered else None


@dataclass(frozen=True)
class How:
    """How a run works."""

    batch_size: int = setting(
        whole(1, 100_000), "Rows of one transaction, 1 to 100,000.", 1000
    )
    batch_seconds: int = setting(
        whole(1, 600),
        "Seconds that one transaction should take at most; a batch that takes longer"
        " is halved, and grows again.",
        5,
    )
    lock_timeout_seconds: int = setting(
        whole(1, 600),
        "Seconds that a batch waits for a locked table before it pauses and tries"
        " again. A locked row is not waited for.",
        5,
    )
    indexing: str = setting(
        word("created-only", "full"),
        "created-only changes the dates in documents; full lets the services' own"
        " indexers build them anew, which takes many times as long.",
        "created-only",
    )
    health_timeout_seconds: int = setting(
        whole(1, 600), "Seconds that OpenSearch may take to tell its health.", 5
    )
    health_pause_seconds: int = setting(
        whole(0, 3600),
        "Seconds to pause before the second look at a red or unreachable OpenSearch.",
        30,
    )
    queue_delay_seconds: int = setting(
        whole(0, 600),
        "Seconds between two batches of ids for the indexing queues, which spares"
        " OpenSearch.",
        1,
    )
    health_gates_database: bool = setting(
        FLAG,
        "Let an unhealthy OpenSearch also stop the changes in the database, which do"
        " not need it.",
        False,
    )
    on_upgrade: str = setting(
        word("apply", "wait"),
        "What the revision does: apply changes the dates; wait changes none, and every"
        " update needs a plan, which can be approved first.",
        "apply",
    )
    settle_from_beat: bool = setting(
        FLAG,
        "Add a task to Celery's beat schedule that looks every five minutes whether"
        " documents are due to be compared.",
        True,
    )
    verbose: bool = setting(FLAG, "Print each changed row.", False)
    delay: float = option(
        number(0, 3600), "Seconds to wait after each batch that changed rows.", 0
    )


@dataclass(frozen=True)
class Notices:
    """Who is told when a run has ended."""

    notice_recipients: tuple[str, ...] = setting(
        ADDRESSES, "Addresses that get a mail when a run has ended.", ()
    )
    webhook_url: str | None = setting(
        URL, "Where to post a JSON document when a run has ended.", None
    )
    webhook_secret: str | None = setting(
        SECRET, "Key of the document's signature; needed with a URL.", None
    )
    webhook_timeout_seconds: int = setting(
        whole(1, 60), "Seconds that each of four tries may take.", 5
    )
    notice_when: str = setting(
        word("ended", "settled", "both"),
        "When to send the notice of a run: when it has ended, when the index has"
        " settled after it, or both. That the index does not settle is always sent.",
        "ended",
    )
