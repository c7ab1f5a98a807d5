"""Processes that the lab starts end with it, even when it is killed."""

from __future__ import annotations

import fcntl
import subprocess
import sys
from pathlib import Path
from time import monotonic, sleep

import pytest

from fabfile.lab import tools

LIMIT = 20
"""Seconds to wait for a process that was started or killed to show its effect."""

HOLD = 'exec 9>"$1"; flock 9; : >"$1.held"; '
"""A lock held by the shell and all of its children, so that it is free only when the last of them has ended."""


def until_free(lock: Path) -> None:
    """Wait up to LIMIT for a lock to become free."""
    begin = monotonic()
    with lock.open() as file:
        while monotonic() - begin < LIMIT:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return
            except BlockingIOError:
                sleep(0.02)
    pytest.fail("what it had started still runs")


RUN = "from fabfile.lab import tools; tools.run(*{!r})"
SAYS = "from fabfile.lab import probe; probe.says({!r}, b'never', 600)"


@pytest.mark.parametrize(
    ("code", "front", "script"),
    [
        (RUN, (), "exec sleep 600"),
        (RUN, tools.PRIVATE_MOUNTS, "sleep 600 & setsid sleep 600 & wait"),
        (SAYS, (), "exec sleep 600"),
    ],
    ids=["one command", "with its children", "one that is to print something"],
)
def test_a_command_is_killed_with_us(tmp_path: Path, code: str, front: tuple[str, ...], script: str) -> None:
    lock = tmp_path / "lock"
    code = code.format((*front, "sh", "-c", HOLD + script, "sh", str(lock)))
    us = subprocess.Popen([sys.executable, "-c", code])
    try:
        begin = monotonic()
        while not (tmp_path / "lock.held").exists():
            assert us.poll() is None and monotonic() - begin < LIMIT, "it did not begin"
            sleep(0.02)
        with lock.open() as file, pytest.raises(BlockingIOError):
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    finally:
        us.kill()
        us.wait()
    until_free(lock)


def test_mounts_of_a_command_disappear_with_it(tmp_path: Path) -> None:
    mount = 'mount -t tmpfs none "$1" && touch "$1/file" && ls "$1"'
    assert tools.run(*tools.PRIVATE_MOUNTS, "sh", "-c", mount, "sh", tmp_path) == "file\n"
    assert not list(tmp_path.iterdir())


def test_root_without_the_right_to_mount_is_refused() -> None:
    """As in a container without --privileged."""
    confined = ("setpriv", "--bounding-set=-sys_admin", "--inh-caps=-sys_admin")
    code = "from fabfile.lab import tools; tools.check()"
    done = subprocess.run([*confined, sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "Refused: error: the lab cannot make images in this container" in done.stderr
    assert "unshare failed: Operation not permitted" in done.stderr
    assert "hint: run the container with --privileged" in done.stderr
