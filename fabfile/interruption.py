"""Ctrl-C and SIGTERM: the first one lets running changes finish and starts nothing more, the second one stops them.

A section is skipped or done as a whole: a step, or a task without steps. It may be stopped until its first script that
changes something begins; from then on only the second signal does that. What runs on a host ends with its connection,
and the next run converges.
"""

from __future__ import annotations

import os
import queue
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from types import FrameType
from typing import TYPE_CHECKING

import msgspec

from fabfile.console import say
from fabfile.errors import Interrupted

if TYPE_CHECKING:
    import subprocess

NOTHING, STOP, CUT = 0, 1, 2
"""What has been requested."""

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

GRACE = 10
"""Seconds for all hosts to end after their connections were cut; after that, another signal ends this program."""

QUIET = 10
"""Seconds between two lists of the operations that are waited for."""

AGAIN = "run the same command again: it continues from there"


class Section(msgspec.Struct):
    """Something that is skipped or done as a whole."""

    name: str
    later: str = ""
    """Names of what comes after it, which is not started either; for the error."""
    since: float = 0.0
    """When its first change began, in seconds since the epoch; 0: no change has begun, so it may be stopped."""
    before: float = 0.0
    """Value of `since` before the latest script that makes changes."""


class HostThread(msgspec.Struct, frozen=True):
    """A host, and a function that gives up waiting for its thread, which may hang where it cannot be stopped."""

    host: str = ""
    leave: Callable[[], None] | None = None


class Work:
    """A running operation, which `cut` stops."""

    def __init__(self, section: Section, host: str, cut: Callable[[], None]) -> None:
        self.section, self.host, self.cut = section, host, cut
        self.lock = threading.Lock()
        self.ended = self.was_cut = False

    def end(self) -> None:
        """Stop it, once, unless it has ended."""
        with self.lock:
            if not self.ended and not self.was_cut:
                self.was_cut = True
                self.cut()


_section: ContextVar[Section | None] = ContextVar("section", default=None)
_host_thread: ContextVar[HostThread | None] = ContextVar("host_thread", default=None)
_works: set[Work] = set()
_lock = threading.Lock()
_asked, _when = NOTHING, 0.0
_signals: queue.SimpleQueue[int] = queue.SimpleQueue()
"""Unlike locks, a SimpleQueue may be used by a signal handler, whatever that interrupted."""


def asked() -> int:
    """Return what has been requested: NOTHING, STOP or CUT."""
    return _asked


@contextmanager
def entered(host: str, leave: Callable[[], None]) -> Iterator[None]:
    """Work on `host` in this thread, within this context; `leave` makes others stop waiting for the thread."""
    token = _host_thread.set(HostThread(host, leave))
    try:
        yield
    finally:
        _host_thread.reset(token)


@contextmanager
def section(name: str, later: str = "") -> Iterator[None]:
    """Make this context a section.

    Args:
        name: name of the step or task.
        later: what comes after it, for the error.

    Raises:
        Interrupted: it was not started, or was stopped.
    """
    now = Section(name, later)
    if _asked:
        raise before(now.name, later)
    token = _section.set(now)
    try:
        yield
    except KeyboardInterrupt:
        raise _cut(now) from None
    finally:
        _section.reset(token)


def before(name: str, later: str = "") -> Interrupted:
    """Return the error for a section that was not started; for the arguments see `section`."""
    rest = ", ".join(filter(None, [name, later]))
    return Interrupted(f"interrupted before {name}", f"not started: {rest}", hint=AGAIN)


def _cut(section: Section) -> Interrupted:
    later = f"not started: {section.later}" if section.later else ""
    if not section.since:
        return Interrupted(f"interrupted during {section.name}, before any change", later, hint=AGAIN)
    cut = f"stopped after {time.time() - section.since:.0f} s, possibly half done"
    return Interrupted(f"interrupted during {section.name}", "\n".join(filter(None, [cut, later])), hint=AGAIN)


