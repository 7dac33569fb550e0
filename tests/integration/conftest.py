# SPDX-FileCopyrightText: 2026 kcworks-migrations contributors
# SPDX-License-Identifier: MIT
"""Failures that are injected between any two statements."""

from contextlib import contextmanager

import pytest
from sqlalchemy import event


class Failure:
    """Counts statements or commits, and fails at one of them, once."""

    def __init__(self, at: int) -> None:
        self.at = at
        self.count = 0

    def __call__(self, *args) -> None:
        self.count += 1
        if self.count == self.at:
            raise RuntimeError(f"failure injected at {self.at}")


@pytest.fixture
def failing_at(engine):
    """Make the n-th statement or commit fail before it reaches the database.

    A stand-in for a crash at that point, in the same process; `tests/faults` has the
    real kills.
    """

    @contextmanager
    def failing(kind: str, at: int):
        name = {"statement": "before_cursor_execute", "commit": "commit"}[kind]
        failure = Failure(at)
        event.listen(engine, name, failure)
        try:
            yield failure
        finally:
            event.remove(engine, name, failure)

    return failing
