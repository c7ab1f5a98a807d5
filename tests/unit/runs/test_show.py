"""Runs as a person reads them: one line each, and one of them with its steps, hosts and errors."""

from __future__ import annotations

import sys

import pytest

from fabfile import console, events
from fabfile.output.outcome import FleetReport, HostReport, Outcome, TaskReport, Trouble
from fabfile.runs import storage
from fabfile.runs.record import recorded
from fabfile.runs.show import list_runs, show_run
from tests.unit.runs.calls import DEPLOY


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of a run that was killed and of one with a host that failed."""
    monkeypatch.setattr(sys, "argv", ["fab", "-H", "hosts", "deploy"])
    with pytest.raises(KeyError), recorded("fab", DEPLOY) as killed:
        events.tell("run-begin", hosts=["a", "b"])
        raise KeyError
    trouble = Trouble("two: it broke", "exit code 1\nno room", "fab -H b doctor")
    tasks = [TaskReport("deploy", "failed", 3.0, [Outcome("one", "changed", "why", 1.5)], error=trouble)]
    with recorded("fab", DEPLOY) as ended:
        hosts = {"a": HostReport("ok", 2.0), "b": HostReport("failed", 3.0, tasks, trouble)}
        ended.end(FleetReport(1, hosts))
    return [killed.name, ended.name]


def test_each_run_is_a_line_the_newest_last(names: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    list_runs()
    head, *lines = capsys.readouterr().out.splitlines()
    assert head.split() == ["run", "began", "took", "exit", "hosts", "command"]
    assert [line.split()[0] for line in lines] == names
    assert lines[0].split()[3:] == ["killed", "fab", "-H", "hosts", "deploy"]
    assert lines[1].split()[5:] == ["1", "ok", "1", "failed", "1", "fab", "-H", "hosts", "deploy"]


def test_on_a_narrow_terminal_a_command_has_a_line_of_its_own(
    names: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(console, "columns", lambda: 80)
    list_runs()
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines[::2]] == ["run", *names]
    assert lines[1::2] == ["  command", "  fab -H hosts deploy", "  fab -H hosts deploy"]
    assert all(len(line) <= 80 for line in lines)


def test_where_there_is_none_it_is_said_where_they_would_be(capsys: pytest.CaptureFixture[str]) -> None:
    list_runs()
    assert capsys.readouterr().out == f"no run has left a record in {storage.root()}\n"


def test_a_run_is_shown_with_its_steps_hosts_and_errors(names: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    show_run("")
    text = capsys.readouterr().out
    lines = text.splitlines()
    assert lines[:2] == [f"run      {names[1]}", "command  fab -H hosts deploy"]
    assert lines[3].startswith("state    ended after 0.") and lines[3].endswith(" s, exit code 1")
    assert lines[4] == f"logs     {storage.root() / names[1]}"
    steps = [line.split() for line in lines if line.startswith("one ")]
    assert steps == [["one", "1.5", "s", "1.5", "s", "b", "changed", "1"]]
    assert "b  failed         3.0 s  steps: 1 changed  two: it broke" in lines
    assert text.endswith("\nb: two: it broke\n  exit code 1\n  no room\nhint: fab -H b doctor\n")


def test_a_killed_run_says_so(names: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    show_run(names[0])
    text = capsys.readouterr().out
    assert "\nstate    killed\n" in text and "\na, b: the run was killed\n" in text


def test_no_line_is_wider_than_the_terminal(
    names: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(console, "columns", lambda: 50)
    list_runs()
    assert max(map(len, capsys.readouterr().out.splitlines())) == 50
