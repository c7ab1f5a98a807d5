"""A login that is not root's, on a real sshd with Debian's own sudo and PAM, in a namespace of their own."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from fabfile.errors import Failed
from fabfile.paths import REPOSITORY
from fabfile.remote import sudo, target
from fabfile.shell import quote
from tests.integration.local import sshd
from tests.integration.local.connections import Connect
from tests.integration.local.test_execution import running
from tests.integration.local.test_faults import upload
from tests.integration.machine import until

WORD = "correct horse-battery%s 'ß"
HASHED = subprocess.check_output(
    ["perl", "-e", 'print crypt(<STDIN>, q($6$testsalt))'], input=WORD.encode()
).decode()  # fmt: skip

SUDOERS = """Defaults !lecture
Defaults:pty use_pty
Defaults:late timestamp_timeout=0
lee, pty, late, noisy, csh, fish, wrong, typo ALL=(ALL) ALL
free ALL=(ALL) NOPASSWD: ALL
"""
# pam_faillock counts a question that is not answered, too: one wrong password is two failures.
PAM = """auth required pam_faillock.so preauth deny=3 dir=/run/faillock
auth sufficient pam_unix.so
auth [default=die] pam_faillock.so authfail deny=3 dir=/run/faillock
account required pam_permit.so
session required pam_permit.so
"""
USERS = {  # a name of its own for each test that leaves something behind
    "lee": "/bin/sh", "wrong": "/bin/sh", "typo": "/bin/sh", "pty": "/bin/bash", "late": "/bin/sh",
    "noisy": "/bin/bash", "csh": "/bin/tcsh", "fish": "/usr/bin/fish", "free": "/bin/bash", "stranger": "/bin/sh",
    "slow": "/bin/bash",
}  # fmt: skip
SPEAKS = "set -xv; export SHELLOPTS; echo good morning; echo 'it rains' >&2\n"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[sshd.Server]:
    """A host whose users may use sudo, each in another way."""
    directory = tmp_path_factory.mktemp("sshd")
    shadow = "root:*:19000::::::\n" + "".join(f"{name}:{HASHED}:19000::::::\n" for name in USERS)
    with sshd.server(
        directory, hosts=2, packages=("sudo", "tcsh", "fish"), others=USERS,
        etc={"sudoers": SUDOERS, "pam.d/sudo": PAM, "shadow": shadow},
        prepare=f"mkdir /run/faillock; for u in noisy free; do printf %s {quote(SPEAKS)} >/run/home/$u/.bashrc; done\n"
        f"mkdir /run/slow; printf '#!/bin/sh\nsleep 600\n' >/run/slow/sudo; chmod 755 /run/slow/sudo\n"
        "echo PATH=/run/slow:$PATH >/run/home/slow/.bashrc",
    ) as up:  # fmt: skip
        yield up


@pytest.fixture(autouse=True)
def forgets() -> Iterator[None]:
    """No test has the password of the one before."""
    yield
    sudo.forget()


@pytest.mark.parametrize("user", [name for name in USERS if name not in ("wrong", "typo", "stranger", "slow")])
def test_a_script_is_roots_and_gets_neither_input_nor_password(connect: Connect, user: str) -> None:
    sudo.use(WORD.encode())
    machine = connect(user=user)
    for _ in range(2):  # sudo may remember the first
        answer = target.run(machine, "id -u; cat; read -r x || echo none; echo done >&2; exit 3")
        assert (answer.exited, answer.stdout) == (3, "0\nnone\n")
        assert answer.stderr.endswith("done\n") and WORD not in answer.stderr


@pytest.mark.parametrize("user", ["lee", "pty"])
def test_behind_sudo_an_upload_is_whole_and_what_is_stopped_ends(connect: Connect, tmp_path: Path, user: str) -> None:
    sudo.use(WORD.encode())
    upload(connect, tmp_path, user)
    with pytest.raises(Failed, match="it took longer than 1 s"):
        target.run(connect(user=user), "sleep 7359", limit=1)
    until(lambda: not running("7359"), "still runs what was stopped", 10)


def test_a_wrong_password_is_tried_once_and_locks_nobody_out(connect: Connect) -> None:
    sudo.use(b"wrong")
    with pytest.raises(Failed, match="sudo rejected the password") as failed:
        target.run(connect(user="wrong"), "echo never")
    assert failed.value.details == "Sorry, try again."
    sudo.use(WORD.encode())
    assert target.run(connect(user="wrong"), "id -u").stdout == "0\n", "three tries would have locked it"


@pytest.mark.parametrize("given", [True, False])
def test_a_user_who_may_not_is_told_so(connect: Connect, given: bool) -> None:
    if given:
        sudo.use(WORD.encode())
    with pytest.raises(Failed, match="this needs root") as failed:
        target.run(connect(user="stranger"), "echo never")
    assert ("stranger is not in the sudoers file" if given else "a password is required") in failed.value.details
    assert "--prompt-for-sudo-password" in failed.value.hint


def test_a_sudo_that_says_nothing_is_not_waited_for(connect: Connect, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sudo, "LIMIT", 1)
    sudo.use(WORD.encode())
    with pytest.raises(Failed, match="sudo did not answer within 1 s"):
        target.run(connect(user="slow"), "echo never")


def test_no_process_has_it_in_its_arguments_or_environment(server: sshd.Server, connect: Connect) -> None:
    sudo.use(WORD.encode())
    machine = connect(user="lee")
    seen = []

    def look() -> None:
        for process in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):  # it has ended
                seen.append((process / "cmdline").read_bytes() + (process / "environ").read_bytes())

    timer = threading.Timer(1, look)
    timer.start()
    target.run(machine, "sleep 3 # a mark: b7f2a9")
    timer.join()
    assert any(b"sudo\0-S\0-p" in each for each in seen), "it was running"
    assert not any(WORD.encode() in each for each in seen)


def fab(
    server: sshd.Server, *words: str, user: str = "lee", **environment: str
) -> subprocess.CompletedProcess[str]:  # fmt: skip
    """fab on that host as a user with a password, without a terminal."""
    file = server.inventory(h0=0)
    file.write_text(file.read_text() + f"user = '{user}'\n")
    return subprocess.run(
        [str(Path(sys.executable).with_name("fab")), *words],
        env={**os.environ, "HOSTS_FILE": str(file), **environment}, start_new_session=True, cwd=REPOSITORY,
        stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip


@pytest.mark.parametrize("kind", ["file", "command"])
def test_it_reaches_nobody_but_sudo(server: sshd.Server, tmp_path: Path, kind: str) -> None:
    secret, events = tmp_path / "secret", tmp_path / "events"
    secret.write_text(WORD + "\n")
    secret.chmod(0o600)
    given = f"--sudo-password-file={secret}" if kind == "file" else f"--sudo-password-command=cat {quote(str(secret))}"
    done = fab(
        server, "--debug", given, f"--events={events}", "-H", "h0", "run", "--command", "id -u", "--json",
        DEBUG_SCRIPTS="1",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["hosts"]["h0"]["tasks"][0]["result"]["stdout"] == "0\n"
    assert "id -u" in done.stderr and "sudo" in done.stderr, "it is really verbose"
    for text in (done.stdout, done.stderr, events.read_text(), server.log):
        assert WORD not in text and WORD.encode().decode("latin-1") not in text


def test_a_wrong_password_is_one_error_and_ends_the_host(server: sshd.Server, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("wrong\n")
    secret.chmod(0o600)
    words = ("-H", "h0", "run", "--command", "true", "run", "--command", "true")
    done = fab(server, f"--sudo-password-file={secret}", *words, user="typo")
    assert done.returncode == 1
    assert done.stderr.count("error: ") == 1 and "h0: error: sudo rejected the password" in done.stderr
    assert server.log.count("Accepted publickey for typo") == 1


def test_without_a_terminal_there_is_no_question(server: sshd.Server) -> None:
    before = server.log
    done = fab(server, "--prompt-for-sudo-password", "-H", "h0", "run", "--command", "true", "--json")
    assert done.returncode == 2
    assert json.loads(done.stdout)["error"]["what"] == "--prompt-for-sudo-password needs a terminal to ask on"
    assert "--sudo-password-file" in done.stderr and server.log == before, "nothing was connected to"


def test_a_terminal_is_asked_once_and_shows_nothing(server: sshd.Server) -> None:
    file = server.inventory(h0=0, h1=1)
    file.write_text(file.read_text().replace("[hosts", "user = 'lee'\n[hosts", 1))
    command = [str(Path(sys.executable).with_name("fab")), "--prompt-for-sudo-password", "-H", "hosts", "run", "id -u"]
    ours, theirs = pty.openpty()
    with subprocess.Popen(
        ["setsid", "--ctty", *command], cwd=REPOSITORY, env={**os.environ, "HOSTS_FILE": str(file)},
        stdin=theirs, stdout=theirs, stderr=theirs,
    ) as process:  # fmt: skip
        os.close(theirs)
        screen = b""
        while b"sudo password: " not in screen:
            screen += os.read(ours, 4096)
        os.write(ours, WORD.encode() + b"\n")
        with suppress(OSError):  # its other end is closed
            while piece := os.read(ours, 4096):
                screen += piece
    os.close(ours)
    assert process.returncode == 0, screen
    assert screen.count(b"sudo password: ") == 1 and WORD.encode() not in screen
    assert b"h0: 0" in screen and b"h1: 0" in screen
