"""Connections to the servers of `sshd`, made as a run makes them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

from fabric import Config
from paramiko import SSHConfig

from fabfile import inventory
from fabfile.ssh.connections import Connections
from fabfile.ssh.machine import Machine
from tests.integration.local import sshd


class Connect(Protocol):
    """Makes a connection to a server."""

    def __call__(self, rules: str = "", where: sshd.Server | None = None, **keys: str) -> Machine:
        """See `connected`."""


def connected(server: sshd.Server) -> Iterator[Connect]:
    """A maker of connections: with an ~/.ssh/config, to another server, with more keys of hosts.toml."""
    made = []

    def connect(rules: str = "", where: sshd.Server | None = None, **keys: str) -> Machine:
        file = (where or server).inventory(h0=0)
        file.write_text(file.read_text() + "".join(f"{key} = '{value}'\n" for key, value in keys.items()))
        known = inventory.load(file)
        config = Config(
            ssh_config=SSHConfig.from_text(rules), system_prefix="/nonexistent/", user_prefix="/nonexistent/"
        )
        made.append(Connections(known, config).to(known.hosts["h0"]))
        return made[-1]

    yield connect
    for machine in made:
        machine.close()
