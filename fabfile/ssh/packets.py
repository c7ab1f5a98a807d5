"""Paramiko's packets, read with fewer system calls, and without a thread per connection that only measures time."""

from __future__ import annotations

import math
from time import monotonic
from typing import Any

from paramiko.packet import Packetizer

PIECE = 1 << 16
"""Bytes that are read at once; Paramiko reads a packet in two or three parts."""


class Buffered:
    """A socket, or a channel of a gateway, whose input is read in large pieces."""

    def __init__(self, sock: Any) -> None:
        self.sock, self.left = sock, b""
        self.send, self.close = sock.send, sock.close

    def recv(self, size: int) -> bytes:
        """Return some bytes, at most `size`; empty: the input has ended."""
        left = self.left or self.sock.recv(PIECE)
        self.left = left[size:]
        return left[:size]


class Packets(Packetizer):
    """Reads and writes packets. The time limit for the handshake is checked where Paramiko asks its timer."""

    def __init__(self, sock: Any) -> None:
        super().__init__(Buffered(sock))  # type: ignore[arg-type]  # has what Paramiko uses of a socket
        self.end = math.inf

    def start_handshake(self, timeout: float) -> None:
        """Limit the time for the handshake, in seconds."""
        self.end = monotonic() + timeout

    def handshake_timed_out(self) -> bool:
        """Return whether this time is over."""
        return monotonic() > self.end

    def complete_handshake(self) -> None:
        """Remove the limit."""
        self.end = math.inf
