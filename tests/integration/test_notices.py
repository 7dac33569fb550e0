# SPDX-FileCopyrightText: 2026 kcworks-migrations contributors
# SPDX-License-Identifier: MIT
"""Notices of the end of a run, over real SMTP and HTTP servers on loopback."""

import email.policy
import hashlib
import hmac
import json
import logging
import socket
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from aiosmtpd.controller import Controller
from flask import current_app
from sqlalchemy import text
from support.faults import broker_at, other_connection

from kcworks_migrations import database
from kcworks_migrations.errors import (
    RunFailedError,
    RunStoppedError,
    ServiceFailedError,
)
from kcworks_migrations.migration import run, upgrade
from kcworks_migrations.report import notices

LEGACY = "2016-02-29T13:11:39Z"
SECRET = "between you and me"
PREFIX = "KCWORKS_CREATED_DATES_"
TOKEN = "T0K3N-of-a-chat"


@pytest.fixture
def setting(app, monkeypatch):
    """Set settings of this package."""

    def set_(**values):
        for name, value in values.items():
            monkeypatch.setitem(app.config, PREFIX + name, value)

    return set_


class Inbox:
    """Keeps what an SMTP server receives."""

    def __init__(self) -> None:
        self.messages = []

    async def handle_DATA(self, server, session, envelope):  # noqa: N802
        policy = email.policy.default
        self.messages.append(email.message_from_bytes(envelope.content, policy=policy))
        return "250 OK"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.fixture
def mail_to(app, setting, monkeypatch):
    """Send mail to a port of loopback."""

    def to(port: int) -> None:
        state = app.extensions["mail"]
        monkeypatch.setattr(state, "server", "127.0.0.1")
        monkeypatch.setattr(state, "port", port)
        monkeypatch.setattr(state, "suppress", False)
        monkeypatch.setattr(state, "default_sender", "works@example.org")
        setting(NOTICE_RECIPIENTS=["operator@example.org"])

    return to


@pytest.fixture
def inbox(mail_to):
    """A real SMTP server, to which the instance sends its mail."""
    inbox = Inbox()
    controller = Controller(inbox, hostname="127.0.0.1", port=free_port())
    controller.start()
    mail_to(controller.port)
    yield inbox.messages
    controller.stop()


@pytest.fixture
def hook(setting):
    """A real HTTP server that answers with the given statuses, then with 200."""
    received, answers = [], []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):  # noqa: N802
            body = self.rfile.read(int(self.headers["Content-Length"]))
            received.append((self.path, dict(self.headers), body))
            self.send_response(answers.pop(0) if answers else 200)
            self.send_header("Location", "/elsewhere")
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *args):
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, args=[0.02], daemon=True).start()
    setting(
        WEBHOOK_URL=f"http://127.0.0.1:{server.server_port}/hook",
        WEBHOOK_SECRET=SECRET,
        WEBHOOK_TIMEOUT_SECONDS=1,
    )
    received_and_answers = (received, answers)
    yield received_and_answers
    server.shutdown()
    server.server_close()


def stop_early(instance, monkeypatch) -> None:
    """Interrupt a run when its records are done."""

    def interrupt(*args):
        raise KeyboardInterrupt

    monkeypatch.setattr(upgrade.Upgrade, "retry_locked", interrupt)
    with pytest.raises(RunStoppedError):
        instance.upgrade()


def test_nobody_is_told_by_default(instance, monkeypatch):
    def fail(*args, **kwargs):
        raise AssertionError("nobody asked for it")

    monkeypatch.setattr(notices.requests, "Session", fail)
    monkeypatch.setattr(notices, "Message", fail)
    instance.record(LEGACY)
    instance.upgrade()


def test_a_mail_has_statistics_problems_and_the_next_command(instance, inbox):
    instance.record(LEGACY)
    instance.record("<b>no date</b>", label="<i>bad</i>")
    run_id = instance.upgrade().run_id
    (mail,) = inbox
    assert mail["To"] == "operator@example.org"
    assert f"run {run_id}: done with 1 problem" in mail["Subject"]
    plain = mail.get_body(("plain",)).get_content()
    assert "<i>bad</i>" in plain
    assert f"invenio kcworks-created-dates problems --run {run_id}" in plain
    assert max(map(len, plain.splitlines()[1:])) <= 80
    html = mail.get_body(("html",)).get_content()
    assert "&lt;i&gt;bad&lt;/i&gt;" in html and "<i>bad" not in html
    assert '<th scope="row">records</th><td>2</td><td>1</td>' in html


