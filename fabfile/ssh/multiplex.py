"""Commands over a connection that OpenSSH keeps: the client's side of its PROTOCOL.mux, without a process of ssh."""

from __future__ import annotations

import socket
import struct
from contextlib import ExitStack, suppress
from pathlib import Path
from time import monotonic

from fabfile.remote.stream import Pipes

VERSION = 4
"""Version of the protocol; OpenSSH has had no other one since 5.4."""

HELLO, NEW_SESSION, TERMINATE = 0x1, 0x10000002, 0x10000005
DENIED, FAILURE, EXITED, OPENED = 0x80000002, 0x80000003, 0x80000004, 0x80000006
"""Kinds of messages."""

REQUEST = 0
"""Identifier of our request: there is one for each connection to the socket."""

NO_ESCAPE = 0xFFFFFFFF

MOST = 16 << 10
"""Limit for the bytes of a message; those that we read are far shorter."""

LIMIT = 5
"""Seconds to open a session, which takes one answer of the host."""

EXIT_LIMIT = 10
"""Seconds to wait for the exit code after the output has ended."""


class Unusable(Exception):
    """No command was started; the message tells why."""


class Absent(Unusable):
    """Nothing listens on the socket."""


class Session:
    """A command on a host, as a `stream.Stream`.

    OpenSSH's process gets one end of each of three socket pairs: unlike pipes, they can be ended from here even if it
    hangs. It ends the command when the connection to its socket ends.

    Args:
        path: the socket.
        command: the command.

    Raises:
        Absent: nothing listens on the socket.
        Unusable: the session was not opened in time, or was refused.
    """

    def __init__(self, path: Path, command: str) -> None:
        with ExitStack() as stack, ExitStack() as given:
            self.control = stack.enter_context(connected(path))
            pairs = [socket.socketpair() for _ in range(3)]
            self.input, self.out, self.error = (stack.enter_context(ours) for ours, _ in pairs)
            theirs = [given.enter_context(end) for _, end in pairs]
            flags = [0] * 4  # no terminal, X11, agent and subsystem
            _send(self.control, message(NEW_SESSION, REQUEST, b"", *flags, NO_ESCAPE, b"", command.encode()))
            for end in theirs:
                _send(self.control, b"\0", end)
            expect(self.control, OPENED, 2, LIMIT)
            self.pipes = Pipes(self.out.fileno(), self.error.fileno())
            self.closing = stack.pop_all()

    def read(self, size: int, seconds: float) -> tuple[bytes, bytes]:
        """See `stream.Stream`."""
        return self.pipes.read(size, seconds)

    def write(self, data: bytes, seconds: float) -> None:
        """See `stream.Stream`."""
        self.input.settimeout(max(0.001, seconds))
        try:
            self.input.sendall(data)
        except TimeoutError:
            raise
        except OSError:
            return  # the command ended before it had read everything; its exit code and output tell why

    def end_input(self) -> None:
        """See `stream.Stream`."""
        with suppress(OSError):
            self.input.shutdown(socket.SHUT_WR)

    def cancel(self) -> None:
        """See `stream.Stream`."""
        for end in (self.control, self.input, self.out, self.error):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def lost(self) -> str:
        """See `stream.Stream`; OpenSSH does not tell."""
        return ""

    def exit_code(self) -> int | None:
        """See `stream.Stream`."""
        with self.closing, suppress(Unusable):
            return expect(self.control, EXITED, 2, EXIT_LIMIT)[1]
        return None


def terminate(path: Path) -> None:
    """End a kept connection, and all commands that run over it.

    Args:
        path: its socket.

    Raises:
        Absent: nothing listens on the socket.
        Unusable: it does not answer.
    """
    with connected(path) as control:
        _send(control, message(TERMINATE, REQUEST))
        _until_closed(control)


def _until_closed(control: socket.socket) -> None:
    """Read to the end: OpenSSH ends before it has sent an answer."""
    try:
        while control.recv(MOST):
            pass
    except OSError as error:
        raise Unusable(str(error)) from error


def connected(path: Path) -> socket.socket:
    """Return a connection to a socket, after both sides have named their version.

    Raises:
        Absent: nothing listens on the socket.
        Unusable: it does not answer, or speaks another version.
    """
    control = socket.socket(socket.AF_UNIX)
    with ExitStack() as stack:
        stack.enter_context(control)
        control.settimeout(LIMIT)
        try:
            control.connect(str(path))
        except (FileNotFoundError, ConnectionRefusedError) as error:
            raise Absent(str(error)) from error
        except OSError as error:
            raise Unusable(str(error)) from error
        greet(control)
        stack.pop_all()
    return control


def greet(control: socket.socket) -> None:
    """Exchange versions.

    Raises:
        Unusable: the other side does not answer, or speaks another version.
    """
    (version,) = expect(control, HELLO, 1, LIMIT)
    if version != VERSION:
        raise Unusable(f"it speaks version {version} of the protocol")
    _send(control, message(HELLO, VERSION))


def message(kind: int, *fields: int | bytes) -> bytes:
    """Return the bytes of a message.

    Args:
        kind: its kind.
        fields: numbers and strings.
    """
    return _string(b"".join(_number(each) if isinstance(each, int) else _string(each) for each in (kind, *fields)))


def _number(number: int) -> bytes:
    return struct.pack(">I", number)


def _string(data: bytes) -> bytes:
    return _number(len(data)) + data


def _send(control: socket.socket, data: bytes, *files: socket.socket) -> None:
    try:
        if files:
            socket.send_fds(control, [data], [file.fileno() for file in files])
        else:
            control.sendall(data)
    except OSError as error:
        raise Unusable(str(error)) from error


def expect(control: socket.socket, kind: int, count: int, seconds: float) -> tuple[int, ...]:
    """Read a message of one kind.

    Args:
        control: connection to the socket.
        kind: the kind.
        count: how many numbers follow it.
        seconds: time limit.

    Returns:
        These numbers.

    Raises:
        Unusable: this is another message or none, or it did not come in time.
    """
    end = monotonic() + seconds
    size = int.from_bytes(_read(control, 4, end))
    body = _read(control, size, end) if size <= MOST else b""
    found = int.from_bytes(body[:4])
    if found in (DENIED, FAILURE):  # a number and a reason follow
        raise Unusable(f"it refuses: {body[12:200].decode(errors='replace')}")
    if found != kind or len(body) < 4 + 4 * count:
        raise Unusable("it does not speak OpenSSH's protocol")
    return struct.unpack_from(f">{count}I", body, 4)


def _read(control: socket.socket, size: int, end: float) -> bytes:
    """Read exactly `size` bytes before the time `end` of the monotonic clock."""
    data = b""
    try:
        while len(data) < size:
            control.settimeout(max(0.001, end - monotonic()))
            piece = control.recv(size - len(data))
            if not piece:
                raise Unusable("it closed the connection")
            data += piece
    except TimeoutError as error:
        raise Unusable(f"it did not answer within {LIMIT} s") from error
    except OSError as error:
        raise Unusable(str(error)) from error
    return data
