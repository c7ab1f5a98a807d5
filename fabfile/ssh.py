"""Strict connections: known host keys only, no delayed packets, every failure an `Unreachable` that says what to do."""

from __future__ import annotations

import logging
import random
import socket
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from time import sleep
from typing import Any

import paramiko
from fabric import Connection
from fabric.connection import derive_shorthand
from paramiko.ssh_exception import (
    AuthenticationException,
    NoValidConnectionsError,
    PasswordRequiredException,
    SSHException,
)

from fabfile import known_hosts
from fabfile.errors import Failed, Unreachable
from fabfile.inventory import Host, Inventory
from fabfile.known_hosts import Changed, Known, Revoked, Unknown, fingerprint
from fabfile.target import quote

EXIT_LIMIT = 10
"""Seconds for the exit code to come after the end of the output."""

STEP_LIMIT = 60
"""Seconds for a host to answer each step of a login, and to open a session."""

ALIVE = 15
"""Seconds between two signs of life while a script runs and prints nothing."""

SILENCE = 60
"""Seconds after which a host whose network acknowledges nothing counts as lost."""

NO_BANNER = "Error reading SSH protocol banner"
"""Paramiko's words for a connection that ends before it begins; where it had to read garbage, more follows."""

TRIES = 6
"""How often a host is asked that turns connections away for now: sshd's MaxStartups and PerSourcePenalties do."""

PAUSE = 0.5
"""Seconds, at most, before the second try; each later pause may be twice as long. They are random, or all of a fleet
would come at once again."""

AWAY = ("Exceeded MaxStartups", "Not allowed at this time")
"""What sshd says to whom it turns away, if it says anything."""

logging.getLogger("paramiko").addHandler(logging.NullHandler())
"""What Paramiko logs is also in its exceptions, which become our errors; by default it would be printed, too."""

RSA = {"ssh-rsa": ("rsa-sha2-512", "rsa-sha2-256")}
"""A kind of key in known_hosts → the algorithms that prove it."""

SYSTEM_KNOWN_HOSTS = Path("/etc/ssh/ssh_known_hosts")


class _Transport(paramiko.Transport):
    """A transport that sends small packets at once, and asks for a host key that is known.

    Paramiko leaves Nagle's algorithm on, which costs 40 ms for each command.

    Args:
        known: what known_hosts files say of the host.
        said: gets the lines that come in the place of SSH's first one.
    """

    def __init__(self, known: Known, said: list[str], sock: Any, *args: Any, **kwargs: Any) -> None:
        self.said = said
        if isinstance(sock, socket.socket):  # through a gateway it is a channel, which has no such option
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, SILENCE * 1000)
        super().__init__(sock, *args, **kwargs)
        options = self.get_security_options()
        wanted = [kind for known_kind in known.kinds for kind in RSA.get(known_kind, (known_kind,))]
        options.key_types = sorted(options.key_types, key=lambda kind: kind not in wanted)

    def _log(self, level: Any, msg: Any, *args: Any) -> None:
        """Keep the lines that Paramiko tells nobody but its log."""
        if isinstance(msg, str) and msg.startswith("Banner: "):
            self.said.append(msg.removeprefix("Banner: "))
        super()._log(level, msg, *args)  # type: ignore[misc]  # Paramiko's type hints leave it out


class _Strict(paramiko.MissingHostKeyPolicy):
    """Paramiko is told of no keys, so it asks here about every one."""

    def __init__(self, known: Known) -> None:
        self.known = known

    def missing_host_key(self, client: Any, hostname: str, key: paramiko.PKey) -> None:
        """Take a key that is known.

        Raises:
            Unknown, Changed, Revoked: it is not.
        """
        self.known.verify(key.asbytes())


