# SPDX-FileCopyrightText: 2026 kcworks-migrations contributors
# SPDX-License-Identifier: MIT
"""Show the dates of the demo's instance, and check every one of them.

``show.py FOLDER STAGE`` (before, after, corrected, restored) prints tables of some
records and communities as the REST API and the index give them, then compares all that
the database, the index and the REST API hold with what was saved before the migration
and with what the sample expects. The exit code says whether everything is as expected.
"""

import copy
import json
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import copies
import snapshot
from snapshot import Snapshot

RECORDS_SHOWN = (
    "seconds",
    "tenths",
    "poem",
    "poem, 2",
    "screenplay",
    "withdrawn",
    "right",
    "no legacy date",
    "day only",
    "no leap year",
    "in the future",
    "a number",
)
COMMUNITIES_SHOWN = (
    "medieval",
    "latin",
    "music",
    "digital",
    "film",
    "history",
    "members",
    "same-day",
    "older",
    "no-group",
    "only-bad-dates",
    "number",
)
EMBEDDING_SHOWN = (
    ("record", "glossary"),
    ("draft", "grammar"),
    ("draft", "hymnal"),
    ("community", "music"),
)
CORRECTED = {
    "record all bad": "2016-02-29T00:00:00+00:00",
    "community only-bad-dates": "2016-02-29T00:00:00+00:00",
}
"""What a curator's file changes: a record, and the community of its group."""

OWN_TABLES = ("kcworks_", "alembic_version")
DIFFERENCES_SHOWN = 20


class Demo:
    """The sample, what it was before the migration, and what it is now."""

    def __init__(self, folder: Path) -> None:
        """Read everything."""
        sample = json.loads((folder / "sample.json").read_text())
        self.items: dict[str, dict] = {
            f"{item['kind']} {item['name']}": item
            for kind in ("records", "drafts", "communities")
            for item in sample[kind].values()
        }
        self.before, _ = copies.load(folder)
        self.now = snapshot.take()
        api = (folder / "api.url").read_text()
        self.rest = {
            key(item): snapshot.rest(api, sample["token"], item)
            for item in self.items.values()
        }

    def expected_created(self, stage: str) -> dict[str, str]:
        """Return `created` of every row as it should be now."""
        created = dict(self.before.created)
        if stage in ("after", "corrected"):
            for item in self.items.values():
                if item["expected"]:
                    created[key(item)] = item["expected"]
        if stage == "corrected":
            for name, instant in CORRECTED.items():
                created[key(self.items[name])] = instant
        return created


def key(item: dict) -> str:
    """Return the key of an item in a snapshot."""
    return f"{item['kind']} {item['id']}"


# Tables
# ======


def short(created: str | None) -> str:
    """Return an instant to the second, as it fits into a table."""
    return created[:19].replace("T", " ") if created else "(none)"


def cut(text: str, width: int) -> str:
    """Return text that is printable and not too wide."""
    text = "".join(c if c.isprintable() else "?" for c in text)
    return text if len(text) <= width else text[: width - 3] + "..."


def print_table(headings: tuple[str, ...], rows: list[tuple[str, ...]]) -> None:
    """Print a table of 80 columns: the first two get 14 and 22, the others 19."""
    widths = (14, 22, 19, 19)
    print()
    for row in (headings, tuple("-" * width for width in widths), *rows):
        cells = [cut(c, w).ljust(w) for c, w in zip(row, widths, strict=False)]
        print("  ".join(cells).rstrip())


def print_rows(demo: Demo, kind: str, names: tuple[str, ...], legacy: str) -> None:
    """Print some records or communities as the REST API and the index give them."""
    rows = []
    for name in names:
        item = demo.items[f"{kind} {name}"]
        indexed = demo.now.documents[key(item)]["created"]
        rows.append((
            name,
            item["legacy"],
            short(demo.rest[key(item)]),
            short(indexed),
        ))
    print_table((kind, legacy, "created: REST API", "created: index"), rows)


def print_embedding(demo: Demo) -> None:
    """Print dates of communities in the documents of others."""
    names = {item["id"]: item["name"] for item in demo.items.values()}
    rows = []
    for kind, name in EMBEDDING_SHOWN:
        document = demo.now.documents[key(demo.items[f"{kind} {name}"])]
        for community, below in embedded(document):
            what = f"parent of {below['slug']}" if below else names[community["id"]]
            rows.append((name, kind, what, short(community["created"])))
    print_table(("document", "is of a", "embeds", "with created"), rows)


def embedded(document: dict) -> Iterator[tuple[dict, dict | None]]:
    """Yield the communities that a document embeds, and of which each is the parent."""
    parent = document.get("parent") or {}
    if "communities" in parent:
        for entry in parent["communities"].get("entries", []):
            yield entry, None
            if entry.get("parent"):
                yield entry["parent"], entry
    elif "slug" in parent:
        yield parent, document


# Checks
# ======


def expected_documents(before: Snapshot, created: dict[str, str]) -> dict[str, dict]:
    """Return the index as it should be when the rows have these dates.

    Args:
        before: Has the documents of before, which are right but for the dates.
        created: `created` of every row.
    """
    documents = copy.deepcopy(before.documents)
    for name, document in documents.items():
        if name in created:
            document["created"] = created[name]
            for community, _ in embedded(document):
                community["created"] = created[f"community {community['id']}"]
    return documents


