# SPDX-FileCopyrightText: 2026 kcworks-migrations contributors
# SPDX-License-Identifier: MIT
"""The house: imports go down, and few places write."""

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import kcworks_migrations

PACKAGE = Path(kcworks_migrations.__file__).parent
OURS = "kcworks_created_dates_"

FLOORS = (
    ("pages",),
    ("cli", "jobs"),
    ("tasks",),
    ("rehearsal",),
    ("checks",),
    ("migration",),
    ("index",),
    ("report",),
    ("ledger",),
    ("rules",),
    (
        "config",
        "options",
        "database",
        "errors",
        "ext",
        "instance",
        "interrupt",
        "kinds",
        "locks",
        "models",
        "text",
        "values",
    ),
)
"""The rooms, the uppermost first; what is on the last floor is the ground."""

LATE_IMPORTS = {
    ("ext", "index"),  # the application is complete only then
    ("migration", "index"),  # what changes dates is importable without it
}
"""Imports in functions that may go down from where imports at the top may not go, or
up."""

INDEX_ONLY = {"kombu", "opensearchpy", "invenio_indexer", "invenio_search"}
"""What only `index/` may import. The tasks are Celery's."""

WRITE = re.compile(
    r"\b(UPDATE(?! OF\b)|INSERT INTO|DELETE FROM|MERGE INTO|TRUNCATE|COPY|ALTER TABLE"
    r"|DROP TABLE|CREATE TABLE|LOCK TABLE)\s+(ONLY\s+)?([\w{}\"]+)",
)
SQL = re.compile(
    r"\b(SELECT\b.+\bFROM|UPDATE\b.+\bSET|INSERT INTO|DELETE FROM)\b", re.DOTALL
)


def modules() -> Iterator[tuple[str, ast.Module]]:
    """Give every module of the package except the revisions, by its path."""
    for path in sorted(PACKAGE.rglob("*.py")):
        name = path.relative_to(PACKAGE).as_posix()
        if not name.startswith("alembic/"):
            yield name, ast.parse(path.read_text())


def room_of(name: str) -> str:
    """Name the room of a module, or the module itself where it has none."""
    return name.split("/")[0].removesuffix(".py")


def floor_of(room: str) -> int:
    """Give the number of a room's floor, 0 for the uppermost."""
    [number] = [n for n, rooms in enumerate(FLOORS) if room in rooms]
    return number


def imported(name: str, tree: ast.Module) -> Iterator[tuple[ast.stmt, str]]:
    """Give each import of a module with the absolute name of what is imported."""
    package = ["kcworks_migrations", *name.split("/")[:-1]]
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            where = ".".join([*base, *([node.module] if node.module else [])])
            yield from ((node, f"{where}.{alias.name}") for alias in node.names)


def strings(tree: ast.Module) -> Iterator[str]:
    """Give every string of a module that is no docstring, f-strings whole."""
    docstrings = {
        id(node.value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
    }
    parts = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            parts |= {id(value) for value in node.values}
            yield "".join(
                str(v.value) if isinstance(v, ast.Constant) else f"{{{ast.unparse(v)}}}"
                for v in node.values
            )
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            if id(node) not in docstrings and id(node) not in parts:
                yield node.value


def test_imports_go_down():
    up = []
    for name, tree in modules():
        room = room_of(name)
        if room == "__init__":
            continue
        at_the_top = set(map(id, tree.body))
        for node, target in imported(name, tree):
            parts = target.split(".")
            if parts[0] != "kcworks_migrations" or len(parts) < 2:
                continue
            is_late = id(node) not in at_the_top
            if is_late and (room, parts[1]) in LATE_IMPORTS:
                continue
            if floor_of(parts[1]) < floor_of(room):
                up.append(f"{name} imports {target}")
    assert up == []


def test_only_the_index_knows_its_services():
    found = [
        f"{name} imports {target}"
        for name, tree in modules()
        for _, target in imported(name, tree)
        if target.split(".")[0] in INDEX_ONLY and room_of(name) != "index"
    ]
    assert found == []


def test_only_the_ledger_names_our_tables():
    found = [
        f"{name}: {string}"
        for name, tree in modules()
        for string in strings(tree)
        if re.search(rf"{OURS}(run|backup|problem)\b", string)
        and room_of(name) not in ("ledger", "models")
    ]
    assert found == []


def test_commands_and_tasks_contain_no_sql():
    found = [
        f"{name}: {string}"
        for name, tree in modules()
        if room_of(name) in ("cli", "tasks")
        for string in strings(tree)
        if SQL.search(string)
    ]
    assert found == []


def test_exactly_two_statements_write_to_the_tables_of_the_instance():
    written = [
        (name, verb.upper(), table)
        for name, tree in modules()
        for string in strings(tree)
        for verb, _, table in WRITE.findall(string)
        if not table.startswith(OURS)
        and "in psql" not in string  # told to a person, not executed
    ]
    assert written == [("ledger/entries.py", "UPDATE", "{table}")] * 2


def test_our_own_tables_are_written_by_the_ledger_alone():
    rooms = {
        room_of(name)
        for name, tree in modules()
        for string in strings(tree)
        for _, _, table in WRITE.findall(string)
        if table.startswith(OURS)
    }
    assert rooms == {"ledger"}


def test_nothing_is_written_through_the_session():
    found = [
        f"{name}:{node.lineno}"
        for name, tree in modules()
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute)
        and node.attr in ("commit", "flush", "add", "merge", "delete", "execute")
        and ast.unparse(node.value).endswith("session")
    ]
    assert found == []


IMPORT_ALONE = """
import importlib, importlib.abc, pkgutil, sys

class Absent(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name.partition(".")[0] in {"kombu", "celery", "opensearchpy"}:
            raise ImportError(f"{name} can't be imported here")

sys.meta_path.insert(0, Absent())
for name in sys.argv[1:]:
    module = importlib.import_module(f"kcworks_migrations.{name}")
    for found in pkgutil.iter_modules(getattr(module, "__path__", ())):
        importlib.import_module(f"{module.__name__}.{found.name}")
"""


def test_what_changes_dates_is_imported_without_index_and_broker():
    names = ["rules", "ledger", "report", "migration", *FLOORS[-1]]
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", IMPORT_ALONE, *names],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
