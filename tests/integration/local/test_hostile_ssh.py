"""Hosts that refuse us, or that stop answering somewhere: nothing stays open, and every wait has an end."""

from __future__ import annotations

import os
import socket
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from fabric import Config
from paramiko import SSHConfig

from fabfile import inventory
from fabfile.errors import Unreachable
from fabfile.host import Host
from fabfile.ssh import hostkeys
from fabfile.ssh.ways import Ways
from tests.integration.local import sshd
from tests.integration.local.test_transport import Connect, connected
from tests.integration.machine import until


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[sshd.Server]:
    """A host."""
    with sshd.server(tmp_path_factory.mktemp("sshd")) as up:
        yield up


@pytest.fixture
def connect(server: sshd.Server) -> Iterator[Connect]:
    """Makes connections to it; they are closed at the end."""
    yield from connected(server)


def sockets() -> set[str]:
    """The sockets that this process has open."""
    found = set()
    for each in os.listdir("/proc/self/fd"):
        try:
            found.add(os.readlink(f"/proc/self/fd/{each}"))
        except FileNotFoundError:  # that of the directory itself
            continue
    return {name for name in found if name.startswith("socket:")}


WHYS = {"unknown host key": "the host key is unknown", "login refused": "login refused"}


@pytest.mark.parametrize("why", WHYS)
def test_a_connection_that_fails_is_closed(connect: Connect, tmp_path: Path, why: str) -> None:
    file = tmp_path / "file"
    if why == "login refused":
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", file], check=True)
    before, threads = sockets(), set(threading.enumerate())
    machine = connect(known_hosts=str(file)) if why == "unknown host key" else connect(identity_file=str(file))
    with pytest.raises(Unreachable, match=WHYS[why]):
        machine.open()
    assert sockets() == before
    until(lambda: set(threading.enumerate()) <= threads, "its thread goes on", 10)


def test_a_connection_that_only_reads_a_host_key_is_closed(server: sshd.Server) -> None:
    known = inventory.load(server.inventory(h0=0))
    before, threads = sockets(), set(threading.enumerate())
    with Ways(known, Config(ssh_config=SSHConfig.from_text(""))) as ways:
        assert hostkeys.read(ways, known.hosts["h0"], every=True).keys
        assert sockets() == before
    until(lambda: set(threading.enumerate()) <= threads, "its thread goes on", 10)
