"""What a run ends with: a line for each host and each step, one that counts, and none wider than the terminal."""

from __future__ import annotations

import shlex
from typing import Any

import pytest

from fabfile import console
from fabfile.cli import fab_executor
from fabfile.output import summary
from fabfile.output.outcome import HostReport, Outcome, TaskReport, Trouble, Unfinished


def report(status: Any, what: str = "", *steps: Outcome, **more: Any) -> HostReport:
    """Of a host with one task."""
    error = Trouble(what, "details", "mend it") if what else None
    task = TaskReport("deploy", status, 1.0, steps=list(steps), error=error, **more)
    return HostReport(status, 1.0, [task], error)


def step(name: str, status: Any, seconds: float) -> Outcome:
    """A step that ended well."""
    return Outcome(name, status, "why", seconds)


def shown(capsys: pytest.CaptureFixture[str], reports: dict[str, HostReport], record: str = "") -> list[str]:
    """The lines that are shown."""
    summary.show(reports, record)
    return capsys.readouterr().out.splitlines()


def test_each_host_has_the_first_line_of_its_error_and_all_are_counted(capsys: pytest.CaptureFixture[str]) -> None:
    reports = {
        "alpha": report("changed"),
        "b": report("failed", "it broke\nat all"),
        "c": report("unreachable", "gone"),
    }
    lines = shown(capsys, reports)[-4:]
    assert [line.split()[:2] for line in lines[:3]] == [["alpha", "changed"], ["b", "failed"], ["c", "unreachable"]]
    assert lines[1].endswith("it broke") and lines[2].endswith("gone")
    assert lines[3] == "ok 0  changed 1  failed 1  unreachable 1"


def test_a_host_is_not_named_twice_on_its_line(capsys: pytest.CaptureFixture[str]) -> None:
    what = "web1 (root@192.0.2.1:22): cannot connect", "root@[::1]:22 (root@::1:22) through gw: login refused"
    lines = shown(capsys, {each.partition(" ")[0]: report("unreachable", each) for each in what})
    assert [line.split(" s  ")[1] for line in lines[-3:-1]] == ["cannot connect", "through gw: login refused"]


def test_a_step_has_its_usual_and_its_longest_time_and_where_that_was(capsys: pytest.CaptureFixture[str]) -> None:
    reports = {
        f"h{number}": report("changed", "", step("one", "ok", 0), step("two", "changed", float(number)))
        for number in (1, 2, 9)
    }
    reports["h4"] = report("failed", "two: broke", step("one", "ok", 0.0), unfinished=Unfinished("two", 4.0))
    lines = shown(capsys, reports)
    assert lines[:3] == [
        "",
        "step  median  longest  on",
        "two    3.0 s    9.0 s  h9  changed 3  failed 1",
    ]


def test_hosts_on_which_a_step_took_no_time_are_counted_too(capsys: pytest.CaptureFixture[str]) -> None:
    reports = {f"h{number}": report("ok", "", step("one", "ok", float(number))) for number in (0, 0.01, 2)}
    reports["h3"] = report("failed", "zero: broke", skipped=["one"])
    assert shown(capsys, reports)[2] == "one      0.0 s    2.0 s  h2  ok 3"


def test_the_steps_of_a_host_are_counted(capsys: pytest.CaptureFixture[str]) -> None:
    steps = step("one", "ok", 0), step("two", "changed", 1), step("three", "changed", 1)
    reports = {"a": report("failed", "four: it broke", *steps, skipped=["five", "six"]), "b": report("ok")}
    lines = shown(capsys, reports)
    assert lines[-3].endswith(" s  steps: 1 ok, 2 changed, 2 skipped  four: it broke")
    assert lines[-2].endswith(" s")


def test_one_host_needs_no_table(capsys: pytest.CaptureFixture[str]) -> None:
    lines = shown(capsys, {"h1": report("pending")}, "20261128-024452-123")
    assert lines == ["ok 0  changed 0  pending 1  failed 0  unreachable 0"]


def test_hosts_that_did_not_end_well_are_tried_again_by_the_record(capsys: pytest.CaptureFixture[str]) -> None:
    well = {"a": report("ok"), "b": report("pending")}
    again = fab_executor.retry("20261128-024452-123", ["run", "--command", "echo hello"])
    assert again == "fab --retry-from 20261128-024452-123 run --command 'echo hello'"
    assert not any(again in line for line in shown(capsys, well, again))
    assert any(again in line for line in shown(capsys, {**well, "c": report("failed", "x")}, again))
    assert not any("--retry-from" in line for line in shown(capsys, {**well, "c": report("failed", "x")}))


@pytest.mark.parametrize(
    ("typed", "again"),
    [
        ("--dry -S config -i 'a key' -H web deploy --diff", "--dry -S config -i 'a key' deploy --diff"),
        ("--retry-from 20261127-1 --limit web --exclude=web01 --prompt-for-sudo-password run --command 'echo -H'",
         "--prompt-for-sudo-password run --command 'echo -H'"),
        ("-Hweb01,web02 --retry-from=last status", "status"),
        ("--hosts=web status --limit 'web[1-2]' --json", "status --json"),
        ("--hosts web --limits deploy", "--limits deploy"),
    ],
)  # fmt: skip
def test_the_command_that_tries_again_is_the_one_that_was_typed_with_other_hosts(typed: str, again: str) -> None:
    assert fab_executor.retry("20261128-1", shlex.split(typed)) == f"fab --retry-from 20261128-1 {again}"


def test_a_command_to_paste_is_never_cut(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(console, "columns", lambda: 79)
    again = fab_executor.retry("20261128-024452-123", ["run", "--command", "x" * 100])
    assert any(line.endswith(again) for line in shown(capsys, {"a": report("failed", "x"), "b": report("ok")}, again))


@pytest.mark.parametrize("error", ["x" * 200, "\u6c34" * 200, "e\u0301" * 200, "\x1b" * 60])
def test_no_line_is_wider_than_the_terminal(
    error: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from rich.cells import cell_len

    reports = {"a": report("failed", error), "b": report("ok")}
    assert max(map(cell_len, shown(capsys, reports))) > 79
    monkeypatch.setattr(console, "columns", lambda: 79)
    lines = shown(capsys, reports)
    assert max(map(cell_len, lines)) == 79
    assert next(line for line in lines if line.startswith("a ")).endswith("…")
