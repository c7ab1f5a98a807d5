"""What is shown of hosts at work: on a terminal and in lines."""

from __future__ import annotations

import io
import threading
from typing import Any

import pytest
from rich.console import Console

from fabfile import console, events, live
from fabfile.live import Board


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


def test_nothing_that_a_terminal_would_obey_is_drawn() -> None:
    lines = drawn(board(*begun("[bold]a[/]"), ("step-begin", {"host": "[bold]a[/]", "step": "\x1b[2J"})))
    assert lines[0].startswith("[bold]a[/]  \\x1b[2J")


def test_elsewhere_what_takes_long_is_mentioned(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(live, "LONG", 0.01)
    mentioned = threading.Event()

    def say(text: str) -> None:
        console.say(text)
        mentioned.set()

    monkeypatch.setattr(live, "say", say)
    with live.shown(plain=True):
        for kind, what in begun("a"):
            events.tell(kind, **what)
        assert mentioned.wait(10)
    assert "a: connecting, for 0 s" in capsys.readouterr().out