class _Channel:
    """A command on a host, as `carry` wants it: no thread of Fabric's, nothing decoded in pieces, nothing polled."""

    def __init__(self, channel: paramiko.Channel, command: str) -> None:
        self.channel = channel
        channel.exec_command(command)

    def read(self, size: int) -> bytes:
        """See `carry.Stream`."""
        return self.channel.recv(size)

    def read_error(self, size: int) -> bytes:
        """See `carry.Stream`."""
        return self.channel.recv_stderr(size)

    def write(self, data: bytes) -> None:
        """See `carry.Stream`."""
        try:
            self.channel.sendall(data)
        except OSError:
            return  # it ended before it read all; its exit code and output say why

    def end_input(self) -> None:
        """See `carry.Stream`."""
        self.channel.shutdown_write()

    def cancel(self) -> None:
        """See `carry.Stream`."""
        self.channel.close()

    def exit_code(self) -> int | None:
        """See `carry.Stream`."""
        self.channel.status_event.wait(EXIT_LIMIT)
        code = self.channel.exit_status
        self.channel.close()
        return None if code == -1 else code


class Machine(Connection):
    """A Fabric `Connection` to a host of the inventory, or to a hop on the way to it.

    Args:
        host: of the inventory.
        config: Fabric's.
        gateway: what leads there; None: what ~/.ssh/config says.
        hop: a ProxyJump of that host, as ~/.ssh/config writes it: the connection is to this one, as strict as all.
        way: the names of the hosts that it is a hop for.
    """

    def __init__(
        self, host: Host, config: Any, gateway: Machine | None = None, hop: str = "", way: tuple[str, ...] = ()
    ) -> None:
        kwargs: dict[str, Any] = dict.fromkeys(("banner_timeout", "auth_timeout", "channel_timeout"), STEP_LIMIT)
        if host.identity_file and not hop:
            kwargs |= {"key_filename": str(Path(host.identity_file).expanduser()), "look_for_keys": False}
        where = derive_shorthand(hop) if hop else {"host": host.address, "user": host.user, "port": host.port}
        self._set(host_entry=host, hop=hop, way=(*way, where["host"]))
        super().__init__(
            where["host"],
            user=where["user"],
            port=where["port"],
            config=config,
            gateway=gateway,
            connect_timeout=host.connect_timeout,
            connect_kwargs=kwargs,
            forward_agent=False,
        )

    def get_gateway(self) -> Any:
        """The way of ~/.ssh/config, with every hop as strict as the host itself: Fabric's own hops take any key."""
        gateway = None
        for hop in self.ssh_config.get("proxyjump", "none").split(","):
            name = derive_shorthand(hop.strip())["host"]
            if name == "none" or name in self.way:  # `Host *` is about the hops, too
                return gateway or (None if "proxyjump" in self.ssh_config else super().get_gateway())
            gateway = Machine(self.host_entry, self.config.clone(), gateway, hop.strip(), self.way)
        return gateway

    def begin(self, command: str) -> _Channel:
        """Begin a command; see `carry.Stream`.

        Raises:
            Unreachable: see `open`.
            Failed: the host opens no session.
        """
        try:
            return _Channel(self.create_session(), command)
        except (SSHException, EOFError) as error:
            why = str(error) or "the connection was closed"
            raise Failed(f"{self.host_entry.name} opens no session", why, hint="run it again") from error

    def open(self) -> Any:
        """Connect.

        Raises:
            Unreachable: no answer, an unknown, changed or revoked host key, no accepted login.
            Refused: a file of known host keys cannot be read.
        """
        if self.is_connected:
            return None
        files = (SYSTEM_KNOWN_HOSTS, Path(self.host_entry.known_hosts).expanduser())
        known = known_hosts.find(files, self.host, self.port)
        self.client.set_missing_host_key_policy(_Strict(known))
        for attempt in range(TRIES):
            said: list[str] = []
            self.connect_kwargs["transport_factory"] = partial(_Transport, known, said)
            try:
                super().open()
                break
            except (SSHException, OSError, EOFError, Unknown, Changed, Revoked) as error:
                if attempt == TRIES - 1 or not _turned_away(error, said):
                    raise _unreachable(self, error, said) from error
            sleep(random.uniform(0, PAUSE * 2**attempt))
        self.transport.set_keepalive(ALIVE)
        return None


