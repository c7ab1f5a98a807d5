"""A running command with binary input and output: `ssh.channel.Channel` on a host, `Local` on the controller."""

from __future__ import annotations

import os
import select
import signal
import subprocess
from contextlib import suppress
from time import monotonic
from typing import Protocol


class Stream(Protocol):
    """A running command."""

    def read(self, size: int, seconds: float) -> tuple[bytes, bytes]:
        """Wait for output, and return some of it.

        Args:
            size: limit for the bytes of each output.
            seconds: time limit.

        Returns:
            Bytes of standard output and of standard error; both are empty when both outputs have ended.

        Raises:
            TimeoutError: nothing came in time.
        """

    def write(self, data: bytes, seconds: float) -> None:
        """Write to its standard input, unless the command has ended.

        Args:
            data: the bytes.
            seconds: time limit for all of them.

        Raises:
            TimeoutError: the command did not read them in time.
        """

    def end_input(self) -> None:
        """Close its standard input."""

    def cancel(self) -> None:
        """End the command; pending reads end as well."""

    def exit_code(self) -> int | None:
        """Return its exit code; None: the connection was lost before it arrived."""

    def lost(self) -> str:
        """Return why the connection was lost; empty: unknown, or not lost."""


BLIND = 1.0
"""Limit in seconds for one wait: a signal that comes just before the main thread waits is only seen afterwards."""


class Pipes:
    """The reading ends of the pipes of a command's standard output and standard error.

    Args:
        out: file descriptor of standard output.
        error: file descriptor of standard error.
    """

    def __init__(self, out: int, error: int) -> None:
        self.names = {out: 0, error: 1}
        self.open = select.poll()
        for number in self.names:
            self.open.register(number, select.POLLIN)

    def read(self, size: int, seconds: float) -> tuple[bytes, bytes]:
        """See `Stream`."""
        end, pieces = monotonic() + seconds, [b"", b""]
        while self.names and not any(pieces):
            left = end - monotonic()
            ready = self.open.poll(min(max(0.0, left), BLIND) * 1000)
            if not ready and left <= BLIND:
                raise TimeoutError
            for number, _ in ready:
                piece = pieces[self.names[number]] = os.read(number, size)
                if not piece:
                    self.open.unregister(number)
                    del self.names[number]
        return pieces[0], pieces[1]


class Local:
    """A command on the controller, in a session of its own."""

    def __init__(self, command: str) -> None:
        self.process = subprocess.Popen(
            ["/bin/sh", "-c", command], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            start_new_session=True, bufsize=0,
        )  # fmt: skip
        assert self.process.stdin is not None
        assert self.process.stdout is not None and self.process.stderr is not None
        os.set_blocking(self.process.stdin.fileno(), False)
        self.pipes = Pipes(self.process.stdout.fileno(), self.process.stderr.fileno())

    def read(self, size: int, seconds: float) -> tuple[bytes, bytes]:
        """See `Stream`."""
        return self.pipes.read(size, seconds)

    def write(self, data: bytes, seconds: float) -> None:
        """See `Stream`."""
        assert self.process.stdin is not None
        end, view, room = monotonic() + seconds, memoryview(data), select.poll()
        room.register(self.process.stdin.fileno(), select.POLLOUT)
        try:
            while view:
                left = end - monotonic()
                if room.poll(min(max(0.0, left), BLIND) * 1000):
                    view = view[self.process.stdin.write(view) or 0 :]
                elif left <= BLIND:
                    raise TimeoutError
        except BrokenPipeError:
            return  # the command ended before it had read everything; its exit code and output tell why

    def end_input(self) -> None:
        """See `Stream`."""
        assert self.process.stdin is not None
        self.process.stdin.close()

    def cancel(self) -> None:
        """See `Stream`. Root's processes cannot be killed from here: they notice the end of their input, and end."""
        self.end_input()
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self.process.pid, signal.SIGKILL)

    def lost(self) -> str:
        """See `Stream`; there is no connection that could be lost."""
        return ""

    def exit_code(self) -> int | None:
        """See `Stream`."""
        for stream in (self.process.stdin, self.process.stdout, self.process.stderr):
            if stream:
                stream.close()
        return self.process.wait()
