# SPDX-FileCopyrightText: 2026 kcworks-migrations contributors
# SPDX-License-Identifier: MIT
"""Sends a notice when a run ends, by mail, webhook and signal. Off by default.

Whatever goes wrong here is logged and told on one line; it takes a bounded time and
never fails the run.
"""

import hashlib
import hmac
import logging
import socket
import threading
from collections.abc import Generator
from contextlib import contextmanager, suppress
from urllib.parse import urlsplit

import requests
from blinker import signal
from flask import current_app
from flask_mail import Message
from jinja2 import Environment, PackageLoader, select_autoescape
from requests.adapters import HTTPAdapter
from urllib3.util import Retry

from ..config import Notices, notices_from
from ..text import as_json, counted, escape
from .lines import index_lines, problem_lines, summary_lines
from .reporter import Reporter
from .summary import Summary

run_ended = signal("kcworks-created-dates-run-ended")
"""Sent with the application as the sender and `summary`, a `summary.Summary`."""

SIGNATURE_HEADER = "X-KCWorks-Signature"
"""``sha256=`` and the HMAC-SHA256 of the body in hexadecimal."""

MAIL_TIMEOUT_SECONDS = 10
"""How long the mail server may take for each of its answers."""

RETRIES = Retry(
    total=3,
    backoff_factor=0.5,  # after 0, 1 and 2 seconds
    status_forcelist=[429, 500, 502, 503, 504],
    allowed_methods=["POST"],
    redirect=0,
    raise_on_redirect=False,
    raise_on_status=False,
    respect_retry_after_header=False,  # it could be hours
)


class WebhookError(Exception):
    """Nobody took the document; the text has the host alone, not the URL."""

    def __init__(self, url: str, said: str) -> None:
        """Leave out the rest of the URL, which may be a secret."""
        where = "the URL"
        with suppress(ValueError):
            parts = urlsplit(url)
            where = f"{parts.scheme}://{parts.hostname}"
        super().__init__(f"{where}: {said}")


_templates = Environment(
    loader=PackageLoader("kcworks_migrations.report"), autoescape=select_autoescape()
)


def send(summary: Summary, reporter: Reporter) -> None:
    """Tell the end of a run, in every way that the settings ask for.

    Args:
        summary: What the run did, or why it stopped; or how the index is after it.
        reporter: Who is told when something can't be sent.
    """
    if summary.action == "rehearse" and summary.has_settled is not False:
        return  # whoever rehearses looks at it
    settings = notices_from(current_app.config)
    moment = "ended" if summary.has_settled is None else "settled"
    if (
        settings.notice_when not in {moment, "both"}
        and summary.has_settled is not False
    ):
        return
    for name, tell in (
        ("signal", _send_signal),
        ("webhook", _send_webhook),
        ("mail", _send_mail),
    ):
        try:
            tell(summary, settings)
        except Exception as error:  # the run has ended: nothing here may change how
            fact = escape(f"{type(error).__name__}: {error}", 200)
            if settings.webhook_secret:
                fact = fact.replace(settings.webhook_secret, "...")
            reporter.line(f"The {name} was not sent: {fact}", logging.WARNING)


def subject_of(summary: Summary) -> str:
    """Say on one line where, what and how."""
    site = escape(str(current_app.config.get("THEME_SITENAME") or "Invenio"), 60)
    what = "update" if summary.action == "apply" else "restoration"
    how = summary.status
    if how == "succeeded" and summary.statistics.errors:
        how = f"done with {counted(summary.statistics.errors, 'problem')}"
    if summary.has_settled is not None:
        how += ", index settled" if summary.has_settled else ", index does not settle"
    return f"{site}: {what} of created dates, run {summary.run_id}: {how}"


def _send_signal(summary: Summary, settings: Notices) -> None:
    app = current_app._get_current_object()  # type: ignore[attr-defined]
    run_ended.send(app, summary=summary)


def _send_webhook(summary: Summary, settings: Notices) -> None:
    """Post the summary; a redirect is not followed, it could lead anywhere.

    Raises:
        WebhookError: Nobody took it.
    """
    if not settings.webhook_url:
        return
    document = {"subject": subject_of(summary)} | summary.as_dict()
    body = as_json(document).encode()
    digest = hmac.new((settings.webhook_secret or "").encode(), body, hashlib.sha256)
    try:
        with requests.Session() as session, _without_log_of_urls():
            for scheme in ("http://", "https://"):
                session.mount(scheme, HTTPAdapter(max_retries=RETRIES))
            answer = session.post(
                settings.webhook_url,
                data=body,
                headers={
                    "Content-Type": "application/json",
                    SIGNATURE_HEADER: f"sha256={digest.hexdigest()}",
                },
                timeout=settings.webhook_timeout_seconds,
                allow_redirects=False,
                stream=True,  # the status is all that is read
            )
    except Exception as error:
        raise WebhookError(settings.webhook_url, _without_url(error)) from None
    if not answer.ok or answer.is_redirect:
        said = f"the answer was {answer.status_code}"
        raise WebhookError(settings.webhook_url, said)


def _without_url(error: Exception) -> str:
    """Name an error of requests and what the system said; its text has the URL."""
    name = type(error).__name__
    cause: BaseException | None = error
    while cause:
        if isinstance(cause, OSError) and cause.strerror:
            return f"{name}, {cause.strerror}"
        cause = cause.__cause__ or cause.__context__
    return name


@contextmanager
def _without_log_of_urls() -> Generator[None]:
    """Keep urllib3 from logging, in this thread, each request with its URL."""
    thread = threading.get_ident()
    names = ("urllib3.connectionpool", "urllib3.util.retry")
    logs = [logging.getLogger(name) for name in names]

    def is_of_another(record: logging.LogRecord) -> bool:
        return record.thread != thread

    for log in logs:
        log.addFilter(is_of_another)
    try:
        yield
    finally:
        for log in logs:
            log.removeFilter(is_of_another)


def _send_mail(summary: Summary, settings: Notices) -> None:
    if not settings.notice_recipients:
        return
    subject = subject_of(summary)
    values = {
        "subject": subject,
        "summary": summary,
        "lines": summary_lines(summary),
        "index": index_lines(summary),
        "problems": [
            "\n".join(problem_lines(p)).removeprefix("  - ") for p in summary.problems
        ],
    }
    message = Message(subject, recipients=list(settings.notice_recipients))
    message.body = _templates.get_template("notice.txt").render(values)
    message.html = _templates.get_template("notice.html").render(values)
    # Flask-Mail knows no timeout, so all sockets that are opened meanwhile get one.
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(MAIL_TIMEOUT_SECONDS)
    try:
        current_app.extensions["mail"].send(message)
    finally:
        socket.setdefaulttimeout(before)
