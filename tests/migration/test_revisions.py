# SPDX-FileCopyrightText: 2026 kcworks-migrations contributors
# SPDX-License-Identifier: MIT
"""The revisions as they stand: a plain line of three, frozen; and the file headers."""

import ast
import importlib.util
import subprocess
from pathlib import Path

import pytest

from kcworks_migrations.kinds import COMMUNITY, DRAFT, MEMBERSHIPS, RECORD
from kcworks_migrations.migration import revision as frozen

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "alembic"
BRANCH = "kcworks_migrations"
FIRST, TABLES, DATA = "7f3a51c9e0d2", "a94c06be7d15", "c51d8e2f60b7"
SPDX = (
    "SPDX-FileCopyrightText: 2026 kcworks-migrations contributors",
    "SPDX-License-Identifier: MIT",
)


def file_of(revision: str) -> Path:
    (path,) = FOLDER.glob(f"{revision}_*.py")
    return path


def load(revision: str):
    """Load a revision from its file, as Alembic does."""
    path = file_of(revision)
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def imports_of(path: Path) -> set[str]:
    """Give the modules that a file imports anywhere, within functions as well."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names.add("." * node.level + (node.module or ""))
    return names


# --- the files -----------------------------------------------------------------------


def test_folder_has_exactly_the_three_revisions():
    # And no `__init__.py`, which would make the folder shadow the library.
    names = {path.name for path in FOLDER.iterdir()} - {"__pycache__"}

    assert names == {file_of(revision).name for revision in (FIRST, TABLES, DATA)}


def test_package_links_to_the_folder():
    link = ROOT / "kcworks_migrations" / "alembic"

    assert link.is_symlink()
    assert link.readlink() == Path("../alembic")


def test_revisions_are_a_line_of_their_own():
    line = [load(revision) for revision in (FIRST, TABLES, DATA)]

    assert [module.revision for module in line] == [FIRST, TABLES, DATA]
    assert [module.down_revision for module in line] == [None, FIRST, TABLES]
    assert [tuple(module.branch_labels) for module in line] == [(BRANCH,), (), ()]


def test_revisions_depend_only_on_what_creates_the_tables():
    assert load(FIRST).depends_on is None
    assert load(TABLES).depends_on is None
    assert set(load(DATA).depends_on) == {
        "4a15e8671f4d",
        "9e0ac518b9df",
        "de9c14cbb0b2",
    }


def test_table_revision_imports_nothing_from_the_package():
    for revision in (FIRST, TABLES):
        roots = {name.partition(".")[0] for name in imports_of(file_of(revision))}

        assert roots <= {"os", "time", "typing", "sqlalchemy", "click", "alembic"}


def test_data_revision_imports_one_function_to_apply_and_one_to_revert():
    tree = ast.parse(file_of(DATA).read_text(encoding="utf-8"))

    assert imports_of(file_of(DATA)) == {
        "alembic",
        "kcworks_migrations.migration.revision",
    }
    imported = {
        function.name: [
            alias.name
            for node in ast.walk(function)
            if isinstance(node, ast.ImportFrom)
            for alias in node.names
        ]
        for function in tree.body
        if isinstance(function, ast.FunctionDef)
    }
    assert imported == {"upgrade": ["apply"], "downgrade": ["revert"]}
    assert callable(frozen.apply)
    assert callable(frozen.revert)


# --- in the history of the instance --------------------------------------------------


@pytest.fixture(scope="module")
def script(app):
    """All revisions of the instance, as Alembic reads them."""
    return app.extensions["invenio-db"].alembic.script_directory


def test_history_has_our_branch_with_one_head(script):
    heads = [head for head in script.get_heads() if branch_of(script, head)]

    assert heads == [DATA]
    ours = [
        r.revision for r in script.walk_revisions() if branch_of(script, r.revision)
    ]
    assert sorted(ours) == sorted([FIRST, TABLES, DATA])


def branch_of(script, revision: str) -> bool:
    return BRANCH in script.get_revision(revision).branch_labels


def test_history_has_each_touched_table_before_the_data_revision(script):
    before = script.iterate_revisions(DATA, "base", implicit_base=True)
    source = "".join(Path(r.path).read_text(encoding="utf-8") for r in before)

    for table in (
        RECORD.table,
        DRAFT.table,
        COMMUNITY.table,
        MEMBERSHIPS,
    ):
        assert f'create_table(\n        "{table}"' in source.replace("'", '"'), table


def targets(steps) -> list[str]:
    return [step.revision.revision for step in steps]


def test_upgrade_to_heads_from_nothing_ends_with_every_revision_once(script):
    steps = targets(script._upgrade_revs("heads", ()))

    assert len(steps) == len(set(steps)) == len(list(script.walk_revisions()))
    ours = [revision for revision in steps if branch_of(script, revision)]
    assert ours == [FIRST, TABLES, DATA]


def stamped(script) -> set[str]:
    """Give what a complete instance is stamped with."""
    return {head.revision for head in script.get_revisions("heads")}


@pytest.mark.parametrize("target", ["heads", f"{BRANCH}@head"])
def test_upgrade_of_complete_instance_runs_our_three_revisions_only(target, script):
    never_had_us = tuple(stamped(script) - {DATA})

    steps = targets(script._upgrade_revs(target, never_had_us))

    assert steps == [FIRST, TABLES, DATA]


def test_downgrade_of_our_branch_by_one_undoes_the_data_revision_only(script):
    heads = tuple(stamped(script))

    steps = targets(script._downgrade_revs(f"{BRANCH}@-1", heads))

    assert steps == [DATA]


def test_downgrade_of_our_branch_by_two_steps_undoes_the_tables_next(script):
    heads = tuple(stamped(script) - {DATA} | {TABLES})

    assert targets(script._downgrade_revs(f"{BRANCH}@-1", heads)) == [TABLES]


# --- every file ----------------------------------------------------------------------

WITH_HEADER = {".py", ".sh", ".toml", ".cfg", ".xml", ".yml", ".yaml", ".html", ".md"}
# A change log is only read, and the licence says itself what it is.
WITHOUT_HEADER = {"CHANGES.md", "LICENSE"}


def tracked_files() -> list[Path]:
    """Give the files in Git, as they stand in the working tree."""
    listed = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    if listed.returncode:
        pytest.skip("not a Git checkout")
    paths = [ROOT / name for name in listed.stdout.split("\0") if name]
    return [path for path in paths if path.is_file() and not path.is_symlink()]


def is_to_have_header(path: Path) -> bool:
    if path.name in WITHOUT_HEADER:
        return False
    return path.suffix in WITH_HEADER or path.read_bytes().startswith(b"#!")


def test_tracked_text_files_begin_with_the_spdx_header():
    files = [path for path in tracked_files() if is_to_have_header(path)]
    assert ROOT / "run-tests.sh" in files
    assert ROOT / ".ci/run" in files

    missing = []
    for path in files:
        start = path.read_text(encoding="utf-8").splitlines()[:6]
        if not all(any(line in s for s in start) for line in SPDX):
            missing.append(str(path.relative_to(ROOT)))

    assert missing == []
