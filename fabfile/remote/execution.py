"""Run a script, with data for it, on one machine, and return its output: bytes in, bytes out, within limits.

A script that changes something travels on standard input instead of the command line, as arguments are visible to every
user of the machine and limited to 128 KiB. Its output is between two marks, so a login shell that prints something, or
runs something else, is noticed. When the connection ends, so does the script.
"""

from __future__ import annotations

import itertools
import os
import re
import secrets
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from time import monotonic
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from fabfile import interruption
from fabfile.console import say
from fabfile.errors import Failed, Unreachable
from fabfile.remote import script_arguments
from fabfile.remote.stream import Local, Stream
from fabfile.remote.sudo import Entrance

if TYPE_CHECKING:
    from fabfile.remote.context import Context

SECONDS = 3600
"""Default time limit of a script in seconds; the longest one builds containerd on the machine itself."""

MOST = 64 << 20
"""Default limit for the output of a script in bytes; the largest one, the content of a file, is far below it."""

PIECE = 1 << 16
"""Number of bytes read at once."""

DEBUG = "DEBUG_SCRIPTS"
"""Environment variable: if it is set, every script is printed on standard error, with its time in seconds."""

BODY = """
exec 3<&0 </dev/null
echo() {{ printf '%s\\n' "$*"; }}
echo {mark} begin
{watch}
(
{script}
) {close}
code=$?
{end}
printf '\\n%s end %s\\n' {mark} "$code"
exit "$code"
"""
"""The script between its marks. It has an echo of its own because that of dash interprets backslashes."""

WATCH = "(trap '' TERM; read -r _ <&3; kill -TERM 0; sleep 2; kill -KILL 0) >/dev/null 2>&1 & watch=$!; exec 3<&-"
"""Ends the process group when standard input ends, that is, with the connection."""

UNWATCH = '{ kill -KILL "$watch"; wait "$watch"; } 2>/dev/null'


ANOTHER_USER = re.compile(r"[Pp]lease log ?in as the user [\"']?([A-Za-z0-9_][A-Za-z0-9_.-]*)")
"""What a cloud image prints for root before it closes the connection."""


Hear = Callable[[bytes], None]


NO_ROOT = re.compile(
    r"^sudo: |^\S+ is not (in the sudoers file|allowed to )|\bsudo: (command )?not found", re.MULTILINE
)
"""What sudo prints if it does not run the command, or a shell if there is no sudo."""

ROOT = "log in as root, give the user password-less sudo, or type its password: --prompt-for-sudo-password"


class ScriptResult(msgspec.Struct, frozen=True):
    """The output of a script and its exit code. Bytes that are not UTF-8 are surrogates, which `encoded` turns back."""

    exited: int
    stdout: str = ""
    stderr: str = ""


def encoded(text: str) -> bytes:
    """Return the bytes that `text` was decoded from."""
    return text.encode(errors="surrogateescape")


def script(
    c: Context,
    text: str,
    *,
    data: Iterable[bytes] | None = None,
    limit: float = SECONDS,
    most: int = MOST,
    read_only: bool = False,
    hear: Hear | None = None,
) -> ScriptResult:
    """Run a POSIX sh script as root, and return its output, whatever its exit code.

    Args:
        c: the machine.
        text: the script; every value in it went through `quote`. It has no standard input.
        data: what it can read from descriptor 3. Such a script has no watcher for the end of the connection, at which
            its data end, and so it ends as well.
        limit: time limit in seconds.
        most: limit for the output in bytes.
        read_only: whether it changes nothing, so that the first Ctrl-C may stop it.
        hear: called with standard output as it arrives, marks included.

    Raises:
        Interrupted: it was stopped, or was not started because of an earlier Ctrl-C.
        Failed: the connection was lost, a limit was reached, or something else ran in place of the script.
        Unreachable: the machine could not be reached.
    """
    mark = f"@@{secrets.token_hex(8)}"
    watch, close, end = (WATCH, "3<&-", UNWATCH) if data is None else ("", "", "")
    body = BODY.format(mark=mark, script=text, watch=watch, close=close, end=end)
    here = not hasattr(c, "begin")
    root = Entrance(root=os.geteuid() == 0 if here else getattr(c, "user", "") == "root")
    begin: Callable[[str], Stream] = getattr(c, "begin", Local)
    start = monotonic()
    with ExitStack() as stack:
        words = script_arguments.arguments(body) if read_only and root.root and _takes_long_commands(c) else []
        sent = b"" if words else encoded(body)
        stream = begin(root.command(script_arguments.RUN if words else _read_from_input(len(sent), data), words))
        stack.enter_context(interruption.cut_by(stream.cancel, read_only=read_only))
        out, err, why = _exchange(stream, root, sent, data, Limits(limit, start + limit, most), hear)
    code = stream.exit_code()
    if os.environ.get(DEBUG):
        say(f"{text}\n# {monotonic() - start:.2f} s, exit code {code}, printed {len(out)} bytes", error=True)
    if why:
        printed = out.rpartition(f"{mark} begin\n".encode())[2]
        raise Failed(f"a script was stopped: {why}", _tail(printed, err), hint="see what runs there: ps -ef")
    if code is None and (lost := stream.lost()):
        err += f"\n{lost}".encode()
    return _result(out, err, code, mark)


