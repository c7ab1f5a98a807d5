"""The one place that writes to the terminal: short lines, one thread at a time, each behind its host's name.

What machines, mirrors and files say may hold anything: control characters are shown, not obeyed, and a password in an
address is not shown at all.
"""

from __future__ import annotations

import io
import os
import re
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TextIO

_lock = threading.Lock()
_prefix = threading.local()
_only: threading.Thread | None = None
"""The one thread that still says something: others were not waited for."""
_document = False
"""Whether standard output is for one JSON document."""

CREDENTIALS = re.compile(
    r"(\b(?:https?|ftp)://)[^\s/?#\"'<>]*@|(\b[a-z][a-z0-9+.-]{0,20}://)[^\s/?#\"'<>@:]*:[^\s/?#\"'<>]*@",
    re.IGNORECASE,
)
"""User and password, or a token, in an address. `ssh://root@host` has neither."""


def printable(text: str) -> str:
    """`text` with every character that a terminal would obey, or that is no character, as an escape such as `\\x1b`.

    Line feeds and tabs stay; of credentials in addresses only `***` does.
    """
    return "\n".join(map(_printable, masked(text).split("\n")))


def _printable(line: str) -> str:
    """The usual line costs nothing: a host may say megabytes."""
    if line.isprintable():
        return line
    return "".join(each if each.isprintable() or each == "\t" else _escape(each) for each in line)


def masked(text: str) -> str:
    """`text` with `***` for credentials in addresses."""
    if "://" not in text or "@" not in text:
        return text
    return CREDENTIALS.sub(lambda found: f"{found[1] or found[2]}***@", text)


def shown(value: object, most: int = 60) -> str:
    """A value as it was written, in quotes, for an error: no more than `most` characters of it, and no password."""
    text = repr(masked(value) if isinstance(value, str) else value)
    return text if len(text) <= most else f"{text[: most - 20]}…{text[-8:]} ({len(text)} characters)"


def _escape(character: str) -> str:
    code = ord(character)
    if 0xDC80 <= code <= 0xDCFF:  # a byte that was no UTF-8
        code -= 0xDC00
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"


@contextmanager
def prefixed(name: str) -> Iterator[None]:
    """Within it, every line that this thread says starts with `name`."""
    _prefix.text = f"{name}: "
    try:
        yield
    finally:
        _prefix.text = ""


def say(text: str = "", *, error: bool = False) -> None:
    """Print `text`, every line with this thread's prefix, never mixed with another thread's lines.

    Output that cannot be written ends no change half-way: a character that the terminal lacks is escaped, and where
    nobody reads any more, or the disk of a log is full, nothing is printed from then on.
    """
    prefix = getattr(_prefix, "text", "")
    stream = sys.stderr if error else for_people()
    with _lock:
        if _only in (None, threading.current_thread()):
            _write(stream, [f"{prefix}{line}".rstrip() for line in printable(text).splitlines() or [""]])


def only_this_thread() -> None:
    """From now on no other thread says anything."""
    global _only
    with _lock:
        _only = threading.current_thread()


def keep_for_document() -> None:
    """From now on standard output is for one JSON document, and everything else goes to standard error."""
    global _document
    _document = True


def has_document() -> bool:
    """Whether standard output is for one JSON document."""
    return _document


def for_people() -> TextIO:
    """The stream that people read: standard output, or with --json standard error."""
    return sys.stderr if _document else sys.stdout


def write_document(text: str) -> OSError | None:
    """Print the JSON document; the error where it could not be written whole."""
    with _lock:
        return _write(sys.stdout, [text])


def only_print() -> None:
    """This run only prints, by Invoke's hand: a reader that goes away ends it, a character it lacks does not."""
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")


def _write(stream: TextIO, lines: list[str]) -> OSError | None:
    """Print lines; from the first that cannot be written on, none."""
    encoding = getattr(stream, "encoding", None) or "utf-8"
    try:
        for line in lines:
            print(line.encode(encoding, "backslashreplace").decode(encoding), file=stream, flush=True)
    except OSError as error:
        _silence(stream)
        return error
    return None


def _silence(stream: TextIO) -> None:
    """Have a stream that takes nothing any more lead nowhere."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, stream.fileno())
    os.close(nowhere)
