"""Strict connections: known host keys only, no delayed packets, every failure an `Unreachable` that says what to do."""

from __future__ import annotations

import logging
import socket
from pathlib import Path
from typing import Any

import paramiko
from fabric import Connection
from paramiko.hostkeys import InvalidHostKey
from paramiko.ssh_exception import (
    AuthenticationException,
    BadHostKeyException,
    NoValidConnectionsError,
    PasswordRequiredException,
    SSHException,
)

from fabfile.errors import Failed, Refused, Unreachable
from fabfile.inventory import Host, Inventory
from fabfile.target import quote

EXIT_LIMIT = 10
"""Seconds for the exit code to come after the end of the output."""

logging.getLogger("paramiko").addHandler(logging.NullHandler())
"""What Paramiko logs is also in its exceptions, which become our errors; by default it would be printed, too."""

SYSTEM_KNOWN_HOSTS = Path("/etc/ssh/ssh_known_hosts")


class _Transport(paramiko.Transport):
    """A transport that sends small packets at once: Paramiko leaves Nagle's algorithm on, ~40 ms for each command."""

    def __init__(self, sock: Any, *args: Any, **kwargs: Any) -> None:
        if isinstance(sock, socket.socket):  # through a gateway it is a channel, which has no such option
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        super().__init__(sock, *args, **kwargs)


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
    """A Fabric `Connection` to a host of the inventory."""

    def __init__(self, host: Host, config: Any, gateway: Machine | None = None) -> None:
        kwargs: dict[str, Any] = {"transport_factory": _Transport, "banner_timeout": 60, "auth_timeout": 60}
        if host.identity_file:
            kwargs |= {"key_filename": str(Path(host.identity_file).expanduser()), "look_for_keys": False}
        super().__init__(
            host.address,
            user=host.user,
            port=host.port,
            config=config,
            gateway=gateway,
            connect_timeout=host.connect_timeout,
            connect_kwargs=kwargs,
        )
        self._set(host_entry=host)
        for file in (SYSTEM_KNOWN_HOSTS, Path(host.known_hosts).expanduser()):
            if file.exists():
                self._load(file)
        self.client.set_missing_host_key_policy(paramiko.RejectPolicy())

    def _load(self, file: Path) -> None:
        try:
            self.client.load_system_host_keys(str(file))
        except (InvalidHostKey, OSError, UnicodeDecodeError) as error:
            raise Refused(
                f"cannot read the host keys in {file}", str(error), hint="mend or remove that line"
            ) from error

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
            Unreachable: no answer, an unknown or changed host key, no accepted login.
        """
        try:
            return super().open()
        except (SSHException, OSError, EOFError) as error:
            raise _unreachable(self.host_entry, error) from error


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


def _unreachable(host: Host, error: Exception) -> Unreachable:
    where = f"{host.name} ({host.user}@{host.address}:{host.port})"
    name = host.address if host.port == 22 else f"[{host.address}]:{host.port}"
    known = _word(host.known_hosts)
    scan = f"ssh-keyscan -p {host.port} {host.address} >> {known}"
    if isinstance(error, BadHostKeyException):
        return Unreachable(
            f"{where}: the host key has changed",
            f"expected {error.expected_key.get_base64()[:32]}…, got {error.key.get_base64()[:32]}…\n"
            "either the machine was installed anew or somebody is in between",
            hint=f"once you are sure: ssh-keygen -f {known} -R '{name}', then {scan}",
        )
    if "not found in known_hosts" in str(error):
        return Unreachable(
            f"{where}: the host key is unknown",
            f"no key for {name} in {host.known_hosts}",
            hint=f"compare its fingerprint (ssh-keygen -lf on the host), then {scan}",
        )
    if isinstance(error, PasswordRequiredException):
        return Unreachable(f"{where}: the key has a passphrase", str(error), hint="add it to an agent: ssh-add")
    if isinstance(error, AuthenticationException):
        return Unreachable(
            f"{where}: login refused", str(error), hint=f"try: ssh -p {host.port} {host.user}@{host.address}"
        )
    if isinstance(error, NoValidConnectionsError):
        error = next(iter(error.errors.values()))
    return Unreachable(
        f"{where}: no connection", str(error) or type(error).__name__, hint="is it up, and is sshd there?"
    )
