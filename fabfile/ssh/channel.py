"""A command on a host: a `Stream`."""

from __future__ import annotations

from contextlib import suppress

import paramiko

EXIT_LIMIT = 10
"""Seconds for the exit code to come after the end of the output."""


class Channel:
    """A command: no thread of Fabric's, nothing decoded in pieces, nothing polled."""

    def __init__(self, channel: paramiko.Channel, command: str) -> None:
        self.channel = channel
        channel.exec_command(command)

    def read(self, size: int) -> bytes:
        """See `stream.Stream`."""
        return self.channel.recv(size)

    def read_error(self, size: int) -> bytes:
        """See `stream.Stream`."""
        return self.channel.recv_stderr(size)

    def write(self, data: bytes) -> None:
        """See `stream.Stream`."""
        try:
            self.channel.sendall(data)
        except OSError:
            return  # it ended before it read all; its exit code and output say why

    def end_input(self) -> None:
        """See `stream.Stream`."""
        self.channel.shutdown_write()

    def cancel(self) -> None:
        """See `stream.Stream`."""
        # The reads end first; whoever waited for them may have closed the connection before the host is told.
        with suppress(EOFError, OSError, paramiko.SSHException):
            self.channel.close()

    def lost(self) -> str:
        """See `stream.Stream`."""
        transport = self.channel.transport
        return str(transport.saved_exception or "") if transport else ""

    def exit_code(self) -> int | None:
        """See `stream.Stream`."""
        self.channel.status_event.wait(EXIT_LIMIT)
        code = self.channel.exit_status
        self.channel.close()
        return None if code == -1 else code
