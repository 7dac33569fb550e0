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
from ..rules import Problem, escape
from ..summary import problem_lines
from .common import echo_json

INDEX_TIMEOUT_SECONDS = 5


@click.command()
@click.argument("name", metavar="PID-OR-SLUG")
@click.option("--json", "is_json", is_flag=True, help="Print one JSON document.")
@with_appcontext
def show(name: str, is_json: bool) -> None:
    """Show the history of one record's or community's date.

    Also its UUID finds it. What the database and the index hold now comes last.

    \b
    Examples:
      invenio kcworks-created-dates show 5f5st-kvr34
      invenio kcworks-created-dates show medieval-studies --json
    \f

    Raises:
        UsageError: There is no such record or community, and never was one.
    """  # noqa: D301 - click reads the escapes
    with opened(db.engine, options_from(current_app.config).lock_timeout_seconds) as d:
        found = d.transaction(_read, d, name)
        ids = dict.fromkeys(
            (row["kind"], row["entity_id"]) for rows in found.values() for row in rows
        )
        present = [
            _present(d, kind, id) for kind, id in ids if kind in queries.TABLE_OF_KIND
        ]
    if not present:
        raise click.UsageError(f"No record and no community is named {escape(name)}.")
    entries, problems = found["entries"], found["problems"]
    if is_json:
        echo_json({"entries": entries, "problems": problems, "present": present})
        return
    for entry in entries:
        click.echo("\n".join(_lines(entry)))
    for p in problems:
        words = (p["label"], p["kind"], p["reason"], p["value"])
        problem = Problem(p["entity_id"], *words)
        click.echo(f"Run {p['run_id']}: a problem, {show_instant(p['found_at'])}")
        click.echo("\n".join(problem_lines(problem)))
    if not entries:
        click.echo("Its date was never changed by this package.")
    for now in present:
        click.echo(f"Now: {now['kind']} {now['entity_id']}")
        click.echo(f"  in the database {now['database'] or 'none, the row is gone'}")
        click.echo(f"  in the index    {now['index']}")


def _read(database: Database, name: str) -> dict[str, list[dict[str, Any]]]:
    """Read what is known by a name: entries, problems, and the rows themselves."""

    def read(query: Any) -> list[dict[str, Any]]:
        return [dict(row) for row in database.execute(query, label=name).mappings()]

    rows = [
        {"kind": kind, "entity_id": row[0]}
        for kind, query in queries.SELECT_NAMED.items()
        for row in database.execute_on(kind, query, label=name)
    ]
    return {
        "entries": read(queries.SELECT_HISTORY),
        "problems": read(queries.SELECT_PROBLEMS_OF),
        "rows": rows,
    }


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
