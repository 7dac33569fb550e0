# SPDX-FileCopyrightText: 2026 kcworks-migrations contributors
# SPDX-License-Identifier: MIT
"""The four servers of our own: what each needs and how it starts.

All listen on 127.0.0.1 only, on free ports that are kept for the next start.
"""

import os
import platform
import pwd
import re
import shutil
import signal
import subprocess
import tarfile
import zipfile
from pathlib import Path

import processes
from common import DATA, HERE
from machine import copy_artifact, copy_dependencies, find_program, free_port
from server import Server


class PostgreSQL(Server):
    """PostgreSQL with the defaults of Debian: what is committed survives a kill.

    With ``POSTGRES_FSYNC=off`` it does not survive the end of the machine; to empty
    tables takes a fifth of the time.

    The machine's own programs, where they have the wanted version, else those from
    Maven Central, which are a server without clients.
    """

    name = "postgresql"
    packages = ["postgresql", "maven"]
    user = "postgres"
    ports = (15432, 15499)
    stop_signal = signal.SIGINT  # "fast": does not wait for clients
    variable = "POSTGRES"
    releases = {"15": "15.10.0", "12": "12.22.0", "17": "17.2.0"}
    CPUS = {"x86_64": "amd64", "aarch64": "arm64v8"}

    def program(self, name: str) -> str:
        """Return the path of one of PostgreSQL's programs."""
        own = find_program(f"/usr/lib/postgresql/{self.version}/bin/{name}")
        return own or str(self.programs / "bin" / name)

    def is_of_the_machine(self) -> bool:
        """Tell whether the machine has the wanted version."""
        return not self.program("initdb").startswith(str(self.programs))

    def is_installed(self) -> bool:  # noqa: D102
        users = {None, *(user.pw_name for user in pwd.getpwall())}
        has_server = self.is_of_the_machine() or shutil.which("mvn")
        return bool(has_server and shutil.which("psql") and self.run_as in users)

    def get(self, folder: Path) -> None:  # noqa: D102
        cpu = self.CPUS.get(platform.machine(), platform.machine())
        artifact = f"io.zonky.test.postgres:embedded-postgres-binaries-linux-{cpu}"
        copy_artifact(f"{artifact}:{self.releases[self.version]}", folder)
        (jar,) = folder.glob("*.jar")  # with a tar of the programs
        with zipfile.ZipFile(jar) as archive:
            (name,) = (n for n in archive.namelist() if n.endswith(".txz"))
            with tarfile.open(fileobj=archive.open(name), mode="r:xz") as programs:
                # Before Python 3.11.4 there is no filter to ask for.
                safely = {"filter": "data"} if hasattr(tarfile, "data_filter") else {}
                programs.extractall(folder, **safely)
        jar.unlink()

    def prepare(self, port: int) -> None:  # noqa: D102
        if not self.is_of_the_machine():
            self.get_programs()
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
            "fsync": os.environ.get("POSTGRES_FSYNC", "on"),
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
    variable = "OPENSEARCH"
    releases = {"2.19": "2.19.1", "2.17": "2.17.1", "2.3": "2.3.0"}

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

    def plugins(self) -> dict[str, str]:
        """Return what older runners lack, the class of each artifact.

        The mapping of the vocabularies needs the type ``geo_shape``.
        """
        if self.version == "2.19":
            return {}
        geo = f"org.opensearch.plugin:geo:{self.releases[self.version]}"
        return {geo: "org.opensearch.geo.GeoModulePlugin"}

    def get(self, folder: Path) -> None:  # noqa: D102
        release = f"-Dopensearch.release={self.releases[self.version]}"
        copy_dependencies(HERE / "opensearch-pom.xml", folder, release)
        for artifact in self.plugins():
            copy_artifact(artifact, folder)

    def prepare(self, port: int) -> None:
        """Get the jars, and write the configuration of the node.

        Args:
            port: The node's port for HTTP.
        """
        self.get_programs()
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
        command = f"{self.java()} -Xms1g -Xmx1g -cp {self.programs}/* {runner}"
        options = f"-clusterName kcworks -numOfNode 1 -baseHttpPort {port - 1}"
        if plugins := self.plugins():
            options += f" -pluginTypes {','.join(plugins.values())}"
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
        """Run ``rabbitmqctl``; the broker answers clients before it can be told."""
        node = [self.program("rabbitmqctl"), "-n", "kcworks@localhost"]
        self.call([*node, "await_startup", "--timeout", "120"])
        self.call([*node, *arguments])


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


RABBITMQ = RabbitMQ()
SERVERS: dict[str, Server] = {
    server.name: server for server in (PostgreSQL(), OpenSearch(), RABBITMQ, Redis())
}
