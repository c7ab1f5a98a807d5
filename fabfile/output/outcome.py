"""Outcomes of steps, tasks and hosts, collected during a run.

docs/json.md describes every field; a unit test compares it with these structs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from functools import partial
from time import monotonic
from typing import Any, Literal

import msgspec
from invoke.exceptions import Exit

from fabfile import console, events, hints, interruption
from fabfile.errors import Failed, Found, Interrupted, Pending, Problem, Refused, Skipped, Unreachable
from fabfile.output import answer

HERE = "this controller"
"""Name that stands for the host in a run of inv."""

SCHEMA = 1
"""Incremented when a field is removed or changes its meaning; a new field does not increment it."""

Status = Literal["ok", "changed", "pending", "refused", "failed", "unreachable", "skipped", "interrupted"]

StepStatus = Literal["ok", "changed", "pending"]

CODES: dict[str, int] = {
    "failed": 1, "skipped": 1, "refused": 2, "pending": 3, "unreachable": 4, "interrupted": 130
}  # fmt: skip
"""Exit codes; every other status has 0. With several hosts the smallest code counts, unless the run was interrupted."""

WELL = frozenset({"ok", "changed", "pending"})
"""Statuses of hosts that --retry-from does not try again."""

KINDS: dict[type[Problem], Status] = {
    Refused: "refused", Unreachable: "unreachable", Skipped: "skipped", Interrupted: "interrupted"
}  # fmt: skip
"""Errors that have another status than `failed`."""


class Outcome(msgspec.Struct, frozen=True):
    """The outcome of a step."""

    step: str
    status: StepStatus
    reason: str
    seconds: float
    changes: list[Any] = []


class Trouble(msgspec.Struct, frozen=True):
    """An error in its three parts."""

    what: str
    details: str = ""
    hint: str = ""


class Unfinished(msgspec.Struct, frozen=True):
    """The step during which a task ended early."""

    step: str
    seconds: float


class TaskReport(msgspec.Struct):
    """The outcome of a task on a host."""

    task: str
    status: Status = "ok"
    seconds: float = 0.0
    steps: list[Outcome] = []
    skipped: list[str] = []
    result: Any = None
    error: Trouble | None = None
    unfinished: Unfinished | None = None


class HostReport(msgspec.Struct):
    """The outcome of all tasks on a host."""

    status: Status = "ok"
    seconds: float = 0.0
    tasks: list[TaskReport] = []
    error: Trouble | None = None

    def add(self, report: TaskReport) -> bool:
        """Add the report of a task, and return whether the next task may run."""
        self.tasks.append(report)
        self.seconds = round(self.seconds + report.seconds, 2)
        if (report.status != "ok" and self.status != "pending") or report.status in CODES:
            self.status, self.error = report.status, report.error
        return CODES.get(report.status, 0) in (0, CODES["pending"])


class Report(HostReport):
    """What inv --json prints: a host's report, with two more fields."""

    exit_code: int = 0
    schema: int = SCHEMA


class FleetReport(msgspec.Struct):
    """What fab --json prints."""

    exit_code: int
    hosts: dict[str, HostReport]
    error: Trouble | None = None
    schema: int = SCHEMA


_task: ContextVar[TaskReport | None] = ContextVar("task", default=None)
_diff: ContextVar[bool] = ContextVar("diff", default=False)


def show_diff(wanted: bool) -> None:
    """Set whether plans show commands and differences from now on, in this thread."""
    _diff.set(wanted)


def with_diff() -> bool:
    """Return whether plans show commands and differences, as with --diff."""
    return _diff.get()


def note(outcome: Outcome) -> None:
    """Add the outcome of a step to the running task's report, and publish the end of the step."""
    if now := _task.get():
        now.steps.append(outcome)
    events.tell("step-end", step=outcome.step, status=outcome.status, seconds=outcome.seconds, reason=outcome.reason)


def to_come(steps: Sequence[str]) -> None:
    """Set the steps of the running task that have not begun; if the task ends before them, they count as skipped."""
    if now := _task.get():
        now.skipped = list(steps)


