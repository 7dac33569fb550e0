# SPDX-FileCopyrightText: 2026 kcworks-migrations contributors
# SPDX-License-Identifier: MIT
"""What a run did, or what a preview found; as JSON, too."""

from dataclasses import dataclass, field
from typing import Any

from ..ledger.history import Unfinished
from ..ledger.plans import PlanFile
from ..ledger.statistics import Statistics
from ..rules.values import Change, Problem
from .plan import PlanView

PROBLEMS_SHOWN = 10


@dataclass
class Summary:
    """What a run did, or what a preview found."""

    run_id: int | None
    """None for a preview."""
    action: str
    status: str
    statistics: Statistics = field(default_factory=Statistics)
    problems: list[Problem] = field(default_factory=list)
    """The first few; `statistics.errors` says how many there are."""
    gone: list[Problem] = field(default_factory=list)
    """The first dates that stand although what gave them is gone."""
    queued: int = 0
    """Documents that were queued for reindexing."""
    pending: int = 0
    """Changes that were not queued yet."""
    queue_error: str | None = None
    origin: str = "alembic"
    """Who asked, which decides how to undo it."""
    is_applied: bool = False
    """Whether Alembic records the dates as changed."""
    plans: list[PlanFile] = field(default_factory=list)
    """Of a restoration: the curators' files whose dates it took back."""
    on_upgrade: str = "apply"
    """The setting."""
    stopped_at: dict[str, int] | None = None
    """By kind, after how many rows it stopped early, or after how many of the changes
    the queueing did; none when all is done."""
    message: str | None = None
    """Why the run ended early, and what to do."""
    unfinished: list[Unfinished] = field(default_factory=list)
    """Earlier runs that did not come to their end, and whose changes stand."""
    sample: dict[str, list[Change]] = field(default_factory=dict)
    """Some changes by kind, of a preview."""
    documents: int = 0
    """Of a preview: documents that would be reindexed."""
    seconds: float = 0
    """Of a preview: how long it took to read and decide."""
    plan: PlanView | None = None
    """What became of the plan's lines, or would."""
    to_do: tuple[str, ...] = ()
    """Of a preview: lines that say how to do it."""
    suspicious: list[str] = field(default_factory=list)
    """Of a preview: what is worth a look, with examples."""
    has_settled: bool | None = None
    """Whether the index has settled after the run; none as long as that is open."""
    index: list[str] = field(default_factory=list)
    """What was found in the index then."""

    def as_dict(self) -> dict[str, Any]:
        """Give what is printed as JSON."""
        kept: dict[str, Any] = {
            "run": self.run_id,
            "action": self.action,
            "status": self.status,
            "statistics": self.statistics.as_dict(self.stopped_at),
            "problems": [problem._asdict() for problem in self.problems],
            "evidence_gone": [problem._asdict() for problem in self.gone],
            "queued": self.queued,
            "pending": self.pending,
            "queue_error": self.queue_error,
            "message": self.message,
            "unfinished": [run._asdict() for run in self.unfinished],
            "has_settled": self.has_settled,
            "index": self.index,
            "plan": self.plan and self.plan.as_dict(),
        }
        if self.run_id is None:
            kept |= {
                "sample": {
                    kind: [_plain(change) for change in changes]
                    for kind, changes in self.sample.items()
                },
                "documents": self.documents,
                "seconds": round(self.seconds, 1),
                "suspicious": self.suspicious,
            }
        return kept


def _plain(change: Change) -> dict[str, Any]:
    decided = change.decided
    return change._asdict() | {"decided": decided and decided._asdict()}
