"""A unit test touches neither the machine nor its owner's files.

The ban is an audit hook: it sees what Python's own functions do, by whatever name they were imported. What it raises
is no `Exception`, so that code under test which forgives errors does not swallow it.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from fabfile import console
from fabfile.errors import Problem
from tests.unit import typed

settings.register_profile("busy", deadline=None)
# How long an example takes says more of the machine than of the code: a busy one failed the tests of a good parser.
settings.load_profile("busy")

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
    """The audit hook. Hooks cannot be removed, so there is one, and it acts only while a test runs."""

    def __init__(self) -> None:
        self.active = False
        self.seen: list[str] = []

    def __call__(self, event: str, args: tuple[object, ...]) -> None:
        if self.active and event in BANNED:
            self.seen.append(f"{event} {args!r:.200}")
            raise Banned(f"a unit test may not touch the machine: {self.seen[-1]}")

    def verdict(self) -> None:
        """Fail the test that tried something, even if it caught what was raised then."""
        if self.seen:
            pytest.fail(f"a unit test may not touch the machine: {self.seen[0]}")


GUARD = Guard()
sys.addaudithook(GUARD)


@pytest.fixture(autouse=True)
def banned(request: pytest.FixtureRequest) -> Iterator[list[str]]:
    """What this test tried; anything fails it."""
    GUARD.seen.clear()
    GUARD.active = True
    yield GUARD.seen
    GUARD.active = False
    GUARD.verdict()


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty home, cache, lab and no inventory: the developer's own are out of reach."""
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
    """Standard output is for people, whatever a test before this one did with --json."""
    monkeypatch.setattr(console, "_document", False)
    monkeypatch.setattr(console, "_only", None)


@pytest.fixture(autouse=True)
def hints(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """The hints of all problems that this test met: each command in them must be one that invoke or fabric takes."""
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
