"""Connections that OpenSSH keeps, on real sshds: as strict as our own, and never an obstacle."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from time import monotonic

import pytest
from fabric import Config
from paramiko import SSHConfig

from fabfile import carry, facts, inventory, paths, sudo, target
from fabfile.carry import Answer
from fabfile.errors import Failed, Unreachable
from fabfile.facts.query import Query
from fabfile.paths import REPOSITORY
from fabfile.ssh import multiplex
from fabfile.ssh.machine import Machine
from fabfile.ssh.route import CONFIG, KNOWN, Hop, Route, alias
from fabfile.ssh.ways import Ways
from tests.integration.local import sshd, test_sudo, test_ways
from tests.integration.local.test_carry import running
from tests.integration.local.test_faults import upload
from tests.integration.local.test_interruption import Run
from tests.integration.local.test_transport import Connect
from tests.integration.machine import until

SECONDS = 60
"""How long connections are kept; those of a test end with it."""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[sshd.Server]:
    """A host."""
    with sshd.server(tmp_path_factory.mktemp("sshd")) as up:
        yield up


with_sudo, jump, stranger = test_sudo.server, test_ways.jump, test_ways.stranger


@pytest.fixture(autouse=True)
def sockets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The directory of the sockets, which is empty in the end, without processes of ssh."""
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path / "runtime"))
    (tmp_path / "runtime").mkdir()
    directory = paths.sockets()
    yield directory
    for file in directory.glob("*"):
        assert file.suffix != ".new", "a start has left its files behind"
        until(lambda name=file.name: not ended(name), "is left", 10)


def kept(server: sshd.Server) -> Iterator[Connect]:
    """A maker of what runs have of a host; as `test_transport.connected`, and `more` are lines of hosts.toml."""
    with ExitStack() as stack:

        def connect(rules: str = "", where: sshd.Server | None = None, **keys: str) -> Machine:
            file, more = (where or server).inventory(h0=0), keys.pop("more", "")
            own = "".join(f"{key} = '{value}'\n" for key, value in keys.items())
            file.write_text(f"{file.read_text()}keep_connection = {SECONDS}\n{own}{more}")
            known = inventory.load(file)
            config = Config(
                ssh_config=SSHConfig.from_text(rules), system_prefix="/nonexistent/", user_prefix="/nonexistent/"
            )
            machine = stack.enter_context(Ways(known, config)).to(known.hosts["h0"])
            stack.callback(machine.close)
            return machine

        yield connect


@pytest.fixture
def connect(server: sshd.Server) -> Iterator[Connect]:
    """See `kept`."""
    yield from kept(server)


