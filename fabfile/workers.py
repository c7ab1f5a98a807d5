"""Process a list of hosts in a limited number of threads; a thread that hangs is not waited for."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Sequence
from functools import partial
from time import monotonic
from typing import Protocol, TypeVar

from fabfile import console, interruption


class Named(Protocol):
    """An item to process, such as a host."""

    @property
    def name(self) -> str:
        """The name of the item, which must be unique."""


Item = TypeVar("Item", bound=Named)
Report = TypeVar("Report")

LOST = f"it did not stop within {interruption.GRACE} s"

TICK = 1.0
"""Interval in seconds at which the end of the grace period is checked."""


def each(
    items: Sequence[Item], most: int, do: Callable[[Item], Report], given_up: Callable[[Item, str], Report]
) -> dict[str, Report]:
    """Process all items in threads, and return their reports by name, in the order of the items.

    Args:
        items: the items.
        most: limit for the number of threads.
        do: processes an item and returns its report; it must not raise an exception.
        given_up: returns the report of an item whose thread is no longer waited for, from the item and the reason.
    """
    todo: queue.SimpleQueue[Item] = queue.SimpleQueue()
    done: queue.SimpleQueue[tuple[str, Report]] = queue.SimpleQueue()
    left = {item.name: threading.Event() for item in items}
    leaving = threading.Lock()
    for item in items:
        todo.put(item)

    def work() -> None:
        while True:
            try:
                item = todo.get_nowait()
            except queue.Empty:
                return
            with interruption.entered(item.name, partial(leave, item)), console.muted_by(left[item.name]):
                done.put((item.name, do(item)))

    def leave(item: Item) -> None:
        with leaving:  # a host behind a gateway is left at both of its connections
            if left[item.name].is_set():
                return
            left[item.name].set()
        done.put((item.name, given_up(item, "it was still connecting")))

    for _ in range(min(most, len(items))):
        threading.Thread(target=work, daemon=True).start()  # daemon: a host that hangs must not keep a run from ending
    reports: dict[str, Report] = {}
    cut: float | None = None
    while len(reports) < len(items):
        try:
            name, report = done.get(timeout=TICK)
            reports.setdefault(name, report)
        except queue.Empty:
            cut = cut or (monotonic() if interruption.asked() == interruption.CUT else None)
            if cut and monotonic() - cut > interruption.GRACE:
                break
    for item in items:
        if item.name not in reports:
            left[item.name].set()
            reports[item.name] = given_up(item, LOST)
    return {item.name: reports[item.name] for item in items}
