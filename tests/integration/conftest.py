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


@pytest.fixture
def world(app, engine, monkeypatch):
    """The sample, in the index as its database says; nothing changed yet."""
    from support import index

    from kcworks_migrations.index import compare

    monkeypatch.setattr(compare, "pause", lambda seconds, check_stop: None)
    world = index.fill(engine)
    yield world.instance
    index.empty_index()
    world.instance.empty()
    world.instance.empty_queues()


@pytest.fixture
def status(app):
    """Call `status`; give the exit status and the line about the index."""
    from kcworks_migrations.cli import created_dates

    def status(*options: str):
        result = app.test_cli_runner().invoke(created_dates, ["status", *options])
        lines = result.output.splitlines()
        return result.exit_code, next((i for i in lines if "settl" in i), lines[-1])

    return status
