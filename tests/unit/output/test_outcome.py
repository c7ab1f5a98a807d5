"""What became of tasks is kept whatever they raise, and written as a document that every program can read."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from invoke import Call, Context, Task

from fabfile import events, hints
from fabfile.errors import MOST, Failed, Pending, Refused, Unreachable
from fabfile.events import Event
from fabfile.output import outcome
from fabfile.output.outcome import FleetReport, HostReport, Outcome, Report, TaskReport, Trouble
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


@given(st.text(), st.text(st.characters(codec=None), max_size=20))
def test_the_document_is_ascii_and_reads_back_whatever_a_machine_said(said: str, name: str) -> None:
    report = HostReport(tasks=[TaskReport("run", result={"stdout": said})])
    text = outcome.document(FleetReport(0, {name: report}))
    assert text.isascii()
    assert "\n" not in text
    back = json.loads(text)
    assert next(iter(back)) == "schema"
    if "@" not in said + name:
        assert back["hosts"][name]["tasks"][0]["result"]["stdout"] == said


def test_no_password_is_in_it() -> None:
    text = outcome.document(Report(tasks=[TaskReport("t", result="https://user:secret@mirror/x")]))
    assert "secret" not in text
    assert json.loads(text)["tasks"][0]["result"] == "https://***@mirror/x"


ADDRESSES = {
    "origin\thttps://SECRET@github.com/x (fetch)": "origin\thttps://***@github.com/x (fetch)",
    "a\nhttps://SECRET@github.com/x": "a\nhttps://***@github.com/x",
    "ü\u20adhttps://SECRET@h": "ü\u20adhttps://***@h",
    "url https://example.com\nops@example.com\n": "url https://example.com\nops@example.com\n",
    "https://SECRET@h/" + "x" * MOST: "https://***@h/" + "x" * MOST,
}
"""What a host printed → the same without its password; escapes of JSON stand where words begin and end."""


@pytest.mark.parametrize(("said", "shown"), ADDRESSES.items())
def test_passwords_are_masked_by_the_words_of_a_text_and_nothing_else_is(said: str, shown: str) -> None:
    report = HostReport(tasks=[TaskReport("t", result=[{said: said}])], error=Trouble(said))
    back = json.loads(outcome.document(FleetReport(0, {"a": report})))["hosts"]["a"]
    assert back["tasks"][0]["result"] == [{shown: shown}]
    assert back["error"]["what"] == shown
    assert json.loads(events.line(Event(0, "host-end", error=said, hosts=[said]))) == {
        "time": 0, "event": "host-end", "error": shown, "hosts": [shown],
    }  # fmt: skip


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
