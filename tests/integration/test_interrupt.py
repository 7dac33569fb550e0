# SPDX-FileCopyrightText: 2026 kcworks-migrations contributors
# SPDX-License-Identifier: MIT
"""Ctrl-C and SIGTERM: the batch is finished, and the same command goes on."""

import os
import signal

import pytest

from kcworks_migrations.errors import RunInterruptedError
from kcworks_migrations.report import Reporter


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
def test_apply_stops_after_its_batch_and_goes_on(instance, signalled, number):
    instance.many(100, 5)
    handlers = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    signalled(number)
    with pytest.raises(RunInterruptedError, match=number.name) as raised:
        instance.upgrade(batch_size=20)
    assert raised.value.exit_code == 3
    run = instance.run()
    assert run.status == "interrupted"
    assert run.statistics["records"]["total_found"] == 40
    assert run.statistics["stopped_at_record"] == 40
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == (
        handlers
    )
    summary = instance.upgrade(batch_size=20)
    assert summary.run_id == run.id
    assert summary.statistics.records.total_found == 100


def test_revert_stops_after_its_batch_and_goes_on(instance, signalled):
    instance.many(100, 5)
    before = instance.all_created()
    instance.upgrade()
    signalled(signal.SIGTERM)
    with pytest.raises(RunInterruptedError):
        instance.downgrade()
    summary = instance.downgrade()
    assert instance.all_created() == before
    assert summary.statistics.updated == len(instance.backup())
