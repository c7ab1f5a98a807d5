"""What a report says of each step, whatever its task: the one list that tables, JUnit and HTML are made of."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from fabfile.output.outcome import HostReport, TaskReport, Trouble

SKIPPED = "skipped"
"""Of a step that was not started; else a case has the status of the step or task."""

START = "start"
"""What a host is said to have been at that did not come to its first task."""


class Case(msgspec.Struct, frozen=True):
    """A step of a task on a host; a task without steps is one itself."""

    task: str
    name: str
    status: str
    seconds: float = 0.0
    reason: str = ""
    error: Trouble | None = None
    changes: list[Any] = []


def of_host(report: HostReport) -> list[Case]:
    """The cases of a host, in their order."""
    found = [case for task in report.tasks for case in of_task(task)]
    if report.error and not any(case.error for case in found):
        found.append(Case("", START, report.status, report.seconds, error=report.error))
    return found


def of_task(task: TaskReport) -> Iterator[Case]:
    """The cases of a task: its steps, the one that it did not get beyond, and those that were not started."""
    for step in task.steps:
        yield Case(task.task, step.step, step.status, step.seconds, step.reason, changes=step.changes)
    if task.unfinished:
        yield Case(task.task, task.unfinished.step, task.status, task.unfinished.seconds, error=task.error)
    elif task.error or not task.steps:
        yield Case(task.task, task.task, task.status, _rest(task), error=task.error)
    for name in task.skipped:
        yield Case(task.task, name, SKIPPED)


def _rest(task: TaskReport) -> float:
    """The seconds of a task that no step took."""
    return max(round(task.seconds - sum(step.seconds for step in task.steps), 2), 0.0)


def troubles(hosts: Mapping[str, HostReport]) -> list[tuple[Trouble, list[str]]]:
    """All errors, each with the hosts that met it: the same one on several hosts is told once."""
    found: dict[tuple[str, str, str], tuple[Trouble, list[str]]] = {}
    for host, report in hosts.items():
        if error := report.error:
            found.setdefault((error.what, error.details, error.hint), (error, []))[1].append(host)
    return list(found.values())
