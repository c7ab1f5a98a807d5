"""What takes its time, and how long it has taken so far."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from time import monotonic

from fabfile.console import say

QUIET = 15
"""Seconds between two lines where they stay, as in a CI's log."""


@contextmanager
def progress(what: str) -> Iterator[None]:
    """Within it, `what` is shown with the seconds since: in place on a terminal, else as a line now and then."""
    done = threading.Event()
    thread = threading.Thread(target=_in_place if sys.stdout.isatty() else _in_lines, args=(what, done), daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


def _in_place(what: str, done: threading.Event) -> None:
    begin = monotonic()
    while True:
        sys.stdout.write(f"\r\033[K{what} … {monotonic() - begin:.0f} s")
        sys.stdout.flush()
        if done.wait(1):
            break
    sys.stdout.write("\r\033[K")
    sys.stdout.flush()


def _in_lines(what: str, done: threading.Event) -> None:
    begin = monotonic()
    say(f"{what} …")
    while not done.wait(QUIET):
        say(f"{what} … {monotonic() - begin:.0f} s")
