"""Error messages for a host that cannot be reached: the step that failed, what the host answered, and the fix."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from paramiko.ssh_exception import (
    AuthenticationException,
    IncompatiblePeer,
    NoValidConnectionsError,
    PasswordRequiredException,
)

from fabfile.errors import Unreachable
from fabfile.shell import quote
from fabfile.ssh import known_hosts
from fabfile.ssh.known_hosts import Changed, Revoked, Unknown, kind, name_of
from fabfile.ssh.known_lines import fingerprint

if TYPE_CHECKING:
    from fabfile.ssh.machine import Machine

TRIES = 6
"""Number of attempts for a host that turns connections away temporarily, as sshd does by its MaxStartups and
PerSourcePenalties."""

STEP_LIMIT = 60
"""Seconds that a host has for each step of a login, and for opening a session."""

NO_BANNER = "Error reading SSH protocol banner"
"""Paramiko's message for a connection that ends before SSH's first line; after unreadable data, it is longer."""

UP = "check that the host is up and runs sshd"

LATE = ("No existing session", "Authentication timeout.")
"""Paramiko's messages for a host that does not answer in time."""

PARTS = {
    "kex": ("key exchange", "kex algos", "kex"),
    "host key": ("kind of host key", "server key", "key_types"),
    "ciphers": ("cipher", "client encrypt", "ciphers"),
    "macs": ("message authentication", "client mac", "digests"),
}
"""A word in Paramiko's error → what the two sides do not share, and its names in Paramiko's log and options."""

AWAY = ("Exceeded MaxStartups", "Not allowed at this time")
"""What sshd sends when it turns a connection away; it may also send nothing."""

SYSTEM_KNOWN_HOSTS = Path("/etc/ssh/ssh_known_hosts")


IDENTITY = 'identity_file = "~/.ssh/id_ed25519" in hosts.toml'


class NoKey(Exception):
    """A file is not a usable private key.

    Args:
        file: path of the file.
        why: what is wrong with it.
    """

    def __init__(self, file: Path, why: str) -> None:
        super().__init__(why)
        self.file, self.why = file, why


def turned_away(error: Exception, banner: Sequence[str]) -> bool:
    """Return whether a host ended the connection before any login, for a reason that may be gone at the next attempt.

    Args:
        error: the error of the connection.
        banner: the lines that the host sent instead of SSH's first one.
    """
    if late(error):
        return False
    if banner:
        return any(words in banner[-1] for words in AWAY)
    closed = any(isinstance(each, (EOFError, ConnectionResetError)) for each in (error, error.__context__))
    return closed or str(error) == NO_BANNER


def late(error: Exception) -> bool:
    """Return whether a host did not answer in time; Paramiko has no exception class for this, only messages."""
    return any(isinstance(each, TimeoutError) for each in (error, error.__context__)) or str(error) in LATE


def _word(path: str) -> str:
    """Quote a path for a shell, but leave a leading `~` for the shell to replace."""
    home, slash, rest = path.partition("/")
    return f"{home}{slash}{quote(rest)}" if home == "~" and rest else quote(path)


def unreachable(machine: Machine, error: Exception, banner: Sequence[str] = ()) -> Unreachable:
    """Return the error to show for a failed connection.

    Args:
        machine: the connection that failed.
        error: why it failed.
        banner: the lines that the host sent instead of SSH's first one.
    """
    host, port = machine.host, machine.port
    way = f", on the way to {machine.host_entry.name}" if machine.hop else ""
    where = f"{machine.hop or machine.host_entry.name} ({machine.user}@{host}:{port}){way}"
    if isinstance(error, (Unknown, Changed, Revoked)):
        return _untrusted(machine, where, error)
    if isinstance(error, PasswordRequiredException):
        return Unreachable(f"{where}: the key has a passphrase", str(error), hint="add it to an agent: ssh-add")
    if isinstance(error, NoKey):
        return Unreachable(f"{where}: {error.file} cannot be used", error.why, hint=f"name a private key: {IDENTITY}")
    if late(error):
        limits = f"connect_timeout is {machine.connect_timeout} s, and {STEP_LIMIT} s for each step of the login"
        return Unreachable(f"{where}: cannot connect", f"no answer in time: {limits}", hint=UP)
    if isinstance(error, IncompatiblePeer):
        return _incompatible(where, error, machine.offers)
    if str(error) == "No authentication methods available":
        hint = f"load a key into the agent: ssh-add; or name one: {IDENTITY}"
        return Unreachable(f"{where}: login refused", "there is no key to offer", hint=hint)
    if isinstance(error, AuthenticationException):
        return Unreachable(f"{where}: login refused", str(error), hint=f"try: ssh -p {port} {machine.user}@{host}")
    if isinstance(error, NoValidConnectionsError):
        error = next(iter(error.errors.values()))
    try_by_hand = f"see what answers there: ssh -v -p {port} {machine.user}@{host}"
    if turned_away(error, banner):
        what = f"says {banner[-1]!r} and closes" if banner else "closes"
        return Unreachable(f"{where}: cannot connect", f"it {what} the connection, {TRIES} times", hint=try_by_hand)
    if banner or str(error).startswith(NO_BANNER):
        what = f"it says {banner[0][:100]!r}" if banner else str(error).removeprefix(NO_BANNER)
        return Unreachable(f"{where}: cannot connect", f"this is not SSH: {what}", hint=try_by_hand)
    return Unreachable(f"{where}: cannot connect", str(error) or type(error).__name__, hint=UP)


def _incompatible(where: str, error: Exception, offers: dict[str, Sequence[str]]) -> Unreachable:
    what, log, option = next((part for word, part in PARTS.items() if word in str(error)), ("algorithm", "", ""))
    theirs, ours = (" ".join(offers.get(name, ())) for name in (log, option))
    return Unreachable(
        f"{where}: no {what} in common",
        f"the host offers: {theirs}\nthis side supports: {ours}" if theirs else str(error),
        hint="configure its sshd to offer one that this side supports: man sshd_config",
    )


def _untrusted(machine: Machine, where: str, error: Unknown | Changed | Revoked) -> Unreachable:
    host, port, file = machine.host, machine.port, machine.host_entry.known_hosts
    name, trust = name_of(host, port), _trust(machine)
    if isinstance(error, Changed):
        place = known_hosts.place(machine.known_hosts, host, port, error.expected)
        return Unreachable(
            f"{where}: the host key has changed",
            f"expected the {error.expected.kind} key {fingerprint(error.expected.key)}{place and f' of {place}'}\n"
            f"the host has the {kind(error.key)} key {fingerprint(error.key)}\n"
            "either the host was reinstalled, or somebody intercepts the connection",
            hint=f"once you are sure: ssh-keygen -f {_word(file)} -R '{name}', then {trust}",
        )
    if isinstance(error, Revoked):
        return Unreachable(
            f"{where}: the host key is revoked", f"a @revoked line in {file} or {SYSTEM_KNOWN_HOSTS} has it"
        )
    return Unreachable(
        f"{where}: the host key is unknown",
        str(error) or f"no key for {name} in {file}",
        hint=f"compare its fingerprint and record it: {trust}",
    )


def _trust(machine: Machine) -> str:
    """Return the command that records the key of a host or jump host."""
    if not machine.hop:
        return f"inv ssh.trust {quote(machine.host_entry.name)}"
    host = f"[{machine.host}]" if ":" in machine.host else machine.host
    file = machine.host_entry.known_hosts
    return f"inv ssh.trust {quote(f'{machine.user}@{host}:{machine.port}')} --known-hosts {_word(file)}"
