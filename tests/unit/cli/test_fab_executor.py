"""What a fleet's run ends with: one exit code, and a bug on one host is that host's alone."""

from __future__ import annotations

import itertools
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from fabric import Config
from invoke import Collection
from paramiko import SSHConfig

from fabfile.cli.batches import FailureLimit
from fabfile.cli.fab_executor import Executor, health_checks
from fabfile.host import Host
from fabfile.inventory import Inventory
from fabfile.output.fleet_answers import Together
from fabfile.output.outcome import exit_code
from fabfile.ssh.connections import Connections
from tests.reference import all_tasks

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


def test_a_bug_met_on_one_host_is_shown_whole_and_fails_that_host_only(capsys: pytest.CaptureFixture[str]) -> None:
    def broken(connection: object) -> None:
        raise KeyError("volume")

    host = Host(name="h1", address="192.0.2.1")
    inventory = Inventory(Path("hosts.toml"), Host(), 1, {"h1": host}, {})
    config = Config(ssh_config=SSHConfig())
    executor, ways = Executor(Collection(), config), Connections(inventory, config)
    calls = [SimpleNamespace(task=broken, called_as="broken", args=(), kwargs={})]
    result = executor._host(host, ways, calls, Together(calls, ["h1"], dry=False, plain=True), FailureLimit(None))
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
