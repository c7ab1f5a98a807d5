"""Hosts that are odd, poor or break in the middle: what works there works, and of the rest the cause is named."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from shlex import quote
from typing import Any

import pytest

from fabfile import facts
from fabfile.errors import Failed, Unreachable
from fabfile.facts.query import Query
from fabfile.paths import REPOSITORY
from fabfile.remote import execution, script_arguments, target
from fabfile.remote.sudo import Entrance
from fabfile.ssh import machine as machine_module
from tests.integration.local import debian, sshd
from tests.integration.local.connections import Connect, connected
from tests.integration.local.test_execution import running
from tests.integration.local.test_interruption import inventory
from tests.integration.machine import until


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    """What ends with the test."""
    with ExitStack() as stack:
        yield stack


def up(stack: ExitStack, directory: Path, **what: Any) -> Connect:
    """Makes connections to a server; see `sshd.server`."""
    server = stack.enter_context(sshd.server(directory, **what))
    made = connected(server)
    stack.callback(list, made)  # what is left of the generator closes them
    return next(made)


def upload(connect: Connect, directory: Path, user: str = "root") -> None:
    """Bring a file there, and see that it is the same."""
    content = os.urandom(100_000)
    (directory / "file").write_bytes(content)
    machine = connect(user=user)
    path = target.stage(machine, directory / "file", "a file")
    assert target.run(machine, f"sha256sum <{path}").stdout.split()[0] == hashlib.sha256(content).hexdigest()
    target.unstage(machine, [path])


def runs(connect: Connect, user: str = "root") -> None:
    """Run a script that is hard on shells, and look at all facts."""
    script = "echo 'a!b' \"$((1 + 1))\"; cat; printf 'é\\377'; echo x >&2; exit 3"
    answer = target.run(connect(user=user), script)
    assert (answer.exited, execution.encoded(answer.stdout)) == (3, b"a!b 2\n\xc3\xa9\xff")
    assert answer.stderr.endswith("x\n")
    assert facts.gather(connect(user=user), Query()).system.arch


SHELLS = {"csh": "/bin/tcsh", "fish": "/usr/bin/fish", "dash": "/bin/sh", "ash": "/usr/bin/ash"}


def test_login_shells_that_are_no_posix_shells(stack: ExitStack, tmp_path: Path) -> None:
    connect = up(stack, tmp_path, packages=("tcsh", "fish", "busybox"), users=SHELLS, prepare=BUSYBOX)
    for user in SHELLS:
        runs(connect, user)
        runs_arguments(connect, user)
        upload(connect, tmp_path, user)


def runs_arguments(connect: Connect, user: str) -> None:
    """Run a script of all characters but NUL as arguments of the command, as it is run where root logs in."""
    text = "".join(map(chr, range(1, 128))) * 40 + "é\udcff"
    words = script_arguments.arguments(f"printf %s {quote(text)}; exit 3")
    assert len(words) > 5
    stream = connect(user=user).begin(Entrance(root=True).command(script_arguments.RUN, words))
    out = b""
    while any(pieces := stream.read(1 << 16, 10)):
        assert not pieces[1]
        out += pieces[0]
    assert (out, stream.exit_code()) == (execution.encoded(text), 3)


@pytest.mark.parametrize(("shell", "says"), [("/bin/false", "exit code 1"), ("/usr/sbin/nologin", "not available")])
def test_login_shells_that_run_nothing(stack: ExitStack, tmp_path: Path, shell: str, says: str) -> None:
    connect = up(stack, tmp_path, users={"none": shell})
    with pytest.raises(Failed, match="the host did not run the script") as failed:
        target.run(connect(user="none"), "echo wrong")
    assert says in failed.value.details and "login shell" in failed.value.hint


BUSYBOX = """mkdir -p /run/busybox/bin
busybox --install -s /run/busybox/bin
/usr/bin/mount -t overlay -o lowerdir=/run/busybox:/usr none /usr
"""
"""All of its programs, and so its shell, come before those of GNU."""

DROPBEAR = """dropbearconvert openssh dropbear "$d/host" /run/key
mkdir "$d/small/.ssh"
cp "$d/id.pub" "$d/small/.ssh/authorized_keys"
chmod -R go= "$d/small"
exec dropbear -F -E -s -r /run/key -p "127.0.0.1:$ports"
"""


@pytest.mark.parametrize(
    ("prepare", "listens"),
    [(BUSYBOX, "Server listening"), (DROPBEAR, "Not backgrounding"), (BUSYBOX + DROPBEAR, "Not backgrounding")],
    ids=["busybox", "dropbear", "both"],
)
def test_a_small_system(stack: ExitStack, tmp_path: Path, prepare: str, listens: str) -> None:
    users = {"small": "/bin/sh"}
    connect = up(
        stack, tmp_path, packages=("busybox", "dropbear"), users=users, prepare=prepare, listens=listens
    )  # fmt: skip
    runs(connect, "small")
    upload(connect, tmp_path, "small")
    with pytest.raises(Failed, match="it took longer than 1 s"):
        target.run(connect(user="small"), "sleep 7357", limit=1)
    until(lambda: not running("7357"), "still runs what was stopped", 10)


STORAGE = {
    "a read-only root": (
        "mount -o remount,bind,ro /; mount --bind /var/tmp /var/tmp; mount -o remount,bind,ro /var/tmp",
        ("Read-only file system", "make /var/tmp writable"),
    ),
    "a full disk": ("mount -t tmpfs -o size=64k none /var/tmp", ("No space left on device", "df -h /var/tmp")),
    "no sticky bit": (
        "mount -t tmpfs -o mode=0777 none /var/tmp",
        ("others may rename what is in /var/tmp", "chmod +t /var/tmp"),
    ),
    "noexec": (
        "mount -t tmpfs -o noexec none /var/tmp; mount --bind /tmp /tmp; mount -o remount,bind,noexec /tmp",
        None,
    ),
}
"""What is done to a host, and the details and the hint where a file cannot be brought to it."""


@pytest.mark.parametrize(("prepare", "says"), STORAGE.values(), ids=STORAGE.keys())
def test_a_host_that_stores_nothing(
    stack: ExitStack, tmp_path: Path, prepare: str, says: tuple[str, str] | None
) -> None:
    connect = up(stack, tmp_path, prepare=prepare)
    runs(connect)
    if says is None:
        upload(connect, tmp_path)
        return
    with pytest.raises(Failed, match="could not upload a file") as failed:
        upload(connect, tmp_path)
    assert says[0] in failed.value.details and says[1] in failed.value.hint
    assert target.run(connect(), "ls -d /var/tmp/containerd-devmapper.*; :").stdout == "", "nothing is left"


def test_a_home_that_is_not_writable_or_not_there(stack: ExitStack, tmp_path: Path) -> None:
    prepare = 'rmdir "$d/gone"; mount --bind "$d/fixed" "$d/fixed"; mount -o remount,bind,ro "$d/fixed"'
    connect = up(stack, tmp_path, users={"gone": "/bin/bash", "fixed": "/bin/bash"}, prepare=prepare)
    for user in ("gone", "fixed"):
        runs(connect, user)
        upload(connect, tmp_path, user)


def test_a_user_without_sudo_on_a_host_that_has_none(stack: ExitStack, tmp_path: Path) -> None:
    prepare = """mkdir -p /run/empty/bin
    ln -s /nonexistent /run/empty/bin/sudo
    mount -t overlay -o lowerdir=/run/empty:/usr none /usr"""
    connect = up(stack, tmp_path, others={"lee": "/bin/bash"}, prepare=prepare)
    with pytest.raises(Failed, match="this needs root") as failed:
        target.run(connect(user="lee"), "echo never")
    assert "sudo: not found" in failed.value.details and "log in as root" in failed.value.hint


def test_a_banner_is_no_part_of_an_answer(stack: ExitStack, tmp_path: Path) -> None:
    (tmp_path / "banner").write_text("Authorized use only.\n" * 50)
    runs(up(stack, tmp_path, options=[f"Banner={tmp_path / 'banner'}"]))


def test_one_session_at_a_time(stack: ExitStack, tmp_path: Path) -> None:
    connect = up(stack, tmp_path, options=["MaxSessions=1"])
    machine = connect()
    for number in range(8):
        assert target.run(machine, f"echo {number}").stdout == f"{number}\n"


@pytest.mark.parametrize("clock", ["-1h", "+1h"])
def test_a_clock_that_is_an_hour_off(stack: ExitStack, tmp_path: Path, clock: str) -> None:
    (library,) = (debian.usr("faketime") or [Path("/usr")])[0].glob("lib/*/faketime/libfaketime.so.1")
    options = [f"SetEnv=LD_PRELOAD=/usr/lib/{library.parts[-3]}/faketime/libfaketime.so.1 FAKETIME={clock}"]
    with sshd.server(tmp_path, options=options, packages=("faketime",)) as server:
        (tmp_path / "seconds").write_text("0")
        off = next(made := connected(server))
        there = int(target.run(off(), "date +%s").stdout)
        list(made)
        assert abs(abs(there - int(subprocess.check_output(["date", "+%s"]))) - 3600) < 60, "it is off"
        for status in ("changed", "ok"):
            done = steps(server, tmp_path)
            assert done.returncode == 0 and f"h0: {status}" in done.stdout, done


def steps(server: sshd.Server, directory: Path, *before: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """fab, with the steps of `harmless`."""
    words = ["fab", "--plain", "-H", "hosts", "steps", "--directory", str(directory)]
    return subprocess.run(
        [*before, sys.executable, "-m", "tests.integration.local.harmless", *words],
        cwd=REPOSITORY, env={**os.environ, "HOSTS_FILE": str(server.inventory()), **environment},
        capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip


def test_weak_algorithms_are_not_agreed_to(stack: ExitStack, tmp_path: Path) -> None:
    with pytest.raises(Unreachable, match="no cipher in common") as unreachable:
        up(stack, tmp_path, options=["Ciphers=aes256-cbc,3des-cbc"])().open()
    assert "the host offers: aes256-cbc 3des-cbc\n" in unreachable.value.details


def test_a_host_with_post_quantum_key_exchange_only(stack: ExitStack, tmp_path: Path) -> None:
    try:
        connect = up(stack, tmp_path, options=["KexAlgorithms=mlkem768x25519-sha256"])
    except AssertionError:
        assert "Bad SSH2 KexAlgorithms" in (tmp_path / "log").read_text()
        pytest.skip("this sshd has no ML-KEM: OpenSSH 9.9 and later have")
    runs(connect)


def test_a_server_that_says_nothing_is_not_waited_for(
    stack: ExitStack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(machine_module, "STEP_LIMIT", 1)
    connect = up(stack, tmp_path, prepare=f"exec {sys.executable} -c {quote(MUTE)} $ports", listens="listens")
    with pytest.raises(Unreachable, match="cannot connect") as unreachable:
        connect().open()
    assert "no answer in time: connect_timeout is 20 s, and " in unreachable.value.details


MUTE = """import socket, sys
listener = socket.create_server(("127.0.0.1", int(sys.argv[1])))
print("listens", flush=True)
kept = []
while True:
    kept.append(listener.accept())
