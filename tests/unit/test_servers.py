# SPDX-FileCopyrightText: 2026 kcworks-migrations contributors
# SPDX-License-Identifier: MIT
"""Which versions of the servers are chosen, and that no two get mixed up."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from common import Failure
from processes import exists, identify
from servers import SERVERS
from services import VARIABLES, check_versions


@pytest.fixture(autouse=True)
def nothing_chosen(monkeypatch):
    for name in ("POSTGRES", "OPENSEARCH", *VARIABLES.values()):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize(
    ("service", "variable", "default", "other"),
    [
        ("postgresql", "POSTGRES", "15", "12"),
        ("opensearch", "OPENSEARCH", "2.19", "2.3"),
    ],
)
def test_version_is_chosen_and_has_data_of_its_own(
    monkeypatch, service, variable, default, other
):
    server = SERVERS[service]
    folder = server.folder
    assert server.version == default
    monkeypatch.setenv(variable, other)
    assert server.version == other
    assert server.folder != folder
    monkeypatch.setenv(variable, "1")
    with pytest.raises(Failure, match=f"{variable} is 1, but must be {default} or "):
        server.version  # noqa: B018


def test_server_of_another_version_is_not_used(monkeypatch):
    running = {"kind": "own", "version": "12", "pids": [identify(os.getpid())]}
    state = {"services": {"postgresql": running}}
    wanted = "postgresql-15 is wanted, but 12 is running: end it with .* POSTGRES=12"
    with pytest.raises(Failure, match=wanted):
        check_versions(state)
    monkeypatch.setenv("POSTGRES", "12")
    check_versions(state)
    monkeypatch.delenv("POSTGRES")
    check_versions({"services": {"postgresql": running | {"pids": []}}})
    monkeypatch.setenv(VARIABLES["postgresql"], "postgresql://elsewhere")
    check_versions(state)


DYING = """
import ctypes, threading, time
threading.Thread(target=time.sleep, args=(20,)).start()
print("ends", flush=True)
ctypes.CDLL(None).pthread_exit(None)  # this thread alone
"""


def test_process_runs_until_its_last_thread_has_ended():
    """Its port is not free before, and a restart would go to another."""
    command = [sys.executable, "-c", DYING]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "ends\n"
        wait_for_state(process.pid, "Z")
        assert exists(process.pid)
        process.kill()
    assert not exists(process.pid)


def wait_for_state(pid: int, state: str) -> None:
    deadline = time.monotonic() + 10
    while Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2][0] != state:
        assert time.monotonic() < deadline
        time.sleep(0.01)
