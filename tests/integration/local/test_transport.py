"""What OpenSSH's own server makes of us: bytes, limits, logins that fail, and shells that are none."""

from __future__ import annotations

import hashlib
import os
import resource
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from time import monotonic

import pytest

from fabfile.errors import Failed, Unreachable
from fabfile.remote import execution, target
from fabfile.ssh import machine as machine_module
from fabfile.ssh import packets, transport
from tests.integration.local import sshd
from tests.integration.local.connections import Connect
from tests.integration.machine import run_fab, until


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[sshd.Server]:
    """A host without an SFTP subsystem, and with users whose shells are special."""
    directory = tmp_path_factory.mktemp("sshd")
    with sshd.server(directory, users={"limited": "/bin/rbash", "noisy": "/bin/bash", "liar": "/bin/bash"}) as up:
        (directory / "noisy/.bashrc").write_text("echo good morning; echo 'it rains' >&2\n")
        (directory / "liar/.bashrc").write_text("exec() { echo exec; }\nexport -f exec\n")
        yield up


def test_what_a_host_prints_comes_byte_for_byte(connect: Connect) -> None:
    answer = target.run(connect(), "printf x; yes é→𝄞 | head -n 100000; printf '\\377\\200'")
    assert execution.encoded(answer.stdout) == b"x" + "é→𝄞\n".encode() * 100000 + b"\xff\x80"


def test_standard_input_is_closed(connect: Connect) -> None:
    assert target.run(connect(), "cat; read -r x || echo none").stdout == "none\n"


def test_a_warning_of_sudo_is_not_taken_for_a_failure_of_its_own(connect: Connect) -> None:
    answer = target.run(connect(), "echo 'sudo: unable to resolve host x' >&2; echo 'disk full' >&2; exit 3")
    assert (answer.exited, answer.stderr) == (3, "sudo: unable to resolve host x\ndisk full\n")


def test_large_output_costs_little(connect: Connect) -> None:
    machine = connect()
    target.run(machine, "true")

    def cost(size: int) -> tuple[float, str]:
        before = resource.getrusage(resource.RUSAGE_SELF)
        try:
            said = str(len(target.run(machine, f"head -c {size} /dev/zero | tr '\\0' x").stdout))
        except Failed as failed:
            said = failed.what
        after = resource.getrusage(resource.RUSAGE_SELF)
        return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, said

    small, large = cost(8_000_000), cost(100_000_000)
    assert small[1] == "8000000" and small[0] < 1
    assert large[1] == "a script was stopped: it printed more than 64 MiB" and large[0] < 8


def test_a_file_goes_to_a_host_that_has_no_sftp(connect: Connect, tmp_path: Path) -> None:
    content = os.urandom(3_000_000)
    (tmp_path / "file").write_bytes(content)
    machine = connect(user="noisy")
    path = target.stage(machine, tmp_path / "file", "a file")
    assert target.run(machine, f"sha256sum <{path}").stdout.split()[0] == hashlib.sha256(content).hexdigest()
    target.unstage(machine, [path])
    assert not Path(path).parent.exists()


@pytest.mark.parametrize("user", ["noisy", "liar", "limited"])
def test_a_login_shell_does_what_was_asked_or_is_named(connect: Connect, user: str) -> None:
    machine = connect(user=user)
    if user == "noisy":
        assert target.run(machine, "echo right").stdout == "right\n"
    else:
        with pytest.raises(Failed, match="the host did not run the script") as failed:
            target.run(machine, "echo wrong")
        assert failed.value.details == "exec" if user == "liar" else "restricted" in failed.value.details


