# SPDX-FileCopyrightText: 2026 kcworks-migrations contributors
# SPDX-License-Identifier: MIT
"""What was done here before, by Alembic and by runs, and what comes next?"""

from collections.abc import Iterable

from flask import current_app
from sqlalchemy import text

from .. import locks
from ..config import SETTLE_TASK, options_from
from ..database import Database
from ..ledger import history, plans, runs, tables
from ..text import COMMAND, SAVE_PLAN, UPGRADE, counted, escape
from .line import Line, fine, stop, warning

UPDATE = f"`{COMMAND} update`"

HAS_JOB = text(
    "SELECT EXISTS (SELECT FROM jobs_job WHERE task = 'settle_created_dates' AND active"
    " AND schedule IS NOT NULL)"
)
SELECT_STAMPED = text("SELECT version_num FROM alembic_version")


def revision(database: Database) -> Iterable[Line]:
    """Tell which of our revisions are stamped; `what_to_do` is the next command."""
    if not database.has_table("alembic_version"):
        fact = "The database has no table alembic_version."
        todo = (
            "Check that SQLALCHEMY_DATABASE_URI names the instance's database. If so,"
            " restore that table from a backup: without it Alembic would begin anew."
        )
        yield stop("revision", fact, todo)
        return
    stamped = database.execute(SELECT_STAMPED).scalars().all()
    directory = current_app.extensions["invenio-db"].alembic.script_directory
    scripts = list(directory.walk_revisions())  # the newest first
    known = {script.revision for script in scripts}
    if unknown := [escape(version) for version in stamped if version not in known]:
        fact = f"No installed module has the stamped revision {', '.join(unknown)}."
        todo = "Install the release that has it: any `invenio alembic upgrade` fails."
        yield stop("revision", fact, todo)
        return
    yield _state(database, tables.state(database))


def _state(database: Database, now: tables.State) -> Line:
    """Compare the stamps with the tables and the runs."""
    if now.damage:
        return stop("revision", *now.damage)
    revision = tables.DATA_REVISION
    _, how = options_from(current_app.config)
    is_waiting = how.on_upgrade == "wait"
    upgrade, todo = f"`{UPGRADE}`", f"`{SAVE_PLAN}`" if is_waiting else UPDATE
    if left := plans.unfinished(database):
        upgrade = todo = f"`{left.complete}`"
    if not now.is_applied:
        which = "Pending, the tables are there" if now.tables else "Pending"
        return fine("revision", f"{which}: {revision}.", upgrade)
    if history.has_succeeded(database):
        return fine("revision", f"Done already: {revision}.", todo)
    if is_waiting:
        fact = f"{revision} is stamped and has changed no date: ON_UPGRADE is 'wait'."
        return fine("revision", fact, todo)
    fact = f"{revision} is stamped, as in a new database, but no run has succeeded:"
    return warning("revision", f"{fact} Alembic would do nothing.", todo)


def run(database: Database) -> Iterable[Line]:
    """Tell whether a run is at work, and which earlier ones did not finish."""
    if locks.holder(database):
        todo = f"Wait until it has ended: `{COMMAND} status`."
        shared = tables.shared_with(database)
        yield stop("run", "Another run is at work.", f"{todo} {shared}".strip())
        return
    if not tables.exist(database):
        return
    for last in history.latest_runs(database, 1):
        if last["action"] == "revert" and last["status"] != runs.SUCCEEDED:
            fact = f"Run {last['id']} (revert, {last['status']}) did not finish."
            todo = f"To restore the rest first: `{COMMAND} rollback`."
            yield warning("run", fact, todo)
    interrupted = plans.unfinished(database)
    if interrupted:
        _, how = options_from(current_app.config)
        level = warning if how.on_upgrade == "wait" else stop
        fact = f"Run {interrupted.run_id} of {interrupted.plan} was interrupted."
        todo = f"Complete it: `{interrupted.complete}`. Or give it up, and restore what"
        yield level("plan", fact, f"{todo} it has changed: `{interrupted.give_up}`.")
    for left in history.unfinished_runs(database):
        if interrupted and left.id == interrupted.run_id:
            continue
        changes = counted(left.standing, "change")
        fact = f"Run {left.id} ({left.action}, {left.status}) did not finish; its"
        todo = "The next run does the rest. To undo what stands:"
        undo = f"`{COMMAND} rollback --run {left.id}`."
        yield warning("run", f"{fact} {changes} stand.", f"{todo} {undo}")


def settling(database: Database) -> Iterable[Line]:
    """Tell if nobody will look whether the index has settled."""
    schedule = (current_app.config.get("CELERY_BEAT_SCHEDULE") or {}).values()
    is_in_beat = SETTLE_TASK in {entry.get("task") for entry in schedule}
    scheduler = str(current_app.config.get("CELERY_BEAT_SCHEDULER") or "")
    has_jobs = database.has_table("jobs_job")
    if has_jobs and database.execute(HAS_JOB).scalar_one():
        return
    job = "the job 'Settle created dates in the index', every five minutes,"
    if has_jobs and "RunScheduler" in scheduler:
        fact = "Beat is invenio-jobs' RunScheduler, and it has no job for the settling."
        yield warning("settling", fact, f"Create {job} in the administration.")
    elif not is_in_beat:
        fact = "CELERY_BEAT_SCHEDULE has no task that lets the index settle."
        yield warning("settling", fact, "Set KCWORKS_CREATED_DATES_SETTLE_FROM_BEAT.")
    elif has_jobs:
        todo = f"If beat runs as invenio-jobs' RunScheduler, create {job} as well."
        yield fine(
            "settling", "The index settles through Celery's beat schedule.", todo
        )
