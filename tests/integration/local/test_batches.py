"""Batches of hosts, and the health check after each: hosts are ports of real sshds."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.integration.local import sshd
from tests.integration.local.test_interruption import Run

HOSTS = 6

HEALTHY = (
    "mkdir -p /run/systemd/system; mount -t tmpfs none /sys/module; mkdir /sys/module/dm_thin_pool;"
    ' mount --bind /bin/true "$(command -v systemctl)"'
)
"""Makes the server's own namespace look like a host on which nothing is in the way of a deploy."""

ILL = "umount /sys/module || true"
"""Takes that back."""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[sshd.Server]:
    """Six hosts."""
    with sshd.server(tmp_path_factory.mktemp("sshd"), HOSTS) as up:
        yield up


def fab(server: sshd.Server, directory: Path, *words: str, seconds: float = 0.2, code: int = 0) -> Run:
    """A run of fab on all hosts, once it has ended."""
    run = Run(directory, server.inventory(), "fab", "-H", "hosts", *words, seconds=seconds)
    run.end(code, 60)
    return run


def visit(directory: Path) -> tuple[str, ...]:
    """The words of the task."""
    return "visit", "--directory", str(directory)


def log(directory: Path) -> list[tuple[str, str]]:
    """What began and ended on the hosts, in its order."""
    lines = (directory / "log").read_text().splitlines()
    return [(event, host) for event, _, host in (line.partition(" ") for line in lines)]


def visited(directory: Path) -> list[str]:
    """The hosts that were begun, in their order."""
    return [host for event, host in log(directory) if event == "begin"]


def at_once(directory: Path) -> int:
    """How many hosts there were at most at the same time."""
    now, most = 0, 0
    for event, _ in log(directory):
        now += 1 if event == "begin" else -1
        most = max(most, now)
    return most


def statuses(report: dict[str, Any]) -> dict[str, str]:
    """Host → how it ended, in a document."""
    return {name: host["status"] for name, host in report["hosts"].items()}


def test_a_batch_begins_once_all_of_the_one_before_have_ended(server: sshd.Server, tmp_path: Path) -> None:
    run = fab(server, tmp_path, "--batches", "1,50%", *visit(tmp_path))
    events = log(tmp_path)
    for batch in [("h0",), ("h1", "h2", "h3"), ("h4", "h5")]:
        mine, events = events[: 2 * len(batch)], events[2 * len(batch) :]
        assert sorted(mine) == sorted((event, host) for event in ("begin", "end") for host in batch)
    said = [line for line in run.out.splitlines() if line.startswith("batch ")]
    assert said == ["batch 1 of 3: h0", "batch 2 of 3: h1, h2, h3", "batch 3 of 3: h4, h5"]
    assert run.out.rstrip().endswith("ok 6  changed 0  failed 0  unreachable 0")


def test_a_host_that_fails_stops_the_run_and_those_under_way_finish(server: sshd.Server, tmp_path: Path) -> None:
    (tmp_path / "h2.fails").touch()
    file = tmp_path / "events"
    words = ("--batches", "1,3", "--events", str(file), *visit(tmp_path), "--json")
    report = json.loads(fab(server, tmp_path, *words, seconds=1, code=1).out)
    assert report["exit_code"] == 1
    assert statuses(report) == {
        "h0": "ok", "h1": "ok", "h2": "failed", "h3": "ok", "h4": "skipped", "h5": "skipped",
    }  # fmt: skip
    assert set(visited(tmp_path)) == {"h0", "h1", "h2", "h3"}
    assert report["hosts"]["h4"]["error"]["what"] == "not started: h2 failed"
    assert report["hosts"]["h4"]["tasks"] == []
    told = [json.loads(line) for line in file.read_text().splitlines()]
    ends = {each["host"]: each["status"] for each in told if each["event"] == "host-end"}
    assert ends == statuses(report)
    begun = {each["host"] for each in told if each["event"] == "host-begin"}
    assert begun == {"h0", "h1", "h2", "h3"}


def test_within_a_batch_no_further_host_begins_either(server: sshd.Server, tmp_path: Path) -> None:
    (tmp_path / "h1.fails").touch()
    run = fab(server, tmp_path, "--batches", "100%", "--parallel", "1", *visit(tmp_path), code=1)
    assert visited(tmp_path) == ["h0", "h1"]
    assert run.out.rstrip().endswith("ok 1  changed 0  failed 1  unreachable 0  skipped 4")
    assert run.err.count("not started: h1 failed") == 1


def test_max_fail_is_how_many_may_fail(server: sshd.Server, tmp_path: Path) -> None:
    for host in ("h0", "h1", "h3"):
        (tmp_path / f"{host}.fails").touch()
    fab(server, tmp_path, "--max-fail", "1", "--parallel", "1", *visit(tmp_path), code=1)
    assert visited(tmp_path) == ["h0", "h1"]
    (tmp_path / "log").unlink()
    fab(server, tmp_path, "--max-fail", "50%", "--parallel", "1", *visit(tmp_path), code=1)
    assert len(visited(tmp_path)) == HOSTS, "three of six are not more than half of them"
    (tmp_path / "log").unlink()
    fab(server, tmp_path, "--max-fail", "50%", "--batches", "1,5", *visit(tmp_path), code=1)
    assert visited(tmp_path) == ["h0"], "one of one is more than half of them"
    (tmp_path / "log").unlink()
    fab(server, tmp_path, "--max-fail", "100%", "--batches", "1,5", *visit(tmp_path), code=1)
    assert len(visited(tmp_path)) == HOSTS


