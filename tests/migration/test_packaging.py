# SPDX-FileCopyrightText: 2026 kcworks-migrations contributors
# SPDX-License-Identifier: MIT
"""Every way to install the package carries the three revisions to `invenio`.

Wheel and sdist are installed into environments of their own, away from the checkout,
that have everything that the running one has, except this package; the running one is
the editable installation. No service is needed.
"""

import os
import re
import subprocess
import sys
import sysconfig
import tarfile
import venv
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGE = "kcworks_migrations"
REVISIONS = {
    "7f3a51c9e0d2": "7f3a51c9e0d2_create_kcworks_migrations_branch.py",
    "a94c06be7d15": "a94c06be7d15_create_created_dates_tables.py",
    "c51d8e2f60b7": "c51d8e2f60b7_update_created_dates.py",
}
HEAD = "c51d8e2f60b7"
# Two commands of the program in one process, as each start takes some seconds.
HEADS_AND_BRANCHES = """
from flask.cli import ScriptInfo
from invenio_app.cli import cli
info = ScriptInfo(create_app=cli.create_app)
cli.main(["alembic", "heads"], obj=info, standalone_mode=False)
print("---")
cli.main(["alembic", "branches"], obj=info, standalone_mode=False)
"""
INVENIO = Path(sys.executable).with_name("invenio")

pytestmark = pytest.mark.skipif(
    not INVENIO.exists(), reason="needs an environment with Invenio: ./run-tests.sh"
)


