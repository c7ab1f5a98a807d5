"""A running command, with its input and outputs as bytes: `ssh.channel.Channel` on a host, `Local` on this machine."""

from __future__ import annotations

import os
import signal
import subprocess
from contextlib import suppress
from typing import Any, Protocol


class Stream(Protocol):
    """A running command."""

    def read(self, size: int) -> bytes:
        """Return some of its standard output, at most `size` bytes; empty: the output has ended."""

    def read_error(self, size: int) -> bytes:
        """Return some of its standard error, at most `size` bytes; empty: the output has ended."""

    def write(self, data: bytes) -> None:
        """Write to its standard input."""

    def end_input(self) -> None:
        """Close its standard input."""

    def cancel(self) -> None:
        """End the command; pending reads end as well."""

    def exit_code(self) -> int | None:
        """Return its exit code; None: the connection was lost before it arrived."""

    def lost(self) -> str:
        """Return why the connection was lost; empty: unknown, or not lost."""


class Local:
    """A command on this machine, in a session of its own."""

    def __init__(self, command: str) -> None:
        self.process = subprocess.Popen(
            ["/bin/sh", "-c", command], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            start_new_session=True, bufsize=0,
        )  # fmt: skip

    def read(self, size: int) -> bytes:
        """See `Stream`."""
        return _some(self.process.stdout, size)

    def read_error(self, size: int) -> bytes:
        """See `Stream`."""
        return _some(self.process.stderr, size)

    def write(self, data: bytes) -> None:
        """See `Stream`."""
        assert self.process.stdin is not None
        try:
            view = memoryview(data)
            while view:
                view = view[self.process.stdin.write(view) :]
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


def _some(stream: Any, size: int) -> bytes:
    return stream.read(size) or b""
