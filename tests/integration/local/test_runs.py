"""Records of real runs: on hosts that are real sshds, of programs that end, fail, are killed, or find no room."""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from xml.etree.ElementTree import fromstring

import pytest

from fabfile.paths import REPOSITORY
from tests.integration.local import sshd
from tests.integration.local.test_interruption import Run, inventory, steps
from tests.integration.machine import until


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[sshd.Server]]:
    """Two hosts."""
    with ExitStack() as stack:
        yield [stack.enter_context(sshd.server(tmp_path_factory.mktemp("sshd"))) for _ in range(2)]


@pytest.fixture
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the records of a test are."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    return tmp_path / "state/containerd-devmapper/runs"


def fab(servers: list[sshd.Server], directory: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """Run fab with harmless tasks to its end."""
    (directory / "seconds").write_text("0.1")
    environment = {**os.environ, "HOSTS_FILE": str(inventory(servers, directory))}
    return subprocess.run(
        [sys.executable, "-m", "tests.integration.local.harmless", "fab", *words],
        cwd=REPOSITORY, env=environment, capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False,
    )  # fmt: skip


def inv(*words: str) -> Any:
    """What a task of inv answers."""
    done = subprocess.run(
        [str(Path(sys.executable).with_name("inv")), *words, "--json"],
        cwd=REPOSITORY, capture_output=True, text=True, check=True,
    )  # fmt: skip
    return json.loads(done.stdout)["tasks"][0]["result"]


def test_a_run_leaves_what_was_typed_what_happened_and_what_was_printed(
    servers: list[sshd.Server], tmp_path: Path, state: Path
) -> None:
    words = ("-H", "hosts", *steps(tmp_path))
    assert fab(servers, tmp_path, *words).returncode == 0
    (run,) = inv("runs.list")
    assert (run["state"], run["exit_code"], run["hosts"]) == ("ended", 0, {"changed": 2})
    assert run["command"] == " ".join(["fab", *words])
    shown = inv("runs.show")
    assert shown["run"] == run
    for host in ("h0", "h1"):
        assert [step["step"] for step in shown["hosts"][host]["tasks"][0]["steps"]] == ["first", "second", "third"]
        log = (state / run["run"] / f"logs/{host}.log").read_text().splitlines()
        assert [line.split()[1:3] for line in log] == [["changed", name] for name in ("first", "second", "third")]
    assert "changed 2" in (state / run["run"] / "log").read_text().splitlines()[-1]
    assert all(path.stat().st_mode & 0o077 == 0 for path in (state, *state.rglob("*")))


def test_only_hosts_that_failed_are_tried_again(servers: list[sshd.Server], tmp_path: Path, state: Path) -> None:
    other = servers[1].ports[0]
    command = f'set -- $SSH_CONNECTION; echo ran; [ "$4" != {other} ] || [ -e {tmp_path}/fixed ]'
    first = fab(servers, tmp_path, "-H", "hosts", "run", "--command", command)
    assert first.returncode == 1
    assert fab(servers, tmp_path, "--retry-from", "last", "-H", "h0", "run", "--command", command).returncode == 2
    (tmp_path / "fixed").touch()
    (hint,) = [line for line in first.stdout.splitlines() if line.startswith("to retry the hosts")]
    inv("run", "true")
    third = fab(servers, tmp_path, "--retry-from", "last", "-H", "root@h0,root@h1", "run", "--command", "echo found")
    assert third.returncode == 0 and third.stdout.count("found") == 1, third
    program, *again = shlex.split(hint.partition(": ")[2])
    assert program == "fab"
    second = fab(servers, tmp_path, *again)
    assert second.returncode == 0 and "h1: ran" in second.stdout and "h0" not in second.stdout
    inv("run", "true")
    nothing = fab(servers, tmp_path, "--retry-from", "last", "run", "--command", command, "--json")
    assert nothing.returncode == 2
    assert "nothing to retry" in json.loads(nothing.stdout)["error"]["what"]
    assert [run["hosts"] for run in inv("runs.list")] == [
        {"ok": 1, "failed": 1}, {"ok": 1}, {"ok": 1}, {"ok": 1}, {"ok": 1},
    ]  # fmt: skip


def test_what_hosts_print_is_in_a_file_that_ci_servers_read(servers: list[sshd.Server], tmp_path: Path) -> None:
    print_it = "printf 'a\\033[31m\\377\\001]]>&<b' >&2; exit 3"
    file = tmp_path / "junit.xml"
    words = ("--junit", str(file), "-H", "hosts", *steps(tmp_path), "run", "--command", print_it)
    assert fab(servers, tmp_path, *words).returncode == 1
    (suite,) = fromstring(file.read_bytes())
    assert (suite.get("name"), suite.get("tests"), suite.get("failures")) == ("steps run", "8", "2")
    first, *_, last = suite
    assert [first.get(name) for name in ("classname", "name")] == ["h0", "steps: first"]
    assert "a\\x1b[31m\\xff\\x01]]>&<b" in (last[0].text or "")


def test_an_unknown_run_is_refused_with_those_near_it(servers: list[sshd.Server], tmp_path: Path, state: Path) -> None:
    fab(servers, tmp_path, "-H", "h0", "run", "--command", "true")
    name = inv("runs.list")[0]["run"]
    done = fab(servers, tmp_path, "--retry-from", name[:-1], "run", "--command", "true")
    assert done.returncode == 2 and done.stdout == ""
    assert done.stderr.startswith(f"error: no run '{name[:-1]}'\n") and f"did you mean {name}?" in done.stderr


def test_a_run_that_is_killed_says_that_it_did_not_end(servers: list[sshd.Server], tmp_path: Path, state: Path) -> None:
    run = Run(tmp_path, inventory(servers, tmp_path), "fab", "-H", "hosts", *steps(tmp_path), seconds=600)
    run.has("h0.first.pid", "h1.first.pid")
    assert [each["state"] for each in inv("runs.list")] == ["running"]
    assert inv("runs.show")["hosts"]["h0"]["error"]["what"] == "first: the run is still in progress"
    run.send(signal.SIGKILL)
    run.process.wait(10)
    until(lambda: not run.works(), "still runs on a host", 10)
    assert [each["state"] for each in inv("runs.list")] == ["killed"]
    assert inv("runs.show")["hosts"]["h1"]["error"]["what"] == "first: the run was killed"
    assert fab(servers, tmp_path, "--retry-from", "last", *steps(tmp_path)).returncode == 0
    assert len(run.made()) == 6


@pytest.mark.parametrize("place", ["/proc/nothing", "file"])
def test_without_a_place_for_it_there_is_a_warning(
    servers: list[sshd.Server], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / place))
    done = fab(servers, tmp_path, "-H", "hosts", *steps(tmp_path))
    assert done.returncode == 0 and "changed 2" in done.stdout
    assert done.stderr.startswith("warning: there will be no record of this run: ")
    assert done.stderr.count("\n") == 1


