"""Run scripts as root where the login is not root, by sudo, with or without a password.

The password is written to sudo's standard input only after sudo has asked for it; if sudo does not ask, it is never
sent. The script is written only after root's shell has announced that it runs. So neither is taken for the other.
"""

from __future__ import annotations

import secrets
from shlex import quote
from time import monotonic
from typing import TYPE_CHECKING

from fabfile.errors import Failed

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fabfile.remote.stream import Stream

LIMIT = 60
"""Seconds for sudo to ask for the password and check it: it may query a directory server, and delays a rejection."""

MOST = 64 << 10
"""Limit for the bytes that a login shell and sudo print before a script begins."""

AS_ROOT = 'if [ "$(id -u)" -eq 0 ]; then exec sh -c "$0"; else exec sudo {how} sh -c "$0"; fi'
"""Shell that runs its $0 as root. Within single quotes, none of its characters is special to csh or fish."""

SILENT, ASKING = AS_ROOT.format(how="-n"), AS_ROOT.format(how='-S -p "$1"')

_passwords: list[bytes] = []
"""The password of this run, if there is one. It is kept only here: in no argument, configuration or environment."""


def use(password: bytes) -> None:
    """Answer with this password from now on when sudo asks for one."""
    _passwords[:] = [password]


def forget() -> None:
    """Forget the password."""
    _passwords.clear()


class Entrance:
    """The start of one script as root: the command, and the dialogue with sudo.

    Args:
        root: whether the login is root, so that neither is needed.
    """

    def __init__(self, *, root: bool = False) -> None:
        self.asks = bool(_passwords) and not root
        self.root = root
        mark = f"@@{secrets.token_hex(8)}"
        # A shell that prints the commands that it runs must not be mistaken for sudo or for root's shell. So what they
        # print differs from the command: sudo prints %% as %, and root's shell removes the quotes of the announcement.
        self.prompt, self.question = f"{mark}%%:", f"{mark}%:".encode()
        self.announce, self.ready = f'echo "{mark}"ready >&2', f"{mark}ready\n".encode()

    def command(self, take: str, words: Sequence[str] = ()) -> str:
        """Return the command that runs `take` as root.

        Args:
            take: shell that takes the script from its standard input or its arguments.
            words: its arguments, quoted, if the login is root. Without root, sudo would write them to the log.
        """
        if self.root:
            arguments = ["sh", *words] if words else []  # the first one is $0
            return " ".join([f"exec sh -c {quote(take)}", *arguments])
        if not self.asks:
            return f"exec sh -c {quote(SILENT)} {quote(take)}"
        return f"exec sh -c {quote(ASKING)} {quote(f'{self.announce}; {take}')} {quote(self.prompt)}"

    def enter(self, stream: Stream) -> tuple[bool, bytes, bytes]:
        """Answer sudo's question, if it asks one.

        Returns:
            Whether to send the script, what was printed on standard output, and what was printed on standard error
            after sudo's part. If the script is not to be sent, the command has ended; its exit code and output tell
            why.

        Raises:
            Failed: sudo rejected the password, which is tried once, or neither asked nor started the shell in time.
        """
        if not self.asks:
            return True, b"", b""
        out, heard, why = self._converse(stream)
        said, ready, rest = heard.replace(self.question, b"").partition(self.ready)
        if why:
            stream.cancel()
            stream.exit_code()
            raise Failed(why, said[-1000:].decode(errors="replace"), hint="try it by hand on the host: sudo -k -v")
        return bool(ready), out, rest if ready else said

    def _converse(self, stream: Stream) -> tuple[bytes, bytes, str]:
        """Return what was printed on standard output and standard error, and what went wrong; empty: nothing."""
        out, heard, answered, end = b"", b"", False, monotonic() + LIMIT
        try:
            while self.ready not in heard:
                pieces = stream.read(MOST, end - monotonic())
                if not any(pieces):
                    break
                out, heard = out + pieces[0], heard + pieces[1]
                if len(out) + len(heard) > MOST:
                    return out, heard, f"sudo printed more than {MOST >> 10} KiB"
                if not answered and self.question in heard:
                    stream.write(_passwords[0] + b"\n", end - monotonic())
                    answered = True
                elif heard.count(self.question) > 1:
                    return out, heard, "sudo rejected the password"
        except TimeoutError:
            return out, heard, f"sudo did not answer within {LIMIT} s"
        return out, heard, ""