"""


IMPATIENT = """from fabfile.ssh import machine, transport
machine.ALIVE, transport.SILENCE = 1, 5
from tests.integration.local import harmless
harmless.main()
"""
"""fab of `harmless`, with limits that a test can wait for."""


def test_a_network_that_loses_everything_in_the_middle(tmp_path: Path) -> None:
    with ExitStack() as stack:
        parts = [tmp_path / name for name in ("one", "two")]
        for part in parts:
            part.mkdir()
        own: dict[str, Any] = {"packages": ("iptables",), "prepare": "ip link set lo up"}
        one = stack.enter_context(sshd.server(parts[0], within=sshd.NETWORK, **own))
        two = stack.enter_context(sshd.server(parts[1], within=one.inside, **own))
        environment = {**os.environ, "HOSTS_FILE": str(inventory([one, two], tmp_path))}
        (tmp_path / "seconds").write_text("2")
        words = ["fab", "--plain", "-H", "hosts", "steps", "--directory", str(tmp_path)]
        fab = [*one.inside, sys.executable, "-c", IMPATIENT, *words]
        with subprocess.Popen(fab, cwd=REPOSITORY, env=environment, stdout=subprocess.PIPE, text=True) as process:
            until((tmp_path / "h0.first.pid").exists, "does not begin", 20)
            drop(one, "-A")
            assert process.stdout
            said = process.stdout.read()
        assert process.returncode == 1, said
        assert "ok 0  changed 1  failed 1  unreachable 0" in said and "the connection was lost" in said
        assert (tmp_path / "h1.third").exists() and not (tmp_path / "h0.third").exists()
        drop(one, "-D")
        done = subprocess.run(fab, cwd=REPOSITORY, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done
        assert "ok 1  changed 1  failed 0" in done.stdout and (tmp_path / "h0.third").exists()


def drop(server: sshd.Server, how: str) -> None:
    """Begin or end to drop all packets to and from the first host."""
    for flag in ("--dport", "--sport"):
        rule = ["INPUT", "-p", "tcp", flag, str(server.ports[0]), "-j", "DROP"]
        mounts = [f"--mount=/proc/{server.process.pid}/ns/mnt"]
        done = subprocess.run([*server.inside, *mounts, "iptables", how, *rule], capture_output=True, text=True)
        if done.returncode and how == "-A":
            pytest.skip(f"this kernel drops no packets: {done.stderr}")
