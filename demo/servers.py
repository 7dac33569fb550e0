# SPDX-FileCopyrightText: 2026 kcworks-migrations contributors
# SPDX-License-Identifier: MIT
"""The four servers of our own: what each needs, how it starts and how it stops.

All listen on 127.0.0.1 only, on free ports that are kept for the next start.
"""

import os
import re
import shutil
import signal
import socket
import subprocess
from abc import ABC, abstractmethod
from contextlib import contextmanager
from pathlib import Path

import processes
from common import DATA, HERE, RUN, Failure, private_folder, say


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


def free_port(first: int, last: int) -> int:
    """Return the first port in a range on which nothing listens.

    Args:
        first: Where to begin; below the range that outgoing connections use, so that
            the port is still free when a server is started again.
        last: Where to end.

    Raises:
        Failure: Every port is taken.
    """
    for port in range(first, last + 1):
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise Failure(f"no free port from {first} to {last}")


@contextmanager
def _no_service_starts():
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


class Server(ABC):
    """One server of our own."""

    name: str
    packages: list[str]
    user: str
    ports: tuple[int, int]
    stop_signal = signal.SIGTERM

    @property
    def folder(self) -> Path:
        """Where the data is."""
        return DATA / self.name

    @property
    def log(self) -> Path:
        """What the server prints."""
        return DATA / f"{self.name}.log"

    @property
    def run_as(self) -> str | None:
        """Whom it runs as: never root."""
        return None if os.getuid() else self.user

    @abstractmethod
    def is_installed(self) -> bool:
        """Tell whether the programs are there."""

    @abstractmethod
    def prepare(self, port: int) -> None:
        """Make the data folder complete."""

    @abstractmethod
    def commands(self, port: int) -> list[list[str]]:
        """Return the command lines, the server's own first."""

    @abstractmethod
    def uri(self, port: int) -> str:
        """Return the address for clients."""

    def environment(self) -> dict[str, str]:
        """Return the variables that the programs need."""
        return {}

    def start(self, entry: dict) -> subprocess.Popen | None:
        """Start the server unless it runs.

        Args:
            entry: What is known about it; updated.

        Returns:
            The new process, or None.

        Raises:
            Failure: It is not installed and cannot be.
        """
        if processes.is_running(entry):
            return None
        self.stop(entry)  # a part of it may have survived
        if not self.is_installed():
            install(self.packages)
            if not self.is_installed():
                raise Failure(f"{self.name}: not found after the installation")
        port = entry.setdefault("port", free_port(*self.ports))
        private_folder()
        if not self.folder.exists():  # new, or lost with the temporary folder
            entry.pop("vhosts", None)
            self.folder.mkdir(mode=0o700)
            if self.run_as:
                shutil.chown(self.folder, self.run_as)
        say(f"starting {self.name} on port {port}")
        self.prepare(port)
        entry["pids"] = []
        entry["uri"] = self.uri(port)
        started = []
        for command in self.commands(port):
            started.append(
                processes.spawn(command, self.log, self.run_as, self.environment())
            )
            entry["pids"].append(processes.identify(started[-1].pid))
        return started[0]

    def stop(self, entry: dict, kill: bool = False) -> None:
        """End the server and wait.

        Args:
            entry: What is known about it.
            kill: With SIGKILL, as a crash would.
        """
        for process in entry.get("pids", []):
            if processes.is_alive(process):
                say(f"stopping {self.name} (pid {process[0]})")
                processes.end(process, signal.SIGKILL if kill else self.stop_signal)
        entry["pids"] = []

    def call(self, command: list[str]) -> None:
        """Run one command of the server's to its end, as its user.

        Args:
            command: The command line.

        Raises:
            Failure: It failed; with what it printed.
        """
        run = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            cwd=DATA,
            env=os.environ | self.environment(),
            **processes.rights(self.run_as),
        )
        output = run.communicate()[0]
        if run.returncode:
            raise Failure(f"{' '.join(command)} failed:\n{output}")


