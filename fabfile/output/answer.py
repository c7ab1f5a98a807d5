"""The answer of a task: printed at once, or, with several hosts, collected until all of them have answered.

`fleet_answers` prints the answers that were collected.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from fabfile import console


class Answer:
    """The answer of a task on one host."""

    def __init__(self) -> None:
        self.text: list[str] = []
        """The texts that would be printed for a single host."""
        self.row: Any = None
        """The data for this host's row in a table of several hosts; None: the task ended before it had any."""

    @property
    def is_there(self) -> bool:
        """Whether the task has answered anything."""
        return bool(self.text) or self.row is not None


_collected: ContextVar[Answer | None] = ContextVar("collected", default=None)


@contextmanager
def collected() -> Iterator[Answer]:
    """Collect the answers of this thread within this context, instead of printing them."""
    answer = Answer()
    token = _collected.set(answer)
    try:
        yield answer
    finally:
        _collected.reset(token)


def is_collected() -> bool:
    """Return whether this thread's answers are collected, to be shown together with those of other hosts."""
    return _collected.get() is not None


def show(text: str, *, always: bool = False) -> None:
    """Print the answer of a task, or its plan.

    Args:
        text: what to print.
        always: print it with --json as well, on standard error; otherwise only the document has it.
    """
    if answer := _collected.get():
        answer.text.append(text)
        console.be_heard(text)
    elif always or not console.has_document():
        console.say(text)


def compare(row: Callable[[], Any]) -> None:
    """Keep the data for this host's row in a table of several hosts; with a single host, do nothing.

    Args:
        row: returns the data, see `Answer.row`; it is not called for a single host.
    """
    if answer := _collected.get():
        answer.row = row()
