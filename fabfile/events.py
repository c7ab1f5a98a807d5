"""What happens, as it happens: for the file of --events, and for whoever watches on a terminal."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from errno import EACCES, EISDIR
from pathlib import Path
from time import monotonic, time
from typing import Literal, TextIO

import msgspec

from fabfile.console import masked, say
from fabfile.errors import Refused

Kind = Literal[
    "run-begin", "host-begin", "task-begin", "step-begin", "step-end", "task-end", "host-end", "run-end"
]  # fmt: skip


class Event(msgspec.Struct, frozen=True, omit_defaults=True):
    """Something that began or ended; docs/json.md says what each field is."""

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
    """Within it, `listener` gets every event, one at a time, from whichever thread it comes."""
    with _lock:
        _listeners.append(listener)
    try:
        yield
    finally:
        with _lock:
            _listeners.remove(listener)


@contextmanager
def on(host: str = "", task: str = "") -> Iterator[None]:
    """Within it, events of this thread are about that host and task."""
    before = _at.get()
    token = _at.set((host or before[0], task or before[1]))
    try:
        yield
    finally:
        _at.reset(token)


def host() -> str:
    """The host that this thread's events are about; empty: this machine."""
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
    """Something happened; what is not said here of host and task is as in `on`."""
    now = round(time(), 3)
    at, task = _at.get()
    told = Event(now, event, host or at, task, step, status, seconds, reason, error, hosts or [], exit_code)
    with _lock:
        for listener in _listeners:
            listener(told)


class Timer:
    """How long something took."""

    def __init__(self) -> None:
        self._begin = monotonic()

    @property
    def seconds(self) -> float:
        """Since it was made."""
        return round(monotonic() - self._begin, 2)


def check(path: str, option: str = "--events") -> None:
    """Refuse a file that cannot be written, without creating it: that is left to the run.

    Args:
        path: the file, as it was given.
        option: the option that names it.

    Raises:
        Refused: it is a directory, its directory does not exist, or a permission is missing.
    """
    file = Path(path).expanduser()
    try:
        if file.is_dir():
            raise IsADirectoryError(EISDIR, os.strerror(EISDIR), str(file))
        place = file if file.exists() else file.parent
        place.stat()
        if not os.access(place, os.W_OK if place == file else os.W_OK | os.X_OK):
            raise PermissionError(EACCES, os.strerror(EACCES), str(place))
    except OSError as error:
        raise Refused(f"{option}: cannot write {path}", str(error)) from error


@contextmanager
def written(path: str) -> Iterator[None]:
    """Within it, every event is a line of JSON in a file, as soon as it happens; without a path nothing is written."""
    if not path:
        yield
        return
    with into(Path(path).expanduser().open("w", encoding="ascii", buffering=1), f"--events: {path}"):
        yield


@contextmanager
def into(stream: TextIO, name: str) -> Iterator[None]:
    """Within it, every event is a line of JSON in a stream, which is closed at the end.

    Args:
        stream: it, buffered by lines.
        name: what to call it in a warning, once it takes no more.
    """
    broken = False

    def write(event: Event) -> None:
        nonlocal broken
        if broken:
            return
        try:
            stream.write(line(event) + "\n")
        except OSError as error:  # a full disk ends no change half-way
            broken = True
            say(f"{name} is no longer written: {error}", error=True)

    with heard_by(write):
        yield
    with suppress(OSError):  # it was said
        stream.close()


def line(event: Event) -> str:
    """An event as JSON, in ASCII and without passwords."""
    import json

    return masked(json.dumps(msgspec.to_builtins(event)))
