"""What a person sees: short lines, one thread at a time, each with its host where there are several."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

_lock = threading.Lock()
_prefix = threading.local()


@contextmanager
def prefixed(name: str) -> Iterator[None]:
    """Within it, every line that this thread says starts with `name`."""
    _prefix.text = f"{name}: "
    try:
        yield
    finally:
        _prefix.text = ""


def say(text: str = "", *, error: bool = False) -> None:
    """Print `text`, every line with this thread's prefix, never mixed with another thread's lines."""
    prefix = getattr(_prefix, "text", "")
    stream = sys.stderr if error else sys.stdout
    with _lock:
        for line in text.splitlines() or [""]:
            print(f"{prefix}{line}".rstrip(), file=stream, flush=True)
