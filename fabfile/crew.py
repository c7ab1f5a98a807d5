"""A bounded number of threads that each do one host after the other; none of them is waited for in vain."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Sequence
from functools import partial
from time import monotonic
from typing import Protocol, TypeVar

from fabfile import interruption


class Named(Protocol):
    """What there is one report of."""

    @property
    def name(self) -> str:
        """Its own, and nobody else's."""


Item = TypeVar("Item", bound=Named)
Report = TypeVar("Report")

LOST = f"it did not stop within {interruption.GRACE} s"

TICK = 1.0
"""Seconds between two looks whether the time to end is over."""


def each(
    items: Sequence[Item], most: int, do: Callable[[Item], Report], given_up: Callable[[Item, str], Report]
) -> dict[str, Report]:
    """The report of each, by its name, in their order.

    Args:
        items: what there is to do.
        most: threads.
        do: makes a report; it raises nothing.
        given_up: the report of one that was still at it when it was to end, and why it was not waited for.
    """
    todo: queue.SimpleQueue[Item] = queue.SimpleQueue()
    done: queue.SimpleQueue[tuple[str, Report]] = queue.SimpleQueue()
    for item in items:
        todo.put(item)

    def work() -> None:
        while True:
            try:
                item = todo.get_nowait()
            except queue.Empty:
                return
            with interruption.entered(item.name, partial(leave, item)):
                done.put((item.name, do(item)))

    def leave(item: Item) -> None:
        done.put((item.name, given_up(item, "it was still connecting")))

    for _ in range(min(most, len(items))):
        threading.Thread(target=work, daemon=True).start()  # a host that hangs does not keep this program from its end
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
    return {item.name: reports[item.name] if item.name in reports else given_up(item, LOST) for item in items}
