"""Connections that OpenSSH keeps are no obstacle, whatever is wrong with them."""

from __future__ import annotations

import os
import signal
import socket
import threading
from pathlib import Path
from time import monotonic

import pytest

from fabfile.errors import Failed, Unreachable
from fabfile.remote import execution, target
from fabfile.ssh import multiplex
from tests.integration.local import multiplexed, sshd
from tests.integration.local.connections import Connect
from tests.integration.local.test_execution import running
from tests.integration.machine import until

server, sockets, connect = multiplexed.server, multiplexed.sockets, multiplexed.connect


def test_a_host_that_is_down_is_an_error_of_ours(
    server: sshd.Server, connect: Connect, capsys: pytest.CaptureFixture[str]
) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        machine = connect()
        machine.port = free.getsockname()[1]
        with pytest.raises(Unreachable, match="cannot connect"):
            target.run(machine, "true")
    assert "note" not in capsys.readouterr().err


def test_a_master_that_was_killed_is_replaced(server: sshd.Server, connect: Connect, sockets: Path) -> None:
    before = multiplexed.logins(server)
    target.run(connect(), "true")
    (master,) = multiplexed.masters(multiplexed.only(sockets).name)
    os.kill(master, signal.SIGKILL)
    assert multiplexed.only(sockets).is_socket()
    machine = connect()
    assert target.run(machine, "echo in").stdout == "in\n" and not machine.is_connected
    assert multiplexed.logins(server) == before + 2


def test_a_master_that_is_killed_in_the_middle_is_a_lost_connection(
    connect: Connect, sockets: Path, tmp_path: Path
) -> None:
    machine = connect()
    target.run(machine, "true")
    (master,) = multiplexed.masters(multiplexed.only(sockets).name)
    kill = threading.Timer(1, os.kill, [master, signal.SIGKILL])
    kill.start()
    with pytest.raises(Failed, match="the connection was lost"):
        target.run(machine, f"echo once >>{tmp_path}/log; sleep 7363")
    kill.join()
    assert (tmp_path / "log").read_text() == "once\n"
    until(lambda: not running("7363"), "still runs", 10)


def test_a_master_that_hangs_is_left_alone(
    server: sshd.Server, connect: Connect, sockets: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    target.run(connect(), "true")
    (master,) = multiplexed.masters(multiplexed.only(sockets).name)
    os.kill(master, signal.SIGSTOP)
    try:
        begin, machine = monotonic(), connect()
        target.run(machine, f"echo once >>{tmp_path}/log")
        assert target.run(machine, "echo in").stdout == "in\n" and machine.is_connected
        assert monotonic() - begin < multiplex.LIMIT + 5
    finally:
        os.kill(master, signal.SIGCONT)
    assert (tmp_path / "log").read_text() == "once\n"
    assert capsys.readouterr().err.count("not over a kept connection: it did not answer within 5 s") == 1


def test_a_host_that_hangs_for_a_while_runs_it_once_and_nothing_else_suffers(
    server: sshd.Server, connect: Connect, tmp_path: Path
) -> None:
    other = connect().begin("echo begun; read -r x; echo $x")
    assert other.read(100, 10) == (b"begun\n", b"")
    sessions = server.sessions()
    for session in sessions:
        os.kill(session, signal.SIGSTOP)
    try:
        machine = connect()
        target.run(machine, f"echo once >>{tmp_path}/log")
        assert machine.is_connected
    finally:
        for session in sessions:
            os.kill(session, signal.SIGCONT)
    other.write(b"end\n", 10)
    assert other.read(100, 10) == (b"end\n", b"") and other.exit_code() == 0
    assert target.run(last := connect(), "echo in").stdout == "in\n" and not last.is_connected
    assert (tmp_path / "log").read_text() == "once\n"


def test_a_master_that_hangs_in_the_middle_keeps_no_limit_from_being_one(connect: Connect, sockets: Path) -> None:
    machine = connect()
    target.run(machine, "true")
    (master,) = multiplexed.masters(multiplexed.only(sockets).name)
    for script, data in (("sleep 7364", None), ("sleep 1; cat <&3 >/dev/null", [b"x" * 1_000_000] * 9)):
        stop = threading.Timer(0.5, os.kill, [master, signal.SIGSTOP])
        stop.start()
        begin = monotonic()
        try:
            with pytest.raises(Failed, match="it took longer than 2 s"):
                execution.script(machine, script, data=data, limit=2)
            assert monotonic() - begin < 10
        finally:
            stop.join()
            os.kill(master, signal.SIGCONT)
        until(lambda: not running("7364"), "still runs what was stopped", 10)


def test_a_host_that_opens_no_further_session(tmp_path: Path, connect: Connect) -> None:
    (tmp_path / "one").mkdir()
    with sshd.server(tmp_path / "one", options=["MaxSessions=1"]) as one:
        first = connect(where=one).begin("read -r x")
        machine = connect(where=one)
        assert target.run(machine, "echo in").stdout == "in\n" and machine.is_connected
        first.cancel()


def test_a_socket_that_nobody_listens_to_is_replaced(connect: Connect, sockets: Path, tmp_path: Path) -> None:
    sockets.mkdir(mode=0o700)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "socket"))
        (tmp_path / "socket").chmod(0o600)
        (tmp_path / "socket").rename(sockets / connect().master.route.name)
    machine = connect()
    assert target.run(machine, "echo in").stdout == "in\n" and not machine.is_connected


def test_without_a_program_ssh_it_is_a_note(
    connect: Connect, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    machine = connect()
    monkeypatch.setenv("PATH", str(tmp_path))
    assert target.run(machine, "echo in").stdout == "in\n"
    assert "install openssh-client" in capsys.readouterr().err


def test_a_process_that_hangs_while_it_starts(
    connect: Connect, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, sockets: Path
) -> None:
    (tmp_path / "ssh").write_text("#!/bin/sh\nsleep 7365\n")
    (tmp_path / "ssh").chmod(0o755)
    machine = connect()
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setattr("fabfile.ssh.master.START_LIMIT", 1)
    assert target.run(machine, "echo in").stdout == "in\n" and machine.is_connected
    assert "ssh did not log in within 1 s" in machine.master.why and not running("7365")
    assert not any(sockets.iterdir())
