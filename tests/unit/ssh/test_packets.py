"""What is written for a channel that another thread has closed, and what is read in large pieces."""

from __future__ import annotations

from typing import Any

from paramiko.common import MSG_CHANNEL_CLOSE, MSG_CHANNEL_DATA, MSG_CHANNEL_EOF, MSG_IGNORE, byte_chr
from paramiko.message import Message

from fabfile.ssh.packets import IDLE, Packets


class Wire:
    """In place of a socket: keeps what is written, and has something to read."""

    def __init__(self, *pieces: bytes) -> None:
        self.written: list[bytes] = []
        self.pieces = list(pieces)
        self.limits: list[float] = []

    def send(self, data: bytes) -> int:
        self.written.append(data)
        return len(data)

    def recv(self, size: int) -> bytes:
        if not self.pieces:
            raise TimeoutError
        return self.pieces.pop(0)[:size]

    def settimeout(self, seconds: float) -> None:
        self.limits.append(seconds)

    def close(self) -> None:
        """Do nothing."""


def message(kind: int, channel: int, text: str = "") -> Any:
    made = Message()
    made.add_byte(byte_chr(kind))
    made.add_int(channel)
    made.add_string(text)
    return made


def test_nothing_follows_the_message_that_closes_a_channel() -> None:
    wire = Wire()
    packets = Packets(wire)
    for kind, channel, sent in (
        (MSG_CHANNEL_DATA, 5, 1), (MSG_CHANNEL_CLOSE, 5, 2), (MSG_CHANNEL_DATA, 5, 2), (MSG_CHANNEL_EOF, 5, 2),
        (MSG_CHANNEL_CLOSE, 5, 2), (MSG_CHANNEL_DATA, 6, 3), (MSG_IGNORE, 5, 4),
    ):  # fmt: skip
        packets.send_message(message(kind, channel))
        assert len(wire.written) == sent
    packets.opened(5)
    packets.send_message(message(MSG_CHANNEL_DATA, 5))
    assert len(wire.written) == 5


def test_what_is_read_at_once_is_given_out_in_parts() -> None:
    packets = Packets(Wire(b"abcdef", b"gh"))
    assert [packets.read_all(size) for size in (1, 3, 4)] == [b"a", b"bcd", b"efgh"]


def test_after_the_handshake_a_silent_connection_wakes_its_thread_less_often() -> None:
    """Paramiko calls `complete_handshake` after each message."""
    wire = Wire()
    packets = Packets(wire)
    packets.start_handshake(10)
    assert (packets.handshake_timed_out(), wire.limits) == (False, [])
    for _ in range(3):
        packets.complete_handshake()
    assert wire.limits == [IDLE]


def test_a_channel_is_closed_although_the_connection_to_its_gateway_is_gone() -> None:
    """The error would be printed, as it is one in a thread of Paramiko's."""

    class Gone(Wire):
        def close(self) -> None:
            raise EOFError

    packets = Packets(Gone())
    packets.close()
    assert packets.closed
