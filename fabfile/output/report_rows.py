"""The steps of a report as one list, of which tables, JUnit files and HTML pages are made."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from fabfile.output.outcome import HostReport, TaskReport, Trouble

SKIPPED = "skipped"
"""Status of a case for a step that was not started; other cases have the status of their step or task."""

START = "start"
"""Name of the case of a host that ended before its first task, for example because it could not be reached."""


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
    """The cases of a task: the steps that are done, the one during which it ended early, and those not started."""
    for step in task.steps:
        yield Case(task.task, step.step, step.status, step.seconds, step.reason, changes=step.changes)
    if task.unfinished:
        yield Case(task.task, task.unfinished.step, task.status, task.unfinished.seconds, error=task.error)
    elif task.error or not task.steps:
        yield Case(task.task, task.task, task.status, _rest(task), error=task.error)
    for name in task.skipped:
        yield Case(task.task, name, SKIPPED)


def _rest(task: TaskReport) -> float:
    """The seconds of a task that belong to none of its steps."""
    return max(round(task.seconds - sum(step.seconds for step in task.steps), 2), 0.0)


def troubles(hosts: Mapping[str, HostReport]) -> list[tuple[Trouble, list[str]]]:
    """Return each error once, with all hosts on which it occurred."""
    found: dict[tuple[str, str, str], tuple[Trouble, list[str]]] = {}
    for host, report in hosts.items():
        if error := report.error:
            found.setdefault((error.what, error.details, error.hint), (error, []))[1].append(host)
    return list(found.values())
