"""Ctrl-C and SIGTERM while scripts run on hosts, behind real sshds, and on this machine."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import uuid
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from time import monotonic, sleep

import pytest

from fabfile.paths import REPOSITORY
from tests.integration.local import sshd
from tests.integration.local.test_execution import running
from tests.integration.machine import until

HOSTS = 3

HEARS = ("env", "--default-signal=INT")
"""In front of a program that is to hear of Ctrl-C: where these tests run in the background, that is ignored."""

OWN_RUN = (*HEARS, "unshare", "--mount", "sh", "-c", 'mount -t tmpfs none /run && exec "$@"', "sh")
"""In front of a program that changes this machine: its lock is another one than everybody's."""


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[sshd.Server]]:
    """Three hosts, each with its own lock."""
    with ExitStack() as stack:
        yield [stack.enter_context(sshd.server(tmp_path_factory.mktemp("sshd"))) for _ in range(HOSTS)]


class Run:
    """A program of ours that runs, with a directory of its own for `steps`."""

    def __init__(self, directory: Path, inventory: Path | None, *words: str, seconds: float = 2) -> None:
        self.directory = directory
        # So long that nobody else's is the same.
        self.seconds = f"{seconds:.1f}{uuid.uuid4().int % 10**6:06}"
        (directory / "seconds").write_text(self.seconds)
        (directory / "none.toml").touch()
        environment = {**os.environ, "HOSTS_FILE": str(inventory or directory / "none.toml")}
        with (directory / "out").open("w") as out, (directory / "err").open("w") as err:
            self.process = subprocess.Popen(
                [*OWN_RUN, sys.executable, "-m", "tests.integration.local.harmless", *words],
                cwd=REPOSITORY, env=environment, stdin=subprocess.DEVNULL, stdout=out, stderr=err,
                start_new_session=True,
            )  # fmt: skip

    def has(self, *names: str) -> None:
        """Wait until files are there."""
        until(lambda: all((self.directory / name).exists() for name in names), f"has no {names}: {self.err}", 30)

    def says(self, text: str) -> None:
        """Wait until it says so on standard error."""
        until(lambda: text in self.err, f"does not say {text!r}: {self.err}", 10)

    def send(self, number: int) -> None:
        """Send a signal to the program and all that it shares a terminal with, as a terminal does."""
        os.killpg(self.process.pid, number)

    def end(self, code: int, seconds: float = 30) -> str:
        """Wait for its end, and return its standard output."""
        assert self.process.wait(seconds) == code, self.out + self.err
        return self.out

    @property
    def out(self) -> str:
        """Its standard output up to now."""
        return (self.directory / "out").read_text()

    @property
    def err(self) -> str:
        """Its standard error up to now."""
        return (self.directory / "err").read_text()

    def made(self) -> set[str]:
        """What was made whole."""
        return {path.name for path in self.directory.iterdir() if path.suffix in (".first", ".second", ".third")}

    def works(self) -> bool:
        """Whether anything that it began still runs."""
        return running(self.seconds) > 0


def inventory(servers: list[sshd.Server], directory: Path, parallel: int = 16) -> Path:
    """Hosts h0, h1, …, one a server."""
    lines = [f"[defaults]\nparallel = {parallel}"]
    for number, server in enumerate(servers):
        lines.append(f"[hosts.h{number}]\naddress = '127.0.0.1'\nport = {server.ports[0]}")
        lines.append(f"known_hosts = '{server.directory / 'known'}'\nidentity_file = '{server.directory / 'id'}'")
    file = directory / "hosts.toml"
    file.write_text("\n".join(lines))
    return file


def steps(run: Path) -> tuple[str, ...]:
    """The words of the task."""
    return "steps", "--directory", str(run)


