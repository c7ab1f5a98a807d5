"""Paramiko's packets, read with fewer system calls, and without a thread per connection that only measures time."""

from __future__ import annotations

import math
import threading
from contextlib import suppress
from time import monotonic
from typing import Any

from paramiko.common import MSG_CHANNEL_CLOSE, MSG_CHANNEL_FAILURE, MSG_CHANNEL_WINDOW_ADJUST
from paramiko.message import Message
from paramiko.packet import Packetizer
from paramiko.ssh_exception import SSHException

PIECE = 1 << 16
"""Bytes that are read at once; Paramiko reads a packet in two or three parts."""

SILENCE = 60
"""Seconds after which a connection is lost if the host acknowledges, or reads, nothing."""

IDLE = 5
"""Seconds after which the thread of a connection without traffic wakes, to see whether it is time for a keepalive."""

UNREAD = "the host reads nothing"
"""Error of a connection that was lost because of this limit."""

TO_CHANNEL = range(MSG_CHANNEL_WINDOW_ADJUST, MSG_CHANNEL_FAILURE + 1)
"""Types of the messages that begin with the number of an open channel."""


class Buffered:
    """A socket, or a channel of a gateway, whose input is read in large pieces.

    Its time limit for one call is short, and Paramiko tries again without end. A host that reads nothing would stop all
    threads that write to it, also those that ask whether it is alive.
    """

    def __init__(self, sock: Any) -> None:
        self.sock, self.left, self.stuck, self.lost = sock, b"", math.inf, False

    def close(self) -> None:
        """Close it. For a channel that is a message, and the connection to the gateway may have been closed before."""
        with suppress(OSError, EOFError, SSHException):
            self.sock.close()

    def send(self, data: bytes) -> int:
        """Write some of the bytes, and return how many.

        Raises:
            TimeoutError: there was no room in time.
            SSHException: there has been none for long.
        """
        try:
            sent: int = self.sock.send(data)
        except TimeoutError:
            self.stuck = min(self.stuck, monotonic())
            if monotonic() - self.stuck > SILENCE:
                self.lost = True
                raise SSHException(UNREAD) from None
            raise
        self.stuck = math.inf
        return sent

    def recv(self, size: int) -> bytes:
        """Return some bytes, at most `size`; empty: the input has ended.

        Raises:
            TimeoutError: nothing came in time.
            SSHException: the host reads nothing.
        """
        if self.lost:
            raise SSHException(UNREAD)
        left = self.left or self.sock.recv(PIECE)
        self.left = left[size:]
        return left[:size]


class Packets(Packetizer):
    """Reads and writes packets. The time limit for the handshake is checked where Paramiko asks its timer.

    Nothing is written for a channel after the message that closes it: Paramiko checks whether a channel is open, then
    sends; another thread may close it in between. OpenSSH ends the whole connection when it gets such a message, which
    to a gateway is that of all hosts behind it.
    """

    def __init__(self, sock: Any) -> None:
        self.buffered = Buffered(sock)
        super().__init__(self.buffered)  # type: ignore[arg-type]  # has what Paramiko uses of a socket
        self.end = math.inf
        self.ended: set[int] = set()
        """The host's numbers of channels that were closed from this side."""
        self.order = threading.Lock()

    def send_message(self, data: Message) -> None:
        """Write a message, unless it is for a channel that has been closed."""
        with data.packet.getbuffer() as message:  # asbytes would copy it
            kind, channel = message[0], int.from_bytes(message[1:5])
        with self.order:
            if kind in TO_CHANNEL:
                if channel in self.ended:
                    return
                if kind == MSG_CHANNEL_CLOSE:
                    self.ended.add(channel)
            super().send_message(data)

    def opened(self, channel: int) -> None:
        """Write messages for this number again, which the host has given to a new channel."""
        self.ended.discard(channel)

    def start_handshake(self, timeout: float) -> None:
        """Limit the time for the handshake, in seconds."""
        self.end = monotonic() + timeout

    def handshake_timed_out(self) -> bool:
        """Return whether this time is over."""
        return monotonic() > self.end

    def complete_handshake(self) -> None:
        """Remove the limit, at the first call, and wake less often: only a silent host is left to be noticed."""
        if self.end < math.inf:
            self.end = math.inf
            self.buffered.sock.settimeout(IDLE)
