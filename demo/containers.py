# SPDX-FileCopyrightText: 2026 kcworks-migrations contributors
# SPDX-License-Identifier: MIT
"""Services in containers, as Invenio's own modules start them.

Not tested: written on a machine without a Docker engine.
"""

import os
import shutil
import socket
import subprocess
import sys

from common import say
from servers import SERVERS

# Name for docker-services-cli, address of the container, its port.
DOCKER = {
    "postgresql": (
        "--db postgresql",
        "postgresql://invenio:invenio@127.0.0.1:5432/invenio",
        5432,
    ),
    "opensearch": ("--search opensearch", "127.0.0.1:9200", 9200),
    "rabbitmq": ("--mq rabbitmq", "amqp://guest:guest@127.0.0.1:5672//", 5672),
    "redis": ("--cache redis", "redis://127.0.0.1:6379", 6379),
}


def docker_can_serve(services: list[str]) -> bool:
    """Return whether engine, tool and default ports are there for containers."""
    if not (shutil.which("docker") and shutil.which("docker-services-cli")):
        return False
    if subprocess.run(["docker", "info"], capture_output=True).returncode:
        return False  # a docker client without an engine is common
    for service in services:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", DOCKER[service][2])) == 0:
                return False
    return True


def docker_up(state: dict, services: list[str]) -> None:
    """Start containers and note their addresses."""
    say(f"starting {', '.join(services)} with docker-services-cli")
    options = " ".join(DOCKER[service][0] for service in services).split()
    search = SERVERS["opensearch"]
    environment = os.environ | {
        "POSTGRESQL_VERSION": SERVERS["postgresql"].version,
        "OPENSEARCH_VERSION": search.releases[search.version],
    }
    command = ["docker-services-cli", "up", *options]
    subprocess.run(command, env=environment, stdout=sys.stderr, check=True)
    for service in services:
        state["services"][service] = {
            "kind": "docker",
            "uri": DOCKER[service][1],
            "version": SERVERS[service].version,
        }


def docker_down() -> None:
    """End the containers."""
    subprocess.run(["docker-services-cli", "down"], stdout=sys.stderr, check=True)