def test_a_host_that_hangs_in_the_middle_counts_as_lost(
    server: sshd.Server, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(machine_module, "ALIVE", 0.3)
    monkeypatch.setattr(packets, "IDLE", 0.3)
    machine = connect()
    begin = monotonic()
    assert target.run(machine, "sleep 3; echo silent for long").stdout == "silent for long\n"
    sessions = server.sessions()

    def send(number: int) -> None:
        for session in sessions:
            os.kill(session, number)

    stop = threading.Timer(0.5, send, [signal.SIGSTOP])
    stop.start()
    try:
        with pytest.raises(Failed, match="the connection was lost while a script ran") as failed:
            target.run(machine, "sleep 60", limit=50)
        assert f"did not answer {transport.UNANSWERED} keepalive requests" in failed.value.details
    finally:
        stop.join()
        send(signal.SIGCONT)
    assert monotonic() - begin < 20


def test_what_is_cut_when_its_connection_is_closed_already_is_no_error(connect: Connect) -> None:
    machine = connect()
    stream = machine.begin("sleep 60")
    machine.transport.packetizer.close()  # what sends knows that it is closed; the channel does not
    stream.cancel()
    assert stream.read(1, 10) == (b"", b"")


def test_ssh_config_names_user_and_port_where_the_inventory_does_not(server: sshd.Server, connect: Connect) -> None:
    rules = f"Host 127.0.0.1\n User noisy\n Port {server.ports[0]}\n"
    assert target.run(connect(rules), 'echo "$HOME"').stdout == f"{server.directory / 'noisy'}\n"
    assert connect(rules, user="root").user == "root"


IDENTITIES = {
    "missing": "there is no such file",
    "a directory": "it is a directory",
    "public": "it is a public key; ",
    "garbage": "it is not a private key",
}


@pytest.mark.parametrize(("kind", "why"), IDENTITIES.items())
def test_a_key_that_is_none_is_named(connect: Connect, tmp_path: Path, kind: str, why: str) -> None:
    file = tmp_path / "key"
    if kind == "a directory":
        file.mkdir()
    if kind == "public":
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", file], check=True)
        file = file.with_suffix(".pub")
    if kind == "garbage":
        file.write_text("garbage\n")
    with pytest.raises(Unreachable) as unreachable:
        connect(identity_file=str(file)).open()
    assert f"{file} cannot be used" in unreachable.value.what
    assert why in unreachable.value.details and "identity_file" in unreachable.value.hint


def test_a_key_that_is_not_wanted_there(connect: Connect, tmp_path: Path) -> None:
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", tmp_path / "key"], check=True)
    with pytest.raises(Unreachable, match="login refused"):
        connect(identity_file=str(tmp_path / "key")).open()


OFFERS = {
    "Ciphers=chacha20-poly1305@openssh.com": "no cipher in common",
    "KexAlgorithms=sntrup761x25519-sha512@openssh.com": "no key exchange in common",
    "MACs=umac-64@openssh.com": "no message authentication in common",
}


@pytest.mark.parametrize(("option", "what"), OFFERS.items())
def test_algorithms_of_both_sides_are_named(connect: Connect, tmp_path: Path, option: str, what: str) -> None:
    options = [option, *(["Ciphers=aes256-ctr"] if option.startswith("MACs") else [])]
    with sshd.server(tmp_path, options=options) as other, pytest.raises(Unreachable) as unreachable:
        connect(where=other).open()
    assert what in unreachable.value.what
    assert f"the host offers: {option.partition('=')[2]}" in unreachable.value.details
    assert "\nthis side supports: " in unreachable.value.details


def test_a_cloud_image_that_wants_another_user(connect: Connect, tmp_path: Path) -> None:
    says = 'echo \'Please login as the user "admin" rather than the user "root".\'; echo; sleep 1; exit 142'
    with sshd.server(tmp_path, options=[f"ForceCommand={says}"]) as other:
        with pytest.raises(Unreachable, match="the host requires another user") as unreachable:
            target.run(connect(where=other), "true")
        assert unreachable.value.hint == 'set user = "admin" for it in hosts.toml'


def test_many_hosts_on_a_server_that_lets_two_in_at_a_time(tmp_path: Path) -> None:
    with sshd.server(tmp_path, hosts=16, options=["MaxStartups=2", "MaxSessions=1"]) as busy:
        said = run_fab("-H", "hosts", "run", "--command", "echo here", inventory=busy.inventory())
    assert "ok 16  changed 0  failed 0  unreachable 0" in said
    assert "Traceback" not in said


def test_the_others_finish_when_one_dies_in_the_middle(server: sshd.Server, tmp_path: Path) -> None:
    with sshd.server(tmp_path) as other:
        file = server.inventory()
        defaults, _, own = other.inventory().read_text().partition("[hosts.h0]")
        file.write_text(f"{file.read_text()}[hosts.dies]{own}{defaults.removeprefix('[defaults]')}")
        script = (
            f"[ ${{SSH_CONNECTION##* }} != {other.ports[0]} ] || {{ touch {tmp_path}/begun; sleep 600; }}; echo done"
        )
        environment = {**os.environ, "HOSTS_FILE": str(file)}
        command = [str(Path(sys.executable).with_name("fab")), "-H", "hosts", "run", "--command", script]
        with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as fab:
            until((tmp_path / "begun").exists, "does not begin", 20)
            other.process.kill()
            assert fab.stdout
            said = fab.stdout.read()
    assert fab.returncode == 1
    assert "h0: done" in said and "the connection was lost" in said
    assert "ok 1  changed 0  failed 1  unreachable 0" in said
