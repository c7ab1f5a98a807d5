"""What Paramiko speaks SSH with: packets that are not delayed, and only known host keys."""

from __future__ import annotations

import logging
import socket
from typing import Any

import paramiko

from fabfile.ssh.known_hosts import Known

SILENCE = 60
"""Seconds after which a host whose network acknowledges nothing counts as lost."""

RSA = {"ssh-rsa": ("rsa-sha2-512", "rsa-sha2-256")}
"""A kind of key in known_hosts → the algorithms that prove it."""

logging.getLogger("paramiko").addHandler(logging.NullHandler())
"""What Paramiko logs is also in its exceptions, which become our errors; by default it would be printed, too."""


class Transport(paramiko.Transport):
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


class Strict(paramiko.MissingHostKeyPolicy):
    """Paramiko is told of no keys, so it asks here about every one."""

    def __init__(self, known: Known) -> None:
        self.known = known

    def missing_host_key(self, client: Any, hostname: str, key: paramiko.PKey) -> None:
        """Take a key that is known.

        Raises:
            Unknown, Changed, Revoked: it is not.
        """
        self.known.verify(key.asbytes())
