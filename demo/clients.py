# SPDX-FileCopyrightText: 2026 kcworks-migrations contributors
# SPDX-License-Identifier: MIT
"""Talk to the services with the standard library and ``psql``."""

import json
import os
import shutil
import socket
import subprocess
import time
import urllib.error
import urllib.request
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

from common import Failure

PATIENCE_SECONDS = 120

MARK = "made by kcworks-migrations, whose demo and tests empty it"
"""The comment of a database that may be emptied and dropped. It is not in a dump."""


def psql(uri: str, statement: str) -> str:
    """Run one SQL statement.

    Args:
        uri: The database.
        statement: The SQL.

    Returns:
        The rows, one per line.

    Raises:
        Failure: ``psql`` is missing, or it failed.
    """
    program = shutil.which("psql")
    if not program:
        raise Failure("psql is missing: install the package postgresql-client")
    command = [program, "-XAtq", "-v", "ON_ERROR_STOP=1", "-c", statement, uri]
    environment = os.environ | {"PGCONNECT_TIMEOUT": "3"}
    run = subprocess.run(command, capture_output=True, text=True, env=environment)
    if run.returncode:
        raise Failure(f"psql: {run.stderr.strip()}")
    return run.stdout.strip()


def database_uri(uri: str, name: str) -> str:
    """Return the address of another database on the same server."""
    parts = urlsplit(uri)
    scheme = parts.scheme.partition("+")[0]  # SQLAlchemy's +psycopg2
    return urlunsplit((scheme, parts.netloc, f"/{name}", parts.query, ""))


def database_name(uri: str) -> str:
    """Return the name of a database."""
    return urlsplit(uri).path.removeprefix("/")


def has_database(uri: str, name: str) -> bool:
    """Return whether a server has a database."""
    query = f"SELECT 1 FROM pg_database WHERE datname = '{name}'"
    return bool(psql(database_uri(uri, "postgres"), query))


def is_marked(uri: str) -> bool:
    """Return whether a database was made here; it is only read."""
    query = (
        "SELECT shobj_description(oid, 'pg_database') FROM pg_database"
        " WHERE datname = current_database()"
    )
    return psql(database_uri(uri, database_name(uri)), query) == MARK


def create_database(uri: str, name: str, template: str = "template1") -> None:
    """Create a database unless it exists, and mark it as made here."""
    server = database_uri(uri, "postgres")
    if not has_database(uri, name):
        psql(server, f'CREATE DATABASE "{name}" TEMPLATE "{template}"')
        psql(server, f"COMMENT ON DATABASE \"{name}\" IS '{MARK}'")


def require_mark(uri: str, name: str) -> None:
    """Refuse to touch a database that was not made here.

    Args:
        uri: The server.
        name: The database, which may be absent.

    Raises:
        Failure: It exists without the mark.
    """
    if has_database(uri, name) and not is_marked(database_uri(uri, name)):
        raise Failure(
            f"the database {name} was not made by demo/setup.sh, so it is left alone:"
            " rename it, or drop it yourself"
        )


def end_connections(uri: str, name: str) -> None:
    """End every connection to a database."""
    end = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE datname"
    psql(database_uri(uri, "postgres"), f"{end} = '{name}'")


def drop_database(uri: str, name: str) -> None:
    """Drop a database, ending its connections: PostgreSQL 12 can't by itself."""
    end_connections(uri, name)
    psql(database_uri(uri, "postgres"), f'DROP DATABASE IF EXISTS "{name}"')


def opensearch(host: str, path: str, method: str = "GET") -> dict:
    """Return the JSON that OpenSearch answers to one request."""
    base = host if "://" in host else f"http://{host}"
    request = urllib.request.Request(f"{base}{path}", method=method)
    with urllib.request.urlopen(request, timeout=30) as response:
        return json.load(response)


def delete_indices(host: str, pattern: str) -> None:
    """Delete indices and index templates.

    Args:
        host: The server.
        pattern: Matches their names.

    Raises:
        HTTPError: OpenSearch refused.
    """
    for path in (f"/{pattern}", f"/_index_template/{pattern}", f"/_template/{pattern}"):
        try:
            opensearch(host, path, "DELETE")
        except urllib.error.HTTPError as error:
            if error.code != 404:  # nothing matches
                raise


def redis(uri: str, *command: str) -> str:
    """Send one command to Redis.

    Args:
        uri: The server, with password and database when there are any.
        command: The words of the command.

    Returns:
        The first line of the answer.

    Raises:
        Failure: Redis answered with an error.
    """
    parts = urlsplit(uri)
    lines = [" ".join(command)]
    if database := parts.path.strip("/"):
        lines.insert(0, f"SELECT {database}")
    if parts.password:
        lines.insert(0, f"AUTH {parts.username or ''} {parts.password}")
    address = (parts.hostname, parts.port or 6379)
    answer = ""
    with socket.create_connection(address, timeout=5) as connection:
        stream = connection.makefile("rw", newline="\r\n")
        for line in lines:
            stream.write(f"{line}\r\n")
            stream.flush()
            answer = stream.readline().strip()
            if not answer.startswith(("+", ":", "$")):
                raise Failure(f"Redis: {line.split()[0]}: {answer or 'no answer'}")
    return answer


def amqp(uri: str) -> None:
    """Greet the broker and expect its first frame (AMQP 0-9-1, Connection.Start).

    Args:
        uri: The broker.

    Raises:
        Failure: Something else answers.
    """
    parts = urlsplit(uri)
    address = (parts.hostname, parts.port or 5672)
    with socket.create_connection(address, timeout=5) as connection:
        connection.sendall(b"AMQP\x00\x00\x09\x01")
        frame = connection.recv(11)
    if frame[:1] + frame[7:11] != b"\x01\x00\x0a\x00\x0a":
        raise Failure(f"RabbitMQ: unexpected answer {frame!r}")


def check(service: str, uri: str) -> None:
    """Fail unless a service can do its work now."""
    match service:
        case "postgresql":
            psql(database_uri(uri, "postgres"), "SELECT 1")
        case "opensearch":
            opensearch(uri, "/_cluster/health?wait_for_status=yellow&timeout=20s")
        case "rabbitmq":
            amqp(uri)
        case "redis":
            redis(uri, "PING")


def wait_until_ready(
    service: str, uri: str, process: subprocess.Popen | None, log: Path
) -> None:
    """Wait until a service answers in its own protocol.

    Args:
        service: The name of the service.
        uri: Its address.
        process: The server, when it was started just now.
        log: Where that server writes.

    Raises:
        Failure: It ended, or did not answer in time; with the end of its log.
    """
    patience = PATIENCE_SECONDS if process else 20
    deadline = time.monotonic() + patience
    while True:
        try:
            return check(service, uri)
        except (Failure, OSError) as error:
            reason = str(error)
        if process and process.poll() is not None:
            reason = f"ended with status {process.returncode}"
        elif time.monotonic() < deadline:
            time.sleep(0.2)
            continue
        tail = ""
        if process and log.exists():
            lines = log.read_text(errors="replace").splitlines()[-20:]
            tail = f"\n--- end of {log}:\n" + "\n".join(lines)
        raise Failure(f"{service} at {uri} is not ready: {reason}{tail}")
