"""Progress of operations that take a while, with the seconds so far."""

from __future__ import annotations

import functools
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from time import monotonic
from typing import TYPE_CHECKING

from fabfile.console import for_people, say

if TYPE_CHECKING:
    from rich.progress import Progress

_lock = threading.Lock()

QUIET = 15
"""Seconds between two lines of output that is not a terminal, such as a CI log."""


@contextmanager
def progress(what: str) -> Iterator[None]:
    """Show `what` and the seconds so far within this context: in place on a terminal, otherwise in a few lines."""
    with _in_place(what) if _is_terminal() else _in_lines(what):
        yield


def _is_terminal() -> bool:
    stream = for_people()
    return bool(stream and stream.isatty())  # it is None if our standard error was closed


@contextmanager
def _in_place(what: str) -> Iterator[None]:
    bar = _bar()
    with _lock:
        task = bar.add_task(what, total=None)
        bar.start()
    try:
        yield
    finally:
        with _lock:
            bar.remove_task(task)
            if not bar.tasks:
                bar.stop()


@functools.cache
def _bar() -> Progress:
    """The only live display of the terminal, in which concurrent threads have a line each."""
    from rich.console import Console
    from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    return Progress(*columns, transient=True, console=Console(file=for_people()))


@contextmanager
def _in_lines(what: str) -> Iterator[None]:
    done = threading.Event()
    thread = threading.Thread(target=_say_so, args=(what, done), daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


def _say_so(what: str, done: threading.Event) -> None:
    begin = monotonic()
    say(f"{what} …")
    while not done.wait(QUIET):
        say(f"{what} … {monotonic() - begin:.0f} s")
