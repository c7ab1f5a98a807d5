"""A host, and the connections that OpenSSH keeps to it for a test."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest
from fabric import Config
from paramiko import SSHConfig

from fabfile import inventory, paths
from fabfile.ssh.connections import Connections
from fabfile.ssh.machine import Machine
from tests.integration.local import sshd
from tests.integration.local.connections import Connect
from tests.integration.machine import until

SECONDS = 60
"""How long connections are kept; those of a test end with it."""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[sshd.Server]:
    """A host."""
    with sshd.server(tmp_path_factory.mktemp("sshd")) as up:
        yield up


@pytest.fixture(autouse=True)
def sockets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The directory of the sockets, which is empty in the end, without processes of ssh."""
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path / "runtime"))
    (tmp_path / "runtime").mkdir()
    directory = paths.sockets()
    yield directory
    for file in directory.glob("*"):
        assert file.suffix != ".new", "a start has left its files behind"
        until(lambda name=file.name: not ended(name), "is left", 10)


def kept(server: sshd.Server) -> Iterator[Connect]:
    """A maker of what runs have of a host; as `connections.connected`, and `more` are lines of hosts.toml."""
    with ExitStack() as stack:

        def connect(rules: str = "", where: sshd.Server | None = None, **keys: str) -> Machine:
            file, more = (where or server).inventory(h0=0), keys.pop("more", "")
            own = "".join(f"{key} = '{value}'\n" for key, value in keys.items())
            file.write_text(f"{file.read_text()}keep_connection = {SECONDS}\n{own}{more}")
            known = inventory.load(file)
            config = Config(
                ssh_config=SSHConfig.from_text(rules), system_prefix="/nonexistent/", user_prefix="/nonexistent/"
            )
            machine = stack.enter_context(Connections(known, config)).to(known.hosts["h0"])
            stack.callback(machine.close)
            return machine

        yield connect


@pytest.fixture
def connect(server: sshd.Server) -> Iterator[Connect]:
    """See `kept`."""
    yield from kept(server)


def masters(name: str) -> list[int]:
    """The processes of ssh whose socket has this name."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if f"ControlPath={name}".encode() in (process / "cmdline").read_bytes().split(b"\0"):
                found.append(int(process.name))
    return found


def ended(name: str) -> list[int]:
    """Tell them to end, and return those found: one may have just forked, or have missed an earlier signal."""
    found = masters(name)
    for master in found:
        with suppress(ProcessLookupError):
            os.kill(master, signal.SIGTERM)
    return found


def logins(server: sshd.Server) -> int:
    """How often somebody logged in."""
    return server.log.count("Accepted publickey")


def only(sockets: Path) -> Path:
    """The one socket."""
    (path,) = sockets.iterdir()
    return path
