"""A unit test touches neither the machine nor its owner's files.

The ban is an audit hook, so it sees what Python's own functions do, under whatever name they were imported. What it
raises is not an `Exception`, so that code under test which catches errors does not swallow it.
"""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from fabfile import console
from fabfile.errors import Problem
from tests.unit import typed

BANNED = frozenset(
    {
        "os.exec",
        "os.fork",
        "os.forkpty",
        "os.kill",
        "os.killpg",
        "os.posix_spawn",
        "os.spawn",
        "os.system",
        "pty.spawn",
        "socket.bind",
        "socket.connect",
        "socket.getaddrinfo",
        "socket.gethostbyname",
        "socket.sendto",
        "subprocess.Popen",
    }
)


class Banned(BaseException):
    """A unit test started a process or opened a connection."""


class Guard:
    """The audit hook. Hooks cannot be removed, so there is only one, which acts while a test runs."""

    def __init__(self) -> None:
        self.active = False
        self.seen: list[str] = []

    def __call__(self, event: str, args: tuple[object, ...]) -> None:
        if self.active and event in BANNED:
            self.seen.append(f"{event} {args!r:.200}")
            raise Banned(f"a unit test may not touch the machine: {self.seen[-1]}")

    def verdict(self) -> None:
        """Fail the test that tried something, even if it caught the exception."""
        if self.seen:
            pytest.fail(f"a unit test may not touch the machine: {self.seen[0]}")


GUARD = Guard()
sys.addaudithook(GUARD)


@pytest.fixture(autouse=True)
def banned(request: pytest.FixtureRequest) -> Iterator[list[str]]:
    """List what this test tried; anything in it fails the test."""
    GUARD.seen.clear()
    GUARD.active = True
    yield GUARD.seen
    GUARD.active = False
    GUARD.verdict()


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Provide an empty home, cache, lab and inventory, out of reach of the developer's own."""
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    for name in ("CACHE", "CONFIG", "DATA", "STATE"):
        monkeypatch.setenv(f"XDG_{name}_HOME", str(home / name.lower()))
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(home / "run"))
    monkeypatch.setenv("HOSTS_FILE", str(tmp_path / "hosts.toml"))
    monkeypatch.setenv("LAB_DIR", str(tmp_path / "lab"))
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
    return home


@pytest.fixture(autouse=True)
def for_people(monkeypatch: pytest.MonkeyPatch) -> None:
    """Reset standard output to be for people, whatever an earlier test did with --json."""
    monkeypatch.setattr(console, "_document", False)
    monkeypatch.setattr(console, "_only", None)
    monkeypatch.setattr(console, "_lost", None)


@pytest.fixture(autouse=True)
def broken_pipes() -> Iterator[None]:
    """Restore what a broken pipe does: where Invoke only prints, it ends the process, and a later test would end it."""
    before = signal.getsignal(signal.SIGPIPE)
    yield
    signal.signal(signal.SIGPIPE, before)


@pytest.fixture(autouse=True)
def hints(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """List the hints of all problems in this test; invoke or fabric must accept each command in them."""
    met: list[str] = []
    begin = Problem.__init__

    def noted(self: Problem, what: str, details: str = "", hint: str = "") -> None:
        met.append(hint)
        begin(self, what, details, hint)

    monkeypatch.setattr(Problem, "__init__", noted)
    yield met
    GUARD.active = False
    wrong = {hint: why for hint in met if (why := typed.wrong(hint))}
    assert not wrong, "a hint that does not work when it is typed"