@contextmanager
def cut_by(cut: Callable[[], None], *, read_only: bool = True) -> Iterator[None]:
    """Run an operation that may be stopped within this context.

    Args:
        cut: stops it, from another thread.
        read_only: whether it changes nothing; then the first signal stops it, unless its section has already changed
            something.

    Raises:
        Interrupted: it was stopped, or was not started because of a signal before.
    """
    now, thread = _section.get() or Section("this"), _host_thread.get() or HostThread()
    work = Work(now, thread.host, cut)
    with _lock:
        if _asked > (STOP if now.since else NOTHING):
            raise _cut(now)
        if not read_only:
            now.before, now.since = now.since, now.since or time.time()
        _works.add(work)
    try:
        yield
    except Exception as error:
        if work.was_cut:
            raise _cut(now) from error
        raise
    finally:
        with work.lock:
            work.ended = True
        with _lock:
            _works.discard(work)
    if work.was_cut:
        raise _cut(now)


def undone() -> None:
    """Record that the latest script of this section, which was to make changes, has ended without making any."""
    if now := _section.get():
        now.since = now.before


@contextmanager
def connecting() -> Iterator[None]:
    """Connect within this context; if that is stopped, the thread is not waited for, as it may hang for long."""
    thread = _host_thread.get()
    with cut_by((thread and thread.leave) or (lambda: None)):
        yield


@contextmanager
def ended_with(process: subprocess.Popen[bytes]) -> Iterator[None]:
    """Run a program in a session of its own within this context; at its end, all of its processes are killed."""

    def kill() -> None:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)

    try:
        with cut_by(kill):
            yield
    finally:
        if process.poll() is None:
            kill()
            process.wait()


@contextmanager
def uncancellable() -> Iterator[None]:
    """Make a change without a script within this context, for example by a program that handles signals itself."""
    with cut_by(lambda: None, read_only=False):
        yield


@contextmanager
def listening(*, here: bool) -> Iterator[None]:
    """Handle signals within this context; one that was ignored when we were started stays ignored.

    Args:
        here: whether the main thread does the work and is interrupted; otherwise it waits for other threads.
    """
    global _asked
    _asked = NOTHING
    old = {each: signal.getsignal(each) for each in SIGNALS}
    threading.Thread(target=_watch, daemon=True).start()
    for each, handler in old.items():
        if handler is not signal.SIG_IGN:
            signal.signal(each, _handler(here))
    try:
        yield
    finally:
        _signals.put(NOTHING)
        for each, handler in old.items():
            signal.signal(each, handler)


def _handler(here: bool) -> Callable[[int, FrameType | None], None]:
    def handle(number: int, frame: FrameType | None) -> None:
        """Record the signal without taking a lock, which the interrupted thread may hold."""
        global _asked, _when
        if _asked == CUT:
            if time.monotonic() - _when > GRACE:
                os._exit(Interrupted.code)
            return
        _asked = CUT if _asked or number != signal.SIGINT else STOP
        _when = time.monotonic()
        _signals.put(_asked)
        now = _section.get()
        if here and (_asked == CUT or not (now and now.since)):
            raise KeyboardInterrupt

    return handle


def _watch() -> None:
    """Print what becomes of running operations, and stop those that may be stopped."""
    wait: float | None = None
    while True:
        with suppress(queue.Empty):
            if not _signals.get(timeout=wait):
                return
            wait = None
        with _lock:
            works = list(_works)
        left = [work for work in works if work.section.since and _asked == STOP]
        for work in set(works) - set(left):
            threading.Thread(
                target=work.end, daemon=True
            ).start()  # in a thread, so that one that hangs does not delay others
        if wait is None:
            say(
                f"\ninterrupted: {'stopping all that runs' if _asked == CUT else 'nothing more is started'}", error=True
            )
        if left:
            say("\n".join(["waiting for what must be finished (Ctrl-C stops it):", *map(_line, left)]), error=True)
        wait = QUIET if left or wait else None


def _line(work: Work) -> str:
    since = time.strftime("%H:%M:%S", time.localtime(work.section.since))
    where = f"{work.host}: " if work.host else ""
    return f"  {where}{work.section.name}, since {since} ({time.time() - work.section.since:.0f} s)"
