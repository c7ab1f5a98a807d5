"""The keys that a host proves to have, by key exchange alone: the connection ends before any login."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from fabfile.errors import Refused
from fabfile.host import Host
from fabfile.ssh import known_hosts
from fabfile.ssh.failure import unreachable
from fabfile.ssh.known_hosts import Changed, Entry, Known, Revoked, Unknown
from fabfile.ssh.machine import Machine
from fabfile.ssh.transport import RSA
from fabfile.ssh.ways import Ways

KINDS = ("ssh-ed25519", "ecdsa-sha2-nistp256", "ecdsa-sha2-nistp384", "ecdsa-sha2-nistp521", "ssh-rsa")
"""Kinds of keys that are asked for, one connection for each that the host offers."""


class Proved(Exception):
    """The host has proved that it has this key."""

    def __init__(self, key: bytes) -> None:
        super().__init__()
        self.key = key


class Stranger(Known, frozen=True):
    """Takes the place of what is known of a host: whatever key it has, the connection ends with it."""

    def verify(self, key: bytes) -> None:
        """Take the key, and go.

        Raises:
            Proved: always.
        """
        raise Proved(key)


class Keys(msgspec.Struct, frozen=True):
    """What a host proved to have."""

    host: str
    """Name or address that it is reached by."""
    port: int
    known: bool
    """Whether its files have the first of its keys."""
    keys: tuple[Entry, ...]

    @property
    def name(self) -> str:
        """How a line of known_hosts names the host."""
        return known_hosts.name_of(self.host, self.port)


def read(ways: Ways, host: Host, *, every: bool = False) -> Keys:
    """Ask a host for its keys, through its gateways, which are verified as ever.

    Args:
        ways: the connections of the run.
        host: of the inventory; its own key need not be known.
        every: whether all of its keys are read even if one is known.

    Raises:
        Unreachable: no answer, or a gateway that is not trusted.
        Refused: other keys of it are recorded, or one is revoked.
    """
    machine = ways.to(host)
    known = known_hosts.find(machine.known_hosts, machine.host, machine.port)
    first, offered = _proved(ways, host, known.kinds)
    is_known = _verified(machine, known, first)
    left = (kind for kind in KINDS if kind != first.kind and offered.intersection(RSA.get(kind, (kind,))))
    others = [] if is_known and not every else [_proved(ways, host, (kind,))[0] for kind in left]
    if not is_known:
        for key in others:
            _verified(machine, known, key)  # one may be revoked
    return Keys(machine.host, machine.port, is_known, (first, *others))


def _proved(ways: Ways, host: Host, kinds: Iterable[str]) -> tuple[Entry, set[str]]:
    """A key of a host, of one of these kinds if it has such, and the algorithms that it offers."""
    stranger = Stranger(tuple(Entry(kind, b"") for kind in kinds))
    machine = ways.to(msgspec.structs.replace(host, identity_file=""), stranger)
    try:
        machine.open()
    except Proved as proved:
        return Entry(known_hosts.kind(proved.key), proved.key), set(machine.offers["server key"])
    finally:
        machine.close()
    raise RuntimeError("a connection was opened without a look at the host's key")


def _verified(machine: Machine, known: Known, key: Entry) -> bool:
    """Whether a key is known; Refused where it must not be."""
    try:
        known.verify(key.key)
    except Unknown:
        return False
    except (Changed, Revoked) as error:
        problem = unreachable(machine, error)
        raise Refused(problem.what, problem.details, hint=problem.hint) from error
    return True
