"""The one place that writes to the terminal: short lines, one thread at a time, each behind its host's name.

What machines, mirrors and files say may hold anything: control characters are shown, not obeyed, and a password in an
address is not shown at all.
"""

from __future__ import annotations

import os
import re
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TextIO

_lock = threading.Lock()
_prefix = threading.local()

CREDENTIALS = re.compile(
    r"(\b(?:https?|ftp)://)[^\s/?#\"'<>]*@|(\b[a-z][a-z0-9+.-]{0,20}://)[^\s/?#\"'<>@:]*:[^\s/?#\"'<>]*@",
    re.IGNORECASE,
)
"""User and password, or a token, in an address. `ssh://root@host` has neither."""


def printable(text: str) -> str:
    """`text` with every character that a terminal would obey, or that is no character, as an escape such as `\\x1b`.

    Line feeds and tabs stay; of credentials in addresses only `***` does.
    """
    text = CREDENTIALS.sub(lambda found: f"{found[1] or found[2]}***@", text)
    return "".join(each if each.isprintable() or each in "\n\t" else _escape(each) for each in text)


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
    nobody reads any more nothing is printed from then on.
    """
    prefix = getattr(_prefix, "text", "")
    stream = sys.stderr if error else sys.stdout
    encoding = getattr(stream, "encoding", None) or "utf-8"
    with _lock:
        try:
            for line in printable(text).splitlines() or [""]:
                whole = f"{prefix}{line}".rstrip()
                print(whole.encode(encoding, "backslashreplace").decode(encoding), file=stream, flush=True)
        except BrokenPipeError:
            _silence(stream)


def _silence(stream: TextIO) -> None:
    """Have a stream, whose reader is gone, lead nowhere."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, stream.fileno())
    os.close(nowhere)
