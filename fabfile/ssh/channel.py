"""A command that runs on a host, as a `Stream`."""

from __future__ import annotations

import threading
from contextlib import suppress
from time import monotonic

import paramiko

from fabfile.ssh.failure import STEP_LIMIT

EXIT_LIMIT = 10
"""Seconds to wait for the exit code after the output has ended."""


class Came(threading.Event):
    """Set when output has come or ended. Paramiko clears an event when one of the two outputs has been read."""

    def clear(self) -> None:
        """Do nothing, as the other output may not have been read."""

    def forget(self) -> None:
        """Clear it."""
        super().clear()


class Answered(threading.Event):
    """Set when the host has answered a request, for which Paramiko would wait as long as the connection lasts."""

    def wait(self, timeout: float | None = None) -> bool:
        """Wait for the answer.

        Raises:
            SSHException: it did not come in time.
        """
        if not super().wait(STEP_LIMIT if timeout is None else timeout):
            raise paramiko.SSHException(f"the host did not answer within {STEP_LIMIT} s")
        return True


class Channel:
    """A command on a host; unlike Fabric's runner, it starts no threads, does not poll, and decodes nothing."""

    def __init__(self, channel: paramiko.Channel, command: str) -> None:
        self.channel, self.came = channel, Came()
        channel.event = Answered()
        for output in (channel.in_buffer, channel.in_stderr_buffer):
            output.set_event(self.came)
        try:
            channel.exec_command(command.encode(errors="surrogateescape"))
        except BaseException:
            self.cancel()
            raise

    def read(self, size: int, seconds: float) -> tuple[bytes, bytes]:
        """See `stream.Stream`."""
        end, channel = monotonic() + seconds, self.channel
        while True:
            self.came.forget()
            ended = channel.eof_received or channel.closed  # asked first, as output may come before the next line
            out = channel.recv(size) if channel.recv_ready() else b""
            error = channel.recv_stderr(size) if channel.recv_stderr_ready() else b""
            if out or error or ended:
                return out, error
            if not self.came.wait(max(0.0, end - monotonic())):
                raise TimeoutError

    def write(self, data: bytes, seconds: float) -> None:
        """See `stream.Stream`."""
        end, view = monotonic() + seconds, memoryview(data)
        try:
            while view:
                self.channel.settimeout(max(0.0, end - monotonic()))
                view = view[self.channel.send(view) :]  # type: ignore[arg-type]  # it takes any bytes
        except TimeoutError:
            raise
        except (OSError, EOFError):
            return  # the command ended before it had read everything; its exit code and output tell why

    def end_input(self) -> None:
        """See `stream.Stream`."""
        with suppress(EOFError, OSError, paramiko.SSHException):  # the connection was lost
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