def masters(name: str) -> list[int]:
    """The processes of ssh whose socket has this name."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if f"ControlPath={name}".encode() in (process / "cmdline").read_bytes().split(b"\0"):
                found.append(int(process.name))
    return found


def ended(name: str) -> list[int]:
    """Tell them to end, and return those found: one may have just forked, or have missed an earlier signal."""
    found = masters(name)
    for master in found:
        with suppress(ProcessLookupError):
            os.kill(master, signal.SIGTERM)
    return found


def logins(server: sshd.Server) -> int:
    """How often somebody logged in."""
    return server.log.count("Accepted publickey")


def only(sockets: Path) -> Path:
    """The one socket."""
    (path,) = sockets.iterdir()
    return path


def test_the_second_run_makes_no_login(server: sshd.Server, connect: Connect, sockets: Path) -> None:
    before = logins(server)
    for _ in range(3):
        machine = connect()
        answer = target.run(machine, "cat; read -r x || echo none; printf 'é\\377'; echo x >&2; exit 3")
        assert answer == Answer(3, b"none\n\xc3\xa9\xff".decode(errors="surrogateescape"), "x\n")
        assert facts.gather(machine, Query()).system.arch
        assert not machine.is_connected, "there is no connection of our own"
    assert logins(server) == before + 1
    (master,) = masters(only(sockets).name)
    assert (sockets.stat().st_mode & 0o777, only(sockets).stat().st_mode & 0o777) == (0o700, 0o600)
    files = {str(Path(f"/proc/{master}/fd/{number}").readlink()) for number in range(3)}
    assert files == {"/dev/null"}, "it keeps nothing of ours open"


def test_it_ends_by_itself(connect: Connect, sockets: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(globals(), "SECONDS", 1)
    assert target.run(connect(), "sleep 2; echo in").stdout == "in\n", "only while it is not in use"
    name = only(sockets).name
    until(lambda: not any(sockets.iterdir()) and not masters(name), "stays", 10)


def test_an_upload_and_much_output(connect: Connect, tmp_path: Path) -> None:
    upload(connect, tmp_path)
    machine = connect()
    assert len(target.run(machine, "head -c 60000000 /dev/zero | tr '\\0' x").stdout) == 60_000_000
    with pytest.raises(Failed, match="it printed more than 64 MiB"):
        target.run(machine, "head -c 100000000 /dev/zero; sleep 7361")
    until(lambda: not running("7361"), "still runs what was stopped", 10)
    assert target.run(machine, "echo in").stdout == "in\n" and not machine.is_connected


def test_a_limit_ends_what_runs_there_and_nothing_else(server: sshd.Server, connect: Connect) -> None:
    machine, before = connect(), logins(server)
    other = connect().begin("echo begun; read -r x; echo $x")
    with pytest.raises(Failed, match="it took longer than 1 s"):
        target.run(machine, "sleep 7362", limit=1)
    until(lambda: not running("7362"), "still runs what was stopped", 10)
    other.write(b"end\n")
    out = b""
    while pieces := b"".join(other.read(100, 10)):
        out += pieces
    assert (out, other.exit_code()) == (b"begun\nend\n", 0) and logins(server) == before + 1


def test_a_signal_to_us_ends_what_runs_there(server: sshd.Server, tmp_path: Path, sockets: Path) -> None:
    file = server.inventory(h0=0)
    file.write_text(f"{file.read_text()}keep_connection = {SECONDS}\n")
    run = Run(tmp_path, file, "fab", "-H", "h0", "steps", "--directory", str(tmp_path), seconds=600)
    run.has("h0.first.pid")
    run.send(signal.SIGINT)
    run.says("waiting for what must be finished")
    assert run.works()
    run.send(signal.SIGINT)
    run.end(130)
    assert "interrupted during first" in run.err
    until(lambda: not run.works(), "still runs what was stopped", 10)
    assert masters(only(sockets).name), "signals of the terminal are not for it"


def test_sudo_with_a_password(with_sudo: sshd.Server, tmp_path: Path) -> None:
    sudo.use(test_sudo.WORD.encode())
    made = next(making := kept(with_sudo))
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
    name = only(sockets).name
    assert close("--dry") == (3, "pending: end 1 connection\n") and masters(name)
    assert close() == (0, "changed: ended 1 connection\n")
    until(lambda: not any(sockets.iterdir()) and not masters(name), "stays", 10)
    assert close() == (0, "ok: none is kept\n")


@pytest.mark.parametrize("kind", ["changed", "revoked", "unknown"])
def test_a_key_that_is_no_longer_known_ends_the_trust(
    server: sshd.Server, connect: Connect, tmp_path: Path, stranger: str, kind: str
) -> None:
    file, own = tmp_path / "known", (server.directory / "known").read_text()
    file.write_text(own)
    assert target.run(connect(known_hosts=str(file)), "echo in").stdout == "in\n"
    changed = f"[127.0.0.1]:{server.ports[0]} {stranger}\n"
    file.write_text({"changed": changed, "revoked": f"{own}@revoked {own}", "unknown": ""}[kind])
    before = logins(server)
    with pytest.raises(Unreachable, match=f"(is|has) {kind}"):
        target.run(connect(known_hosts=str(file)), "echo in")
    assert logins(server) == before
    file.write_text(own)
    assert target.run(connect(known_hosts=str(file)), "echo in").stdout == "in\n" and logins(server) == before


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
    before = logins(server)
    target.run(connect(), "true")
    (master,) = masters(only(sockets).name)
    os.kill(master, signal.SIGKILL)
    assert only(sockets).is_socket()
    machine = connect()
    assert target.run(machine, "echo in").stdout == "in\n" and not machine.is_connected
    assert logins(server) == before + 2


def test_a_master_that_is_killed_in_the_middle_is_a_lost_connection(
    connect: Connect, sockets: Path, tmp_path: Path
) -> None:
    machine = connect()
    target.run(machine, "true")
    (master,) = masters(only(sockets).name)
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
    (master,) = masters(only(sockets).name)
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
    other.write(b"end\n")
    assert other.read(100, 10) == (b"end\n", b"") and other.exit_code() == 0
    assert target.run(last := connect(), "echo in").stdout == "in\n" and not last.is_connected
    assert (tmp_path / "log").read_text() == "once\n"


def test_a_master_that_hangs_in_the_middle_keeps_no_limit_from_being_one(connect: Connect, sockets: Path) -> None:
    machine = connect()
    target.run(machine, "true")
    (master,) = masters(only(sockets).name)
    for script, data in (("sleep 7364", None), ("sleep 1; cat <&3 >/dev/null", [b"x" * 1_000_000] * 9)):
        stop = threading.Timer(0.5, os.kill, [master, signal.SIGSTOP])
        stop.start()
        begin = monotonic()
        try:
            with pytest.raises(Failed, match="it took longer than 2 s"):
                carry.script(machine, script, data=data, limit=2)
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


def test_two_runs_at_once_start_one_master(server: sshd.Server, connect: Connect, sockets: Path) -> None:
    machines, said = [connect() for _ in range(6)], []
    threads = [threading.Thread(target=lambda m=m: said.append(target.run(m, "echo in").stdout)) for m in machines]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert said == ["in\n"] * 6 and len(masters(only(sockets).name)) == 1


@pytest.mark.parametrize("kind", ["directory", "mode", "link", "file", "socket", "deaf", "strange", "killed"])
def test_a_socket_that_is_not_for_us_alone_is_not_used(
    connect: Connect, sockets: Path, kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    name = connect().kept.route.name
    (tmp_path / "elsewhere").mkdir(mode=0o700)
    if kind == "link":
        sockets.symlink_to(tmp_path / "elsewhere")
    elif kind == "directory":
        sockets.touch()
    else:
        sockets.mkdir(mode=0o755 if kind == "mode" else 0o700)
    with socket.socket(socket.AF_UNIX) as listener, suppress(OSError):
        if kind in ("socket", "deaf", "strange"):
            listener.bind(str(tmp_path / "socket"))
            listener.listen()
            (tmp_path / "socket").chmod(0o666 if kind == "socket" else 0o600)
            (tmp_path / "socket").rename(sockets / name)
        if kind == "file":
            (sockets / name).touch(mode=0o600)
        if kind == "killed":
            (sockets / f"{name}.new").mkdir()
            os.utime(sockets / f"{name}.new", (0, 0))
        if kind == "strange":
            threading.Thread(target=lambda: listener.accept()[0].send(b"SSH-2.0-OpenSSH"), daemon=True).start()
        machine = connect()
        assert target.run(machine, "echo in").stdout == "in\n" and machine.is_connected
    says = {
        "directory": "File exists", "mode": "must belong to you and have mode 0700", "link": "Not a directory",
        "file": "must be a socket", "socket": "must be a socket", "deaf": "did not answer", "strange": "OpenSSH",
        "killed": "another run is starting it",
    }  # fmt: skip
    assert says[kind] in capsys.readouterr().err
    shutil.rmtree(sockets, ignore_errors=True)
    sockets.unlink(missing_ok=True)


def test_a_socket_that_nobody_listens_to_is_replaced(connect: Connect, sockets: Path, tmp_path: Path) -> None:
    sockets.mkdir(mode=0o700)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "socket"))
        (tmp_path / "socket").chmod(0o600)
        (tmp_path / "socket").rename(sockets / connect().kept.route.name)
    machine = connect()
    assert target.run(machine, "echo in").stdout == "in\n" and not machine.is_connected


def test_without_a_program_ssh_it_is_a_note(
    connect: Connect, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    machine = connect()
    monkeypatch.setenv("PATH", str(tmp_path))
    assert target.run(machine, "echo in").stdout == "in\n"
    assert "install openssh-client" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["an id", "50% #1", "it's;=$(id)", 'a"b'])
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
    before = logins(server)
    for _ in range(2):
        machine = connect(more=f"{gate}known_hosts = '{known}'\n", known_hosts=known, gateway="gate")
        assert target.run(machine, "echo in; exit 3") == Answer(3, "in\n") and not machine.gateway.is_connected
    assert (logins(server), logins(through)) == (before + 1, 1)


@pytest.mark.parametrize("kind", ["known", "unknown", "changed"])
def test_a_jump_host_is_verified_as_strictly(
    server: sshd.Server, connect: Connect, jump: tuple[sshd.Server, str], tmp_path: Path, stranger: str, kind: str
) -> None:
    through, rules = jump
    own = " ".join((through.directory / "host.pub").read_text().split()[:2])
    file = test_ways.known(server, through, tmp_path, {"known": own, "unknown": "", "changed": stranger}[kind])
    machine = connect(rules, known_hosts=file)
    if kind == "known":
        assert target.run(machine, "echo in").stdout == "in\n" and not machine.is_connected
        return
    with pytest.raises(Unreachable, match=r"on the way to h0: the host key (is unknown|has changed)"):
        target.run(machine, "echo in")
    assert "Accepted" not in through.log, "nothing was offered to it"


def test_a_process_that_hangs_while_it_starts(
    connect: Connect, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, sockets: Path
) -> None:
    (tmp_path / "ssh").write_text("#!/bin/sh\nsleep 7365\n")
    (tmp_path / "ssh").chmod(0o755)
    machine = connect()
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setattr("fabfile.ssh.master.START_LIMIT", 1)
    assert target.run(machine, "echo in").stdout == "in\n" and machine.is_connected
    assert "ssh did not log in within 1 s" in machine.kept.why and not running("7365")
    assert not any(sockets.iterdir())


def test_ssh_reads_its_configuration_as_it_is_meant(tmp_path: Path) -> None:
    hop = Hop("192.0.2.1", 2222, "admin", 20, ("/home/a b/50%",), True, ())
    route = Route((hop, Hop("2001:db8::1", 22, "root", 7, (), False, ())), SECONDS)
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
