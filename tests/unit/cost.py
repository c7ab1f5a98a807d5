"""CPU time of the code under test: unlike wall time, it hardly depends on what else the machine does."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from time import process_time


class Cost:
    """CPU seconds of a block; 0 while it runs."""

    seconds = 0.0


@contextmanager
def measured() -> Iterator[Cost]:
    """Measure the CPU time of this block."""
    cost = Cost()
    begin = process_time()
    yield cost
    cost.seconds = process_time() - begin


@contextmanager
def at_most(seconds: float) -> Iterator[None]:
    """Fail if this block takes more CPU time."""
    with measured() as cost:
        yield
    assert cost.seconds < seconds