def test_a_host_that_cannot_be_reached_counts_like_one_that_failed(server: sshd.Server, tmp_path: Path) -> None:
    file = server.inventory()
    gone = f"{file.read_text()}[hosts.gone]\naddress = '127.0.0.1'\nport = 1\n"
    (tmp_path / "hosts.toml").write_text(gone)
    words = ("fab", "--parallel", "1", "-H", "h0,gone,h1")
    run = Run(tmp_path, tmp_path / "hosts.toml", *words, "--batches", "2", *visit(tmp_path), "--json", seconds=0.1)
    report = json.loads(run.end(1))
    assert statuses(report) == {"h0": "ok", "gone": "unreachable", "h1": "skipped"}
    run = Run(tmp_path, tmp_path / "hosts.toml", *words, "--max-fail", "1", *visit(tmp_path), "--json", seconds=0.1)
    report = json.loads(run.end(4))
    assert statuses(report) == {"h0": "ok", "gone": "unreachable", "h1": "ok"}


def test_parallel_comes_before_what_hosts_toml_says(server: sshd.Server, tmp_path: Path) -> None:
    file = tmp_path / "hosts.toml"
    file.write_text(server.inventory().read_text().replace("[defaults]", "[defaults]\nparallel = 1"))
    Run(tmp_path, file, "fab", "-H", "hosts", *visit(tmp_path), seconds=0.1).end(0)
    assert (visited(tmp_path), at_once(tmp_path)) == ([f"h{number}" for number in range(HOSTS)], 1)
    (tmp_path / "log").unlink()
    Run(tmp_path, file, "fab", "-H", "hosts", "--parallel", "3", *visit(tmp_path), seconds=3).end(0)
    assert at_once(tmp_path) == 3


def test_after_a_change_doctor_has_to_find_no_failure(server: sshd.Server, tmp_path: Path) -> None:
    words = ("--batches", "1,100%", "run", "--command", "true", "--json")
    report = json.loads(fab(server, tmp_path, *words, code=1).out)
    assert statuses(report) == {"h0": "failed", **{f"h{number}": "skipped" for number in range(1, HOSTS)}}
    assert [task["task"] for task in report["hosts"]["h0"]["tasks"]] == ["run", "doctor"]
    assert report["hosts"]["h0"]["error"]["what"] == "health check: systemd, dm-thin-pool, deploy"
    assert "a host needs systemd" in report["hosts"]["h0"]["error"]["details"]
    Run(tmp_path, server.inventory(), "fab", "-H", "h0", "run", "--command", HEALTHY).end(0)
    try:
        run = fab(server, tmp_path, *words)
        report = json.loads(run.out)
        assert set(statuses(report).values()) == {"ok"}
        checks = {check["what"]: check["result"] for check in report["hosts"]["h5"]["tasks"][1]["result"]}
        assert checks["dm-thin-pool"] == "ok"
        report = json.loads(fab(server, tmp_path, "--batches", "50%", *words[2:4], ILL, "--json", code=1).out)
        assert list(statuses(report).values()) == ["failed"] * 3 + ["skipped"] * 3
        assert report["hosts"]["h0"]["tasks"][0]["status"] == "ok"
        assert report["hosts"]["h0"]["error"]["what"] == "health check: dm-thin-pool, deploy"
    finally:
        Run(tmp_path, server.inventory(), "fab", "-H", "h0", "run", "--command", f"{ILL}; rm -r /run/systemd").end(0)


def test_with_dry_nothing_has_changed_and_nothing_is_checked(server: sshd.Server, tmp_path: Path) -> None:
    words = ("--dry", "--batches", "1,5", "steps", "--directory", str(tmp_path), "--json")
    report = json.loads(fab(server, tmp_path, *words, code=3).out)
    assert set(statuses(report).values()) == {"pending"}
    assert {len(host["tasks"]) for host in report["hosts"].values()} == {1}


@pytest.mark.parametrize(
    "words", [("--batches", "0"), ("--batches", "5,,"), ("--max-fail", "101%"), ("--parallel", "0")]
)
def test_what_cannot_be_is_refused_before_anything_is_connected_to(
    server: sshd.Server, tmp_path: Path, words: tuple[str, ...]
) -> None:
    logins = server.log.count("Accepted publickey")
    run = fab(server, tmp_path, *words, *visit(tmp_path), code=2)
    assert run.err.startswith(f"error: {words[0]}: ") and "hint: for example" in run.err
    assert not (tmp_path / "log").exists()
    assert server.log.count("Accepted publickey") == logins
    fab(server, tmp_path, *visit(tmp_path))
    assert server.log.count("Accepted publickey") == logins + HOSTS


def test_ctrl_c_begins_no_further_batch(server: sshd.Server, tmp_path: Path) -> None:
    words = ("fab", "-H", "hosts", "--batches", "2", *visit(tmp_path), "--json")
    run = Run(tmp_path, server.inventory(), *words, seconds=60)
    run.has("log")
    run.send(signal.SIGINT)
    report = json.loads(run.end(130))
    assert set(statuses(report).values()) == {"interrupted"}
    assert set(visited(tmp_path)) <= {"h0", "h1"}
    assert "batch 2" not in run.err
