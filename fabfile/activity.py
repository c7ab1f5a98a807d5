"""What takes long, and what it is at just now: told by whoever does it, asked for by whoever shows it.

Nothing is made up until somebody asks: work that nobody watches costs nothing.
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
"""Name of a host → what is being done for it, what is within something else behind that."""


@contextmanager
def doing(describe: Describe) -> Iterator[None]:
    """Within it, this thread is at something.

    Args:
        describe: says at what; it is called by another thread, at any time, and must neither fail nor take time.
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
    """What is being done for a host; empty: nothing that is known."""
    with _lock:
        now = _now.get(host)
        describe = now[-1] if now else str
    return describe()


class Transfer:
    """Bytes on their way.

    Args:
        what: `downloading go1.26.5.tar.gz`.
        size: how many there are; 0: nobody knows.
    """

    def __init__(self, what: str, size: int = 0) -> None:
        self.what, self.size, self.came = what, size, 0
        self._begin = monotonic()

    def __str__(self) -> str:
        """How many came, and how many in a second."""
        rate = self.came / max(monotonic() - self._begin, 0.001)
        whole = f" of {human(self.size)}" if self.size else ""
        return f"{self.what}: {human(self.came)}{whole}, {human(int(rate))}/s"
