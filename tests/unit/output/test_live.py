"""What is shown of hosts at work: on a terminal and in lines."""

from __future__ import annotations

import io
import queue
from typing import Any

import pytest
from rich.console import Console

from fabfile import activity, console, events
from fabfile.output import live
from fabfile.output.live import Board


def board(*told: tuple[Any, dict[str, Any]]) -> Board:
    """A board that has heard so much."""
    new = Board()
    with events.heard_by(new.hear):
        for kind, what in told:
            events.tell(kind, **what)
    return new


def begun(*hosts: str) -> list[tuple[Any, dict[str, Any]]]:
    """A run of hosts."""
    return [("run-begin", {"hosts": [*hosts, "last"]}), *(("host-begin", {"host": host}) for host in hosts)]


def drawn(what: Board, height: int = 25) -> list[str]:
    """What a terminal shows."""
    out = io.StringIO()
    Console(file=out, force_terminal=True, width=80, height=height, color_system=None).print(what)
    return [line.rstrip() for line in out.getvalue().splitlines()]


def test_a_host_is_a_line_with_its_step() -> None:
    new = board(*begun("a", "b"), ("step-begin", {"host": "a", "step": "packages"}))
    lines = drawn(new)
    assert [line.split() for line in lines] == [
        ["a", "packages", "0", "s"], ["b", "connecting", "0", "s"], ["running", "2", "waiting", "1"],
    ]  # fmt: skip


def test_a_host_that_has_ended_is_counted() -> None:
    new = board(*begun("a", "b"), ("host-end", {"host": "a", "status": "failed"}))
    assert drawn(new)[-1] == "failed 1  running 1  waiting 1"
    with events.heard_by(new.hear):
        events.tell("host-end", host="last", status="interrupted")
        events.tell("host-end", host="b", status="ok")
    assert drawn(new) == ["failed 1  interrupted 1  ok 1  running 0"]


def test_more_hosts_than_lines_are_the_ones_that_take_longest() -> None:
    lines = drawn(board(*begun(*(f"h{number}" for number in range(100)))), height=16)
    assert len(lines) == 16 - live.SPARE + 1
    assert lines[0].startswith("h0 ") and lines[-1] == "running 100  waiting 1"


def test_what_a_host_is_at_is_beside_its_step_and_never_takes_a_second_line() -> None:
    new = board(*begun("a"), ("step-begin", {"host": "a", "step": "containerd.install"}))
    with events.on("a"), activity.doing(lambda: f"building containerd: {'x' * 100}"):
        lines = drawn(new)
    assert len(lines) == 2 and lines[0].startswith("a  containerd.install  building containerd: xxx")
    assert lines[0].endswith("…  0 s")


def test_this_machine_is_shown_while_there_is_something_to_say_and_is_not_counted() -> None:
    new = board(("run-begin", {}), ("task-begin", {}))
    assert drawn(new) == []
    with activity.doing(lambda: "downloading go"):
        assert drawn(new) == ["    downloading go  0 s"]
    with events.heard_by(new.hear):
        events.tell("step-begin", step="packages")
        assert drawn(new) == ["  packages    0 s"]
        events.tell("step-end", step="packages")
        assert drawn(new) == []
        events.tell("step-begin", step="runc.install")
        events.tell("task-end", status="failed")
    assert drawn(new) == [] and new.rows() == []


def test_nothing_that_a_terminal_would_obey_is_drawn() -> None:
    lines = drawn(board(*begun("[bold]a[/]"), ("step-begin", {"host": "[bold]a[/]", "step": "\x1b[2J"})))
    assert lines[0].startswith("[bold]a[/]  \\x1b[2J")


def test_elsewhere_what_takes_long_is_mentioned(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(live, "LONG", 0.01)
    said: queue.Queue[str] = queue.Queue()

    def say(text: str) -> None:
        console.say(text)
        said.put(text)

    monkeypatch.setattr(live, "say", say)
    with live.shown(plain=True):
        with activity.doing(lambda: "downloading go: 1.0M of 2.0M"):
            events.tell("step-begin", step="toolchain.go")
            assert said.get(timeout=10) == "toolchain.go: downloading go: 1.0M of 2.0M, for 0 s"
        for kind, what in begun("a"):
            events.tell(kind, **what)
        while said.get(timeout=10) != "a: connecting, for 0 s":
            pass
    assert "a: connecting, for 0 s" in capsys.readouterr().out
