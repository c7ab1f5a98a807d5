"""Connections that OpenSSH keeps, on real sshds: each run uses them as it would its own."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from fabfile import facts
from fabfile.errors import Failed
from fabfile.facts.query import Query
from fabfile.paths import REPOSITORY
from fabfile.remote import sudo, target
from fabfile.remote.execution import ScriptResult
from fabfile.ssh import master
from fabfile.ssh.route import CONFIG, KNOWN, Hop, Route, alias
from tests.integration.local import multiplexed, sshd, test_connections, test_sudo
from tests.integration.local.connections import Connect
from tests.integration.local.test_execution import running
from tests.integration.local.test_faults import upload
from tests.integration.local.test_interruption import Run
from tests.integration.machine import run_fab, until

server, sockets, connect = multiplexed.server, multiplexed.sockets, multiplexed.connect
with_sudo, jump = test_sudo.server, test_connections.jump


def test_the_second_run_makes_no_login(server: sshd.Server, connect: Connect, sockets: Path) -> None:
    before = multiplexed.logins(server)
    for _ in range(3):
        machine = connect()
        answer = target.run(machine, "cat; read -r x || echo none; printf 'é\\377'; echo x >&2; exit 3")
        assert answer == ScriptResult(3, b"none\n\xc3\xa9\xff".decode(errors="surrogateescape"), "x\n")
        assert facts.gather(machine, Query()).system.arch
        assert not machine.is_connected, "there is no connection of our own"
    assert multiplexed.logins(server) == before + 1
    (process,) = multiplexed.masters(multiplexed.only(sockets).name)
    assert (sockets.stat().st_mode & 0o777, multiplexed.only(sockets).stat().st_mode & 0o777) == (0o700, 0o600)
    files = {str(Path(f"/proc/{process}/fd/{number}").readlink()) for number in range(3)}
    assert files == {"/dev/null"}, "it keeps nothing of ours open"


def test_it_ends_by_itself(connect: Connect, sockets: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(multiplexed, "SECONDS", 1)
    assert target.run(connect(), "sleep 2; echo in").stdout == "in\n", "only while it is not in use"
    name = multiplexed.only(sockets).name
    until(lambda: not any(sockets.iterdir()) and not multiplexed.masters(name), "stays", 10)


def test_an_upload_and_much_output(connect: Connect, tmp_path: Path) -> None:
    upload(connect, tmp_path)
    machine = connect()
    assert len(target.run(machine, "head -c 60000000 /dev/zero | tr '\\0' x").stdout) == 60_000_000
    with pytest.raises(Failed, match="it printed more than 64 MiB"):
        target.run(machine, "head -c 100000000 /dev/zero; sleep 7361")
    until(lambda: not running("7361"), "still runs what was stopped", 10)
    assert target.run(machine, "echo in").stdout == "in\n" and not machine.is_connected


def test_a_limit_ends_what_runs_there_and_nothing_else(server: sshd.Server, connect: Connect) -> None:
    machine, before = connect(), multiplexed.logins(server)
    other = connect().begin("echo begun; read -r x; echo $x")
    with pytest.raises(Failed, match="it took longer than 1 s"):
        target.run(machine, "sleep 7362", limit=1)
    until(lambda: not running("7362"), "still runs what was stopped", 10)
    other.write(b"end\n", 10)
    out = b""
    while pieces := b"".join(other.read(100, 10)):
        out += pieces
    assert (out, other.exit_code()) == (b"begun\nend\n", 0) and multiplexed.logins(server) == before + 1


def test_a_signal_to_us_ends_what_runs_there(server: sshd.Server, tmp_path: Path, sockets: Path) -> None:
    file = server.inventory(h0=0)
    file.write_text(f"{file.read_text()}keep_connection = {multiplexed.SECONDS}\n")
    run = Run(tmp_path, file, "fab", "-H", "h0", "steps", "--directory", str(tmp_path), seconds=600)
    run.has("h0.first.pid")
    run.send(signal.SIGINT)
    run.says("waiting for what must be finished")
    assert run.works()
    run.send(signal.SIGINT)
    run.end(130)
    assert "interrupted during first" in run.err
    until(lambda: not run.works(), "still runs what was stopped", 10)
    assert multiplexed.masters(multiplexed.only(sockets).name), "signals of the terminal are not for it"


def test_sudo_with_a_password(with_sudo: sshd.Server, tmp_path: Path) -> None:
    sudo.use(test_sudo.WORD.encode())
    made = next(making := multiplexed.kept(with_sudo))
    try:
        for _ in range(2):
            machine = made(user="lee")
            answer = target.run(machine, "id -u; cat; echo done >&2; exit 3")
            assert (answer.exited, answer.stdout) == (3, "0\n") and answer.stderr.endswith("done\n")
            assert not machine.is_connected
        upload(made, tmp_path, "lee")
    finally:
        sudo.forget()
        list(making)


def test_ssh_close_ends_all(connect: Connect, sockets: Path) -> None:
    inv = [str(Path(sys.executable).with_name("inv"))]

    def close(*words: str) -> tuple[int, str]:
        done = subprocess.run([*inv, *words, "ssh.close"], capture_output=True, text=True, cwd=REPOSITORY, check=False)
        return done.returncode, done.stdout

    assert close() == (0, "ok: none is kept\n") and not sockets.exists()
    target.run(connect(), "true")
    name = multiplexed.only(sockets).name
    assert close("--dry") == (3, "pending: end 1 connection\n") and multiplexed.masters(name)
    assert close() == (0, "changed: ended 1 connection\n")
    until(lambda: not any(sockets.iterdir()) and not multiplexed.masters(name), "stays", 10)
    assert close() == (0, "ok: none is kept\n")


def test_two_runs_at_once_start_one_master(server: sshd.Server, connect: Connect, sockets: Path) -> None:
    machines, said = [connect() for _ in range(6)], []
    threads = [threading.Thread(target=lambda m=m: said.append(target.run(m, "echo in").stdout)) for m in machines]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert said == ["in\n"] * 6 and len(multiplexed.masters(multiplexed.only(sockets).name)) == 1


@pytest.mark.parametrize("name", ["an id", "50% #1", "it's;=$(id)", 'a"b', "jürgen", "юрий"])
def test_a_key_whose_path_is_special(server: sshd.Server, connect: Connect, tmp_path: Path, name: str) -> None:
    shutil.copy(server.directory / "id", tmp_path / name)
    if "'" in name:
        machine = connect(f"Host *\n IdentityFile {tmp_path / name}\n", identity_file=str(tmp_path / "id"))
    else:
        machine = connect(identity_file=str(tmp_path / name))
    (tmp_path / "id").write_bytes((server.directory / "id").read_bytes())
    (tmp_path / "id").chmod(0o600)
    assert target.run(machine, "echo in").stdout == "in\n"
    assert machine.is_connected == ('"' in name)


def test_through_a_gateway(server: sshd.Server, connect: Connect, jump: tuple[sshd.Server, str]) -> None:
    through, _ = jump
    own = (through.directory / "known").read_text()
    (server.directory / "both").write_text(own + (server.directory / "known").read_text())
    gate = f"[hosts.gate]\naddress = '127.0.0.1'\nport = {through.ports[0]}\n"
    known = str(server.directory / "both")
    before = multiplexed.logins(server)
    for _ in range(2):
        machine = connect(more=f"{gate}known_hosts = '{known}'\n", known_hosts=known, gateway="gate")
        assert target.run(machine, "echo in; exit 3") == ScriptResult(3, "in\n") and not machine.gateway.is_connected
    assert (multiplexed.logins(server), multiplexed.logins(through)) == (before + 1, 1)


def test_hosts_behind_a_gateway_share_the_connection_that_is_kept_to_it(tmp_path: Path, sockets: Path) -> None:
    with test_connections.behind_a_gateway(tmp_path, 9) as (file, gateway, behind):
        file.write_text(
            file.read_text().replace("[defaults]\n", f"[defaults]\nkeep_connection = {multiplexed.SECONDS}\n")
        )
        for _ in range(2):
            said = run_fab("-H", "hosts", "--exclude", "gate", "run", "--command", "echo here", inventory=file)
            assert "ok 9  changed 0  failed 0  unreachable 0" in said and "not over a kept connection" not in said
            assert (multiplexed.logins(gateway), multiplexed.logins(behind), len([*sockets.iterdir()])) == (1, 9, 10)
        assert "ok 1" in run_fab("-H", "gate", "run", "--command", "true", inventory=file)
        assert multiplexed.logins(gateway) == 1, "it is the gateway's own, too"
        first, *others = sorted(sockets.iterdir(), key=lambda each: each.lstat().st_ctime_ns)
        for process in multiplexed.masters(first.name):
            os.kill(process, signal.SIGKILL)
        until(lambda: not any(multiplexed.masters(each.name) for each in others), "hangs", 10)
        said = run_fab("-H", "hosts", "--exclude", "gate", "run", "--command", "echo here", inventory=file)
        assert "ok 9  changed 0  failed 0  unreachable 0" in said and "not over a kept connection" not in said
        assert (multiplexed.logins(gateway), multiplexed.logins(behind)) == (2, 18)
        assert master.end_all(dry=False) == 10


def test_ssh_reads_its_configuration_as_it_is_meant(tmp_path: Path) -> None:
    hop = Hop("192.0.2.1", 2222, "admin", 20, ("/home/a b/50%",), True, ())
    route = Route((hop, Hop("2001:db8::1", 22, "root", 7, (), False, ())), multiplexed.SECONDS)
    for name, text in route.files(str(tmp_path)).items():
        (tmp_path / name).write_text(text)
    found = []
    for number in range(2):
        said = subprocess.check_output(["ssh", "-G", "-F", tmp_path / CONFIG, alias(number)], text=True)
        found.append(dict(line.split(" ", 1) for line in said.splitlines() if " " in line))
        wanted = {
            "stricthostkeychecking": "true", "batchmode": "yes", "forwardagent": "no", "updatehostkeys": "false",
            "clearallforwardings": "yes", "checkhostip": "no", "userknownhostsfile": f"{tmp_path}/{KNOWN}",
            "globalknownhostsfile": "/dev/null", "serveraliveinterval": "15", "serveralivecountmax": "4",
            "preferredauthentications": "publickey", "hostkeyalias": alias(number), "controlmaster": "false",
        }  # fmt: skip
        assert {key: found[-1].get(key) for key in wanted} == wanted
        assert "cert" not in found[-1]["hostkeyalgorithms"]
    values = [[each[key] for key in ("hostname", "port", "user", "connecttimeout")] for each in found]
    assert values == [["192.0.2.1", "2222", "admin", "20"], ["2001:db8::1", "22", "root", "7"]]
    assert (found[0]["identityfile"], found[0]["identitiesonly"]) == ("/home/a b/50%%", "yes")
    assert found[0]["proxycommand"] == f"ssh -F {tmp_path}/{CONFIG} -W '[192.0.2.1]:2222' {alias(1)}"
    assert "proxycommand" not in found[1]
