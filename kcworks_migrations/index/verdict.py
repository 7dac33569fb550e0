# SPDX-FileCopyrightText: 2026 kcworks-migrations contributors
# SPDX-License-Identifier: MIT
"""What a pass over the documents has found, as lines for a person and as JSON."""

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
    """What was found, before anything was written."""

    right: int = 0
    """Documents with the dates of the database."""
    stale: Counted = field(default_factory=Counted)
    """Documents with another date."""
    missing: Counted = field(default_factory=Counted)
    """Rows without a document."""
    refused: Counted = field(default_factory=Counted)
    """Of the stale and missing ones, those that OpenSearch refused for good."""
    rows_wrong: Counted = field(default_factory=Counted)
    """Rows whose date is not the one that their last entry says."""
    indexed: int = 0
    """Documents of pending changes that were brought right before."""
    written: int = 0
    """Of the stale and missing ones, those that were brought right."""
    pending: int = 0
    """Changes in the outbox."""
    error: str | None = None
    """Why the pass ended early."""
    seconds: float = 0

    @property
    def documents(self) -> int:
        """How many documents there are."""
        return self.right + self.stale.count + self.missing.count

    @property
    def left(self) -> int:
        """How many documents are not right now and may become it."""
        bad = self.stale.count + self.missing.count
        return bad - self.written - self.refused.count

    @property
    def is_clean(self) -> bool:
        """Tell whether nothing is left to do."""
        counts = (self.left, self.refused.count, self.rows_wrong.count, self.pending)
        return not (any(counts) or self.error)

    @property
    def is_settled(self) -> bool:
        """Tell whether there was nothing to write and nothing can be written."""
        return not (self.left or self.has_written or self.pending or self.error)

    @property
    def has_written(self) -> bool:
        """Tell whether any document was written."""
        return bool(self.indexed or self.written)

    def line(self) -> str:
        """Say in one line how the documents are."""
        parts = [f"{self.right} right", f"{self.stale.count} stale"]
        parts.append(f"{self.missing.count} missing")
        if self.indexed:
            parts.append(f"{self.indexed} pending ones indexed before")
        if self.written:
            parts.append(f"{self.written} of these brought right")
        words = "All right" if self.is_clean else "Not all right"
        return f"{words}: documents: {', '.join(parts)}"

    def examples(self) -> list[str]:
        """Name some of what is not right."""
        lines = []
        for state in ("stale", "missing", "refused", "rows_wrong"):
            found = getattr(self, state)
            name = "row unlike its ledger entry" if state == "rows_wrong" else state
            lines += [f"  {name}: {text}" for text in found.shown[:PRINTED]]
            if found.count > PRINTED:
                lines.append(f"  ... and {found.count - PRINTED} more")
        return lines

    def advice(self) -> list[str]:
        """Say why it ended early, what is pending, and what can be done."""
        lines = []
        if self.error:
            lines.append(f"The comparison ended early: {self.error}")
        if self.pending:
            lines.append(f"Pending reindexing: {counted(self.pending, 'change')}.")
        if self.rows_wrong.count:
            lines.append("Something else has changed rows; what was done to one:")
            lines.append(f"  {COMMAND} show PID-OR-SLUG")
        if self.refused.count:
            lines.append("What OpenSearch said of those that it refused:")
            lines.append(f"  {COMMAND} problems --reason index_refused")
        if self.left or self.pending:
            lines.append("The index settles by itself; to bring them right now:")
            lines.append(f"  {COMMAND} verify --fix")
        return lines

    def as_dict(self) -> dict[str, Any]:
        """Give what is printed as JSON, and kept with the runs."""
        return asdict(self) | {"is_clean": self.is_clean, "documents": self.documents}
