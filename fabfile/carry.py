"""Carry a script, and data for it, to one machine and bring its answer back: bytes in, bytes out, within limits.

The script travels on standard input, not in the command line: arguments are readable for every user of the machine and
limited to 128 KiB. What it prints stands between two marks, so that a login shell that prints something, or that runs
something else, is noticed. When the connection ends, so does the script.
"""

from __future__ import annotations

import itertools
import os
import re
import secrets
import threading
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from time import monotonic
from typing import TYPE_CHECKING

import msgspec

from fabfile import interruption
from fabfile.console import say
from fabfile.errors import Failed, Unreachable
from fabfile.stream import Local, Stream
from fabfile.sudo import Entrance

if TYPE_CHECKING:
    from fabfile.context import Context

SECONDS = 3600
"""Limit of a script that names no other: the longest builds containerd on the machine itself."""

MOST = 64 << 20
"""Limit of what a script prints, in bytes; the largest answer, that of a file, is far below it."""

PIECE = 1 << 16
"""Bytes read at once."""

DEBUG = "DEBUG_SCRIPTS"
"""Environment variable: if it is not empty, every script is printed on standard error, with its seconds."""

BODY = """
exec 3<&0 </dev/null
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

WATCH = "(trap '' TERM; read -r _ <&3; kill -TERM 0; sleep 2; kill -KILL 0) >/dev/null 2>&1 & watch=$!; exec 3<&-"
"""Ends the process group once standard input ends: that is, with the connection."""

UNWATCH = '(exec 2>/dev/null; kill -KILL "$watch") 2>/dev/null; wait "$watch" 2>/dev/null'


ANOTHER_USER = re.compile(r"[Pp]lease log ?in as the user [\"']?([A-Za-z0-9_][A-Za-z0-9_.-]*)")
"""What a cloud image says to root, and then it closes the connection."""


NO_ROOT = re.compile(
    r"^sudo: |^\S+ is not (in the sudoers file|allowed to )|\bsudo: (command )?not found", re.MULTILINE
)
"""What sudo says where it runs nothing, or a shell where there is no sudo."""

ROOT = "log in as root, give the user password-less sudo, or type its password: --prompt-for-sudo-password"


class Answer(msgspec.Struct, frozen=True):
    """What a script printed, and its exit code. Bytes that are no UTF-8 are surrogates: `encoded` gives them back."""

    exited: int
    stdout: str = ""
    stderr: str = ""


def encoded(text: str) -> bytes:
    """The very bytes that `text` was read from."""
    return text.encode(errors="surrogateescape")


def script(
    c: Context,
    text: str,
    *,
    data: Iterable[bytes] | None = None,
    limit: float = SECONDS,
    most: int = MOST,
    look: bool = False,
) -> Answer:
    """Run a POSIX sh script as root and return its answer, whatever its exit code.

    Args:
        c: the machine.
        text: the script; every value in it went through `quote`. It has no standard input.
        data: what it can read from descriptor 3, to its end. A script with data is not watched: it ends with them.
        limit: seconds.
        most: bytes of output.
        look: whether it changes nothing, and so may be cut by the first Ctrl-C.

    Raises:
        Interrupted: it was cut, or must not begin any more.
        Failed: the connection was lost, a limit was reached, or something else was run in the script's place.
        Unreachable: the machine could not be reached.
    """
    mark = f"@@{secrets.token_hex(8)}"
    watch, close, end = (WATCH, "3<&-", UNWATCH) if data is None else ("", "", "")
    body = encoded(BODY.format(mark=mark, script=text, watch=watch, close=close, end=end))
    # busybox's head reads on to the end of its buffer: that costs data, and slowness only a script of this length.
    read = f"head -c {len(body)}" if data is None else f"dd bs=1 count={len(body)} 2>/dev/null"
    take = f'eval "$({read})"'
    root = Entrance()
    begin: Callable[[str], Stream] = getattr(c, "begin", Local)
    start = monotonic()
    with ExitStack() as stack:
        stream = begin(root.command(take))
        stack.enter_context(interruption.cut_by(stream.cancel, look=look))
        entered, said = root.enter(stream)
        pieces = itertools.chain([body], data or ()) if entered else ()
        out, err, why = _exchange(stream, pieces, limit, most, ends=not entered or data is not None)
        err = said + err
    code = stream.exit_code()
    if os.environ.get(DEBUG):
        say(f"{text}\n# {monotonic() - start:.2f} s, exit code {code}, printed {len(out)} bytes", error=True)
    if why:
        printed = out.rpartition(f"{mark} begin\n".encode())[2]
        raise Failed(f"a script was stopped: {why}", _tail(printed, err), hint="see what runs there: ps -ef")
    if code is None and (lost := stream.lost()):
        err += f"\n{lost}".encode()
    return _answer(out, err, code, mark)


def _exchange(
    stream: Stream, data: Iterable[bytes], limit: float, most: int, *, ends: bool
) -> tuple[bytes, bytes, str]:
    """Write `data`, read both outputs to their ends, and return them and which limit was reached, if one was."""
    reasons: list[str] = []
    got = {"out": bytearray(), "err": bytearray()}

    def stop(why: str) -> None:
        reasons.append(why)
        stream.cancel()

    def read(name: str, source: Callable[[int], bytes]) -> None:
        while piece := source(PIECE):
            got[name] += piece
            if sum(map(len, got.values())) > most:
                return stop(f"it printed more than {most >> 20} MiB")
        return None

    timer = threading.Timer(limit, stop, [f"it took longer than {limit:.0f} s"])
    errors = threading.Thread(target=read, args=("err", stream.read_error), daemon=True)
    timer.daemon = True  # a thread that nobody waits for any more must not keep the program
    timer.start()
    errors.start()
    try:
        for piece in data:
            stream.write(piece)
        if ends:
            stream.end_input()
        read("out", stream.read)
        errors.join()
    finally:
        timer.cancel()
        if errors.is_alive():  # we were interrupted: what runs there ends with the connection
            stream.cancel()
    return bytes(got["out"]), bytes(got["err"]), reasons[0] if reasons else ""


def _answer(out: bytes, err: bytes, code: int | None, mark: str) -> Answer:
    text, errors = (part.decode(errors="surrogateescape") for part in (out, err))
    _, begun, rest = text.partition(f"{mark} begin\n")
    stdout, ended, _ = rest.rpartition(f"\n{mark} end {code}\n")
    if begun and ended:
        return Answer(code or 0, stdout, errors)
    if code is None or (begun and code == 0):
        raise Failed(
            "the connection was lost while a script ran",
            _tail(b"", err),
            hint="run it again: it continues where it stopped",
        )
    if begun:  # the shell itself was ended, by a signal for example
        return Answer(code, rest, errors)
    if user := ANOTHER_USER.search(text + errors):
        raise Unreachable(
            "the host requires another user", _tail(out, err), hint=f'set user = "{user[1]}" for it in hosts.toml'
        )
    if NO_ROOT.search(errors):
        raise Failed("this needs root", _tail(b"", err), hint=ROOT)
    raise Failed(
        "the machine did not run the script",
        _tail(out, err) or f"exit code {code}",
        hint="its login shell must be able to run: sh -c 'exit 0'",
    )


def _tail(out: bytes, err: bytes) -> str:
    return "\n".join(part[-1000:].decode(errors="replace").strip() for part in (out, err) if part.strip())