def _takes_long_commands(c: Context) -> bool:
    asked: Callable[[], bool] = getattr(c, "takes_long_commands", lambda: False)
    return asked()


def _read_from_input(size: int, data: Iterable[bytes] | None) -> str:
    """Return shell that reads a script of `size` bytes from standard input, and runs it."""
    # busybox's head reads more than it prints, so data after the script would be lost. dd reads no more than the
    # script, but byte by byte; a script with data is short enough for that.
    read = f"head -c {size}" if data is None else f"dd bs=1 count={size} 2>/dev/null"
    return f'eval "$({read})"'


class Limits(NamedTuple):
    """What a script may take."""

    seconds: float
    end: float
    """When these seconds are over, on the monotonic clock."""
    most: int
    """Bytes of its output."""

    @property
    def late(self) -> str:
        """Why a script that takes longer is ended."""
        return f"it took longer than {self.seconds:.0f} s"


def _exchange(
    stream: Stream, root: Entrance, body: bytes, data: Iterable[bytes] | None, limits: Limits, hear: Hear | None
) -> tuple[bytes, bytes, str]:
    """Become root, write the script and its data, and read both outputs to their ends; see `_read`."""
    entered, *early = root.enter(stream)
    pieces = itertools.chain([body], data or ()) if entered else ()
    try:
        late = _write(stream, pieces, limits)
        if not entered or data is not None:
            stream.end_input()
        out, err, why = _read(stream, early, limits, hear)
    except BaseException:  # we were interrupted; what runs there ends with the connection
        stream.cancel()
        raise
    return out, err, late or why


def _write(stream: Stream, pieces: Iterable[bytes], limits: Limits) -> str:
    """Write a script and its data; return why the command was ended meanwhile; empty: it was not.

    However short they are, a host may have no room for them.
    """
    try:
        for piece in pieces:
            stream.write(piece, limits.end - monotonic())
    except TimeoutError:
        stream.cancel()
        return limits.late
    return ""


def _read(stream: Stream, early: Iterable[bytes], limits: Limits, hear: Hear | None) -> tuple[bytes, bytes, str]:
    """Read both outputs of a script to their ends.

    Args:
        stream: the command.
        early: what was read of each before.
        limits: limits of the script.
        hear: see `script`.

    Returns:
        Both outputs, and why the command was ended; empty: it ended by itself.
    """
    got, why = [bytearray(part) for part in early], ""
    try:
        while not why and any(pieces := stream.read(PIECE, limits.end - monotonic())):
            for part, piece in zip(got, pieces, strict=True):
                part += piece
            if hear and pieces[0]:
                hear(pieces[0])
            if sum(map(len, got)) > limits.most:
                why = f"it printed more than {limits.most >> 20} MiB"
    except TimeoutError:
        why = limits.late
    if why:
        stream.cancel()
    return bytes(got[0]), bytes(got[1]), why


def _result(out: bytes, err: bytes, code: int | None, mark: str) -> ScriptResult:
    text, errors = (part.decode(errors="surrogateescape") for part in (out, err))
    _, begun, rest = text.partition(f"{mark} begin\n")
    stdout, ended, _ = rest.rpartition(f"\n{mark} end {code}\n")
    if begun and ended:
        return ScriptResult(code or 0, stdout, errors)
    if code is None or (begun and code == 0):
        raise Failed(
            "the connection was lost while a script ran",
            _tail(b"", err),
            hint="run it again: it continues where it stopped",
        )
    if begun:  # the shell itself was ended, for example by a signal
        return ScriptResult(code, rest, errors)
    if user := ANOTHER_USER.search(text + errors):
        raise Unreachable(
            "the host requires another user", _tail(out, err), hint=f'set user = "{user[1]}" for it in hosts.toml'
        )
    if NO_ROOT.search(errors):
        raise Failed("this needs root", _tail(b"", err), hint=ROOT)
    raise Failed(
        "the host did not run the script",
        _tail(out, err) or f"exit code {code}",
        hint="its login shell must be able to run: sh -c 'exit 0'",
    )


def _tail(out: bytes, err: bytes) -> str:
    return "\n".join(part[-1000:].decode(errors="replace").strip() for part in (out, err) if part.strip())
