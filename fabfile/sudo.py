"""Root on a machine where the login is not root: by sudo, without a question or with a password that it asks for.

A password is written to sudo's standard input when sudo has asked: one that sudo does not need is never sent. The
script follows once root's shell has said that it runs. So neither can be taken for the other.
"""

from __future__ import annotations

import secrets
import threading
from shlex import quote
from typing import TYPE_CHECKING

from fabfile.errors import Failed

if TYPE_CHECKING:
    from fabfile.stream import Stream

LIMIT = 60
"""Seconds for sudo to ask and to judge: it may ask a directory server, and waits after a wrong password."""

MOST = 64 << 10
"""Bytes of what a login shell and sudo say before a script begins."""

AS_ROOT = 'if [ "$(id -u)" -eq 0 ]; then exec sh -c "$0"; else exec sudo {how} sh -c "$0"; fi'
"""Runs its $0 as root. No character of it means anything to csh or fish within single quotes."""

SILENT, ASKING = AS_ROOT.format(how="-n"), AS_ROOT.format(how='-S -p "$1"')

_passwords: list[bytes] = []
"""The one of this run, if there is one: in no argument, configuration or environment."""


def use(password: bytes) -> None:
    """Answer with this password from now on, where sudo asks."""
    _passwords[:] = [password]


def forget() -> None:
    """Have no password any more."""
    _passwords.clear()


class Entrance:
    """How one script becomes root's."""

    def __init__(self) -> None:
        mark = f"@@{secrets.token_hex(8)}"
        # A shell that prints the commands that it runs must not be taken for sudo: sudo prints %% as %, and the shell
        # that says that it is ready removes the quotes.
        self.prompt, self.question = f"{mark}%%:", f"{mark}%:".encode()
        self.announce, self.ready = f'echo "{mark}"ready >&2', f"{mark}ready\n".encode()

    def command(self, take: str) -> str:
        """The command that runs `take` as root."""
        if not _passwords:
            return f"exec sh -c {quote(SILENT)} {quote(take)}"
        return f"exec sh -c {quote(ASKING)} {quote(f'{self.announce}; {take}')} {quote(self.prompt)}"

    def enter(self, stream: Stream) -> tuple[bool, bytes]:
        """Answer sudo's question, if it asks one.

        Returns:
            Whether the script is to follow, and what came on standard error after sudo. Where it is not, the command
            has ended; how it did says why.

        Raises:
            Failed: sudo rejected the password, which is tried once, or did neither ask nor begin in time.
        """
        if not _passwords:
            return True, b""
        late = threading.Event()

        def stop() -> None:
            late.set()
            stream.cancel()

        timer = threading.Timer(LIMIT, stop)
        timer.daemon = True  # a thread that nobody waits for any more must not keep the program
        timer.start()
        try:
            heard, why = self._converse(stream)
        finally:
            timer.cancel()
        said, ready, rest = heard.replace(self.question, b"").partition(self.ready)
        if why := f"sudo did not answer within {LIMIT} s" if late.is_set() else why:
            stream.cancel()
            stream.exit_code()
            raise Failed(why, said[-1000:].decode(errors="replace"), hint="try it by hand on the machine: sudo -k -v")
        return bool(ready), rest if ready else said

    def _converse(self, stream: Stream) -> tuple[bytes, str]:
        """What came on standard error, and what went wrong."""
        heard, answered = b"", False
        while self.ready not in heard and (piece := stream.read_error(MOST)):
            heard += piece
            if len(heard) > MOST:
                return heard, f"sudo printed more than {MOST >> 10} KiB"
            if not answered and self.question in heard:
                stream.write(_passwords[0] + b"\n")
                answered = True
            elif heard.count(self.question) > 1:
                return heard, "sudo rejected the password"
        return heard, ""
