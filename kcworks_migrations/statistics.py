# SPDX-FileCopyrightText: 2026 kcworks-migrations contributors
# SPDX-License-Identifier: MIT
"""The statistics of a run: one set of words, everywhere, that always adds up."""

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from .rules import Change, Decision, NoRecords, Problem


@dataclass
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

    @property
    def total_found(self) -> int:
        """Rows that were looked at."""
        return self.updated + self.skipped + self.no_records + self.errors

    def add(self, decisions: Iterable[Decision]) -> None:
        """Count decisions."""
        for decision in decisions:
            if isinstance(decision, Change):
                self.updated += 1
                self.later_versions += decision.is_later_version
            elif isinstance(decision, Problem):
                self.errors += 1
            elif isinstance(decision, NoRecords):
                self.no_records += 1
            else:
                self.skipped += 1


@dataclass
class Statistics:
    """The tallies of a run.

    A malformed entry in a record's groups is found and in error as a `group`, apart
    from its record, which may well be changed.
    """

    records: Tally = field(default_factory=Tally)
    communities: Tally = field(default_factory=Tally)
    groups: Tally = field(default_factory=Tally)

    def of(self, kind: str) -> Tally:
        """Give the tally of a kind: ``record``, ``community`` or ``group``."""
        tallies = {
            "record": self.records,
            "community": self.communities,
            "group": self.groups,
        }
        return tallies[kind]

    @property
    def errors(self) -> int:
        """Problems of all kinds."""
        return self.records.errors + self.communities.errors + self.groups.errors

    @property
    def updated(self) -> int:
        """Changed rows of all kinds."""
        return self.records.updated + self.communities.updated

    def as_dict(self, stopped_at: Mapping[str, int] | None = None) -> dict[str, Any]:
        """Give the form that is kept in the run row and printed as JSON.

        Args:
            stopped_at: By kind, where it stopped early; none if it did not.

        Returns:
            The tallies, and whether and where it stopped early.
        """
        kept: dict[str, Any] = {
            f.name: {"total_found": getattr(self, f.name).total_found}
            | asdict(getattr(self, f.name))
            for f in fields(self)
        }
        where = {f"stopped_at_{kind}": n for kind, n in (stopped_at or {}).items()}
        return kept | {"stopped_early": stopped_at is not None} | where

    @classmethod
    def from_dict(cls, kept: Mapping[str, Any]) -> "Statistics":
        """Read the form that is kept in the run row."""
        words = [f.name for f in fields(Tally)]
        return cls(**{
            f.name: Tally(**{w: kept.get(f.name, {}).get(w, 0) for w in words})
            for f in fields(cls)
        })
