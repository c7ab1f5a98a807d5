"""The answers of a task on several hosts, shown once all have answered: equal plans once, other answers as a table."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any

from fabfile import console
from fabfile.output import answer, host_comparison, outcome
from fabfile.output.answer import Answer

View = Callable[[Mapping[str, Answer], int], list[str]]
"""Makes the lines to print, from name of a host → its answer, in the order of the hosts, and the width in columns."""

WIDTH = 100
"""Width in columns if the output is not a terminal."""

LEAST = 40
"""Width in columns below which a table is not readable."""


class Together:
    """The answers of several hosts to the tasks of a command line; with a single host, nothing is collected.

    Args:
        calls: Invoke's calls of the tasks.
        hosts: names of the hosts, in the order of the output.
        dry: whether only plans are made.
        plain: whether the width of the terminal is ignored, as for --plain.
    """

    def __init__(self, calls: Sequence[Any], hosts: Sequence[str], *, dry: bool, plain: bool) -> None:
        self._hosts, self._plain = hosts, plain
        self._tasks = [_Task(call, dry=dry) for call in calls] if len(hosts) > 1 else []

    @contextmanager
    def of(self, number: int, host: str) -> Iterator[None]:
        """Collect the answer of a task that this thread runs within this context, if it is to be shown together.

        Args:
            number: number of the task on the command line, from 0.
            host: name of the host.
        """
        task = self._tasks[number] if self._tasks else None
        with answer.collected() if task and task.view else nullcontext() as mine:
            yield
        if task and mine and mine.is_there:
            task.answers[host] = mine

    def show(self) -> None:
        """Print all answers that were collected, and which hosts did not answer."""
        for task in self._tasks:
            answers = {host: task.answers[host] for host in self._hosts if host in task.answers}
            if task.view and answers and (task.is_plan or not console.has_document()):
                lines = task.view(answers, self._columns)
                silent = [host for host in self._hosts if host not in answers]
                rest = ["", f"no answer from {host_comparison.counted(silent)}"] if silent else []
                console.say("\n".join(["", *([f"{task.name}:"] if len(self._tasks) > 1 else []), *lines, *rest]))

    @property
    def _columns(self) -> int:
        """The width of a table."""
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
    """Return the lines that show each plan once, with the hosts that have it, and then the drift of the hosts."""
    texts = {host: "\n".join(each.text) for host, each in answers.items()}
    parts = [[host_comparison.counted(hosts), *text.split("\n")] for text, hosts in host_comparison.grouped(texts)]
    parts.append(host_comparison.drift({host: each.row or {} for host, each in answers.items()}, width))
    return [line for part in parts if part for line in ("", *part)][1:]
