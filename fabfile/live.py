"""What a person sees while hosts are at work: on a terminal a line a host, elsewhere a line now and then.

On a terminal rich draws it; whatever is said meanwhile goes through `console` as ever, and appears above.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from time import monotonic
from typing import TYPE_CHECKING

from fabfile import console, events
from fabfile.console import printable, say
from fabfile.events import Event

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions, RenderResult

LONG = 30
"""Seconds after which a step is mentioned where nothing is drawn, and again after as many."""

SPARE = 6
"""Lines of a terminal that are left for what is said."""

BEGIN = "connecting"


class Board:
    """What each host is doing, and since when."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.doing: dict[str, tuple[str, float]] = {}
        self.left = 0
        self.ended: dict[str, int] = {}

    def hear(self, event: Event) -> None:
        """Take an event."""
        with self.lock:
            if event.event == "run-begin":
                self.left = len(event.hosts)
            elif event.event == "host-begin":
                self.doing[event.host] = (BEGIN, monotonic())
                self.left -= 1
            elif event.event == "host-end":
                if self.doing.pop(event.host, None) is None:
                    self.left -= 1
                self.ended[event.status] = self.ended.get(event.status, 0) + 1
            elif event.event in ("step-begin", "task-begin"):
                self.doing[event.host] = (event.step or event.task, monotonic())
            elif event.event == "step-end":
                self.doing[event.host] = (event.task, monotonic())

    def rows(self, most: int) -> list[tuple[str, str, float]]:
        """Host, what it does, seconds: those whose steps take longest, at most so many; each keeps its place."""
        now = monotonic()
        with self.lock:
            longest = set(sorted(self.doing, key=lambda host: self.doing[host][1])[:most])
            return [(host, what, now - since) for host, (what, since) in self.doing.items() if host in longest]

    def totals(self) -> str:
        """What there is besides the rows."""
        with self.lock:
            ended = [f"{status} {count}" for status, count in self.ended.items()]
            return "  ".join([*ended, f"running {len(self.doing)}", *([f"waiting {self.left}"] if self.left else [])])

    def __rich_console__(self, terminal: Console, options: ConsoleOptions) -> RenderResult:
        """It, drawn; names and steps are no markup, and have no escapes for a terminal."""
        from rich.table import Table
        from rich.text import Text

        table = Table.grid(padding=(0, 2))
        for host, what, seconds in self.rows(max(terminal.height - SPARE, 4)):
            table.add_row(Text(printable(host)), Text(printable(what)), Text(f"{seconds:.0f} s", justify="right"))
        if table.rows:
            yield table
        yield Text(self.totals())


@contextmanager
def shown(*, plain: bool) -> Iterator[None]:
    """Within it, what hosts do is shown.

    Args:
        plain: no terminal, or one that is not to be drawn on.
    """
    board = Board()
    with events.heard_by(board.hear), _in_lines(board) if plain or not is_terminal() else _drawn(board):
        yield


def is_terminal() -> bool:
    """Whether what people read goes to a terminal that can be drawn on."""
    stream = console.for_people()
    return bool(stream and stream.isatty() and os.environ.get("TERM", "dumb") != "dumb")


@contextmanager
def _drawn(board: Board) -> Iterator[None]:
    from rich.console import Console
    from rich.live import Live

    with Live(board, console=Console(file=console.for_people()), refresh_per_second=2, transient=True):
        yield


@contextmanager
def _in_lines(board: Board) -> Iterator[None]:
    over = threading.Event()
    thread = threading.Thread(target=_mention, args=(board, over), daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def _mention(board: Board, over: threading.Event) -> None:
    while not over.wait(LONG):
        for host, what, seconds in board.rows(len(board.doing)):
            if seconds >= LONG:
                say(f"{host}: {what}, for {seconds:.0f} s")
