# SPDX-FileCopyrightText: 2026 kcworks-migrations contributors
# SPDX-License-Identifier: MIT
"""``reindex`` and ``verify``: what of the changes is in the search index."""

import click
from flask import current_app
from invenio_db import db

from ..config import options_from
from ..errors import CreatedDatesError, RunStoppedError, ServiceFailedError
from ..index import compare, outbox, settle
from ..interrupt import interrupt
from ..report.reporter import Reporter
from ..text import COMMAND, counted
from .common import json_option, reading, tell
from .group import created_dates


@created_dates.command()
@click.option(
    "--all",
    "is_again",
    is_flag=True,
    help="Reindex every change of the ledger again, for example after the queues or"
    " the index were lost.",
)
@click.option(
    "--wait",
    "is_here",
    is_flag=True,
    help="Index here, straight from the outbox, and end when all is done; neither"
    " the broker nor a worker is needed.",
)
@json_option
def reindex(is_again: bool, is_here: bool, is_json: bool) -> None:
    """Queue the changes whose reindexing is pending.

    The exit status is 0 when all is done, 1 when OpenSearch refused documents, and 3
    when it stopped early; the same command then does the rest.

    \b
    Examples:
      invenio kcworks-created-dates reindex
      invenio kcworks-created-dates reindex --wait
      invenio kcworks-created-dates reindex --all --wait
    \f

    Raises:
        CreatedDatesError: Something is still pending.
    """  # noqa: D301 - click reads the escapes
    _, how = options_from(current_app.config)
    # Without `--all`, which would begin again.
    command = f"{COMMAND} reindex" + " --wait" * is_here
    reporter = Reporter(how.verbose)
    try:
        with interrupt() as check_stop:
            sent = outbox.send_pending(
                db.engine, how, reporter, check_stop, is_again, is_here
            )
    except (RunStoppedError, ServiceFailedError) as error:
        raise CreatedDatesError(error.fact, f"To do the rest: `{command}`.") from error
    verb = "indexed" if is_here else "queued"
    refused = f", {sent.refused} refused" if is_here else ""
    documents, changes = counted(sent.sent, "document"), counted(sent.pending, "change")
    lines = [f"{documents} {verb}{refused}; {changes} pending."]
    if not (sent.sent or sent.pending or sent.refused):
        lines = [
            "No change is pending. What was queued before is corrected by workers, and",
            "here and now, whatever became of it, by:",
            f"  {COMMAND} verify --fix",
        ]
    if sent.refused:
        lines.append(f"What OpenSearch said: {COMMAND} problems --reason index_refused")
    document = {verb: sent.sent, "refused": sent.refused}
    tell(is_json, document | {"pending": sent.pending, "error": sent.error}, lines)
    if sent.error or sent.pending:
        raise CreatedDatesError(
            f"Stopped early: {sent.error or 'changes are pending'}. Nothing is lost.",
            f"When that is mended, run `{command}`.",
        )
    click.get_current_context().exit(1 if sent.refused else 0)


@created_dates.command()
@click.option(
    "--fix",
    is_flag=True,
    help="Bring the documents right that are not.",
)
@click.option(
    "--sample",
    type=click.IntRange(1),
    metavar="N",
    help="Compare about N documents of each kind.",
)
@json_option
def verify(fix: bool, sample: int | None, is_json: bool) -> None:
    """Compare the database, the ledger and the index.

    Every changed row is compared with what the ledger says, and every document that
    holds a changed date with the database: of records, drafts and communities.
    Nothing is written unless --fix is given: the index settles by itself.

    The exit status is 0 when all is right and nothing is pending, else 1.

    \b
    Examples:
      invenio kcworks-created-dates verify
      invenio kcworks-created-dates verify --sample 1000
      invenio kcworks-created-dates verify --fix
      invenio kcworks-created-dates verify --json > verdict.json
    \f

    Raises:
        ServiceFailedError: OpenSearch failed.
    """  # noqa: D301 - click reads the escapes
    _, how = options_from(current_app.config)
    with reading(is_json):
        pass  # there is something to compare
    with interrupt() as check:
        verdict = None
        if fix and sample is None:  # a look that is due does the same, and counts
            verdict = settle.look(db.engine, how, check)
        verdict = verdict or compare.verify(db.engine, how, sample, fix, check)
    if verdict.error:
        raise ServiceFailedError("OpenSearch", verdict.error)
    lines = [verdict.line(), *verdict.examples(), *verdict.advice()]
    tell(is_json, verdict.as_dict(), lines)
    click.get_current_context().exit(0 if verdict.is_clean else 1)
