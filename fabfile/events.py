"""Events of a run, published as they happen: for the file of --events, the record of the run, and the display."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from contextvars import ContextVar
from errno import EACCES, EISDIR, ENXIO
from pathlib import Path
from time import monotonic, time
from typing import Literal, TextIO

import msgspec

from fabfile import console
from fabfile.console import masked_in, say
from fabfile.errors import Refused

Kind = Literal[
    "run-begin", "host-begin", "task-begin", "step-begin", "step-end", "task-end", "host-end", "run-end"
]  # fmt: skip


class Event(msgspec.Struct, frozen=True, omit_defaults=True):
    """Something that began or ended; docs/json.md describes the fields."""

    time: float
    event: Kind
    host: str = ""
    task: str = ""
    step: str = ""
    status: str = ""
    seconds: float | None = None
    reason: str = ""
    error: str = ""
    hosts: list[str] = []
    exit_code: int | None = None


Listener = Callable[[Event], None]

_listeners: list[Listener] = []
_lock = threading.Lock()
_at: ContextVar[tuple[str, str]] = ContextVar("at", default=("", ""))


@contextmanager
def heard_by(listener: Listener) -> Iterator[None]:
    """Call `listener` with every event within this context, one at a time, whichever thread publishes it."""
    with _lock:
        _listeners.append(listener)
    try:
        yield
    finally:
        with _lock:
            _listeners.remove(listener)


@contextmanager
def on(host: str = "", task: str = "") -> Iterator[None]:
    """Make the events of this thread be about a host and a task within this context; an empty one stays as it was."""
    before = _at.get()
    token = _at.set((host or before[0], task or before[1]))
    try:
        yield
    finally:
        _at.reset(token)


def host() -> str:
    """Return the host that this thread's events are about; empty: the controller."""
    return _at.get()[0]


def tell(
    event: Kind,
    *,
    host: str = "",
    step: str = "",
    status: str = "",
    seconds: float | None = None,
    reason: str = "",
    error: str = "",
    hosts: list[str] | None = None,
    exit_code: int | None = None,
) -> None:
    """Publish an event about the task, and unless `host` is given the host, that was set by `on`."""
    if console.is_muted():
        return
    now = round(time(), 3)
    at, task = _at.get()
    told = Event(now, event, host or at, task, step, status, seconds, reason, error, hosts or [], exit_code)
    with _lock:
        for listener in _listeners:
            listener(told)


class Timer:
    """A stopwatch that starts when it is created."""

    def __init__(self) -> None:
        self._begin = monotonic()

    @property
    def seconds(self) -> float:
        """Seconds since it was created."""
        return round(monotonic() - self._begin, 2)


def check(path: str, option: str = "--events") -> None:
    """Refuse a file that cannot be written. It is not created yet: the run does that.

    Args:
        path: the file, as it was typed.
        option: the option that names it.

    Raises:
        Refused: it is a directory or socket, its directory does not exist, or a permission is missing.
    """
    if path == "-":
        hint = "to write a file of that name: ./-"
        raise Refused(f"{option}: - is not a file", "standard output is for the answer of the task", hint=hint)
    try:
        file = Path(path).expanduser().resolve()
        if file.is_dir():
            raise IsADirectoryError(EISDIR, os.strerror(EISDIR), str(file))
        if file.is_socket():
            raise OSError(ENXIO, os.strerror(ENXIO), str(file))
        place = file if file.exists() else file.parent
        place.stat()
        if not os.access(place, os.W_OK if place == file else os.W_OK | os.X_OK):
            raise PermissionError(EACCES, os.strerror(EACCES), str(place))
    except (OSError, RuntimeError) as error:  # RuntimeError: the home of an unknown user
        raise Refused(f"{option}: cannot write {path}", str(error)) from error


def opened(path: str) -> TextIO | None:
    """Open the file of --events for writing, buffered by lines. A named pipe is waited for until somebody reads it.

    That wait must not be within `interruption.listening`, where no signal would end it.

    Args:
        path: the file, which is overwritten; empty: there is none.

    Raises:
        Refused: it cannot be opened.
    """
    try:
        return open(Path(path).expanduser(), "w", encoding="ascii", buffering=1, opener=_open) if path else None
    except OSError as error:
        raise Refused(f"--events: cannot write {path}", str(error)) from error


def _open(path: str, flags: int) -> int:
    try:
        opened = os.open(path, flags | os.O_NONBLOCK, 0o666)
    except OSError as error:
        if error.errno != ENXIO or not Path(path).is_fifo():
            raise
        say(f"--events: waiting until {path} is read", error=True)
        return os.open(path, flags)
    os.set_blocking(opened, True)
    return opened


@contextmanager
def written(file: TextIO | None) -> Iterator[None]:
    """Write every event within this context to a file, as a line of JSON, as soon as it happens.

    Args:
        file: the file, see `opened`; None: nothing is written.
    """
    with into(file, f"--events: {file.name}") if file else nullcontext():
        yield


@contextmanager
def into(stream: TextIO, name: str) -> Iterator[None]:
    """Write every event within this context to a stream, as a line of JSON, and close the stream at the end.

    Args:
        stream: the stream, buffered by lines.
        name: its name in the warning that is printed if it cannot be written any more.
    """
    broken = False

    def write(event: Event) -> None:
        nonlocal broken
        if broken:
            return
        try:
            stream.write(line(event) + "\n")
        except OSError as error:  # a full disk must not interrupt a change
            broken = True
            say(f"{name} is no longer written: {error}", error=True)

    with heard_by(write):
        yield
    with suppress(OSError):  # the warning has been printed
        stream.close()


def line(event: Event) -> str:
    """Return an event as JSON, in ASCII, with the credentials in addresses masked."""
    import json

    values = msgspec.to_builtins(event)
    text = json.dumps(values)
    # Credentials are between these two, which JSON does not escape; to search all values takes longer than the rest.
    return json.dumps(masked_in(values)) if "://" in text and "@" in text else text
