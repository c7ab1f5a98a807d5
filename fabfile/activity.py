"""What each host is busy with: set by operations that take long, read by the display.

A description is only composed when it is read, so work that nobody watches costs nothing.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from time import monotonic

from fabfile import events
from fabfile.sizes import human

Describe = Callable[[], str]

_lock = threading.Lock()
_now: dict[str, list[Describe]] = {}
"""Name of a host → descriptions of its current operations, the innermost last."""


@contextmanager
def doing(describe: Describe) -> Iterator[None]:
    """Register what this thread is doing within this context.

    Args:
        describe: returns a description; another thread may call it at any time, so it must be fast and must not fail.
    """
    host = events.host()
    with _lock:
        _now.setdefault(host, []).append(describe)
    try:
        yield
    finally:
        with _lock:
            _now[host].remove(describe)
            if not _now[host]:
                del _now[host]


def of(host: str) -> str:
    """Return the description of the innermost current operation of a host; empty: there is none."""
    with _lock:
        now = _now.get(host)
        describe = now[-1] if now else str
    return describe()


class Transfer:
    """The progress of a transfer.

    Args:
        what: its description, such as `downloading go1.26.5.tar.gz`.
        size: size of the whole in bytes; 0: unknown.
    """

    def __init__(self, what: str, size: int = 0) -> None:
        self.what, self.size, self.came = what, size, 0
        self._begin = monotonic()

    def __str__(self) -> str:
        """Return how much was transferred so far, and the rate."""
        rate = self.came / max(monotonic() - self._begin, 0.001)
        whole = f" of {human(self.size)}" if self.size else ""
        return f"{self.what}: {human(self.came)}{whole}, {human(int(rate))}/s"