def differences(expected: Any, found: Any, path: str = "") -> Iterator[str]:
    """Yield every leaf in which two JSON values differ."""
    if isinstance(expected, dict) and isinstance(found, dict):
        for name in sorted(expected.keys() | found.keys()):
            yield from differences(
                expected.get(name), found.get(name), f"{path}.{name}" if path else name
            )
    elif (
        isinstance(expected, list)
        and isinstance(found, list)
        and len(expected) == len(found)
    ):
        for number, (a, b) in enumerate(zip(expected, found, strict=True)):
            yield from differences(a, b, f"{path}[{number}]")
    elif expected != found:
        yield f"{path}: expected {expected!r}, found {found!r}"


def check_database(demo: Demo, created: dict[str, str]) -> Iterator[str]:
    """Yield what is wrong in the database: every date, and every other column."""
    for line in differences(created, demo.now.created):
        yield f"database, created of {line}"
    before, now = (
        {name: f for name, f in s.tables.items() if not name.startswith(OWN_TABLES)}
        for s in (demo.before, demo.now)
    )
    for name in before.keys() | now.keys():
        if before.get(name) != now.get(name):
            yield f"database, table {name}: something else has changed"


def check_index(demo: Demo, created: dict[str, str]) -> Iterator[str]:
    """Yield what is wrong in the index, leaf by leaf."""
    expected = expected_documents(demo.before, created)
    for line in differences(expected, demo.now.documents):
        yield f"index, {line}"


def check_rest(demo: Demo, created: dict[str, str]) -> Iterator[str]:
    """Yield what is wrong in the REST API, which may fail on malformed rows."""
    for item in demo.items.values():
        found = demo.rest[key(item)]
        may_fail = item["is_broken"] or item["is_deleted"]
        if found != created[key(item)] and (found is not None or not may_fail):
            yield (
                f"REST API, {item['kind']} {item['name']}:"
                f" expected {created[key(item)]}, found {found}"
            )


def check_problems(demo: Demo) -> Iterator[str]:
    """Yield the problems that the upgrade should have reported, or should not have."""
    if "kcworks_created_dates_problem" not in demo.now.tables:
        yield "database: the tables of the upgrade are not there"
        return
    names = {item["id"]: item["name"] for item in demo.items.values()}
    expected = Counter(
        (item["id"], reason)
        for item in demo.items.values()
        for reason in item["reasons"]
    )
    found = Counter((id_, reason) for id_, reason in snapshot.problems())
    for id_, reason in expected - found:
        yield f"problem {reason} of {names[id_]} was not reported"
    for id_, reason in found - expected:
        yield f"problem {reason} of {names.get(id_, id_)} was reported"


def check(demo: Demo, stage: str) -> list[str]:
    """Return everything that is not as expected."""
    created = demo.expected_created(stage)
    wrong = [
        *check_database(demo, created),
        *check_index(demo, created),
        *check_rest(demo, created),
    ]
    if stage == "after":
        wrong += check_problems(demo)
    return wrong


def print_verdict(demo: Demo, stage: str, wrong: list[str]) -> None:
    """Say what was compared, or what is not as expected."""
    if wrong:
        names = {key(i): f"{i['kind']} '{i['name']}'" for i in demo.items.values()}
        print(f"\nNOT AS EXPECTED ({len(wrong)}):")
        for line in wrong[:DIFFERENCES_SHOWN]:
            for id_, name in names.items():
                line = line.replace(id_, name)
            print(f"  {line}")
        if len(wrong) > DIFFERENCES_SHOWN:
            print(f"  ... and {len(wrong) - DIFFERENCES_SHOWN} more")
        return
    changed = Counter(i["kind"] for i in demo.items.values() if i["expected"])
    rows = len(demo.now.created)
    answers = sum(value is not None for value in demo.rest.values())
    facts = {
        "before": "Checked: database, index and REST API agree.",
        "after": (
            f"Checked: {changed['record']} records and {changed['community']}"
            " communities have their true date,\n  every other column of every table"
            " is as before."
        ),
        "corrected": (
            "Checked: the corrected record and the community of its group follow the"
            " file,\n  everything else is as it was after the upgrade."
        ),
        "restored": "Checked: everything is as it was before the upgrade.",
    }
    print(f"\n{facts[stage]}")
    print(
        f"  Compared: {rows} rows and {len(demo.now.tables)} tables,"
        f" {len(demo.now.documents)} documents leaf by leaf,\n  {answers} answers of"
        " the REST API."
    )


def main() -> None:
    """Print the tables, then check."""
    folder, stage = Path(sys.argv[1]), sys.argv[2]
    demo = Demo(folder)
    if stage == "corrected":
        print_rows(demo, "record", ("all bad",), "legacy date")
        print_rows(demo, "community", ("only-bad-dates",), "group")
    else:
        print_rows(demo, "record", RECORDS_SHOWN, "legacy date")
        print_rows(demo, "community", COMMUNITIES_SHOWN, "group")
        print_embedding(demo)
    wrong = check(demo, stage)
    print_verdict(demo, stage, wrong)
    sys.exit(bool(wrong))


if __name__ == "__main__":
    main()
