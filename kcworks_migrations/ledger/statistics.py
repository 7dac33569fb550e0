# SPDX-FileCopyrightText: 2026 kcworks-migrations contributors
# SPDX-License-Identifier: MIT
"""What a run counts: statistics that always add up, and how far it is."""

import time
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any

from ..kinds import Kind
from ..rules.values import (
    LATER_VERSION,
    Change,
    Decision,
    NoRecords,
    Problem,
    Skip,
)


@dataclass(frozen=True)
class Tally:
    """What became of the rows of one kind that were looked at so far.

    `total_found` is the sum of the others by construction, so it can't disagree.
    """

    updated: int = 0
    skipped: int = 0
    no_records: int = 0
    errors: int = 0
    later_versions: int = 0
    """How many of the updated rows are later versions of a record."""
    kept: int = 0
    """How many of the skipped ones stay at their present date by a new decision."""
    later_versions_kept: int = 0
    """How many of the skipped ones are, and `LATER_VERSIONS` says keep."""

    @property
    def total_found(self) -> int:
        """Rows that were looked at."""
        return self.updated + self.skipped + self.no_records + self.errors

    def plus(self, decisions: Iterable[Decision]) -> "Tally":
        """Give the tally with some more decisions counted."""
        decisions = list(decisions)
        count = Counter(map(type, decisions))
        changes = [d for d in decisions if isinstance(d, Change) and not d.is_kept]
        skips = [d for d in decisions if isinstance(d, Skip)]
        kept = count[Change] - len(changes)
        return Tally(
            self.updated + len(changes),
            self.skipped + len(skips) + kept,
            self.no_records + count[NoRecords],
            self.errors + count[Problem],
            self.later_versions + sum(change.is_later_version for change in changes),
            self.kept + kept,
            self.later_versions_kept + sum(d.reason == LATER_VERSION for d in skips),
        )


TALLIES = ("records", "communities", "groups")


@dataclass(frozen=True)
class Statistics:
    """The tallies of a run.

    A malformed entry in a record's groups is found and in error as a `group`, apart
    from its record, which may well be changed.
    """

    records: Tally = field(default_factory=Tally)
    communities: Tally = field(default_factory=Tally)
    groups: Tally = field(default_factory=Tally)
    evidence_gone: int = 0
    """Dates that stand although what gave them is gone; apart from the rows found."""

    def of(self, kind: Kind) -> Tally:
        """Give the tally of records or of communities."""
        return getattr(self, kind.plural)

    def plus(
        self,
        kind: Kind,
        decisions: Iterable[Decision],
        malformed_groups: int = 0,
        evidence_gone: int = 0,
    ) -> "Statistics":
        """Give the statistics with some more decisions counted."""
        tally = self.of(kind).plus(decisions)
        errors = self.groups.errors + malformed_groups
        groups = replace(self.groups, errors=errors)
        gone = self.evidence_gone + evidence_gone
        more: dict[str, Any] = {kind.plural: tally, "groups": groups}
        return replace(self, evidence_gone=gone, **more)

    @property
    def errors(self) -> int:
        """Problems of all kinds."""
        return self.records.errors + self.communities.errors + self.groups.errors

    @property
    def updated(self) -> int:
        """Changed rows of all kinds."""
        return self.records.updated + self.communities.updated

    @property
    def kept(self) -> int:
        """Rows of all kinds that stay at their present date by a new decision."""
        return self.records.kept + self.communities.kept

    def as_dict(self, stopped_at: Mapping[str, int] | None = None) -> dict[str, Any]:
        """Give the form that is kept in the run row and printed as JSON.

        Args:
            stopped_at: By the name of a kind, where it stopped early; none if it did
                not.

        Returns:
            The tallies, the dates whose evidence is gone, and whether and where it
            stopped early.
        """
        kept: dict[str, Any] = {
            name: {"total_found": getattr(self, name).total_found}
            | asdict(getattr(self, name))
            for name in TALLIES
        }
        kept["evidence_gone"] = self.evidence_gone
        where = {f"stopped_at_{kind}": n for kind, n in (stopped_at or {}).items()}
        return kept | {"stopped_early": stopped_at is not None} | where

    @classmethod
    def from_dict(cls, kept: Mapping[str, Any]) -> "Statistics":
        """Read the form that is kept in the run row."""
        words = [f.name for f in fields(Tally)]
        tallies: dict[str, Any] = {
            name: Tally(**{w: kept.get(name, {}).get(w, 0) for w in words})
            for name in TALLIES
        }
        return cls(**tallies, evidence_gone=kept.get("evidence_gone", 0))


@dataclass(frozen=True)
class Progress:
    """How far a phase of a run is."""

    phase: str
    """What is counted: ``records``, ``communities``, ``changes``, ``documents``."""
    total: int
    done: int = 0
    batch: int = 0
    began: float = field(default_factory=time.monotonic)

    def after(self, rows: int) -> "Progress":
        """Give the progress with one more batch done, never beyond the total."""
        done = min(self.done + rows, self.total)
        return replace(self, done=done, batch=self.batch + 1)

    @property
    def rate(self) -> float:
        """Rows a second so far."""
        return round(self.done / max(time.monotonic() - self.began, 0.001), 1)

    @property
    def seconds_left(self) -> float | None:
        """How long the rest takes at this rate; none when that is unknown."""
        return (self.total - self.done) / self.rate if self.rate else None

    def as_dict(self) -> dict[str, Any]:
        """Give the form that is kept in the run row and told by tasks."""
        return {
            "phase": self.phase,
            "done": self.done,
            "total": self.total,
            "batch": self.batch,
            "rate": self.rate,
            "seconds_left": self.seconds_left,
        }
