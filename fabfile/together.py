"""What tasks answered on several hosts, shown once all of them have: plans folded, what only looks as a table."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any

from fabfile import alike, answer, console, outcome
from fabfile.answer import Answer

View = Callable[[Mapping[str, Answer], int], list[str]]
"""What is shown of the answers of hosts, by their names and in their order, in so many columns."""

WIDTH = 100
"""Columns where it is no terminal."""

LEAST = 40
"""Columns below which nobody can read a table."""


class Together:
    """The answers of hosts to the tasks of a command line; of a host alone they are shown at once.

    Args:
        calls: Invoke's calls of the tasks.
        hosts: their names, in their order.
        dry: whether only plans are made.
        plain: no terminal, or one that is not to be drawn on.
    """

    def __init__(self, calls: Sequence[Any], hosts: Sequence[str], *, dry: bool, plain: bool) -> None:
        self._hosts, self._plain = hosts, plain
        self._tasks = [_Task(call, dry=dry) for call in calls] if len(hosts) > 1 else []

    @contextmanager
    def of(self, number: int, host: str) -> Iterator[None]:
        """Within it, this thread does a task on a host.

        Args:
            number: of the task on the command line.
            host: its name.
        """
        task = self._tasks[number] if self._tasks else None
        with answer.kept() if task and task.view else nullcontext() as mine:
            yield
        if task and mine and mine.is_there:
            task.answers[host] = mine

    def show(self) -> None:
        """Show all that was kept."""
        for task in self._tasks:
            answers = {host: task.answers[host] for host in self._hosts if host in task.answers}
            if task.view and answers and (task.is_plan or not console.has_document()):
                lines = task.view(answers, self._columns)
                silent = [host for host in self._hosts if host not in answers]
                rest = ["", f"no answer from {alike.counted(silent)}"] if silent else []
                console.say("\n".join(["", *([f"{task.name}:"] if len(self._tasks) > 1 else []), *lines, *rest]))

    @property
    def _columns(self) -> int:
        """How wide a table may be."""
        return WIDTH if self._plain else max(console.columns() or WIDTH, LEAST)


class _Task:
    """A task of the command line."""

    def __init__(self, call: Any, *, dry: bool) -> None:
        self.name = outcome.task_name(call)
        own: View | None = getattr(call.task, "together", None)
        self.is_plan = dry and own is None
        self.view = plans if self.is_plan else own
        self.answers: dict[str, Answer] = {}


def plans(answers: Mapping[str, Answer], width: int) -> list[str]:
    """Each plan once, with the hosts that have it, and in what else they differ."""
    texts = {host: "\n".join(each.text) for host, each in answers.items()}
    parts = [[alike.counted(hosts), *text.split("\n")] for text, hosts in alike.grouped(texts)]
    parts.append(alike.drift({host: each.row or {} for host, each in answers.items()}, width))
    return [line for part in parts if part for line in ("", *part)][1:]
