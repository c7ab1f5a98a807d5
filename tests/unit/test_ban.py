"""The ban on processes and connections holds, whoever asks and whatever they catch."""

from __future__ import annotations

import os
import socket
import subprocess
import urllib.request
from collections.abc import Callable
from pathlib import Path

import pytest

from fabfile import paths
from tests.unit.conftest import GUARD, Banned


def connect() -> None:
    with socket.socket() as sock:
        sock.settimeout(1)
        sock.connect(("127.0.0.1", 9))


def bind() -> None:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))


ATTEMPTS: dict[str, Callable[[], object]] = {
    "run": lambda: subprocess.run(["true"], check=False),
    "system": lambda: os.system("true"),
    "popen": lambda: os.popen("true"),
    "fork": os.fork,
    "exec": lambda: os.execv("/bin/true", ["true"]),
    "spawn": lambda: os.posix_spawn("/bin/true", ["true"], {}),
    "kill": lambda: os.kill(os.getpid(), 0),
    "connect": connect,
    "bind": bind,
    "resolve": lambda: socket.getaddrinfo("localhost", 22),
    "download": lambda: urllib.request.urlopen("http://127.0.0.1:9/"),
}


@pytest.mark.parametrize("attempt", ATTEMPTS.values(), ids=ATTEMPTS.keys())
def test_attempt_is_banned(attempt: Callable[[], object], banned: list[str]) -> None:
    with pytest.raises(Banned, match="may not touch the machine"):
        attempt()
    assert len(banned) == 1
    banned.clear()


def test_code_that_catches_errors_does_not_swallow_the_ban(banned: list[str]) -> None:
    def forgiving() -> None:
        try:
            subprocess.run(["true"], check=False)
        except Exception:
            pytest.fail("swallowed")

    with pytest.raises(Banned):
        forgiving()
    banned.clear()


def test_the_test_fails_even_if_everything_is_caught(banned: list[str]) -> None:
    try:
        subprocess.run(["true"], check=False)
    except BaseException as error:
        caught = error
    assert isinstance(caught, Banned)
    with pytest.raises(pytest.fail.Exception, match=r"subprocess\.Popen"):
        GUARD.verdict()
    banned.clear()


def test_home_and_state_are_the_tests_own(tmp_path: Path) -> None:
    own = (Path.home(), paths.cache(), paths.lab(), paths.inventory())
    assert all(path.is_relative_to(tmp_path) for path in own)