class PostgreSQL(Server):
    """PostgreSQL with the defaults of Debian: what is committed survives a kill."""

    name = "postgresql"
    packages = ["postgresql"]
    user = "postgres"
    ports = (15432, 15499)
    stop_signal = signal.SIGINT  # "fast": does not wait for clients

    def program(self, name: str) -> str:
        """Return the path of one of PostgreSQL's programs."""
        return find_program(f"/usr/lib/postgresql/*/bin/{name}", name)

    def is_installed(self) -> bool:  # noqa: D102
        return bool(self.program("initdb") and shutil.which("psql"))

    def prepare(self, port: int) -> None:  # noqa: D102
        lock = self.folder / "postmaster.pid"
        if lock.exists() and not processes.exists(int(lock.read_text().split()[0])):
            lock.unlink()  # a zombie that nobody reaps yet would count as alive
        if (self.folder / "PG_VERSION").exists():
            return
        password = DATA / "postgresql.password"
        password.write_text("kcworks\n")
        password.chmod(0o644)
        options = f"--pwfile={password} --pgdata={self.folder} --username=kcworks"
        options += " --auth=scram-sha-256 --encoding=UTF8 --locale=C.UTF-8"
        self.call([self.program("initdb"), *options.split()])

    def commands(self, port: int) -> list[list[str]]:  # noqa: D102
        settings = {
            "listen_addresses": "127.0.0.1",
            "port": port,
            "unix_socket_directories": "",
            "max_connections": 200,
        }
        options = [f"--{key}={value}" for key, value in settings.items()]
        return [[self.program("postgres"), "-D", str(self.folder), *options]]

    def uri(self, port: int) -> str:  # noqa: D102
        return f"postgresql://kcworks:kcworks@127.0.0.1:{port}/postgres"


class OpenSearch(Server):
    """One real node, from the jars that ``opensearch-pom.xml`` names."""

    name = "opensearch"
    packages = ["default-jre-headless", "maven"]
    user = "nobody"
    ports = (9211, 9299)  # the runner accepts no port above 9299

    def java(self) -> str:
        """Return a Java of version 17 or newer."""
        for java in (find_program("java"), find_program("/usr/lib/jvm/*/bin/java")):
            if java:
                run = subprocess.run([java, "-version"], capture_output=True, text=True)
                version = re.search(r'version "(\d+)', run.stderr)
                if version and int(version[1]) >= 17:
                    return java
        return ""

    def is_installed(self) -> bool:  # noqa: D102
        return bool(self.java() and shutil.which("mvn"))

    def prepare(self, port: int) -> None:
        """Copy the jars with Maven, and write the configuration of the node.

        Args:
            port: The node's port for HTTP.

        Raises:
            Failure: Maven failed.
        """
        jars, log = DATA / "opensearch-jars", DATA / "maven.log"
        if not jars.exists():
            say("getting OpenSearch with Maven (53 MB, once)")
            partial = DATA / "opensearch-jars.partial"
            command = ["mvn", "-B", "-f", str(HERE / "opensearch-pom.xml")]
            command += ["dependency:copy-dependencies", f"-DoutputDirectory={partial}"]
            with log.open("w") as output:
                run = subprocess.run(
                    command, stdin=subprocess.DEVNULL, stdout=output, stderr=output
                )
            if run.returncode:
                raise Failure(f"Maven failed, see {log}")
            partial.rename(jars)
        configuration = self.folder / "node_1" / "config" / "opensearch.yml"
        configuration.parent.mkdir(parents=True, exist_ok=True)
        configuration.write_text(
            "network.host: 127.0.0.1\n"
            f"transport.port: {free_port(9411, 9499)}\n"
            "discovery.type: single-node\n"
            "# A disk that is nearly full would make the indices read-only.\n"
            "cluster.routing.allocation.disk.threshold_enabled: false\n"
        )
        if self.run_as:
            for path in (configuration.parent.parent, configuration.parent):
                shutil.chown(path, self.run_as)

    def commands(self, port: int) -> list[list[str]]:  # noqa: D102
        # The runner adds the number of the node to the port.
        runner = "org.codelibs.opensearch.runner.OpenSearchRunner"
        command = f"{self.java()} -Xms1g -Xmx1g -cp {DATA}/opensearch-jars/* {runner}"
        options = f"-clusterName kcworks -numOfNode 1 -baseHttpPort {port - 1}"
        return [[*command.split(), *options.split(), "-basePath", str(self.folder)]]

    def uri(self, port: int) -> str:  # noqa: D102
        return f"127.0.0.1:{port}"


