# SPDX-FileCopyrightText: 2026 kcworks-migrations contributors
# SPDX-License-Identifier: MIT
"""A job for invenio-jobs, whose scheduler never reads Celery's beat schedule."""

from invenio_jobs.jobs import JobType

from .tasks import settle_created_dates_task


class SettleCreatedDatesJob(JobType):
    """Compares the documents in the index with the database when that is due."""

    id = "settle_created_dates"
    title = "Settle created dates in the index"
    description = (
        "Compares the dates in the search index with the database after they were"
        " changed, and corrects them. Schedule it every five minutes; a run that is not"
        " due costs one query."
    )
    task = settle_created_dates_task
