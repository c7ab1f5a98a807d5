"""Paramiko's transport with our options: packets are sent without delay, and only known host keys are accepted."""

from __future__ import annotations

import logging
import re
import socket
import threading
from collections.abc import Sequence
from contextlib import suppress
from functools import cache
from typing import Any

import paramiko
from paramiko.auth_handler import AuthHandler
from paramiko.common import cMSG_GLOBAL_REQUEST

from fabfile.ssh.known_hosts import HostEntries
from fabfile.ssh.packets import SILENCE, Packets

ALIVE = 15
"""Interval in seconds of keepalive requests, while a script runs and prints nothing."""

UNANSWERED = 4
"""Number of keepalive requests after which a connection is lost if the host has answered none of them."""

LISTS = ("kex algos: ", "server key: ", "client encrypt: ", "client mac: ")
"""Prefixes of the lines in Paramiko's log that list a host's algorithms."""

AEAD = "-gcm@"
"""Part of the names of ciphers that also authenticate packets. They are preferred: with others, Paramiko compares
digests byte by byte in Python, which takes a third of the time of its threads."""

WEAK = re.compile(r"cbc|md5|-96$")
"""Algorithms that Paramiko would still accept, but that OpenSSH no longer offers."""

RSA = {"ssh-rsa": ("rsa-sha2-512", "rsa-sha2-256")}
"""Kind of a key in known_hosts → the algorithms with which a host proves to have it, if they are named differently."""

logging.getLogger("paramiko").addHandler(logging.NullHandler())
"""Paramiko's exceptions, which become our errors, say what it logs; without a handler, it would be printed as well."""


class Transport(paramiko.Transport):
    """A transport that sends small packets at once, asks for a known host key, and sleeps while a host is silent.

    Paramiko leaves Nagle's algorithm on, which costs 40 ms for each command. Its thread wakes ten times a second to see
    whether it is still wanted, which costs more than all else with hosts that take long; here closing wakes it, and
    `packets.IDLE` is the interval after the handshake.

    Args:
        known: entries for the host in known_hosts files.
        said: list to which the lines are added that the host sends instead of SSH's first one.
        offers: mapping to which the algorithms of both sides are added.
    """

    _active_check_timeout = 1.0
    packetizer: Packets

    def __init__(
        self,
        known: HostEntries,
        said: list[str],
        offers: dict[str, Sequence[str]],
        sock: Any,
        *args: Any,
        **kwargs: Any,
    ) -> None:
        self.said, self.offers, self.unanswered = said, offers, 0
        if isinstance(sock, socket.socket):  # through a gateway it is a channel, which has no socket options
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, SILENCE * 1000)
        super().__init__(sock, *args, **{**kwargs, "packetizer_class": Packets})
        options = self.get_security_options()
        options.ciphers, options.digests = _strong(options.ciphers), _strong(options.digests)
        wanted = [kind for known_kind in known.kinds for kind in RSA.get(known_kind, (known_kind,))]
        options.key_types = sorted(options.key_types, key=lambda kind: kind not in wanted)
        offers |= {name: getattr(options, name) for name in ("kex", "key_types", "ciphers", "digests")}

    def stop_thread(self) -> None:
        """Stop the thread, which may be waiting for the host: it is woken by a shutdown, but not by closing."""
        with suppress(OSError, EOFError):  # the host, or the gateway on the way to it, has closed the connection
            self.sock.shutdown(socket.SHUT_RDWR)
        with suppress(OSError, EOFError):
            super().stop_thread()

    def auth_publickey(self, username: str, key: paramiko.PKey, event: threading.Event | None = None) -> list[str]:
        """Log in with a key; see Paramiko's method.

        An RSA key needs the list of algorithms that the host sends after the key exchange, so it is not sent early.
        """
        if event or "rsa" in key.get_name() or not (self.is_active() and self.initial_kex_done):
            return super().auth_publickey(username, key, event)
        answered = threading.Event()
        self.auth_handler = Eager(self)
        self.auth_handler.auth_publickey(username, key, answered)
        return self.auth_handler.wait_for_response(answered)

    def _log(self, level: Any, msg: Any, *args: Any) -> None:
        """Keep the lines that Paramiko writes only to its log."""
        if isinstance(msg, str) and msg.startswith("Banner: "):
            self.said.append(msg.removeprefix("Banner: "))
        elif isinstance(msg, str) and msg.startswith(LISTS):
            name, _, names = msg.partition(": ")
            self.offers[name] = names.split(", ")
        if self.logger.isEnabledFor(level):
            super()._log(level, msg, *args)  # type: ignore[misc]  # missing in Paramiko's type hints

    def _parse_channel_open_success(self, m: Any) -> None:
        self.packetizer.opened(int.from_bytes(m.get_remainder()[4:8]))
        super()._parse_channel_open_success(m)  # type: ignore[misc]  # missing in Paramiko's type hints

    def _parse_debug(self, m: Any) -> None:
        """Ignore a message for debugging: sshd sends one for each login, and Paramiko would only log it."""

    def ask_for_life(self, interval: float) -> None:
        """Send keepalive requests from now on, and end the connection if the host does not answer them.

        Acknowledged packets do not prove that sshd is alive: they may come from the kernel of a host whose sshd hangs,
        or from a gateway.

        Args:
            interval: seconds without any traffic after which a request is sent.
        """
        self.packetizer.set_keepalive(interval, self._ask)

    def _ask(self) -> None:
        if self.unanswered >= UNANSWERED:
            raise paramiko.SSHException(f"the host did not answer {UNANSWERED} keepalive requests")
        self.unanswered += 1
        question = paramiko.Message()
        question.add_byte(cMSG_GLOBAL_REQUEST)
        question.add_string("keepalive@openssh.com")
        question.add_boolean(True)
        self._send_user_message(question)  # type: ignore[attr-defined]  # as above

    def _parse_request_success(self, m: Any) -> None:
        self.unanswered = 0
        super()._parse_request_success(m)  # type: ignore[misc]  # as above

    def _parse_request_failure(self, m: Any) -> None:
        """Count this as an answer; it is the usual one, because no server implements the request."""
        self.unanswered = 0
        super()._parse_request_failure(m)  # type: ignore[misc]  # as above


@cache
def _strong(names: tuple[str, ...]) -> tuple[str, ...]:
    """Return algorithms without the weak ones, the preferred ones first."""
    return tuple(sorted((name for name in names if not WEAK.search(name)), key=lambda name: AEAD not in name))


class Eager(AuthHandler):
    """Sends the login together with the request for the login service, which saves a round trip."""

    def _request_auth(self) -> None:
        super()._request_auth()  # type: ignore[misc]  # Paramiko's type hints leave it out
        accepted = paramiko.Message()
        accepted.add_string("ssh-userauth")
        accepted.rewind()
        super()._parse_service_accept(accepted)  # type: ignore[misc]  # as above

    def _parse_service_accept(self, m: Any) -> None:
        """Ignore that the host accepts the service: the login, which Paramiko would send now, has been sent."""


class Strict(paramiko.MissingHostKeyPolicy):
    """A policy that verifies every host key: Paramiko is given no known keys, so it calls this for each host."""

    def __init__(self, known: HostEntries) -> None:
        self.known = known

    def missing_host_key(self, client: Any, hostname: str, key: paramiko.PKey) -> None:
        """Accept a known key.

        Raises:
            Unknown, Changed, Revoked: the key is not known, or must not be used.
        """
        self.known.verify(key.asbytes())