class RabbitMQ(Server):
    """RabbitMQ with a node name, a cookie and a port mapper (epmd) of its own."""

    name = "rabbitmq"
    packages = ["rabbitmq-server"]
    user = "rabbitmq"
    ports = (15700, 15799)

    def program(self, name: str) -> str:
        """Return a program of RabbitMQ's, not Debian's wrapper, which wants root."""
        return find_program(f"/usr/lib/rabbitmq/bin/{name}", name)

    def is_installed(self) -> bool:  # noqa: D102
        return bool(self.program("rabbitmq-server") and find_program("epmd"))

    def prepare(self, port: int) -> None:
        """Write the settings; they are read by the server and by ``rabbitmqctl``.

        Args:
            port: The broker's port.
        """
        loopback = "-kernel inet_dist_use_interface {127,0,0,1}"
        settings = {
            "NODENAME": "kcworks@localhost",
            "NODE_IP_ADDRESS": "127.0.0.1",
            "NODE_PORT": port,
            "DIST_PORT": free_port(port + 10000, port + 10099),
            "MNESIA_BASE": self.folder / "mnesia",
            "LOG_BASE": self.folder / "log",
            "LOGS": "-",
            "CONFIG_FILE": self.folder / "rabbitmq",
            "ENABLED_PLUGINS_FILE": self.folder / "enabled_plugins",
            "SERVER_ADDITIONAL_ERL_ARGS": loopback,
        }
        lines = [f"{key}='{value}'\n" for key, value in settings.items()]
        (DATA / "rabbitmq-env.conf").write_text("".join(lines))
        (DATA / "epmd.port").write_text(str(free_port(4370, 4399)))

    def environment(self) -> dict[str, str]:  # noqa: D102
        return {
            "HOME": str(self.folder),
            "RABBITMQ_CONF_ENV_FILE": str(DATA / "rabbitmq-env.conf"),
            "ERL_EPMD_ADDRESS": "127.0.0.1",
            "ERL_EPMD_PORT": (DATA / "epmd.port").read_text(),
        }

    def commands(self, port: int) -> list[list[str]]:  # noqa: D102
        return [[self.program("rabbitmq-server")], [find_program("epmd")]]

    def uri(self, port: int) -> str:  # noqa: D102
        return f"amqp://guest:guest@127.0.0.1:{port}/"

    def ctl(self, *arguments: str) -> None:
        """Run ``rabbitmqctl``."""
        self.call([self.program("rabbitmqctl"), "-n", "kcworks@localhost", *arguments])


class Redis(Server):
    """Redis with enough databases for many instances."""

    name = "redis"
    packages = ["redis-server"]
    user = "redis"
    ports = (16379, 16399)

    def is_installed(self) -> bool:  # noqa: D102
        return bool(find_program("redis-server"))

    def prepare(self, port: int) -> None:  # noqa: D102
        pass

    def commands(self, port: int) -> list[list[str]]:  # noqa: D102
        options = f"--bind 127.0.0.1 --port {port} --databases 500 --appendonly yes"
        command = [find_program("redis-server"), *options.split()]
        return [[*command, "--dir", str(self.folder)]]

    def uri(self, port: int) -> str:  # noqa: D102
        return f"redis://127.0.0.1:{port}"


SERVERS: dict[str, Server] = {
    server.name: server for server in (PostgreSQL(), OpenSearch(), RabbitMQ(), Redis())
}