def test_a_mail_tells_of_a_run_that_stopped(instance, inbox, monkeypatch):
    instance.record(LEGACY)
    stop_early(instance, monkeypatch)
    (mail,) = inbox
    assert mail["Subject"].endswith("stopped")
    plain = mail.get_body(("plain",)).get_content()
    assert "Run the same command again" in " ".join(plain.split())
    assert "records               1          1" in plain


def test_a_mail_tells_of_a_run_whose_database_is_gone(instance, inbox, monkeypatch):
    """Nobody could write into its row how it ended."""
    instance.record(LEGACY)

    @contextmanager
    def gone(*args, **options):
        raise ServiceFailedError("The database", "it is gone")
        yield

    monkeypatch.setattr(run, "opened", gone)
    stop_early(instance, monkeypatch)
    (mail,) = inbox
    assert mail["Subject"].endswith("stopped")
    plain = mail.get_body(("plain",)).get_content()
    assert "records               1          1" in plain
    assert "it was stopped by Ctrl-C" in plain


def test_a_mail_names_the_unfinished_runs_before_it(instance, inbox, monkeypatch):
    instance.many(3, 1)
    stop_early(instance, monkeypatch)
    run_id = instance.run().id
    stop_early(instance, monkeypatch)
    assert len(inbox) == 2
    for kind in ("plain", "html"):
        undo = f"rollback --run {run_id}"
        told = [undo in mail.get_body((kind,)).get_content() for mail in inbox]
        assert told == [False, True], kind


def test_a_mail_tells_what_the_database_said(instance, inbox):
    instance.record(LEGACY)
    with instance.engine.begin() as connection:
        for statement in (
            "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS"
            " $$ BEGIN RAISE 'no room left'; END $$",
            "CREATE TRIGGER refuse BEFORE UPDATE ON rdm_records_metadata"
            " FOR EACH ROW EXECUTE FUNCTION refuse()",
        ):
            connection.execute(text(statement))
    try:
        with pytest.raises(RunFailedError):
            instance.upgrade()
    finally:
        instance.execute("DROP FUNCTION refuse CASCADE")
    (mail,) = inbox
    assert mail["Subject"].endswith("failed")
    assert "no room left" in mail.get_body(("plain",)).get_content()
    assert "no room left" in mail.get_body(("html",)).get_content()


def test_a_mail_server_that_hangs_is_not_waited_for(instance, mail_to, monkeypatch):
    monkeypatch.setattr(notices, "MAIL_TIMEOUT_SECONDS", 0.5)
    instance.record(LEGACY)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        mail_to(silent.getsockname()[1])
        assert instance.upgrade().status == "succeeded"
    assert socket.getdefaulttimeout() is None


def test_a_mail_server_that_is_down_is_told_on_one_line(instance, mail_to, capsys):
    mail_to(free_port())
    instance.record(LEGACY)
    assert instance.upgrade().statistics.updated == 1
    assert "WARNING: The mail was not sent: Connection" in capsys.readouterr().err


def test_a_webhook_is_signed(instance, hook):
    received, _ = hook
    instance.record(LEGACY)
    instance.record("yesterday", label="bad")
    summary = instance.upgrade()
    ((path, headers, body),) = received
    digest = hmac.new(SECRET.encode(), body, hashlib.sha256).hexdigest()
    assert headers[notices.SIGNATURE_HEADER] == f"sha256={digest}"
    document = json.loads(body)
    assert document["run"] == summary.run_id
    assert document["statistics"] == instance.run().statistics
    assert document["problems"][0]["label"] == "bad"
    assert document["pending"] == 0
    assert SECRET not in body.decode()


def test_a_webhook_of_a_run_that_stopped_says_where(instance, hook, monkeypatch):
    received, _ = hook
    instance.record(LEGACY)
    stop_early(instance, monkeypatch)
    document = json.loads(received[0][2])
    assert document["statistics"] == instance.run().statistics
    assert document["statistics"]["stopped_early"] is True
    assert document["statistics"]["stopped_at_record"] == 1
    assert document["pending"] == 1


def test_a_webhook_is_tried_again(instance, hook):
    received, answers = hook
    answers += [500, 503]
    instance.record(LEGACY)
    instance.upgrade()
    assert len(received) == 3
    assert len({body for _, _, body in received}) == 1


@pytest.mark.parametrize(("status", "tries"), [(500, 4), (400, 1), (302, 1)])
def test_a_webhook_that_fails_does_not_fail_the_run(
    instance, hook, capsys, status, tries
):
    received, answers = hook
    answers += [status] * 5
    instance.record(LEGACY)
    assert instance.upgrade().status == "succeeded"
    assert [path for path, _, _ in received] == ["/hook"] * tries
    err = capsys.readouterr().err
    assert "The webhook was not sent" in err and SECRET not in err


