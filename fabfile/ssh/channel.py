"""A command that runs on a host, as a `Stream`."""

from __future__ import annotations

from contextlib import suppress

import paramiko

EXIT_LIMIT = 10
"""Seconds to wait for the exit code after the output has ended."""


class Channel:
    """A command on a host; unlike Fabric's runner, it starts no threads, does not poll, and decodes nothing."""

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
            return  # the command ended before it had read everything; its exit code and output tell why

    def end_input(self) -> None:
        """See `stream.Stream`."""
        self.channel.shutdown_write()

    def cancel(self) -> None:
        """See `stream.Stream`."""
        # Pending reads end first, so another thread that was waiting in one may have closed the connection by now.
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
