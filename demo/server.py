# SPDX-FileCopyrightText: 2026 kcworks-migrations contributors
# SPDX-License-Identifier: MIT
"""A server of our own: installed when missing, started, stopped, started again."""

import os
import shutil
import signal
import subprocess
from abc import ABC, abstractmethod
from pathlib import Path

import processes
from common import DATA, Failure, private_folder, say
from machine import free_port, install


class Server(ABC):
    """One server of our own."""

    name: str
    packages: list[str]
    user: str
    ports: tuple[int, int]
    stop_signal = signal.SIGTERM
    variable = ""
    """The environment's variable that chooses the version, where there is a choice."""
    releases: dict[str, str] = {}
    """What it may say, the default first, with the release in Maven Central."""

    @property
    def version(self) -> str:
        """The version that is wanted, where there is a choice.

        Raises:
            Failure: There is no such choice.
        """
        if not self.releases:
            return ""
        version = os.environ.get(self.variable) or next(iter(self.releases))
        if version not in self.releases:
            choice = " or ".join(self.releases)
            raise Failure(f"{self.variable} is {version}, but must be {choice}")
        return version

    @property
    def label(self) -> str:
        """The name with the version."""
        return f"{self.name}-{self.version}" if self.releases else self.name

    @property
    def folder(self) -> Path:
        """Where the data is: no two versions share it."""
        return DATA / self.label

    @property
    def programs(self) -> Path:
        """Where programs from Maven are."""
        return DATA / f"{self.label}-programs"

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

    def get(self, folder: Path) -> None:
        """Get the programs from Maven Central.

        Args:
            folder: Where to put them.

        Raises:
            NotImplementedError: Maven Central has none.
        """
        raise NotImplementedError

    def get_programs(self) -> None:
        """Get the programs from Maven Central unless they are there."""
        if self.programs.exists():
            return
        say(f"getting {self.label} with Maven (once)")
        partial = DATA / f"{self.label}-partial"
        shutil.rmtree(partial, ignore_errors=True)
        self.get(partial)
        partial.rename(self.programs)

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
        entry["version"] = self.version
        port = entry["port"] = free_port(*self.ports, entry.get("port"))
        private_folder()
        if not self.folder.exists():  # new, or lost with the temporary folder
            entry.pop("vhosts", None)
            self.folder.mkdir(mode=0o700)
            if self.run_as:
                shutil.chown(self.folder, self.run_as)
        say(f"starting {self.label} on port {port}")
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
