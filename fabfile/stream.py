"""A command that was begun: its input and outputs as bytes. On a host it is `ssh.channel`, on this machine `Local`."""

from __future__ import annotations

import os
import signal
import subprocess
from contextlib import suppress
from typing import Any, Protocol


class Stream(Protocol):
    """A command that was begun."""

    def read(self, size: int) -> bytes:
        """Some of its standard output, nothing at its end."""

    def read_error(self, size: int) -> bytes:
        """Some of its standard error, nothing at its end."""

    def write(self, data: bytes) -> None:
        """Write to its standard input."""

    def end_input(self) -> None:
        """End its standard input."""

    def cancel(self) -> None:
        """End it: the reads end too."""

    def exit_code(self) -> int | None:
        """Its exit code, or None where the connection was lost before it came."""

    def lost(self) -> str:
        """Why the connection was lost, where that is known."""


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
            return  # it ended before it read all; its exit code and output say why

    def end_input(self) -> None:
        """See `Stream`."""
        assert self.process.stdin is not None
        self.process.stdin.close()

    def cancel(self) -> None:
        """See `Stream`. What runs as root is not ours to kill: it ends with its input, by its own watch."""
        self.end_input()
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self.process.pid, signal.SIGKILL)

    def lost(self) -> str:
        """See `Stream`. There is no connection."""
        return ""

    def exit_code(self) -> int | None:
        """See `Stream`."""
        for stream in (self.process.stdin, self.process.stdout, self.process.stderr):
            if stream:
                stream.close()
        return self.process.wait()


def _some(stream: Any, size: int) -> bytes:
    return stream.read(size) or b""
