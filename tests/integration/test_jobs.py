# SPDX-FileCopyrightText: 2026 kcworks-migrations contributors
# SPDX-License-Identifier: MIT
"""The index settles where beat is invenio-jobs' scheduler (13 and 14)."""

import pytest
from celery import current_app as celery_app
from invenio_db import db
from sqlalchemy import text
from support import index
from support.settling import assert_as_after_full_reindex, later
from support.worker import QUEUE, Worker, forget_tasks, wait_until

jobs = pytest.importorskip("invenio_jobs", reason="12 has no invenio-jobs")
JOB = "settle_created_dates"


@pytest.fixture
def job(app):
    """The job as an administrator makes it."""
    from invenio_jobs.models import Job

    job = Job(
        title="Settle",
        task=JOB,
        schedule={"type": "interval", "minutes": 5},
        default_queue=QUEUE,
        active=True,
    )
    db.session.add(job)
    db.session.commit()
    yield job.id
    db.session.remove()
    forget_jobs()


def forget_jobs() -> None:
    for table in ("jobs_run", "jobs_job"):
        db.session.execute(text(f"DELETE FROM {table}"))
    db.session.commit()


@pytest.fixture
def upgraded(engine):
    """The sample after an upgrade whose messages were lost."""
    instance = index.fill(engine).instance
    instance.upgrade()
    instance.empty_queues()
    forget_tasks()
    yield instance
    index.empty_index()
    instance.empty()
    forget_tasks()


def test_job_type_is_offered(app):
    from invenio_jobs.proxies import current_jobs

    assert current_jobs.registry.get(JOB).task.name.endswith(
        "settle_created_dates_task"
    )


def test_scheduler_of_jobs_settles_the_index(upgraded, job, app, tmp_path):
    from invenio_jobs.models import Run
    from invenio_jobs.services.scheduler import RunScheduler

    def done() -> int:
        db.session.rollback()
        return [run.status.name for run in Run.query].count("SUCCESS")

    worker = Worker(tmp_path / "worker.log")
    worker.start()
    try:
        celery_app.flask_app = app
        scheduler = RunScheduler(app=celery_app, lazy=True)
        for number in (1, 2):  # the first look corrects, the second finds nothing
            later(upgraded)
            scheduler.sync()
            scheduler.apply_entry(scheduler.schedule[job])
            wait_until(lambda n=number: done() == n, "the job is done")
    finally:
        worker.kill()
    assert upgraded.run().settled_at is not None
    assert_as_after_full_reindex()


@pytest.mark.parametrize(
    ("scheduler", "level"),
    [("invenio_jobs.services.scheduler:RunScheduler", "warning"), ("", "fine")],
)
def test_check_asks_for_the_job(
    instance, job, app, engine, monkeypatch, scheduler, level
):
    from kcworks_migrations.checks import check

    def found() -> list[str]:
        return [line.level for line in check(engine) if line.name == "settling"]

    monkeypatch.setitem(app.config, "CELERY_BEAT_SCHEDULER", scheduler)
    assert found() == []
    forget_jobs()
    assert found() == [level]