@pytest.mark.parametrize("program", [("inv",), ("fab", "-H", "hosts")], ids=["inv", "fab"])
def test_a_pipe_for_events_is_waited_for_until_it_is_read_or_the_run_is_ended(
    servers: list[sshd.Server], tmp_path: Path, program: tuple[str, ...]
) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    words = (program[0], "--events", str(pipe), *program[1:], "look", "--directory", str(tmp_path))
    run = Run(tmp_path, inventory(servers, tmp_path), *words, seconds=0)
    run.says(f"--events: waiting until {pipe} is read")
    run.send(signal.SIGTERM)
    run.end(-signal.SIGTERM, 5)
    run = Run(tmp_path, inventory(servers, tmp_path), *words, seconds=0)
    run.says(f"--events: waiting until {pipe} is read")
    with pipe.open() as reader:
        events = [json.loads(line)["event"] for line in reader]
    run.end(0)
    assert (events[0], events[-1]) == ("run-begin", "run-end")


def test_the_first_ends_what_was_begun_and_begins_nothing_more(servers: list[sshd.Server], tmp_path: Path) -> None:
    file = inventory(servers, tmp_path, parallel=2)
    run = Run(tmp_path, file, "fab", "-H", "hosts", *steps(tmp_path), "run", "--command", "date")
    run.has("h0.first.pid", "h1.first.pid")
    run.send(signal.SIGINT)
    out = run.end(130)
    assert run.made() == {"h0.first", "h1.first"}
    assert "interrupted: nothing more is started" in run.err
    assert "  h0: first, since " in run.err and "  h1: first, since " in run.err
    lines = {words[0]: line for line in out.splitlines() if (words := line.split(None, 1))}
    assert "interrupted before second" in lines["h0"] and "interrupted before second" in lines["h1"]
    assert "interrupted before steps" in lines["h2"]
    assert "ok 0  changed 0  failed 0  unreachable 0  interrupted 3" in out
    assert "h0: changed  first" in out and "not started: second, third" in run.err
    again = Run(tmp_path, file, "fab", "-H", "hosts", *steps(tmp_path), seconds=0.1)
    again.end(0)
    assert len(again.made()) == 9


def test_the_second_cuts_the_connections_and_ends_what_runs_there(servers: list[sshd.Server], tmp_path: Path) -> None:
    file = inventory(servers, tmp_path)
    words = ("fab", "-H", "hosts", *steps(tmp_path), "--json")
    run = Run(tmp_path, file, *words, seconds=600)
    run.has(*(f"h{number}.first.pid" for number in range(HOSTS)))
    run.send(signal.SIGINT)
    run.says("waiting for what must be finished")
    assert running(run.seconds) == HOSTS
    run.send(signal.SIGINT)
    report = json.loads(run.end(130, 10))
    assert report["exit_code"] == 130
    assert {host["status"] for host in report["hosts"].values()} == {"interrupted"}
    assert report["hosts"]["h0"]["error"]["what"] == "interrupted during first"
    assert "not started: second, third" in report["hosts"]["h0"]["error"]["details"]
    assert "stopping all that runs" in run.err
    until(lambda: not run.works(), "still runs on a host", 10)
    assert run.made() == set()
    again = Run(tmp_path, file, *words, seconds=0.1)
    again.end(0)
    assert len(again.made()) == 9


@pytest.mark.parametrize("program", ["fab", "inv"])
def test_sigterm_cuts_at_once(servers: list[sshd.Server], tmp_path: Path, program: str) -> None:
    words = ("fab", "-H", "h0") if program == "fab" else ("inv",)
    run = Run(tmp_path, inventory(servers[:1], tmp_path), *words, *steps(tmp_path), seconds=600)
    run.has("h0.first.pid" if program == "fab" else "here.first.pid")
    run.process.terminate()
    run.end(130, 10)
    assert "error: interrupted during first" in run.err
    until(lambda: not run.works(), "still runs", 10)


@pytest.mark.parametrize("program", ["fab", "inv"])
def test_a_look_is_cut_by_the_first(servers: list[sshd.Server], tmp_path: Path, program: str) -> None:
    words = ("fab", "-H", "h0") if program == "fab" else ("inv",)
    run = Run(tmp_path, inventory(servers[:1], tmp_path), *words, "look", "--directory", str(tmp_path), seconds=600)
    run.has("looks")
    run.send(signal.SIGINT)
    run.end(130, 10)
    assert "error: interrupted during look, before any change" in run.err
    until(lambda: not run.works(), "still runs", 10)


