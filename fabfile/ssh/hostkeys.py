"""Read the keys of a host by key exchange, in which it proves to have them; the connection ends before any login."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from fabfile.errors import Refused
from fabfile.host import Host
from fabfile.ssh import known_hosts
from fabfile.ssh.connections import Connections
from fabfile.ssh.failure import unreachable
from fabfile.ssh.known_hosts import Changed, HostEntries, Revoked, Unknown
from fabfile.ssh.known_lines import KnownKey
from fabfile.ssh.machine import Machine
from fabfile.ssh.transport import RSA

KINDS = ("ssh-ed25519", "ecdsa-sha2-nistp256", "ecdsa-sha2-nistp384", "ecdsa-sha2-nistp521", "ssh-rsa")
"""Kinds of keys to request; each that the host offers takes one connection."""


class Proved(Exception):
    """The host has proved that it has this key."""

    def __init__(self, key: bytes) -> None:
        super().__init__()
        self.key = key


class Stranger(HostEntries, frozen=True):
    """A replacement for the known entries of a host; it ends the connection with whatever key the host has."""

    def verify(self, key: bytes) -> None:
        """Raise the key.

        Raises:
            Proved: always.
        """
        raise Proved(key)


class Keys(msgspec.Struct, frozen=True):
    """The keys that a host proved to have."""

    host: str
    """Name or address by which it is reached."""
    port: int
    known: bool
    """Whether the first of the keys is recorded in the host's known_hosts files."""
    keys: tuple[KnownKey, ...]

    @property
    def name(self) -> str:
        """The host's name as known_hosts has it: `192.0.2.1` or `[192.0.2.1]:2222`."""
        return known_hosts.name_of(self.host, self.port)


def read(connections: Connections, host: Host, *, every: bool = False) -> Keys:
    """Read the keys of a host, through its gateways, whose own keys must be known as always.

    Args:
        connections: the connections of the run.
        host: a host of the inventory; its own key need not be known.
        every: read all its keys even if the first one is known.

    Returns:
        All keys of a host; if the first one is known and not `every`, only that one.

    Raises:
        Unreachable: the host does not answer, or a gateway is not trusted.
        Refused: other keys are recorded for the host, or one of its keys is revoked.
    """
    machine = connections.to(host)
    known = known_hosts.find(machine.known_hosts, machine.host, machine.port)
    first, offered = _proved(connections, host, known.kinds)
    is_known = _verified(machine, known, first)
    left = (kind for kind in KINDS if kind != first.kind and offered.intersection(RSA.get(kind, (kind,))))
    others = [] if is_known and not every else [_proved(connections, host, (kind,))[0] for kind in left]
    if not is_known:
        for key in others:
            _verified(machine, known, key)  # one may be revoked
    return Keys(machine.host, machine.port, is_known, (first, *others))


def _proved(connections: Connections, host: Host, kinds: Iterable[str]) -> tuple[KnownKey, set[str]]:
    """Return a key of a host, of one of the given kinds if it has one, and the host key algorithms that it offers."""
    stranger = Stranger(tuple(KnownKey(kind, b"") for kind in kinds))
    machine = connections.to(msgspec.structs.replace(host, identity_file=""), stranger)
    try:
        machine.open()
    except Proved as proved:
        return KnownKey(known_hosts.kind(proved.key), proved.key), set(machine.offers["server key"])
    finally:
        machine.close()
    raise RuntimeError("a connection was opened without a look at the host's key")


def _verified(machine: Machine, known: HostEntries, key: KnownKey) -> bool:
    """Return whether a key is known.

    Raises:
        Refused: other keys are recorded, or the key is revoked.
    """
    try:
        known.verify(key.key)
    except Unknown:
        return False
    except (Changed, Revoked) as error:
        problem = unreachable(machine, error)
        raise Refused(problem.what, problem.details, hint=problem.hint) from error
    return True
