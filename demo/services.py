#!/usr/bin/env python3
# SPDX-FileCopyrightText: 2026 kcworks-migrations contributors
# SPDX-License-Identifier: MIT
"""Find or start PostgreSQL, OpenSearch, RabbitMQ and Redis for the demo and tests.

For each service, the first of these that exists is used:

1. the one that the environment names (``KCWORKS_POSTGRESQL_URI``,
   ``KCWORKS_OPENSEARCH_HOST``, ``KCWORKS_RABBITMQ_URI``, ``KCWORKS_REDIS_URI``);
2. a container of ``docker-services-cli``, when a Docker engine answers;
3. a server of the project's own (Linux only): on 127.0.0.1, on a free port, with its
   data in a folder below the temporary folder. ``servers.py`` says how each starts.
   ``POSTGRES`` and ``OPENSEARCH`` in the environment choose between versions.

What is running is written to ``demo/.run/services.json``; nothing else is ever
stopped. Messages go to standard error, so that the output of ``env`` can be evaluated.
"""

import argparse
import fcntl
import json
import os
import re
import shlex
import shutil
import sys
from collections.abc import Generator
from contextlib import contextmanager

import clients
import processes
from common import DATA, RUN, Failure
from containers import docker_can_serve, docker_down, docker_up
from servers import RABBITMQ, SERVERS

STATE = RUN / "services.json"
REDIS_DATABASES_PER_INSTANCE = 5
VARIABLES = {
    "postgresql": "KCWORKS_POSTGRESQL_URI",
    "opensearch": "KCWORKS_OPENSEARCH_HOST",
    "rabbitmq": "KCWORKS_RABBITMQ_URI",
    "redis": "KCWORKS_REDIS_URI",
}


