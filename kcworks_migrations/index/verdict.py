# SPDX-FileCopyrightText: 2026 kcworks-migrations contributors
# SPDX-License-Identifier: MIT
"""What `verify` has found, as lines for a person and as JSON."""

from dataclasses import asdict, dataclass, field
from typing import Any

from ..text import COMMAND, counted

SHOWN = 20
"""Names of each state that are kept."""

PRINTED = 5
"""Those of them that are printed."""


@dataclass
class Counted:
    """How many are in a state, and some of them."""

    count: int = 0
    shown: list[str] = field(default_factory=list)

    def add(self, text: str) -> None:
        """Count one."""
        self.count += 1
        if len(self.shown) < SHOWN:
            self.shown.append(text)


@dataclass
class Verdict:
    """What was found."""

    right: int = 0
    """Documents that hold the true dates."""
    lagging: Counted = field(default_factory=Counted)
    """Not right yet, while changes are pending or messages queued."""
    wrong: Counted = field(default_factory=Counted)
    """Documents with another date than the database, with nothing pending or queued."""
    missing: Counted = field(default_factory=Counted)
    """Rows without a document."""
    rows_wrong: Counted = field(default_factory=Counted)
    """Rows whose date is not the one that their last entry says."""
    pending: int = 0
    """Changes in the outbox."""
    queued: int | None = 0
    """Messages in the queues; none when the broker does not tell."""
    fixed: int = 0
    """Documents that were queued to be brought right."""

    @property
    def is_clean(self) -> bool:
        """Tell whether nothing is left to do; the queues also hold what others send."""
        counted = (self.lagging, self.wrong, self.missing, self.rows_wrong)
        return not (self.pending or any(c.count for c in counted))

    def line(self) -> str:
        """Say in one line how the documents are."""
        return (
            f"{'All right' if self.is_clean else 'Not all right'}: documents:"
            f" {self.right} right, {self.lagging.count} lagging,"
            f" {self.wrong.count} wrong, {self.missing.count} missing"
        )

    def examples(self) -> list[str]:
        """Name some of what is not right."""
        lines = []
        for state in ("lagging", "wrong", "missing", "rows_wrong"):
            found = getattr(self, state)
            name = "row unlike its ledger entry" if state == "rows_wrong" else state
            lines += [f"  {name}: {text}" for text in found.shown[:PRINTED]]
            if found.count > PRINTED:
                lines.append(f"  ... and {found.count - PRINTED} more")
        return lines

    def advice(self) -> list[str]:
        """Say what is pending, and what can be done."""
        lines = []
        if self.pending:
            lines.append(f"{counted(self.pending, 'change')} not queued yet; to queue:")
            lines.append(f"  {COMMAND} reindex")
        if self.queued is None:
            lines.append("The broker does not tell how many messages are queued.")
        elif self.queued:
            queued = counted(self.queued, "message")
            lines.append(f"In the queues: {queued}. When workers have done them:")
            lines.append(f"  {COMMAND} verify")
        if self.rows_wrong.count:
            lines.append("Something else has changed rows; what was done to one:")
            lines.append(f"  {COMMAND} show PID-OR-SLUG")
        if self.fixed:
            fixed = counted(self.fixed, "document")
            lines.append(f"{fixed} queued. When the queues are empty:")
            lines.append(f"  {COMMAND} verify")
        elif not self.queued and (self.wrong.count or self.missing.count):
            lines.append("To queue the wrong and the missing ones:")
            lines.append(f"  {COMMAND} verify --fix")
        return lines

    def as_dict(self) -> dict[str, Any]:
        """Give what is printed as JSON."""
        return asdict(self) | {"is_clean": self.is_clean}
