"""What a task answers: shown at once, or, on one of several hosts, kept until all of them have answered.

See `together` for what becomes of those.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from fabfile import console


class Answer:
    """What a task answered on one host."""

    def __init__(self) -> None:
        self.text: list[str] = []
        """As it would have been shown of a host alone."""
        self.row: Any = None
        """What a table of several hosts is made of; None: the task did not get that far."""

    @property
    def is_there(self) -> bool:
        """Whether it answered at all."""
        return bool(self.text) or self.row is not None


_kept: ContextVar[Answer | None] = ContextVar("kept", default=None)


@contextmanager
def kept() -> Iterator[Answer]:
    """Within it, what this thread answers is kept instead of shown."""
    answer = Answer()
    token = _kept.set(answer)
    try:
        yield answer
    finally:
        _kept.reset(token)


def is_kept() -> bool:
    """Whether this is one of several hosts, whose answers are shown together."""
    return _kept.get() is not None


def show(text: str, *, always: bool = False) -> None:
    """Print the answer of a task, or its plan.

    Args:
        text: what to show.
        always: with --json as well, on standard error; else the document has it, and nobody wants it twice.
    """
    if answer := _kept.get():
        answer.text.append(text)
        console.be_heard(text)
    elif always or not console.has_document():
        console.say(text)


def compare(row: Callable[[], Any]) -> None:
    """Keep what a table of several hosts is made of; of a host alone nothing is made.

    Args:
        row: makes it.
    """
    if answer := _kept.get():
        answer.row = row()