def test_a_webhook_that_hangs_is_not_waited_for(instance, hook, setting):
    instance.record(LEGACY)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        setting(WEBHOOK_URL=f"http://127.0.0.1:{silent.getsockname()[1]}/")
        assert instance.upgrade().status == "succeeded"


def test_a_signal_has_the_application_and_the_summary(app, instance):
    told = []

    def on_end(sender, summary):
        told.append((sender, summary))
        raise RuntimeError("a receiver that fails")

    with notices.run_ended.connected_to(on_end):
        summary = instance.upgrade()
    ((sender, got),) = told
    assert sender is app and got is summary


def test_a_dry_run_tells_nobody(instance, inbox):
    instance.record(LEGACY)
    instance.preview()
    assert not inbox


# --- what is secret ------------------------------------------------------------------


@pytest.mark.parametrize("end", ["refused", "404", "unreadable"])
def test_a_webhook_that_fails_tells_its_host_alone(
    instance, setting, hook, capsys, caplog, end
):
    caplog.set_level(logging.DEBUG)
    host = f"127.0.0.1:{free_port()}"
    if end == "404":
        host = current_app.config[PREFIX + "WEBHOOK_URL"].split("/")[2]
        hook[1].append(404)
    elif end == "unreadable":
        host = "[no-address"
    setting(WEBHOOK_URL=f"http://works:{TOKEN}@{host}/{TOKEN}?key={TOKEN}")
    instance.record(LEGACY)
    assert instance.upgrade().status == "succeeded"
    said = caplog.text + "".join(capsys.readouterr())
    assert "The webhook was not sent" in said
    assert TOKEN not in said
    if end != "unreadable":
        assert "http://127.0.0.1" in said


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("WEBHOOK_URL", f"hooks.example.org/{TOKEN}"),
        ("WEBHOOK_URL", ["https://hooks.example.org/" + TOKEN]),
        ("WEBHOOK_SECERT", TOKEN),  # misspelt
    ],
)
def test_a_wrong_setting_keeps_its_secret(app, invoke, monkeypatch, name, value):
    monkeypatch.setitem(app.config, PREFIX + name, value)
    for command in (("update", "--yes"), ("check",), ("check", "--json")):
        done = invoke(*command)
        assert done.exit_code in (1, 2)
        assert name in done.output
        assert TOKEN not in done.output


@pytest.mark.parametrize("uri", ["{}/x@127.0.0.1:1", "x@127.0.0.1:{}", "x@[{}"])
def test_the_address_of_a_broker_keeps_its_password(instance, invoke, uri):
    instance.record(LEGACY)
    with broker_at("amqp://works:" + uri.format(TOKEN)):
        commands = ("update --yes", "update --yes --background", "check --json")
        done = {command: invoke(*command.split()) for command in commands}
    said = [result.output + repr(result.exception) for result in done.values()]
    assert TOKEN not in "".join([*said, instance.run().message])
    assert [result.exit_code for result in done.values()] == [3, 3, 1]
    assert instance.run().status == "succeeded"
    assert "address" in instance.run().message


def test_a_statement_of_another_session_is_told_nobody(
    instance, invoke, inbox, hook, caplog, monkeypatch
):
    caplog.set_level(logging.DEBUG, "kcworks_migrations")
    monkeypatch.setattr(database, "PAUSES_SECONDS", ())
    monkeypatch.setitem(current_app.config, PREFIX + "LOCK_TIMEOUT_SECONDS", 1)
    instance.record(LEGACY)
    with other_connection(instance) as other:
        other.cursor().execute("SET application_name = 'psql of somebody'")
        other.cursor().execute(
            f"LOCK TABLE rdm_records_metadata IN SHARE MODE; SELECT '{TOKEN}'"
        )
        pid = other.info.backend_pid
        looked = [invoke("check"), invoke("check", "--json")]
        done = invoke("update", "--yes")
    assert (done.exit_code, instance.run().status) == (3, "failed")
    looked += [done, invoke("status"), invoke("status", "--json")]
    (mail,) = inbox
    ((_, _, document),) = hook[0]
    told = [instance.run().message, document.decode(), caplog.text]
    told += [mail.get_body((kind,)).get_content() for kind in ("plain", "html")]
    told += [result.output for result in looked]
    assert TOKEN not in "".join(told)
    assert f"Process {pid} (psql of somebody) has locked a whole table" in told[0]
    assert f"SELECT query FROM pg_stat_activity WHERE pid = {pid}" in told[0]
