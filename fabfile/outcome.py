"""What became of a step, a task, a host: collected while it runs, and written as the document that --json prints.

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

from fabfile import answer, console, events, hints, interruption
from fabfile.errors import Failed, Found, Interrupted, Pending, Problem, Refused, Skipped, Unreachable

HERE = "this machine"
"""What the host of a run of inv is called."""

SCHEMA = 1
"""Grows when a field is removed or changes its meaning; a new field leaves it."""

Status = Literal["ok", "changed", "pending", "refused", "failed", "unreachable", "skipped", "interrupted"]

StepStatus = Literal["ok", "changed", "pending"]

CODES: dict[str, int] = {
    "failed": 1, "skipped": 1, "refused": 2, "pending": 3, "unreachable": 4, "interrupted": 130
}  # fmt: skip
"""Exit codes; every other status is 0. Of several hosts the smallest code counts, unless the run was interrupted."""

WELL = frozenset({"ok", "changed", "pending"})
"""Statuses of hosts on which nothing is left to try again."""

KINDS: dict[type[Problem], Status] = {
    Refused: "refused", Unreachable: "unreachable", Skipped: "skipped", Interrupted: "interrupted"
}  # fmt: skip
"""What is no failure."""


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
    """The step that a task did not get beyond."""

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
        """Take a task's report; whether the next task may follow."""
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
    """Whether plans are shown with their commands and differences from now on, in this thread."""
    _diff.set(wanted)


def with_diff() -> bool:
    """Whether --diff was given."""
    return _diff.get()


def note(outcome: Outcome) -> None:
    """Keep what became of a step of the running task."""
    if now := _task.get():
        now.steps.append(outcome)
    events.tell("step-end", step=outcome.step, status=outcome.status, seconds=outcome.seconds, reason=outcome.reason)


def to_come(steps: Sequence[str]) -> None:
    """Keep which steps of the running task have not begun; where it ends before them, they are skipped."""
    if now := _task.get():
        now.skipped = list(steps)


def result(value: Any) -> None:
    """Keep what the running task found out: with --json it is its `result`."""
    if now := _task.get():
        now.result = value


def take(call: Any, c: Any, whole: HostReport, *, remote: bool) -> bool:
    """Do a task as it was called, show its error, and take its report.

    Args:
        call: Invoke's call of it.
        c: the machine.
        whole: report of the machine, to which that of the task is added.
        remote: see `perform`.

    Returns:
        Whether the next task may follow.
    """
    name = task_name(call)
    words = list(call.task.typed(call.kwargs)) if hasattr(call.task, "typed") else []
    with hints.typed(name, words):
        report, text = perform(name, partial(call.task, c, *call.args, **call.kwargs), remote=remote)
    if text:
        console.say(text, error=True)
    return whole.add(report)


def perform(name: str, do: Callable[[], Any], *, remote: bool) -> tuple[TaskReport, str]:
    """Do a task, and keep what became of it whatever it raises.

    Args:
        name: of the task.
        do: does it.
        remote: whether what fails with an error of the operating system is a connection.

    Returns:
        The report, and the error as it is shown to a person.
    """
    report, start = TaskReport(name), monotonic()
    token = _task.set(report)
    text = ""
    try:
        with events.on(task=name), interruption.unit(name):
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
    """Within it a step is taken; where it ends with an error, that is told. See `note` for the others."""
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
    """The status that an exception means, its parts, and the text for a person."""
    if isinstance(error, Pending):
        return "pending", None, ""
    if remote and isinstance(error, _lost()):  # the connection broke in the middle
        error = Failed("the connection was lost", str(error), hint="run it again")
    if isinstance(error, Problem):
        status: Status = next((status for kind, status in KINDS.items() if isinstance(error, kind)), "failed")
        told = isinstance(error, Found) and answer.is_kept()  # its answer follows, together with those of other hosts
        return status, Trouble(error.what, error.details, error.hint), "" if told else str(error)
    if isinstance(error, Exit):
        return "failed", Trouble(str(error)), str(error)
    import traceback

    # A bug of ours: shown whole, and other hosts get their answers nevertheless.
    what = f"{type(error).__name__}: {error}".splitlines()[0]
    return "failed", Trouble(what, traceback.format_exc()), f"error: {what}\n{traceback.format_exc()}"


def _lost() -> tuple[type[Exception], ...]:
    from paramiko.ssh_exception import SSHException  # slow to import, and of no use on this machine

    return OSError, EOFError, SSHException


def exit_code(statuses: Sequence[str]) -> int:
    """The process's exit code: 1 failed, before 2 refused, 3 pending, and 4 for hosts that were just unreachable.

    130 is before all of them, also where the run was interrupted and nothing was left to do: what waits for it is to
    stop as well.
    """
    if interruption.asked():
        return CODES["interrupted"]
    return min((CODES[status] for status in statuses if status in CODES), default=0)


def task_name(call: Any) -> str:
    """The name of the task that Invoke calls, as it was typed."""
    return str(call.called_as or call.task.name)


def publish(report: Report | FleetReport) -> None:
    """Print the document.

    Raises:
        Failed: it could not be written, and what reads it must not take a part for the whole.
    """
    if (error := console.write_document(document(report))) and not isinstance(error, BrokenPipeError):
        raise Failed("the JSON document cannot be written", str(error))


def as_builtins(value: Any) -> Any:
    """`value` as JSON has it; a source is the data that it is made of, or else its label."""
    return msgspec.to_builtins(value, enc_hook=lambda source: source.label)


def as_json(value: Any) -> str:
    """`value` as JSON, see `as_builtins`."""
    import json

    return json.dumps(as_builtins(value))


def document(report: Report | FleetReport) -> str:
    """The JSON of a report, in ASCII: whatever a machine printed, every program can read it."""
    text = as_json({"schema": report.schema, **msgspec.structs.asdict(report)})
    return console.masked(text)
