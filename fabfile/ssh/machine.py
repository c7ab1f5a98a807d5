"""Strict connections: only known host keys are accepted, also from jump hosts, and every error has a hint."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path
from time import sleep
from typing import Any

from fabric import Connection
from fabric.connection import derive_shorthand
from paramiko import SSHClient
from paramiko.ssh_exception import ChannelException, SSHException

from fabfile import interruption
from fabfile.console import say
from fabfile.errors import Failed, Problem
from fabfile.host import Host
from fabfile.remote.stream import Stream
from fabfile.ssh import identity, known_hosts
from fabfile.ssh.channel import Channel
from fabfile.ssh.failure import STEP_LIMIT, SYSTEM_KNOWN_HOSTS, TRIES, NoKey, turned_away, unreachable
from fabfile.ssh.known_hosts import Changed, HostEntries, OtherKind, Revoked, Unknown
from fabfile.ssh.transport import ALIVE, Strict, Transport

PAUSE = 0.5
"""Limit in seconds for the pause before the second attempt; it doubles with each further one. Pauses are random, so
that the hosts of a fleet do not all try again at the same time."""

SESSION_PAUSES = (0.02, 0.05, 0.1, 0.2, 0.5, 1)
"""Pauses in seconds between attempts to open a session: with MaxSessions 1, sshd may still count one that has ended."""


class Client(SSHClient):
    """A client that reads a private key once for all hosts, and not once for each kind of key."""

    def connect(self, *args: Any, **options: Any) -> None:
        """See Paramiko's method."""
        match options.get("key_filename"):
            case [name] if key := identity.loaded(name):
                options = {**options, "pkey": key, "key_filename": None}
        super().connect(*args, **options)


class Machine(Connection):
    """A Fabric `Connection` to a host of the inventory, or to a jump host on the way to it.

    Args:
        host: a host of the inventory.
        config: Fabric's configuration.
        gateway: the connection to connect through; None: as ~/.ssh/config says.
        hop: a jump host of that host, as ~/.ssh/config has it in ProxyJump; the connection is to this one.
        way: names of the hosts for which this one is a jump host.
        hops: makes the connection to a jump host; all hosts behind it share one.
        known: entries to compare the host's key with; None: those in the known_hosts files.
    """

    def __init__(
        self,
        host: Host,
        config: Any,
        gateway: Machine | None = None,
        hop: str = "",
        way: tuple[str, ...] = (),
        hops: Callable[..., Machine] | None = None,
        known: HostEntries | None = None,
    ) -> None:
        kwargs: dict[str, Any] = dict.fromkeys(("banner_timeout", "auth_timeout", "channel_timeout"), STEP_LIMIT)
        if host.identity_file and not hop:
            kwargs |= {"key_filename": str(Path(host.identity_file).expanduser()), "look_for_keys": False}
        where = derive_shorthand(hop) if hop else {"host": host.address, "user": host.user, "port": host.port}
        self._set(host_entry=host, hop=hop, way=(*way, where["host"]), hops=hops or Machine)
        self._set(opening=threading.Lock(), trouble=None, offers={}, known=known)
        self._set(master=_master(self) if host.keep_connection else None)
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
        self.client = Client()

    def __setattr__(self, name: str, value: Any) -> None:
        """Set an attribute; Invoke would first search all of them, as a name that is none would be a setting."""
        object.__setattr__(self, name, value)

    @property
    def known_hosts(self) -> tuple[Path, ...]:
        """The known_hosts files, the system's first."""
        return SYSTEM_KNOWN_HOSTS, Path(self.host_entry.known_hosts).expanduser()

    def get_gateway(self) -> Any:
        """Return the connection to the last jump host in ~/.ssh/config; Fabric's own would accept any host key."""
        gateway = None
        for hop in self.ssh_config.get("proxyjump", "none").split(","):
            name = derive_shorthand(hop.strip())["host"]
            if name == "none" or name in self.way:  # `Host *` applies to the jump hosts as well
                return gateway or (None if "proxyjump" in self.ssh_config else super().get_gateway())
            gateway = self.hops(self.host_entry, self.config, gateway, hop.strip(), self.way, self.hops)
        return gateway

    def takes_long_commands(self) -> bool:
        """Return whether the host takes a script as its command: OpenSSH does, but dropbear's limit is 9,000 bytes.

        Raises:
            Unreachable: see `open`.
        """
        if self.master and not self.master.why:
            return False  # ssh does not tell what the server is
        self.open()
        return bool(self.transport.remote_version.startswith("SSH-2.0-OpenSSH_"))

    def begin(self, command: str) -> Stream:
        """Start a command on the host, over the connection that OpenSSH keeps to it, if the inventory wants one.

        Raises:
            Unreachable: see `open`.
            Failed: the host opens no session.
        """
        if not self.master or self.master.why:
            return self._begin(command)
        session: Stream | None = self.master.begin(command)
        if session:
            return session
        channel = self._begin(command)  # if this fails as well, the error is about this
        say(f"note: not over a kept connection: {self.master.why}", error=True)
        return channel

    def _begin(self, command: str) -> Channel:
        pauses = iter(SESSION_PAUSES)
        while True:
            try:
                with interruption.connecting():
                    return Channel(self.create_session(), command)
            except (SSHException, EOFError) as error:
                pause = next(pauses, None) if isinstance(error, ChannelException) else None
                if pause is None:
                    why = str(error) or "the connection was closed"
                    raise Failed(f"{self.host_entry.name} opens no session", why, hint="run it again") from error
            sleep(pause)

    def open(self) -> Any:
        """Connect, once: the hosts behind a gateway wait for the same attempt, and share its connection or its error.

        Raises:
            Unreachable: no answer, an unknown, changed or revoked host key, or a refused login.
            Refused: a known_hosts file cannot be read.
        """
        with interruption.connecting(), self.opening:
            if self.trouble:
                raise self.trouble
            if not self.is_connected:
                try:
                    self._open()
                except Problem as problem:
                    self._set(trouble=problem)
                    raise

    def _open(self) -> None:
        for name in self.connect_kwargs.get("key_filename", ()):
            if why := identity.wrong(Path(name)):
                raise unreachable(self, NoKey(Path(name), why))
        try:
            self._log_in(self.known or known_hosts.to_verify(self.known_hosts, self.host, self.port))
        except OtherKind as other:
            self._log_in(other.known)
        self.transport.ask_for_life(ALIVE)

    def _log_in(self, known: HostEntries) -> None:
        self.client.set_missing_host_key_policy(Strict(known))
        for attempt in range(TRIES):
            said: list[str] = []
            self.connect_kwargs["transport_factory"] = partial(Transport, known, said, self.offers)
            try:
                self._connect()
                return
            except (SSHException, OSError, EOFError, Unknown, Changed, Revoked) as error:
                if attempt == TRIES - 1 or not turned_away(error, said):
                    raise unreachable(self, error, said) from error
            sleep(random.uniform(0, PAUSE * 2**attempt))

    def _connect(self) -> None:
        """Connect once; what fails is closed here, as Fabric counts as connected, and closes, only what succeeds."""
        try:
            super().open()
        except BaseException:
            self.client.close()
            raise


def _master(machine: Machine) -> Any:
    from fabfile.ssh.master import MasterConnection  # most runs keep no connection, and should not wait for this

    return MasterConnection(machine)