def _turned_away(error: Exception, said: Sequence[str]) -> bool:
    """Whether a host ended the connection before it asked who is there, and may not do so the next time."""
    if said:
        return any(words in said[-1] for words in AWAY)
    return isinstance(error, (EOFError, ConnectionResetError)) or str(error) == NO_BANNER


def connect(host: Host, inventory: Inventory, config: Any) -> Machine:
    """A connection to `host`, through its gateways; nothing is sent before its first use.

    Args:
        host: of `inventory`.
        inventory: where gateways are looked up.
        config: Fabric's configuration; every connection gets a clone, or one host's identity leaks to the next.
    """
    gateway = connect(inventory.hosts[host.gateway], inventory, config) if host.gateway else None
    return Machine(host, config.clone(), gateway)


def _word(path: str) -> str:
    """A path as a word for a shell, which is to replace a leading `~` itself."""
    home, slash, rest = path.partition("/")
    return f"{home}{slash}{quote(rest)}" if home == "~" and rest else quote(path)


def _unreachable(machine: Machine, error: Exception, said: Sequence[str] = ()) -> Unreachable:
    host, port = machine.host, machine.port
    way = f", on the way to {machine.host_entry.name}" if machine.hop else ""
    where = f"{machine.hop or machine.host_entry.name} ({machine.user}@{host}:{port}){way}"
    if isinstance(error, (Unknown, Changed, Revoked)):
        return _untrusted(machine, where, error)
    if isinstance(error, PasswordRequiredException):
        return Unreachable(f"{where}: the key has a passphrase", str(error), hint="add it to an agent: ssh-add")
    if isinstance(error, AuthenticationException):
        return Unreachable(f"{where}: login refused", str(error), hint=f"try: ssh -p {port} {machine.user}@{host}")
    if isinstance(error, NoValidConnectionsError):
        error = next(iter(error.errors.values()))
    look = f"see what answers there: ssh -v -p {port} {machine.user}@{host}"
    if _turned_away(error, said):
        what = f"says {said[-1]!r} and closes" if said else "closes"
        return Unreachable(f"{where}: no connection", f"it {what} the connection, {TRIES} times", hint=look)
    if said or str(error).startswith(NO_BANNER):
        what = f"it says {said[0][:100]!r}" if said else str(error).removeprefix(NO_BANNER)
        return Unreachable(f"{where}: no connection", f"this is not SSH: {what}", hint=look)
    return Unreachable(
        f"{where}: no connection", str(error) or type(error).__name__, hint="is it up, and is sshd there?"
    )


def _untrusted(machine: Machine, where: str, error: Unknown | Changed | Revoked) -> Unreachable:
    host, port, file = machine.host, machine.port, machine.host_entry.known_hosts
    name = host if port == 22 else f"[{host}]:{port}"
    known = _word(file)
    scan = f"ssh-keyscan -p {port} {host} >> {known}"
    if isinstance(error, Changed):
        return Unreachable(
            f"{where}: the host key has changed",
            f"expected the {error.expected.kind} key {fingerprint(error.expected.key)}\n"
            "either the machine was installed anew or somebody is in between",
            hint=f"once you are sure: ssh-keygen -f {known} -R '{name}', then {scan}",
        )
    if isinstance(error, Revoked):
        return Unreachable(
            f"{where}: the host key is revoked", f"a @revoked line in {file} or {SYSTEM_KNOWN_HOSTS} has it"
        )
    return Unreachable(
        f"{where}: the host key is unknown",
        str(error) or f"no key for {name} in {file}",
        hint=f"compare its fingerprint (ssh-keygen -lf on the host), then {scan}",
    )
