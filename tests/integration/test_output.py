# SPDX-FileCopyrightText: 2026 kcworks-migrations contributors
# SPDX-License-Identifier: MIT
"""Where nothing can be printed, what was done stays done."""

import os
import pty
import subprocess
import sys
from contextlib import contextmanager

import pytest
from celery import current_app as celery_app
from flask.cli import ScriptInfo
from invenio_db import db
from invenio_search import current_search
from support.faults import stamped_before_the_data
from support.instance import forget_broker_connections, utc
from support.worker import forget_tasks

from kcworks_migrations.cli import created_dates

LEGACY = "2016-02-29T13:11:39Z"
UPDATE = "invenio kcworks-created-dates update --yes"
UPGRADE = "invenio alembic upgrade kcworks_migrations@head"
DATA_REVISION = "c51d8e2f60b7"


def shell(command: str) -> subprocess.CompletedProcess:
    """Run a line of bash; its status is that of the first program of its pipe."""
    path = os.path.dirname(sys.executable) + os.pathsep + os.environ["PATH"]
    return subprocess.run(
        ["bash", "-c", f"{command}; exit ${{PIPESTATUS[0]}}"],
        capture_output=True,
        env={**os.environ, "PATH": path, "PYTHONWARNINGS": "ignore"},
        timeout=120,
    )


def end_as_python_does(status: int) -> int:
    """Flush what is buffered, as the interpreter does when it ends."""
    try:
        for stream in (sys.stdout, sys.stderr):
            if stream is not None:
                stream.flush()
    except Exception:
        return 120
    return status


def run_here(app, arguments, out: int | None, encoding: str) -> None:
    """Run a command in a forked process that prints there; never returns."""
    status = 70
    try:
        for number in (1, 2):
            if out is None:
                os.close(number)
            else:
                os.dup2(out, number)
        sys.stdout = out and open(1, "w", encoding=encoding)
        sys.stderr = out and open(2, "w", 1, encoding, "backslashreplace")
        celery_app._after_fork()
        current_search._client = None
        created_dates.main(arguments, obj=ScriptInfo(create_app=lambda: app))
    except SystemExit as end:
        status = end_as_python_does(end.code or 0)
    finally:
        os._exit(status)


@pytest.fixture
def printing_to(app, instance):
    """Begin a command in a process of its own that prints there; give its end.

    Forked, as the whole program needs many seconds to load.
    """

    @contextmanager
    def begin(
        out: int | None, *arguments: str, encoding: str = "utf-8", not_its: int = -1
    ):
        db.session.remove()
        instance.engine.dispose()  # no connection may be used by two
        forget_broker_connections()
        child = os.fork()
        if child == 0:
            if not_its >= 0:
                os.close(not_its)
            run_here(app, arguments, out, encoding)

        def end() -> int:
            return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])

        yield end

    return begin


@pytest.fixture(params=["no reader", "closed", "full disk"])
def dead_end(request):
    """A file that can't be written, or none at all."""
    if request.param == "closed":
        yield None
        return
    if request.param == "full disk":
        end = os.open("/dev/full", os.O_WRONLY)
    else:
        reader, end = os.pipe()
        os.close(reader)
    yield end
    os.close(end)


def check_done(instance, record: str, origin: str = "cli") -> None:
    """Check that the one record is changed, queued, and that the run says so."""
    run = instance.run()
    assert (run.status, run.message, run.origin) == ("succeeded", None, origin)
    assert instance.created(record) == utc("2016-02-29T13:11:39")
    assert instance.queued("records") == [record]
    assert all(entry.queued_at for entry in instance.backup())


def test_the_program_without_a_reader_has_succeeded(instance):
    record = instance.record(LEGACY)
    done = shell(f"{UPDATE} 2>&1 | true")
    check_done(instance, record)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("output", ["| true", "2>&-"])
def test_an_upgrade_that_can_not_print_is_stamped(instance, output):
    record = instance.record(LEGACY)
    with stamped_before_the_data(instance):
        done = shell(f"{UPGRADE} {output}")
        versions = instance.execute("SELECT version_num FROM alembic_version")
        check_done(instance, record, "alembic")
        assert (DATA_REVISION,) in versions
    assert done.returncode == 0, done.stderr
    assert b"Exception ignored" not in done.stderr


@pytest.mark.parametrize("more", [(), ("--json", "--verbose")])
def test_an_update_that_can_not_print_has_succeeded(
    instance, printing_to, dead_end, more
):
    record = instance.record(LEGACY)
    with printing_to(dead_end, "update", "--yes", *more) as end:
        assert end() == 0
    check_done(instance, record)


def test_an_update_that_can_not_print_its_problems_ends_with_1(
    instance, printing_to, dead_end
):
    record = instance.record(LEGACY)
    instance.record("yesterday")
    with printing_to(dead_end, "update", "--yes") as end:
        assert end() == 1
    check_done(instance, record)


def test_a_rollback_that_can_not_print_has_succeeded(instance, printing_to, dead_end):
    record = instance.record(LEGACY)
    before = instance.created(record)
    instance.upgrade()
    with printing_to(dead_end, "rollback", "--yes") as end:
        assert end() == 0
    assert (instance.run().action, instance.run().status) == ("revert", "succeeded")
    assert instance.created(record) == before


@pytest.mark.parametrize(
    "command",
    [("rehearse", "--yes"), ("reindex",), ("update", "--background", "--yes")],
)
def test_what_was_done_keeps_its_status(instance, printing_to, dead_end, command):
    with printing_to(dead_end, *command) as end:
        assert end() == 0
    forget_tasks()


def test_csv_without_a_reader_is_no_unexpected_error(instance):
    instance.record("yesterday")
    instance.upgrade()
    done = shell("invenio kcworks-created-dates problems --csv | true")
    assert done.returncode == 1
    assert b"Traceback" not in done.stderr and b"ignored" not in done.stderr


def test_a_refusal_that_can_not_be_printed_keeps_its_status(
    app, instance, printing_to, dead_end, monkeypatch
):
    monkeypatch.setitem(app.config, "KCWORKS_CREATED_DATES_BATCH_SIZE", 0)
    with printing_to(dead_end, "update", "--yes") as end:
        assert end() == 2


def test_a_character_that_can_not_be_printed_is_escaped(
    instance, printing_to, tmp_path
):
    record = instance.record(LEGACY)
    instance.record("gestern \u2014 nie")
    with (
        (tmp_path / "output").open("wb") as file,
        printing_to(file.fileno(), "update", "--yes", encoding="latin-1") as end,
    ):
        assert end() == 1  # done with problems
    check_done(instance, record)
    assert b"gestern \\u2014 nie" in (tmp_path / "output").read_bytes()


def test_a_terminal_that_goes_away_does_not_fail_the_update(instance, printing_to):
    instance.many(60, 1)
    # It is no controlling terminal, whose end would send a signal.
    terminal, its_end = pty.openpty()
    update = ("update", "--yes", "--batch-size", "10", "--delay", "0.1")
    with printing_to(its_end, *update, not_its=terminal) as end:
        os.close(its_end)
        seen = b""
        while b"Records" not in seen:  # the bar of the progress
            seen += os.read(terminal, 1000)
        os.close(terminal)
        assert end() == 1  # some dates are wrong
    assert instance.run().status == "succeeded"
    assert instance.run().statistics["records"]["total_found"] == 60
    assert not instance.scalar(
        "SELECT count(*) FROM kcworks_created_dates_backup WHERE queued_at IS NULL"
    )