FULL = ("unshare", "--mount", "sh", "-c",
        'mount -t tmpfs none /run && mount -t tmpfs -o size=16k none "$XDG_STATE_HOME" && exec "$@"', "sh")  # fmt: skip
"""In front of a program that keeps records on a disk that is soon full."""


@pytest.mark.parametrize("code", [0, 1])
def test_a_full_disk_ends_nothing_and_half_a_record_is_not_to_be_tried_again(
    servers: list[sshd.Server], tmp_path: Path, state: Path, code: int
) -> None:
    (tmp_path / "seconds").write_text("0.1")
    (tmp_path / "state").mkdir()
    environment = {**os.environ, "HOSTS_FILE": str(inventory(servers, tmp_path))}
    words = ("fab", "-H", "hosts", *steps(tmp_path), "run", "--command", f"seq 10000; exit {code}")
    done = subprocess.run(
        [*FULL, sys.executable, "-m", "tests.integration.local.harmless", *words],
        cwd=REPOSITORY, env=environment, capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False,
    )  # fmt: skip
    assert done.returncode == code and ("failed 2" if code else "changed 2") in done.stdout, done.stderr
    assert "to retry the hosts" not in done.stdout
    assert "the record of this run is no longer written: [Errno 28]" in done.stderr
    assert "Traceback" not in done.stderr


def test_runs_at_the_same_time_have_records_of_their_own(
    servers: list[sshd.Server], tmp_path: Path, state: Path
) -> None:
    directories = [tmp_path / name for name in ("a", "b", "c")]
    begun = []
    for directory in directories:
        directory.mkdir()
        words = ("fab", "-H", "h0", "look", "--directory", str(directory))
        begun.append(Run(directory, inventory(servers, directory), *words))
    for run in begun:
        run.end(0)
    found = inv("runs.list")
    assert [each["state"] for each in found] == ["ended"] * 3
    assert {each["command"].split()[-1] for each in found} == {str(directory) for directory in directories}


def test_what_inv_changes_leaves_a_record_and_what_it_looks_at_does_not(tmp_path: Path, state: Path) -> None:
    program = str(Path(sys.executable).with_name("inv"))
    for words, code in ((("--dry", "run", "true"), 3), (("run", "echo said"), 0), (("lab.list",), 0)):
        assert subprocess.run([program, *words], cwd=REPOSITORY, capture_output=True).returncode == code
    (run,) = inv("runs.list")
    assert run["command"] == "inv run 'echo said'"
    assert (state / run["run"] / "log").read_text().endswith("  said\n")