def run(*command, cwd: Path, **more) -> str:
    """Run a command away from the checkout; give what it prints."""
    environment = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("INVENIO_", "PYTHON", "VIRTUAL_ENV"))
    }
    ran = subprocess.run(
        [str(part) for part in command],
        cwd=cwd,
        env=environment | {"PYTHONWARNINGS": "ignore"} | more,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, f"{command}\n{ran.stdout}\n{ran.stderr}"
    return ran.stdout


class Environment:
    """A virtual environment, used from a folder away from the checkout."""

    def __init__(self, python: Path, folder: Path) -> None:
        self.python = python
        self.folder = folder

    def find_package(self) -> str:
        """Give the file of the package, or ``None``."""
        spec = f"importlib.util.find_spec({PACKAGE!r})"
        code = f"import importlib.util; print(getattr({spec}, 'origin', None))"
        return self.execute("-c", code).strip()

    def execute(self, *arguments) -> str:
        """Run Python in this environment."""
        return run(
            self.python,
            *arguments,
            cwd=self.folder,
            INVENIO_INSTANCE_PATH=str(self.folder / "instance"),
        )

    def invenio(self, *arguments) -> str:
        """Run the real `invenio` in this environment."""
        return self.execute(INVENIO, *arguments)

    @property
    def site_packages(self) -> Path:
        """The folder where packages are installed."""
        paths = dict.fromkeys(("base", "platbase"), str(self.python.parents[1]))
        return Path(sysconfig.get_path("purelib", vars=paths))

    def package_files(self) -> dict[str, bytes]:
        """Give the installed files of the package by name."""
        return {
            str(path.relative_to(self.site_packages)): path.read_bytes()
            for path in (self.site_packages / PACKAGE).rglob("*")
            if path.is_file() and "__pycache__" not in path.parts
        }


def make_environment(folder: Path) -> Environment:
    """Make an environment with all that the running one has, except this package."""
    venv.create(folder / "venv", symlinks=True)
    environment = Environment(folder / "venv/bin/python", folder)
    # Links instead of a path in a .pth file: what is left out is not there, and the
    # .pth files of others work.
    left_out = re.compile(rf"(.*{PACKAGE}.*|__pycache__)").fullmatch
    for path in Path(sysconfig.get_path("purelib")).iterdir():
        if not left_out(path.name):
            (environment.site_packages / path.name).symlink_to(path)
    assert environment.find_package() == "None", "the package is there already"
    return environment


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """The wheel, built straight from the checkout, and the sdist."""
    folder = tmp_path_factory.mktemp("built")
    build = [sys.executable, "-m", "build", "--no-isolation", "--outdir", folder]
    run(*build, "--wheel", "--sdist", ROOT, cwd=folder)
    return {
        "wheel": next(folder.glob("*.whl")),
        "sdist": next(folder.glob("*.tar.gz")),
    }


@pytest.fixture(scope="module")
def environment_factory(built, tmp_path_factory):
    """Environments with the package, by the way it is installed, made when asked."""
    # What ./run-tests.sh makes is the editable installation.
    running = Environment(Path(sys.executable), tmp_path_factory.mktemp("editable"))
    made = {"editable": running}

    def make(way: str) -> Environment:
        if way not in made:
            environment = make_environment(tmp_path_factory.mktemp(way))
            # The build tools are linked as well, so nothing has to be downloaded.
            options = ["--no-deps", "--no-build-isolation", "--no-cache-dir"]
            environment.execute("-m", "pip", "install", *options, built[way])
            made[way] = environment
        return made[way]

    return make


def revisions_in(log: str) -> dict[str, str]:
    """Give the paths of the revisions of our branch in a verbose log."""
    entries = re.split(r"^(?=Rev: )", log, flags=re.MULTILINE)
    return {
        entry.split()[1]: re.search(r"^Path: (.+)$", entry, re.MULTILINE)[1]
        for entry in entries
        if re.search(rf"^Branch names: .*\b{PACKAGE}\b", entry, re.MULTILINE)
    }


@pytest.mark.parametrize("way", ["wheel", "sdist", "editable"])
def test_invenio_alembic_log_of_installation_has_the_three_revisions(
    way, environment_factory
):
    environment = environment_factory(way)
    home = ROOT if way == "editable" else environment.site_packages
    assert environment.find_package() == str(home / PACKAGE / "__init__.py")

    log = environment.invenio("alembic", "log", "--verbose")

    assert revisions_in(log) == {
        revision: str((home / PACKAGE / "alembic" / name).resolve())
        for revision, name in REVISIONS.items()
    }
    assert f"Rev: {HEAD} (head)" in log


@pytest.fixture(scope="module")
def heads_and_branches(environment_factory):
    """What `alembic heads` and `alembic branches` print in the wheel's environment."""
    heads, branches = (
        environment_factory("wheel").execute("-c", HEADS_AND_BRANCHES).split("---\n")
    )
    return heads, branches


def test_invenio_alembic_heads_of_wheel_has_one_head_of_the_branch(
    heads_and_branches,
):
    heads, _ = heads_and_branches

    ours = [line for line in heads.splitlines() if f"({PACKAGE})" in line]
    assert len(ours) == 1
    assert f"-> {HEAD} ({PACKAGE}) (head)" in ours[0]


def test_invenio_alembic_branches_of_wheel_has_none_within_the_branch(
    heads_and_branches,
):
    # The command lists revisions that more than one other follows. The history of a
    # branch that is a plain line has none, which keeps `kcworks_migrations@-1` clear.
    _, branches = heads_and_branches

    assert "(branchpoint)" in branches
    assert not any(revision in branches for revision in REVISIONS)


def test_installed_files_of_sdist_are_those_of_wheel(environment_factory):
    of_wheel = environment_factory("wheel").package_files()

    assert environment_factory("sdist").package_files() == of_wheel
    assert {name for name in of_wheel if name.startswith(f"{PACKAGE}/alembic/")} == {
        f"{PACKAGE}/alembic/{name}" for name in REVISIONS.values()
    }


def test_sdist_has_tests_and_licence_and_nothing_that_was_made(built):
    with tarfile.open(built["sdist"]) as sdist:
        members = sdist.getmembers()
    names = {member.name.partition("/")[2] for member in members}

    assert {"LICENSE", "README.md", "run-tests.sh", "tests/conftest.py"} <= names
    assert all(member.isfile() for member in members), "a link may not unpack"
    made = {".run", "__pycache__", ".git", ".hypothesis", ".mypy_cache", ".venv"}
    assert not [name for name in names if made & set(name.split("/"))]
