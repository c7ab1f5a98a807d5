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

from fabfile.fleet import Executor, Result, exit_code, summary
from fabfile.inventory import Host, Inventory


def result(status: Any, error: str = "", host: str = "h1") -> Result:
    return Result(host, status, 1.0, error)


CODES = {"ok": 0, "changed": 0, "failed": 1, "refused": 2, "pending": 3, "unreachable": 4}


@pytest.mark.parametrize("pair", list(itertools.combinations_with_replacement(CODES, 2)), ids="-".join)
def test_the_exit_code_is_the_worst_of_all_hosts(pair: tuple[str, str]) -> None:
    order = ["failed", "refused", "pending", "unreachable"]
    worst = next((status for status in order if status in pair), "ok")
    assert exit_code([result(status) for status in pair]) == CODES[worst]


def test_unreachable_is_the_code_only_where_nothing_else_is() -> None:
    assert exit_code([result("unreachable"), result("changed")]) == 4
    assert exit_code([result("unreachable"), result("failed")]) == 1
    assert exit_code([]) == 0


def test_the_summary_has_the_first_line_of_each_error_and_counts(capsys: pytest.CaptureFixture[str]) -> None:
    summary(
        [
            result("changed", host="alpha"),
            result("failed", "error: it broke\n  details\nhint: mend it", host="b"),
            result("unreachable", "error: no connection", host="c"),
        ]
    )
    lines = capsys.readouterr().out.strip().splitlines()
    assert len(lines) == 4
    assert lines[0].split()[:2] == ["alpha", "changed"]
    assert lines[1].endswith("it broke")
    assert lines[2].endswith("no connection")
    assert lines[3] == "ok 0  changed 1  failed 1  unreachable 1"


def test_one_host_needs_no_table(capsys: pytest.CaptureFixture[str]) -> None:
    summary([result("pending")])
    assert capsys.readouterr().out == "ok 0  changed 0  pending 1  failed 0  unreachable 0\n"


def test_a_bug_met_on_one_host_is_shown_whole_and_fails_that_host_only(capsys: pytest.CaptureFixture[str]) -> None:
    def broken(connection: object) -> None:
        raise KeyError("volume")

    host = Host(name="h1", address="192.0.2.1")
    inventory = Inventory(Path("hosts.toml"), Host(), 1, {"h1": host}, {})
    executor = Executor(Collection(), Config(ssh_config=SSHConfig()))
    result = executor._host(host, inventory, [SimpleNamespace(task=broken, args=(), kwargs={})])
    assert result.status == "failed"
    assert result.error.startswith("error: KeyError: 'volume'\nTraceback")
    assert "h1: error: KeyError" in capsys.readouterr().err
