"""The only place that writes to the terminal: lines with the host's name in front, one thread at a time.

What machines, mirrors and files print may contain anything: control characters are escaped, and passwords in addresses
are masked.
"""

from __future__ import annotations

import io
import os
import re
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TextIO

Listener = Callable[[str, list[str]], None]
"""Called with the name of the host that lines are about, and the lines; an empty name: the run as a whole."""

_lock = threading.Lock()
_prefix = threading.local()
_mute = threading.local()
_listeners: list[Listener] = []
_only: threading.Thread | None = None
"""The only thread that still prints; others are no longer waited for."""
_document = False
"""Whether standard output is for one JSON document."""
_lost: OSError | None = None
"""The error with which standard output could no longer be written."""

CREDENTIALS = re.compile(
    r"(\b(?:https?|ftp)://)[^\s/?#\"'<>]*@|(\b[a-z][a-z0-9+.-]{0,20}://)[^\s/?#\"'<>@:]*:[^\s/?#\"'<>]*@",
    re.IGNORECASE,
)
"""User and password, or a token, in an address. `ssh://root@host` has neither."""


def printable(text: str) -> str:
    """Return `text` with escapes such as `\\x1b` for control characters and invalid characters.

    Line feeds and tabs are kept; credentials in addresses are replaced by `***`.
    """
    return "\n".join(map(_printable, masked(text).split("\n")))


def _printable(line: str) -> str:
    """Return a line with escapes; one that needs none is returned at once, as a host may print megabytes."""
    if line.isprintable():
        return line
    return "".join(each if each.isprintable() or each == "\t" else _escape(each) for each in line)


def masked(text: str) -> str:
    """Replace credentials in addresses by `***`."""
    if "://" not in text or "@" not in text:
        return text
    return CREDENTIALS.sub(lambda found: f"{found[1] or found[2]}***@", text)


def masked_in(value: Any) -> Any:
    """Return a value of JSON with the credentials in all of its texts masked.

    That must happen before it is written as JSON, whose escapes hide where a word of a text begins and ends.
    """
    if isinstance(value, dict):
        return {masked_in(key): masked_in(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [masked_in(inner) for inner in value]
    return masked(value) if isinstance(value, str) else value


def masked_word(word: str) -> str:
    """Replace what may be credentials in a word of a command line, or in another single value, by `***`.

    It may be no valid address, with a password that contains any character. So everything up to the last `@` counts,
    unless the word is a command, in which an address follows other words.
    """
    start, slashes, rest = word.partition("://")
    if re.search(r"\s", start):
        return masked(word)
    return f"{start}{slashes}***@{rest.rpartition('@')[2]}" if "@" in rest else word


def shown(value: object, most: int = 60) -> str:
    """Quote a value for an error, with at most `most` characters and without passwords."""
    text = repr(masked_word(value) if isinstance(value, str) else value)
    return text if len(text) <= most else f"{text[: most - 20]}…{text[-8:]} ({len(text)} characters)"


def _escape(character: str) -> str:
    code = ord(character)
    if 0xDC80 <= code <= 0xDCFF:  # a byte that was not UTF-8
        code -= 0xDC00
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"


@contextmanager
def prefixed(name: str) -> Iterator[None]:
    """Start every line that this thread prints within this context with `name`."""
    _prefix.name = name
    try:
        yield
    finally:
        _prefix.name = ""


@contextmanager
def muted_by(event: threading.Event) -> Iterator[None]:
    """Print and publish nothing more of this thread within this context once `event` is set."""
    _mute.event = event
    try:
        yield
    finally:
        _mute.event = None


def is_muted() -> bool:
    """Return whether nothing more of this thread is printed and published."""
    event: threading.Event | None = getattr(_mute, "event", None)
    return bool(event and event.is_set())


@contextmanager
def heard_by(listener: Listener) -> Iterator[None]:
    """Call `listener` with all lines that are printed within this context, whichever thread prints them."""
    with _lock:
        _listeners.append(listener)
    try:
        yield
    finally:
        with _lock:
            _listeners.remove(listener)


def say(text: str = "", *, error: bool = False) -> None:
    """Print `text`, every line with this thread's prefix, without mixing it with another thread's lines.

    Output that cannot be written does not interrupt a change: characters that the terminal lacks are escaped, and if
    the reader is gone or the disk of a log is full, nothing is printed from then on.
    """
    if is_muted():
        return
    name = getattr(_prefix, "name", "")
    prefix = f"{name}: " if name else ""
    stream = sys.stderr if error else for_people()
    with _lock:
        if _only not in (None, threading.current_thread()):
            return
        _write(stream, [f"{prefix}{line}".rstrip() for line in printable(text).splitlines() or [""]])
    be_heard(text)


def be_heard(text: str) -> None:
    """Pass the lines of `text` to the listeners, with the name of this thread's host; nothing is printed."""
    with _lock:
        listeners = list(_listeners)
    for listener in listeners:  # without the lock, as a listener may print something itself
        listener(getattr(_prefix, "name", ""), printable(text).splitlines() or [""])


def only_this_thread() -> None:
    """Let no other thread print anything from now on."""
    global _only
    with _lock:
        _only = threading.current_thread()


def keep_for_document() -> None:
    """Use standard output for one JSON document from now on, and standard error for everything else."""
    global _document
    _document = True


def has_document() -> bool:
    """Return whether standard output is for one JSON document."""
    return _document


def for_people() -> TextIO:
    """Return the stream for people: standard output, or with --json standard error."""
    return sys.stderr if _document else sys.stdout


def lost() -> OSError | None:
    """Return the error with which standard output could no longer be written; a reader that is gone is none."""
    return None if isinstance(_lost, BrokenPipeError) else _lost


def plural(count: int, noun: str) -> str:
    """Return a number and what it counts: `1 host`, `2 hosts`."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def columns() -> int | None:
    """Return the width in columns of the terminal that people read; None if it is not a terminal."""
    stream = for_people()
    if not (stream and stream.isatty()):
        return None
    typed = os.environ.get("COLUMNS", "")
    return (int(typed) if typed.isdecimal() else os.get_terminal_size(stream.fileno()).columns) or 80


def write_document(text: str) -> OSError | None:
    """Print the JSON document; return the error if it could not be written completely."""
    with _lock:
        return _write(sys.stdout, [text])


def only_print() -> None:
    """Prepare a run in which Invoke only prints: a closed pipe ends it, and unsupported characters are escaped."""
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")


def _write(stream: TextIO, lines: list[str]) -> OSError | None:
    """Print lines; after the first error, none."""
    global _lost
    encoding = getattr(stream, "encoding", None) or "utf-8"
    try:
        for line in lines:
            print(line.encode(encoding, "backslashreplace").decode(encoding), file=stream, flush=True)
    except OSError as error:
        _lost = error if stream is sys.stdout else _lost
        _silence(stream)
        return error
    return None


def _silence(stream: TextIO) -> None:
    """Redirect a broken stream to nowhere."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, stream.fileno())
    os.close(nowhere)