def test_on_this_machine_the_first_waits_and_the_second_cuts(tmp_path: Path) -> None:
    run = Run(tmp_path, None, "inv", *steps(tmp_path), seconds=2)
    run.has("here.first.pid")
    run.send(signal.SIGINT)
    run.end(130)
    assert run.made() == {"here.first"}
    assert "  first, since " in run.err and "error: interrupted before second" in run.err
    run = Run(tmp_path, None, "inv", *steps(tmp_path), seconds=600)
    run.has("here.second.pid")
    run.send(signal.SIGINT)
    run.says("  second, since ")
    run.send(signal.SIGINT)
    run.end(130, 10)
    assert "error: interrupted during second" in run.err and "stopped after" in run.err
    until(lambda: not run.works(), "still runs", 10)
    assert run.made() == {"here.first"}
    Run(tmp_path, None, "inv", *steps(tmp_path), seconds=0.1).end(0)
    assert len(run.made()) == 3


def test_a_host_that_is_being_connected_to_is_not_waited_for(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        file = tmp_path / "hosts.toml"
        file.write_text(f"[hosts.silent]\naddress = '127.0.0.1'\nport = {silent.getsockname()[1]}\n")
        run = Run(tmp_path, file, "fab", "-H", "silent", "run", "--command", "date", "look", "--directory", "/")
        silent.accept()
        run.send(signal.SIGINT)
        begin = monotonic()
        run.end(130, 10)
    assert monotonic() - begin < 5
    assert "silent: error: interrupted: it was still connecting" in run.err


@pytest.mark.parametrize("signals", [1, 2])
def test_a_host_that_is_left_ends_once_whatever_becomes_of_its_connection(
    servers: list[sshd.Server], tmp_path: Path, signals: int
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        file, events = inventory(servers[:1], tmp_path), tmp_path / "events"
        port = silent.getsockname()[1]
        text = f"\n[hosts.silent]\naddress = '127.0.0.1'\nport = {port}\n[hosts.behind]\ngateway = 'silent'\n"
        file.write_text(file.read_text() + text)
        run = Run(tmp_path, file, "fab", "--events", str(events), "-H", "hosts", *steps(tmp_path), seconds=3)
        connection, _ = silent.accept()
        run.has("h0.first.pid")
        run.send(signal.SIGINT)
        run.says("waiting for what must be finished")
        connection.close()  # the attempt fails while h0 is still waited for
        silent.close()
        if signals == 2:
            sleep(0.5)
            run.send(signal.SIGINT)
        run.end(130)
    assert run.err.count("silent: error: ") == run.err.count("behind: error: ") == 1
    told = [json.loads(line) for line in events.read_text().splitlines()]
    for host in ("silent", "behind"):
        of = [event["event"] for event in told if event.get("host") == host]
        assert of.count("host-end") == 1 and of[-1] == "host-end"


def test_before_any_host_it_ends_without_a_traceback(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "hosts.toml")
    begun = subprocess.Popen(
        [*HEARS, Path(sys.executable).with_name("fab"), "-H", "a", "status", "--json"],
        cwd=REPOSITORY, env={**os.environ, "HOSTS_FILE": str(tmp_path / "hosts.toml")},
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    with (tmp_path / "hosts.toml").open("w"):  # which waits until it is read
        begun.send_signal(signal.SIGINT)
        assert begun.communicate(timeout=10) == ("", "error: interrupted\n")
    assert begun.returncode == 130


def test_signals_that_were_ignored_stay_so(tmp_path: Path) -> None:
    words = [*OWN_RUN, sys.executable, "-m", "tests.integration.local.harmless", "inv", *steps(tmp_path)]
    (tmp_path / "seconds").write_text("1")
    ignoring = ["sh", "-c", "trap '' HUP; exec \"$@\"", "sh", *words]
    begun = subprocess.Popen(ignoring, cwd=REPOSITORY, start_new_session=True)
    until((tmp_path / "here.first.pid").exists, "does not begin", 30)
    begun.send_signal(signal.SIGHUP)
    assert begun.wait(30) == 0
