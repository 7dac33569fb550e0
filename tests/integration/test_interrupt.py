# SPDX-FileCopyrightText: 2026 kcworks-migrations contributors
# SPDX-License-Identifier: MIT
"""Ctrl-C and SIGTERM: the batch is finished, and a rerun does the rest."""

import os
import signal

import pytest

from kcworks_migrations.errors import RunStoppedError
from kcworks_migrations.report.reporter import Reporter


@pytest.fixture
def signalled(monkeypatch):
    """Send a signal to this process in the middle of the second batch, once."""

    def send(number):
        rows = Reporter.batch
        batches = []

        def batch(self, *args):
            rows(self, *args)
            batches.append(args)
            if len(batches) == 2:
                os.kill(os.getpid(), number)

        monkeypatch.setattr(Reporter, "batch", batch)

    return send


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_apply_stops_after_its_batch_and_a_rerun_does_the_rest(
    instance, signalled, number
):
    instance.many(100, 5)
    handlers = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    signalled(number)
    with pytest.raises(RunStoppedError, match=number.name) as raised:
        instance.upgrade(batch_size=20)
    assert raised.value.exit_code == 3
    run = instance.run()
    assert run.status == "stopped"
    assert run.statistics["records"]["total_found"] == 40
    assert run.statistics["stopped_at_record"] == 40
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == (
        handlers
    )
    summary = instance.upgrade(batch_size=20)
    assert summary.run_id == run.id + 1
    records = summary.statistics.records
    assert records.total_found == 100
    updated = run.statistics["records"]["updated"]
    assert records.updated + updated == len(instance.backup(kind="record"))
    (unfinished,) = summary.unfinished
    assert (unfinished.id, unfinished.standing) == (run.id, updated)


def test_revert_stops_after_its_batch_and_a_rerun_does_the_rest(
    app, instance, signalled, monkeypatch
):
    monkeypatch.setitem(app.config, "KCWORKS_CREATED_DATES_BATCH_SIZE", 20)
    instance.many(100, 5)
    before = instance.all_created()
    instance.upgrade()
    signalled(signal.SIGTERM)
    with pytest.raises(RunStoppedError):
        instance.downgrade()
    summary = instance.downgrade()
    assert instance.all_created() == before
    first, second = instance.execute(
        "SELECT statistics FROM kcworks_created_dates_run"
        " WHERE action = 'revert' ORDER BY id"
    )
    restored = sum(
        row.statistics[name]["updated"]
        for row in (first, second)
        for name in ("records", "communities")
    )
    assert 0 < summary.statistics.updated < restored == len(instance.backup())
