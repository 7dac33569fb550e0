# SPDX-FileCopyrightText: 2026 kcworks-migrations contributors
# SPDX-License-Identifier: MIT
"""The decisions about some rows, which are read and written together."""

from collections.abc import Collection, Sequence
from datetime import datetime
from typing import NamedTuple

from ..rules.values import Change, Decision, Problem, RecordRow


class Page(NamedTuple):
    """The decisions about some rows."""

    cursor: str | None
    """The last primary key, or how many lines of the plan are done; none when there was
    no row."""
    decisions: list[Decision]
    group_problems: list[Problem]
    """Of malformed entries in the records' lists of groups: the first ones of each."""
    dated: list[tuple[RecordRow, datetime, Collection[str]]]
    """The records that have a date, with it and their groups."""
    malformed_groups: int = 0
    gone: Sequence[Problem] = ()
    """Dates that stand although what gave them is gone."""

    @property
    def changes(self) -> list[Change]:
        """The rows whose date changes."""
        return [d for d in self.decisions if isinstance(d, Change)]

    @property
    def problems(self) -> list[Problem]:
        """What is wrong with rows, and then with their groups."""
        of_rows = [d for d in self.decisions if isinstance(d, Problem)]
        return of_rows + self.group_problems
