# SPDX-FileCopyrightText: 2026 kcworks-migrations contributors
# SPDX-License-Identifier: MIT
"""The application, started once for all tests, on the instance that runs them."""

import os
import re
import shlex
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "demo"))
sys.path.insert(0, str(Path(__file__).parent))
import mark

# For the application here and for the programs that tests start: settings by which
# an operator waits for OpenSearch, and a test should not.
for name, seconds in {"QUEUE_DELAY_SECONDS": 0, "HEALTH_PAUSE_SECONDS": 1}.items():
    os.environ.setdefault(f"INVENIO_KCWORKS_CREATED_DATES_{name}", str(seconds))


def pytest_configure(config):
    """End before anything is written to an instance that is not the tests' own."""
    if mark.URI in os.environ and (told := mark.refusal()):
        pytest.exit(told, returncode=2)


@pytest.fixture(scope="session")
def app():
    """The REST application of the instance, with its context pushed."""
    if mark.URI not in os.environ:
        pytest.skip("needs an instance: use ./run-tests.sh")
    from invenio_app.factory import create_api

    app = create_api()
    with app.app_context():
        yield app


@pytest.fixture(scope="session")
def engine(app):
    """The engine of the instance's database."""
    from invenio_db import db

    return db.engine


@pytest.fixture
def small_messages(monkeypatch):
    """Put each id into a message of its own, so that there are many to break."""
    from kcworks_migrations.index import indexer

    monkeypatch.setattr(indexer, "MESSAGE_IDS", 1)


@pytest.fixture
def instance(app, engine):
    """An instance without records, communities or runs, and with empty queues."""
    from support.instance import Instance

    instance = Instance(engine)
    instance.empty()
    instance.empty_queues()
    return instance


@pytest.fixture
def invoke(app, instance, monkeypatch):
    """Call the command group in this process; give its result."""
    from kcworks_migrations.checks import services
    from kcworks_migrations.cli import created_dates

    # `check` waits as long for the answers of workers, of which there are none.
    monkeypatch.setattr(services, "PING_SECONDS", 0.1)

    def invoke(*arguments: str):
        return app.test_cli_runner().invoke(created_dates, [*map(str, arguments)])

    return invoke


@pytest.fixture(scope="module")
def worker_of_module(app, tmp_path_factory):
    """A Celery worker, the same for all tests of a module: it takes long to start."""
    from support.worker import Worker

    worker = Worker(tmp_path_factory.mktemp("worker") / "worker.log")
    yield worker
    worker.kill()


@pytest.fixture
def worker(instance, worker_of_module):
    """A Celery worker that takes no task before it is started; no task is queued."""
    from support.worker import forget_tasks

    forget_tasks()
    yield worker_of_module
    worker_of_module.rest()


@pytest.fixture
def typed(app, instance, invoke):
    """Type every command in a text, as far as it can be typed."""
    from support.faults import forget_connections

    def type_commands(text: str) -> None:
        commands = re.findall(r"`([^`]+)`", text)
        assert commands, text
        for command in commands:
            forget_connections(instance)
            if command.startswith("DELETE FROM"):
                instance.execute(command)
                continue
            invenio, group, *arguments = shlex.split(command)
            assert invenio == "invenio"
            if group == "alembic":
                alembic = app.cli.commands["alembic"]
                result = app.test_cli_runner().invoke(alembic, arguments)
            else:
                result = invoke(*arguments, "--yes")
            assert result.exit_code == 0, f"{command}: {result.output}"

    return type_commands
