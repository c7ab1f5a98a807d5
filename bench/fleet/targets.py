"""The hosts: OpenSSH's own server on this machine's loopback, one port per host, and inventories for all tools."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import NamedTuple

from bench.fleet import installed
from fabfile.distributions import PROGRAMS
from tests.integration.local.sshd import children, server
from tests.integration.machine import until

ADDRESS = "127.0.0.1"
PORTS = 16
"""Limit for the ports of one sshd."""

OPTIONS = ("MaxStartups=1000", "Subsystem=sftp internal-sftp")
"""A real host counts only its own logins; this server has those of 16 hosts."""


ROOM = "mount -t tmpfs -o mode=1777 none /var/tmp"
"""Command that gives hosts room for uploads."""


class Fleet(NamedTuple):
    """Running hosts."""

    directory: Path
    """Directory with the key `id` that all hosts accept, their host keys in `known`, and inventories."""
    ports: Sequence[int]
    servers: Sequence[int] = ()
    """Ids of the sshd processes; each is the first one in a PID namespace, so orphans there become its children."""

    def cpu(self) -> float:
        """Return the CPU seconds that hosts have used for all sessions so far, after the last one has ended."""
        until(lambda: not any(map(children, self.servers)), "has sessions that do not end", 60)
        stats = [Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split() for pid in self.servers]
        return sum(int(ticks) for stat in stats for ticks in stat[11:15]) / os.sysconf("SC_CLK_TCK")

    def file(self, name: str, text: str) -> Path:
        """Write a file in the directory, unless it exists, and return its path."""
        file = self.directory / name
        if not file.exists():
            file.write_text(text)
        return file

    def hosts(self, count: int) -> list[tuple[str, int]]:
        """Return names and ports of the first `count` hosts."""
        return [(f"h{number}", port) for number, port in enumerate(self.ports[:count])]

    def names(self, count: int) -> Path:
        """Return a file with the names of the first `count` hosts, one per line."""
        return self.file(f"names-{count}", "".join(f"{name}\n" for name, _ in self.hosts(count)))

    def toml(self, count: int, at_once: int, known: str = "known") -> Path:
        """Our inventory of the first `count` hosts.

        Args:
            count: of hosts.
            at_once: how many of them at a time.
            known: the name of the file of host keys.
        """
        lines = [
            "[defaults]",
            f"known_hosts = '{self.directory / known}'",
            f"identity_file = '{self.directory / 'id'}'",
            f"parallel = {at_once}",
            *(f"[hosts.{name}]\naddress = '{ADDRESS}'\nport = {port}" for name, port in self.hosts(count)),
        ]
        return self.file(f"{known}-{count}-{at_once}.toml", "\n".join(lines) + "\n")

    def ssh_config(self) -> Path:
        """Return OpenSSH's configuration for all hosts."""
        every = (
            f"Host *\n  HostName {ADDRESS}\n  User root\n  IdentityFile {self.directory / 'id'}\n  IdentitiesOnly yes\n"
            f"  UserKnownHostsFile {self.directory / 'known'}\n  StrictHostKeyChecking yes\n  LogLevel ERROR\n"
        )
        return self.file("config", "".join(f"Host {name}\n  Port {port}\n" for name, port in self.hosts(10**6)) + every)

    def pyinfra(self, count: int) -> Path:
        """Return pyinfra's inventory of the first `count` hosts."""
        data = {
            "ssh_hostname": ADDRESS, "ssh_user": "root", "ssh_key": str(self.directory / "id"),
            "ssh_look_for_keys": False, "ssh_allow_agent": False,
            "ssh_known_hosts_file": str(self.directory / "known"), "ssh_strict_host_key_checking": "yes",
        }  # fmt: skip
        hosts = [(name, {**data, "ssh_port": port}) for name, port in self.hosts(count)]
        return self.file(f"pyinfra_{count}.py", f"hosts = {hosts!r}\n")

    def ansible(self, count: int) -> Path:
        """Return Ansible's inventory of the first `count` hosts; their Python is this machine's."""
        lines = [
            *(f"{name} ansible_port={port}" for name, port in self.hosts(count)),
            f"[all:vars]\nansible_host={ADDRESS}\nansible_user=root",
            f"ansible_ssh_private_key_file={self.directory / 'id'}",
            f"ansible_ssh_common_args='-F {self.ssh_config()}'",
            "ansible_python_interpreter=/usr/bin/python3",
        ]
        return self.file(f"ansible_{count}.ini", "\n".join(lines) + "\n")


@contextmanager
def up(directory: Path, count: int) -> Iterator[Fleet]:
    """Hosts on which `deploy --until runc.install` finds everything.

    Programs that this machine lacks are there and do nothing.

    Args:
        directory: an empty one.
        count: of hosts.
    """
    with ExitStack() as stack:
        servers = []
        for first in range(0, count, PORTS):
            part = directory / f"sshd-{first}"
            part.mkdir()
            ports = min(PORTS, count - first)
            prepare = f"{ROOM}; {installed.place(part / 'usr')}"
            servers.append(stack.enter_context(server(part, ports, OPTIONS, programs=PROGRAMS, prepare=prepare)))
        (directory / "known").write_text("".join((each.directory / "known").read_text() for each in servers))
        (servers[0].directory / "id").rename(directory / "id")
        accepted = (servers[0].directory / "id.pub").read_text()
        for each in servers[1:]:
            (each.directory / "id.pub").write_text(accepted)
        sshd = [child for each in servers for child in children(each.process.pid)]
        yield Fleet(directory, [port for each in servers for port in each.ports], sshd)
