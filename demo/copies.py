# SPDX-FileCopyrightText: 2026 kcworks-migrations contributors
# SPDX-License-Identifier: MIT
"""Keep a copy of the filled instance, and put it back in seconds.

``copies.py FOLDER save`` copies the database (as a template of PostgreSQL) and the
indices of records, drafts and communities (as clones), and writes down what they hold.
``is-saved`` and ``is-as-saved`` tell by the exit code, and ``restore`` puts it back.
"""

import json
import os
import sys
import urllib.error
from dataclasses import asdict
from pathlib import Path

import mark
import snapshot
from clients import (
    create_database,
    drop_database,
    end_connections,
    psql,
    require_mark,
)
from snapshot import database_uri, search

PREFIX = os.environ["INVENIO_SEARCH_INDEX_PREFIX"]
KINDS = ("rdmrecords-records-", "rdmrecords-drafts-", "communities-")


def load(folder: Path) -> tuple[snapshot.Snapshot, dict]:
    """Return what the instance held when it was saved, and the aliases of its indices.

    Args:
        folder: Where ``save`` has written it.
    """
    kept = json.loads((folder / "saved.json").read_text())
    return snapshot.Snapshot(**kept["snapshot"]), kept["aliases"]


def indices_and_aliases() -> dict[str, dict]:
    """Return the indices that hold what the migration touches, with their aliases."""
    found = search(f"/{PREFIX}*/_alias")
    counts = search(f"/{PREFIX}*/_stats/docs")["indices"]
    return {
        index: entry["aliases"]
        for index, entry in found.items()
        if index.removeprefix(PREFIX).startswith(KINDS)
        and "percolators" not in index
        and counts[index]["primaries"]["docs"]["count"]
    }


def copy_database(source: str, target: str) -> None:
    """Make a database from another one, ending the connections to both.

    Raises:
        Failure: PostgreSQL refused.
    """
    uri = database_uri()
    require_mark(uri, target)
    drop_database(uri, target)
    end_connections(uri, source)
    create_database(uri, target, template=source)


def clone(source: str, target: str, aliases: dict, is_writable: bool) -> None:
    """Make an index from another one, with the same versions of its documents."""
    delete(target)
    block_writes(source, True)
    settings = {"index.blocks.write": None if is_writable else True}
    body = {"settings": settings, "aliases": aliases}
    search(f"/{source}/_clone/{target}", "PUT", body)


def block_writes(index: str, is_blocked: bool | None) -> None:
    """Make an index read-only, as a clone asks for, or writable again."""
    search(f"/{index}/_settings", "PUT", {"index.blocks.write": is_blocked})


def delete(index: str) -> None:
    """Delete an index, if it is there."""
    try:
        search(f"/{index}", "DELETE")
    except urllib.error.HTTPError as error:
        if error.code != 404:
            raise


def copy_of(index: str) -> str:
    """Return the name of the copy of an index."""
    return f"{PREFIX}template-{index.removeprefix(PREFIX)}"


def names() -> tuple[str, str]:
    """Return the name of the instance's database and that of its copy."""
    name = database_uri().rpartition("/")[2]
    return name, f"{name}_template"


def save(folder: Path) -> None:
    """Copy everything."""
    (folder / "saved.json").unlink(missing_ok=True)
    aliases = indices_and_aliases()
    for index in aliases:
        clone(index, copy_of(index), {}, is_writable=False)
        block_writes(index, None)
    copy_database(*names())
    kept = {"snapshot": asdict(snapshot.take()), "aliases": aliases}
    (folder / "saved.json").write_text(json.dumps(kept))


def restore(folder: Path) -> None:
    """Put everything back; nothing of the instance may be running."""
    copy_database(*reversed(names()))
    for index, aliases in load(folder)[1].items():
        clone(copy_of(index), index, aliases, is_writable=True)


def is_saved(folder: Path) -> bool:
    """Return whether there is a copy of everything."""
    if not (folder / "saved.json").exists():
        return False
    server = database_uri().rpartition("/")[0] + "/postgres"
    query = f"SELECT 1 FROM pg_database WHERE datname = '{names()[1]}'"
    found = search(f"/{PREFIX}template-*")
    wanted = {copy_of(index) for index in load(folder)[1]}
    return bool(psql(server, query)) and wanted <= set(found)


def is_as_saved(folder: Path) -> bool:
    """Return whether database and index hold exactly what was saved."""
    return snapshot.take() == load(folder)[0]


def main() -> None:
    """Run one command."""
    mark.require()
    folder = Path(sys.argv[1])
    match sys.argv[2]:
        case "save":
            save(folder)
        case "restore":
            restore(folder)
        case "is-saved":
            sys.exit(not is_saved(folder))
        case "is-as-saved":
            sys.exit(not is_as_saved(folder))


if __name__ == "__main__":
    main()
