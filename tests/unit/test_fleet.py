"""What a fleet's run ends with: one line for each host, one that counts, one exit code."""

from __future__ import annotations

import itertools
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from fabric import Config
from invoke import Collection
from paramiko import SSHConfig

from fabfile.batches import Gate
from fabfile.fleet import Executor, health_checks, summary
from fabfile.inventory import Host, Inventory
from fabfile.outcome import HostReport, Outcome, TaskReport, Trouble, exit_code
from fabfile.ssh.ways import Ways
from fabfile.together import Together
from tests.reference import all_tasks


def result(status: Any, what: str = "") -> HostReport:
    return HostReport(status, 1.0, error=Trouble(what, "details", "mend it") if what else None)


CODES = {"ok": 0, "changed": 0, "failed": 1, "skipped": 1, "refused": 2, "pending": 3, "unreachable": 4}


@pytest.mark.parametrize("pair", list(itertools.combinations_with_replacement(CODES, 2)), ids="-".join)
def test_the_exit_code_is_the_worst_of_all_hosts(pair: tuple[str, str]) -> None:
    order = ["failed", "skipped", "refused", "pending", "unreachable"]
    worst = next((status for status in order if status in pair), "ok")
    assert exit_code(pair) == CODES[worst]


def test_unreachable_is_the_code_only_where_nothing_else_is() -> None:
    assert exit_code(["unreachable", "changed"]) == 4
    assert exit_code(["unreachable", "failed"]) == 1
    assert exit_code([]) == 0


def test_the_summary_has_the_first_line_of_each_error_and_counts(capsys: pytest.CaptureFixture[str]) -> None:
    summary(
        {"alpha": result("changed"), "b": result("failed", "it broke"), "c": result("unreachable", "cannot connect")}
    )
    lines = capsys.readouterr().out.strip().splitlines()
    assert len(lines) == 4
    assert lines[0].split()[:2] == ["alpha", "changed"]
    assert lines[1].endswith("it broke")
    assert lines[2].endswith("cannot connect")
    assert lines[3] == "ok 0  changed 1  failed 1  unreachable 1"


def test_the_table_counts_the_steps_of_each_host(capsys: pytest.CaptureFixture[str]) -> None:
    steps = [Outcome("one", "ok", "", 0), Outcome("two", "changed", "why", 1), Outcome("three", "changed", "why", 1)]
    broken = result("failed", "four: it broke")
    broken.tasks = [TaskReport("deploy", steps=steps, skipped=["five", "six"])]
    summary({"a": broken, "b": result("ok")})
    lines = capsys.readouterr().out.splitlines()
    assert lines[1].endswith(" s  steps: 1 ok, 2 changed, 2 skipped  four: it broke")
    assert lines[2].rstrip().endswith(" s")


def test_one_host_needs_no_table(capsys: pytest.CaptureFixture[str]) -> None:
    summary({"h1": result("pending")})
    assert capsys.readouterr().out == "ok 0  changed 0  pending 1  failed 0  unreachable 0\n"


def test_a_bug_met_on_one_host_is_shown_whole_and_fails_that_host_only(capsys: pytest.CaptureFixture[str]) -> None:
    def broken(connection: object) -> None:
        raise KeyError("volume")

    host = Host(name="h1", address="192.0.2.1")
    inventory = Inventory(Path("hosts.toml"), Host(), 1, {"h1": host}, {})
    config = Config(ssh_config=SSHConfig())
    executor, ways = Executor(Collection(), config), Ways(inventory, config)
    calls = [SimpleNamespace(task=broken, called_as="broken", args=(), kwargs={})]
    result = executor._host(host, ways, calls, Together(calls, ["h1"], dry=False, plain=True), Gate(None))
    assert result.status == "failed"
    assert result.error
    assert result.error.what == "KeyError: 'volume'"
    assert result.error.details.startswith("Traceback")
    assert "h1: error: KeyError" in capsys.readouterr().err


def call(name: str, /, **given: Any) -> Any:
    """A call of a task as fab makes it."""
    return SimpleNamespace(task=all_tasks()[name], called_as=name, args=(), kwargs=given)


@pytest.mark.parametrize(
    ("calls", "instances"),
    [
        ([call("deploy", instance=None)], [""]),
        ([call("status", instance=None), call("pool.status", name=None)], []),
        ([call("packages"), call("deploy", instance="two"), call("pool.grow", instance="two")], ["", "two"]),
    ],
)
def test_doctor_looks_at_each_containerd_that_a_run_in_batches_changes(calls: list[Any], instances: list[str]) -> None:
    checks = health_checks(calls)
    assert [check.kwargs["instance"] for check in checks] == instances
    assert {check.called_as for check in checks} <= {"doctor"}
