"""What became of tasks is kept whatever they raise."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from invoke import Call, Context, Task

from fabfile import hints
from fabfile.errors import Failed, Pending, Refused, Unreachable
from fabfile.output import outcome
from fabfile.output.outcome import HostReport, Outcome, TaskReport
from fabfile.plan import Command


def raising(error: Exception) -> Callable[[], Any]:
    def do() -> None:
        outcome.note(Outcome("first", "changed", "why", 0.1, [Command("why", "true")]))
        outcome.result({"half": True})
        raise error

    return do


@pytest.mark.parametrize(
    ("error", "status", "what"),
    [
        (Pending(), "pending", None),
        (Refused("no"), "refused", "no"),
        (Failed("broke", "why", "mend it"), "failed", "broke"),
        (Unreachable("nobody there"), "unreachable", "nobody there"),
        (ConnectionResetError("gone"), "failed", "the connection was lost"),
        (EOFError(), "failed", "the connection was lost"),
        (KeyError("bug"), "failed", "KeyError: 'bug'"),
    ],
)
def test_what_was_done_before_an_error_is_kept_with_it(error: Exception, status: str, what: str | None) -> None:
    report, text = outcome.perform("t", raising(error), remote=True)
    assert report.status == status
    assert [step.step for step in report.steps] == ["first"]
    assert report.result == {"half": True}
    assert (report.error.what if report.error else None) == what
    assert bool(text) == (what is not None)


def test_on_this_machine_an_error_of_the_system_is_no_connection() -> None:
    report, text = outcome.perform("t", raising(FileNotFoundError("x")), remote=False)
    assert report.error
    assert report.error.what == "FileNotFoundError: x"
    assert "Traceback" in text


def test_a_task_is_done_as_it_was_called_and_its_error_shown(capsys: pytest.CaptureFixture[str]) -> None:
    got: list[Any] = []

    def body(c: Any, word: str) -> None:
        got.append((c, word))
        raise Failed("broke", hint=hints.again("pool.loop", "", ""))

    whole, call = HostReport(), Call(Task(body, name="loop"), called_as="pool.loop", args=("w",))
    assert not outcome.take(call, Context(), whole, remote=False)
    assert [(type(c), word) for c, word in got] == [(Context, "w")]
    assert [(task.task, task.status) for task in whole.tasks] == [("pool.loop", "failed")]
    assert whole.error and "inv pool.loop" in whole.error.hint
    assert "error: broke" in capsys.readouterr().err


def test_outside_of_a_task_nothing_is_kept() -> None:
    outcome.note(Outcome("nowhere", "ok", "", 0))
    outcome.result(1)
    report, _ = outcome.perform("t", lambda: None, remote=False)
    assert (report.steps, report.result, report.status) == ([], None, "ok")


@pytest.mark.parametrize(
    ("statuses", "whole", "goes_on"),
    [
        (["ok", "ok"], "ok", True),
        (["ok", "changed"], "changed", True),
        (["changed", "ok"], "changed", True),
        (["pending", "ok"], "pending", True),
        (["pending", "changed"], "pending", True),
        (["changed", "failed"], "failed", False),
        (["pending", "refused"], "refused", False),
    ],
)
def test_a_machine_is_as_its_tasks(statuses: list[Any], whole: str, goes_on: bool) -> None:
    report = HostReport()
    assert [report.add(TaskReport("t", status)) for status in statuses][-1] == goes_on
    assert report.status == whole


def test_the_step_that_a_task_did_not_get_beyond_is_kept() -> None:
    def do() -> None:
        with outcome.step("first"):
            outcome.note(Outcome("first", "ok", "nothing to do", 0.1))
        with outcome.step("second"):
            raise Failed("it broke")

    report, _ = outcome.perform("t", do, remote=True)
    assert report.unfinished and (report.unfinished.step, report.unfinished.seconds < 1) == ("second", True)
    report, _ = outcome.perform("t", raising(Failed("between two steps")), remote=True)
    assert report.unfinished is None
