# SPDX-FileCopyrightText: 2026 kcworks-migrations contributors
# SPDX-License-Identifier: MIT
"""What the machine has: programs, free ports, Debian packages."""

import os
import random
import re
import shutil
import socket
import subprocess
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from common import DATA, RUN, Failure, say


def find_program(*patterns: str) -> str:
    """Return the newest program that matches a pattern, or ``""``.

    Args:
        patterns: Names to look up on the PATH and absolute glob patterns.
    """
    for pattern in patterns:
        found = shutil.which(pattern) or ""
        if pattern.startswith("/"):
            paths = Path("/").glob(pattern[1:])
            found = str(max(paths, default="", key=_numbers))
        if found:
            return found
    return ""


def _numbers(path: Path) -> list[int]:
    """Return the numbers in a path, so that version 15 sorts after version 9."""
    return [int(number) for number in re.findall(r"\d+", str(path))]


def free_port(first: int, last: int, kept: int | None = None) -> int:
    """Return a port in a range on which nothing listens.

    Any one, as two checkouts may look for theirs in the same moment.

    Args:
        first: Where to begin; below the range that outgoing connections use, so that
            the port is still free when a server is started again.
        last: Where to end.
        kept: The port of a server that is started again: if another has it by now,
            that one must not be taken for it.

    Raises:
        Failure: Every port is taken.
    """
    ports = random.sample(range(first, last + 1), last + 1 - first)
    for port in [kept, *ports] if kept else ports:
        with socket.socket() as probe:
            # Connections that have just ended do not count.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise Failure(f"no free port from {first} to {last}")


def copy_artifact(artifact: str, folder: Path) -> None:
    """Copy a jar from Maven Central into a folder."""
    _maven("dependency:copy", f"-Dartifact={artifact}", f"-DoutputDirectory={folder}")


def copy_dependencies(pom: Path, folder: Path, *options: str) -> None:
    """Copy the jars that a ``pom.xml`` names, and what they need, into a folder."""
    goal = ("-f", str(pom), "dependency:copy-dependencies")
    _maven(*goal, f"-DoutputDirectory={folder}", *options)


def _maven(*options: str) -> None:
    """Run Maven.

    Args:
        options: The goal and its options.

    Raises:
        Failure: It failed.
    """
    log = DATA / "maven.log"
    with log.open("w") as output:
        run = subprocess.run(
            ["mvn", "-B", *options],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
        )
    if run.returncode:
        raise Failure(f"Maven failed, see {log}")


@contextmanager
def _no_service_starts() -> Generator[None, None, None]:
    """Keep apt-get from starting servers of its own after the installation."""
    policy = Path("/usr/sbin/policy-rc.d")
    if policy.exists():
        yield
        return
    policy.write_text("#!/bin/sh\nexit 101\n")
    policy.chmod(0o755)
    try:
        yield
    finally:
        policy.unlink()


def install(packages: list[str]) -> None:
    """Install Debian packages.

    Args:
        packages: Their names.

    Raises:
        Failure: Not possible or not allowed here.
    """
    command = ["apt-get", "install", "-y", "--no-install-recommends", *packages]
    if os.getuid() or not shutil.which("apt-get"):
        raise Failure(f"please install {' '.join(packages)} (sudo {' '.join(command)})")
    say(f"installing {' '.join(packages)} with apt-get")
    environment = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
    log = RUN / "apt.log"
    with log.open("a") as output, _no_service_starts():
        for step in (["apt-get", "update"], command):
            run = subprocess.run(
                step,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
            )
    if run.returncode:
        raise Failure(f"apt-get failed, see {log}")
