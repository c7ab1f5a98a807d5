"""The way to a host as OpenSSH's configuration, for a connection to keep: as strict as our own, at every jump host."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Iterator
from shlex import quote
from typing import TYPE_CHECKING, Any

import msgspec

from fabfile.errors import Refused
from fabfile.exchange.ssh_options import path, word
from fabfile.ssh import known_hosts
from fabfile.ssh.known_lines import AUTHORITY, KnownKey
from fabfile.ssh.transport import ALIVE, UNANSWERED

if TYPE_CHECKING:
    from fabfile.ssh.machine import Machine

CONFIG, KNOWN = "config", "known_hosts"
"""Names of the files."""

COMMON = f"""Host *
    BatchMode yes
    CheckHostIP no
    ClearAllForwardings yes
    ForwardAgent no
    GlobalKnownHostsFile /dev/null
    HostKeyAlgorithms -*-cert-*
    LogLevel ERROR
    PreferredAuthentications publickey
    ServerAliveCountMax {UNANSWERED}
    ServerAliveInterval {ALIVE}
    StrictHostKeyChecking yes
    UpdateHostKeys no
    UserKnownHostsFile %s
"""
"""What applies to every host. Our own connections do not accept certificates of hosts either."""


class Hop(msgspec.Struct, frozen=True):
    """A host, or a jump host on the way to it."""

    host: str
    port: int
    user: str
    timeout: int
    """Seconds to wait for the connection."""
    keys: tuple[str, ...]
    """Paths of private keys; without any, ssh tries its default ones."""
    alone: bool
    """Whether no other keys are tried."""
    known: tuple[KnownKey, ...]
    """The host's entries in its known_hosts files."""


class Route(msgspec.Struct, frozen=True):
    """A way to a host. A change of any part of it is another connection, with another name."""

    hops: tuple[Hop, ...]
    """First the host itself, last the jump host that is connected to directly."""
    seconds: int
    """How long the connection is kept after its last use."""

    @property
    def name(self) -> str:
        """Name of the connection's socket."""
        return hashlib.sha256(repr(self).encode()).hexdigest()[:24]

    def files(self, directory: str, gateway: str = "") -> dict[str, str]:
        """Return the names of the files that ssh reads, and their content.

        Args:
            directory: path of their directory, from the one where ssh runs; no character of it is special.
            gateway: name of the socket of a kept connection to the jump host before the host; empty: there is none.

        Raises:
            Refused: a value cannot be written in a configuration of ssh.
        """
        blocks = [line for number in range(len(self.hops)) for line in self._block(number, directory)]
        if gateway:
            # If it ends meanwhile, ssh connects to the jump host itself.
            blocks += [f"Host {alias(1)}", f"    ControlPath {gateway}"]
        return {CONFIG: "\n".join([*blocks, COMMON % f"{directory}/{KNOWN}"]), KNOWN: "".join(self._known())}

    def _block(self, number: int, directory: str) -> Iterator[str]:
        hop, last = self.hops[number], number == len(self.hops) - 1
        yield f"Host {alias(number)}"
        yield f"    HostName {_plain(hop.host)}"
        yield f"    HostKeyAlias {alias(number)}"
        yield f"    Port {hop.port}"
        yield f"    User {_plain(hop.user)}"
        yield f"    ConnectTimeout {hop.timeout}"
        for key in hop.keys:
            yield f"    IdentityFile {path(key, 'the private key')}"
        if hop.alone:
            yield "    IdentitiesOnly yes"
        if not last:
            # ssh would write the name of a configuration in the command of ProxyJump without quotes.
            there = quote(f"[{_plain(hop.host)}]:{hop.port}")
            yield f"    ProxyCommand ssh -F {directory}/{CONFIG} -W {there} {alias(number + 1)}"

    def _known(self) -> Iterator[str]:
        for number, hop in enumerate(self.hops):
            for entry in hop.known:
                if entry.marker != AUTHORITY:
                    key = base64.b64encode(entry.key).decode()
                    yield " ".join(filter(None, [entry.marker, alias(number), entry.kind, key])) + "\n"


def alias(number: int) -> str:
    """Return the name of a host in the configuration; 0 is the one to which the way leads."""
    return f"host{number}"


def _plain(text: str) -> str:
    """Return a host or user.

    Raises:
        Refused: ssh would read something else.
    """
    if re.search(r"[%$]", text):
        raise Refused(f"ssh would look for a variable in {text}")
    return word(text, "a host or user")


def to(machine: Machine) -> Route:
    """Return the way to a host, as its own connection would take it.

    Raises:
        Refused: a known_hosts file cannot be read, or ~/.ssh/config has a ProxyCommand.
    """
    hops: list[Hop] = []
    connection: Any = machine
    while connection:
        if not hasattr(connection, "host_entry"):
            raise Refused("there is a ProxyCommand in ~/.ssh/config")
        hops.append(_hop(connection))
        connection = connection.gateway
    return Route(tuple(hops), machine.host_entry.keep_connection)


def _hop(machine: Machine) -> Hop:
    return Hop(
        machine.host,
        machine.port,
        machine.user,
        machine.connect_timeout,
        tuple(machine.connect_kwargs.get("key_filename", ())),
        bool(machine.host_entry.identity_file and not machine.hop),
        known_hosts.find(machine.known_hosts, machine.host, machine.port).entries,
    )