def result(value: Any) -> None:
    """Set the `result` of the running task in the document of --json."""
    if now := _task.get():
        now.result = value


def take(call: Any, c: Any, whole: HostReport, *, remote: bool) -> bool:
    """Run a task as it was called, print its error, and add its report to that of the machine.

    Args:
        call: Invoke's call of the task.
        c: the machine.
        whole: report of the machine.
        remote: see `perform`.

    Returns:
        Whether the next task may run.
    """
    name = task_name(call)
    words = list(call.task.typed(call.kwargs)) if hasattr(call.task, "typed") else []
    with hints.typed(name, words):
        report, text = perform(name, partial(call.task, c, *call.args, **call.kwargs), remote=remote)
    if text:
        console.say(text, error=True)
    return whole.add(report)


def perform(name: str, do: Callable[[], Any], *, remote: bool) -> tuple[TaskReport, str]:
    """Run a task and report its outcome, whatever exception it ends with.

    Args:
        name: name of the task.
        do: runs the task.
        remote: whether an error of the operating system means that the connection was lost.

    Returns:
        The report, and the text of the error to print; empty: nothing to print.
    """
    report, start = TaskReport(name), monotonic()
    token = _task.set(report)
    text = ""
    try:
        with events.on(task=name), interruption.section(name):
            events.tell("task-begin")
            do()
        changed = any(step.status == "changed" for step in report.steps)
        report.status = "changed" if changed else "ok"
    except Exception as error:
        report.status, report.error, text = explained(error, remote=remote)
    finally:
        _task.reset(token)
    report.seconds = round(monotonic() - start, 2)
    with events.on(task=name):
        what = report.error.what if report.error else ""
        events.tell("task-end", status=report.status, seconds=report.seconds, error=what)
    return report, text


@contextmanager
def step(name: str) -> Iterator[None]:
    """Run a step within this context; its begin is published, and its end if it fails. `note` publishes other ends."""
    timer = events.Timer()
    events.tell("step-begin", step=name)
    try:
        yield
    except Exception as error:
        status, trouble, _ = explained(error, remote=True)
        what = trouble.what if trouble else ""
        if now := _task.get():
            now.unfinished = Unfinished(name, timer.seconds)
        events.tell("step-end", step=name, status=status, seconds=timer.seconds, error=what)
        raise


def explained(error: Exception, *, remote: bool = False) -> tuple[Status, Trouble | None, str]:
    """Return the status that an exception means, its parts for the report, and the text to print.

    Args:
        error: the exception.
        remote: see `perform`.
    """
    if isinstance(error, Pending):
        return "pending", None, ""
    if remote and isinstance(error, _lost()):  # the connection broke during a command
        error = Failed("the connection was lost", str(error), hint="run it again")
    if isinstance(error, Problem):
        status: Status = next((status for kind, status in KINDS.items() if isinstance(error, kind)), "failed")
        # If it is collected, its answer follows, together with those of other hosts.
        told = isinstance(error, Found) and answer.is_collected()
        return status, Trouble(error.what, error.details, error.hint), "" if told else str(error)
    if isinstance(error, Exit):
        return "failed", Trouble(str(error)), str(error)
    import traceback

    # A bug in this program: show the whole traceback, and go on with the other hosts.
    what = f"{type(error).__name__}: {error}".splitlines()[0]
    return "failed", Trouble(what, traceback.format_exc()), f"error: {what}\n{traceback.format_exc()}"


def _lost() -> tuple[type[Exception], ...]:
    from paramiko.ssh_exception import SSHException  # slow to import, and only needed with connections

    return OSError, EOFError, SSHException


def exit_code(statuses: Sequence[str]) -> int:
    """Return the exit code of the process: the smallest in `CODES` of all statuses, else 0; 130 if interrupted.

    It is 130 even if nothing was left to do when the run was interrupted, so that a script that waits for this program
    stops as well.
    """
    if interruption.asked():
        return CODES["interrupted"]
    return min((CODES[status] for status in statuses if status in CODES), default=0)


def task_name(call: Any) -> str:
    """Return the name of a task as it was typed.

    Args:
        call: Invoke's call of the task.
    """
    return str(call.called_as or call.task.name)
