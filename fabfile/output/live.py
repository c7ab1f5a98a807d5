"""The display of a run in progress: on a terminal one line per host, elsewhere a line for each step that takes long.

On a terminal it is drawn by rich. Everything else is printed through `console` as usual, and appears above it.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from time import monotonic
from typing import TYPE_CHECKING, NamedTuple

from fabfile import activity, console, events
from fabfile.console import printable, say
from fabfile.events import Event

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions, RenderResult

LONG = 30
"""Seconds after which a step that is still running is printed if nothing is drawn, and interval of further lines."""

SPARE = 6
"""Lines of the terminal that are left free for other output."""

SOON = 0.5
"""Seconds that an operation must have taken before the display is drawn."""

TICK = 0.2
"""Interval in seconds at which the board is checked for something to draw."""

BEGIN = "connecting"


class Doing(NamedTuple):
    """What a host is doing, and since when."""

    what: str
    since: float
    shown: bool = True
    """Whether the host gets a line without a known activity; a task on the controller does not, but its steps do."""


class Row(NamedTuple):
    """A line of the display, about one host."""

    host: str
    what: str
    activity: str
    seconds: float

    def __str__(self) -> str:
        """Return the line for an output on which nothing is drawn."""
        words = ": ".join(filter(None, [self.host, self.what, self.activity]))
        return f"{words}, for {self.seconds:.0f} s"


class Board:
    """What each host is doing and since when, by name; the name of the controller is empty."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.doing: dict[str, Doing] = {}
        self.hosts = self.left = 0
        self.ended: dict[str, int] = {}

    def hear(self, event: Event) -> None:
        """Update the board with an event."""
        with self.lock:
            if event.event == "run-begin":
                self.hosts = self.left = len(event.hosts)
            elif event.event == "host-begin":
                self.doing[event.host] = Doing(BEGIN, monotonic())
                self.left -= 1
            elif event.event == "host-end":
                if self.doing.pop(event.host, None) is None:
                    self.left -= 1
                self.ended[event.status] = self.ended.get(event.status, 0) + 1
            elif event.event in ("task-begin", "step-begin", "step-end"):
                step = event.step if event.event == "step-begin" else ""
                self.doing[event.host] = Doing(step or event.task, monotonic(), bool(event.host or step))
            elif event.event == "task-end" and not event.host:
                self.doing.clear()

    def rows(self, most: int | None = None) -> list[Row]:
        """Return the rows of the hosts that have been busy the longest, in the order in which the hosts began.

        Args:
            most: limit for the number of rows; None: none.
        """
        now = monotonic()
        with self.lock:
            doing = dict(self.doing)
        longest = set(sorted(doing, key=lambda host: doing[host].since)[:most])
        rows = [Row(host, what, activity.of(host), now - since) for host, (what, since, _) in doing.items()
                if host in longest]  # fmt: skip
        return [row for row in rows if row.activity or doing[row.host].shown]

    def totals(self) -> str:
        """Return how many hosts have ended, by status, and how many are running or waiting; empty without hosts."""
        with self.lock:
            ended = [f"{status} {count}" for status, count in self.ended.items()]
            running = [f"running {len(self.doing)}"] if self.hosts else []
            return "  ".join([*ended, *running, *([f"waiting {self.left}"] if self.left else [])])

    def __rich_console__(self, terminal: Console, options: ConsoleOptions) -> RenderResult:
        """Render the board for rich; names and steps are not read as markup, and control characters are escaped."""
        from rich.table import Table
        from rich.text import Text

        table = Table.grid(padding=(0, 2))
        for cut in (False, False, True, False):  # only a column that may wrap makes room for the others
            table.add_column(no_wrap=not cut)
        for row in self.rows(max(terminal.height - SPARE, 4)):
            host, what, at = (printable(word).partition("\n")[0] for word in (row.host, row.what, row.activity))
            line = Text(at, no_wrap=True, overflow="ellipsis")
            table.add_row(Text(host), Text(what), line, Text(f"{row.seconds:.0f} s", justify="right"))
        if table.rows:
            yield table
        if totals := self.totals():
            yield Text(totals)


@contextmanager
def shown(*, plain: bool) -> Iterator[None]:
    """Show what hosts are doing within this context.

    Args:
        plain: draw nothing, even on a terminal.
    """
    board, over = Board(), threading.Event()
    show = _mention if plain or not is_terminal() else _draw
    thread = threading.Thread(target=show, args=(board, over), daemon=True)
    with events.heard_by(board.hear):
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()


def is_terminal() -> bool:
    """Return whether the output for people goes to a terminal that can be drawn on."""
    stream = console.for_people()
    return bool(stream and stream.isatty() and os.environ.get("TERM", "dumb") != "dumb")


def _draw(board: Board, over: threading.Event) -> None:
    """Draw the board while something is on it; what ends within `SOON` is not drawn."""
    while not over.wait(TICK):
        if any(row.seconds >= SOON for row in board.rows(1)):
            from rich.console import Console
            from rich.live import Live

            with Live(board, console=Console(file=console.for_people()), refresh_per_second=2, transient=True):
                while board.rows(1) and not over.wait(TICK):
                    pass


def _mention(board: Board, over: threading.Event) -> None:
    while not over.wait(LONG):
        for row in board.rows():
            if row.seconds >= LONG:
                say(str(row))
