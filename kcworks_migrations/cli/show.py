# SPDX-FileCopyrightText: 2026 kcworks-migrations contributors
# SPDX-License-Identifier: MIT
"""``show``: the history of one date, and what database and index hold now."""

from collections.abc import Mapping
from typing import Any

import click
from flask import current_app
from flask.cli import with_appcontext
from invenio_db import db
from invenio_indexer.proxies import current_indexer_registry
from invenio_search import current_search_client
from invenio_search.engine import search
from invenio_search.utils import build_alias_name

from .. import queries
from ..config import options_from
from ..database import Database, opened
from ..dates import show as show_instant
from ..names import INDEXER_OF_KIND
from ..rules import escape
from .common import echo_json

INDEX_TIMEOUT_SECONDS = 5


@click.command()
@click.argument("name", metavar="PID-OR-SLUG")
@click.option("--json", "is_json", is_flag=True, help="Print one JSON document.")
@with_appcontext
def show(name: str, is_json: bool) -> None:
    """Show what happened to the date of one record or community.

    Also its UUID finds it. What the database and the index hold now comes last.

    \b
    Examples:
      invenio kcworks-created-dates show 5f5st-kvr34
      invenio kcworks-created-dates show medieval-studies --json
    \f

    Raises:
        ClickException: The ledger has no entry of it.
    """  # noqa: D301 - click reads the escapes
    with opened(db.engine, options_from(current_app.config).lock_timeout_seconds) as d:
        entries = d.transaction(
            lambda: d.execute(queries.SELECT_HISTORY, label=name).mappings().all()
        )
        ids = dict.fromkeys((entry["kind"], entry["entity_id"]) for entry in entries)
        present = [_present(d, kind, id) for kind, id in ids]
    if not entries:
        raise click.ClickException(f"No date of {escape(name)} was ever changed.")
    if is_json:
        echo_json({"entries": [dict(entry) for entry in entries], "present": present})
        return
    for entry in entries:
        click.echo("\n".join(_lines(entry)))
    for now in present:
        click.echo(f"Now: {now['kind']} {now['entity_id']}")
        click.echo(f"  in the database {now['database'] or 'none, the row is gone'}")
        click.echo(f"  in the index    {now['index']}")


def _lines(e: Mapping[str, Any]) -> list[str]:
    source = f" of record {e['source_record_label']}" * bool(e["source_record_id"])
    lines = [
        f"Run {e['run_id']}: {e['kind']} {e['label']} ({e['entity_id']})",
        f"  from {show_instant(e['old_created'])}",
        f"  to   {show_instant(e['new_created'])}",
        f"  because of {e['source_value']}{source}",
        f"  changed {show_instant(e['changed_at'])}",
        f"  queued  {show_instant(e['queued_at'])}",
    ]
    if e["outcome"]:
        lines.append(f"  rollback: {e['outcome']} {show_instant(e['restored_at'])}")
    return lines


def _present(database: Database, kind: str, id: str) -> dict[str, str | None]:
    """Read what the database and the index hold of one row now."""

    def read() -> Any:
        return database.execute_on(kind, queries.SELECT_PRESENT, id=id).scalar()

    created = database.transaction(read)
    return {
        "kind": kind,
        "entity_id": id,
        "database": created and show_instant(created),
        "index": _in_index(kind, id),
    }


def _in_index(kind: str, id: str) -> str:
    """Give `created` of a document, or why there is none to give."""
    record_cls = current_indexer_registry.get(INDEXER_OF_KIND[kind]).record_cls
    try:
        document = current_search_client.get(
            index=build_alias_name(record_cls.index._name),
            id=id,
            _source_includes=["created"],
            request_timeout=INDEX_TIMEOUT_SECONDS,
        )
    except search.exceptions.NotFoundError:
        return "none"
    except search.exceptions.TransportError as error:
        return f"unknown, OpenSearch does not answer: {escape(str(error.error), 200)}"
    return escape(str(document["_source"].get("created")))