@contextmanager
def locked_state() -> Generator[dict, None, None]:
    """Give the state to one process at a time and save it, also after a failure.

    Yields:
        The content of ``services.json``: ``services`` has one entry for each service
        that was started, ``instances`` the first Redis database of each instance.
    """
    RUN.mkdir(exist_ok=True)
    with (RUN / "services.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        state = json.loads(STATE.read_text()) if STATE.exists() else {}
        state.setdefault("services", {})
        state.setdefault("instances", {})
        try:
            yield state
        finally:
            STATE.write_text(json.dumps(state, indent=2) + "\n")


def addresses(state: dict) -> dict[str, str]:
    """Return the address of each service: the environment wins."""
    started = {name: entry["uri"] for name, entry in state["services"].items()}
    named = {s: os.environ[v] for s, v in VARIABLES.items() if os.environ.get(v)}
    return started | named


def is_own(state: dict, service: str) -> bool:
    """Return whether a service is a server that this script started itself."""
    entry = state["services"].get(service, {})
    return not os.environ.get(VARIABLES[service]) and entry.get("kind") == "own"


def check_versions(state: dict) -> None:
    """Refuse to use a server of another version than the environment chooses.

    Args:
        state: The state.

    Raises:
        Failure: Such a server runs; with what to do.
    """
    for service, entry in state["services"].items():
        server = SERVERS[service]
        is_used = not os.environ.get(VARIABLES[service]) and (
            entry["kind"] == "docker" or processes.is_running(entry)
        )
        if is_used and (runs := entry.get("version", "")) != server.version:
            raise Failure(
                f"{server.label} is wanted, but {runs or 'another version'} is running:"
                " end it with demo/services.py down"
                + (f", or choose it with {server.variable}={runs}" if runs else "")
            )


def up(state: dict) -> None:
    """Make every service answer; starts what does not run."""
    check_versions(state)
    missing = [service for service in SERVERS if service not in addresses(state)]
    if missing and docker_can_serve(missing):
        docker_up(state, missing)
    started = {}
    for service, server in SERVERS.items():
        if is_own(state, service) or service not in addresses(state):
            entry = state["services"].setdefault(service, {"kind": "own", "uri": ""})
            try:
                started[service] = server.start(entry)
            finally:
                if not entry["uri"]:  # could not be installed: leave no trace
                    del state["services"][service]
    for service, server in SERVERS.items():
        uri = addresses(state)[service]
        clients.wait_until_ready(service, uri, started.get(service), server.log)


def down(state: dict, purge: bool) -> None:
    """End what this script started, and nothing else."""
    entries = state["services"]
    if any(entry["kind"] == "docker" for entry in entries.values()):
        docker_down()
    for service, entry in list(entries.items()):
        if entry["kind"] == "own":
            SERVERS[service].stop(entry)
        if entry["kind"] == "docker" or purge:
            del entries[service]
    if purge:
        state["instances"].clear()
        shutil.rmtree(DATA, ignore_errors=True)


def own_entry(state: dict, service: str) -> dict:
    """Return what is known about a server of our own.

    Args:
        state: The state.
        service: The service.

    Returns:
        Its entry.

    Raises:
        Failure: The service is not a server of our own.
    """
    if not is_own(state, service):
        raise Failure(f"{service} was not started by this script: not touching it")
    return state["services"][service]


def start(state: dict, service: str) -> None:
    """Start one server of our own again, on its old port and data."""
    entry, server = own_entry(state, service), SERVERS[service]
    process = server.start(entry)
    clients.wait_until_ready(service, entry["uri"], process, server.log)


def redis_uris(state: dict, name: str) -> list[str]:
    """Return the Redis databases of an instance: a block of its own for each name.

    Args:
        state: Remembers which block belongs to which name.
        name: The instance.

    Returns:
        One address per database.
    """
    instances = state["instances"]
    if name not in instances:
        blocks = {i * REDIS_DATABASES_PER_INSTANCE for i in range(len(instances) + 1)}
        instances[name] = min(blocks - set(instances.values()))
    base = re.sub(r"/\d*$", "", addresses(state)["redis"])
    first = instances[name]
    return [f"{base}/{first + i}" for i in range(REDIS_DATABASES_PER_INSTANCE)]


def broker_uri(state: dict, name: str) -> str:
    """Return the broker address of an instance, with a virtual host of its own.

    Args:
        state: Remembers which virtual hosts were created.
        name: The instance, which names the virtual host.

    Returns:
        The address; a broker that is not ours keeps the virtual host it was given with.
    """
    uri = addresses(state)["rabbitmq"]
    if not is_own(state, "rabbitmq"):
        return uri
    vhosts = state["services"]["rabbitmq"].setdefault("vhosts", [])
    if name not in vhosts:
        RABBITMQ.ctl("add_vhost", name)
        RABBITMQ.ctl("set_permissions", "--vhost", name, "guest", ".*", ".*", ".*")
        vhosts.append(name)
    return f"{uri.rstrip('/')}/{name}"


def instance_environment(state: dict, name: str) -> dict[str, str]:
    """Return the settings of an instance; creates what it needs in the services."""
    postgresql = addresses(state)["postgresql"]
    if not is_own(state, "postgresql"):
        clients.require_mark(postgresql, name)
    clients.create_database(postgresql, name)
    broker = broker_uri(state, name)
    cache, sessions, results, limits, identities = redis_uris(state, name)
    database = clients.database_uri(postgresql, name).partition("://")[2]
    return {
        "INVENIO_SQLALCHEMY_DATABASE_URI": f"postgresql+psycopg2://{database}",
        "INVENIO_SEARCH_HOSTS": repr([addresses(state)["opensearch"]]),
        "INVENIO_SEARCH_INDEX_PREFIX": f"{name}-",
        "INVENIO_BROKER_URL": broker,
        "INVENIO_CELERY_BROKER_URL": broker,
        "INVENIO_CELERY_RESULT_BACKEND": results,
        "INVENIO_CACHE_REDIS_URL": cache,
        "INVENIO_IIIF_CACHE_REDIS_URL": cache,
        "INVENIO_ACCOUNTS_SESSION_REDIS_URL": sessions,
        "INVENIO_RATELIMIT_STORAGE_URI": limits,
        "INVENIO_COMMUNITIES_IDENTITIES_CACHE_REDIS_URL": identities,
    }


def drop(state: dict, name: str) -> None:
    """Remove everything that an instance has in the services."""
    where = addresses(state)
    for database in (name, f"{name}_template"):  # the copy that copies.py keeps
        if not is_own(state, "postgresql"):
            clients.require_mark(where["postgresql"], database)
        clients.drop_database(where["postgresql"], database)
    clients.delete_indices(where["opensearch"], f"{name}-*")
    if name in state["services"].get("rabbitmq", {}).get("vhosts", []):
        RABBITMQ.ctl("delete_vhost", name)
        state["services"]["rabbitmq"]["vhosts"].remove(name)
    if name in state["instances"]:
        for uri in redis_uris(state, name):
            clients.redis(uri, "FLUSHDB")
        del state["instances"][name]


def instance_name(text: str) -> str:
    """Check the name of an instance, which becomes part of SQL and index names.

    Args:
        text: The name as given.

    Returns:
        The same name.

    Raises:
        ArgumentTypeError: It is not a plain lower-case word.
    """
    if not re.fullmatch(r"[a-z][a-z0-9_]{0,30}", text):
        raise argparse.ArgumentTypeError("lower-case letters, digits and _ only")
    return text


def parse_arguments() -> argparse.Namespace:
    """Return what the command line asks for."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("up", help="start what does not run")
    commands.add_parser("versions", help="print which versions are chosen")
    commands.add_parser("status", help="print what runs; fails when nothing does")
    command = commands.add_parser("down", help="end what was started here")
    command.add_argument("--purge", action="store_true", help="remove the data, too")
    command = commands.add_parser("start", help="start one server again")
    command.add_argument("service", choices=SERVERS)
    command = commands.add_parser("stop", help="stop one server")
    command.add_argument("service", choices=SERVERS)
    command.add_argument("--kill", action="store_true", help="with SIGKILL")
    command = commands.add_parser("env", help="print the settings of an instance")
    command.add_argument("name", type=instance_name)
    command = commands.add_parser("drop", help="remove what an instance has stored")
    command.add_argument("name", type=instance_name)
    return parser.parse_args()


def main() -> None:
    """Run one command."""
    arguments = parse_arguments()
    with locked_state() as state:
        match arguments.command:
            case "up":
                up(state)
            case "versions":
                for server in SERVERS.values():
                    if server.releases:
                        print(server.label)
            case "status":
                print(json.dumps(state["services"], indent=2))
                entries = state["services"].values()
                sys.exit(not any(processes.is_running(entry) for entry in entries))
            case "down":
                down(state, arguments.purge)
            case "start":
                start(state, arguments.service)
            case "stop":
                entry = own_entry(state, arguments.service)
                SERVERS[arguments.service].stop(entry, kill=arguments.kill)
            case "env":
                up(state)
                for key, value in instance_environment(state, arguments.name).items():
                    print(f"export {key}={shlex.quote(value)}")
            case "drop":
                drop(state, arguments.name)


if __name__ == "__main__":
    try:
        main()
    except Failure as failure:
        sys.exit(f"services: {failure}")
