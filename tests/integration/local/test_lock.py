"""Two controllers at once on one host, a real sshd: who holds the lock is said, and --wait-lock waits for it."""

from __future__ import annotations

import re
import signal
import stat
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from time import monotonic

from fabfile.render import render
from tests.integration.local import sshd
from tests.integration.local.test_interruption import Run, steps
from tests.integration.machine import until

HOLDER = r"held by \S+@\S+, first \(login \S+ from 127\.0\.0\.1\), pid \d+, since .*\d+ s ago"


class Two:
    """Two controllers: the first is changing the host, for `seconds` a step; the second comes then."""

    def __init__(self, server: sshd.Server, directory: Path, seconds: float, *words: str) -> None:
        self.file = server.inventory()
        self.directories = [directory / "a", directory / "b"]
        for each in self.directories:
            each.mkdir()
        self.first = self.run(0, seconds, *words)
        self.first.has("h0.first.pid")

    def run(self, number: int, seconds: float, *words: str) -> Run:
        """Begin as one of them."""
        directory = self.directories[number]
        return Run(directory, self.file, "fab", *words, "-H", "h0", *steps(directory), seconds=seconds)


def test_the_second_is_told_who_holds_the_host(server: sshd.Server, tmp_path: Path) -> None:
    two = Two(server, tmp_path, 600)
    second = two.run(1, 0.1)
    second.end(1)
    assert "h0: error: first: another operator is changing the host" in second.err
    assert re.search(HOLDER, " ".join(second.err.split())), second.err
    assert second.made() == set()
    assert "--wait-lock SECONDS" in second.err
    two.first.send(signal.SIGTERM)
    two.first.end(130)


def test_with_wait_lock_it_waits_and_both_are_done(server: sshd.Server, tmp_path: Path) -> None:
    # The first waits as well: once the second is at work, whoever comes between two steps may find the host held.
    two = Two(server, tmp_path, 20, "--wait-lock", "60")
    (two.directories[0] / "seconds").write_text("0.1")  # of its later steps
    second = two.run(1, 0.1, "--wait-lock", "60")
    second.end(0, 60)
    two.first.end(0, 60)
    assert len(two.first.made()) == len(second.made()) == 3
    assert re.search(rf"h0: first: waiting for the lock, at most \d+ s; {HOLDER}", second.out), second.out
    assert "changed  first" in second.out


def test_it_waits_no_longer_than_it_was_told(server: sshd.Server, tmp_path: Path) -> None:
    two = Two(server, tmp_path, 600)
    second = two.run(1, 0.1, "--wait-lock", "0")
    second.end(1)
    assert "waiting for the lock" not in second.out
    assert "another operator is changing the host" in second.err
    begin = monotonic()
    second = two.run(1, 0.1, "--wait-lock", "8")
    second.end(1)
    assert monotonic() - begin >= 8
    assert "waiting for the lock, at most" in second.out
    assert "another operator is changing the host" in second.err
    assert re.search(HOLDER, " ".join(second.err.split())), second.err
    two.first.send(signal.SIGTERM)
    two.first.end(130)


def test_ctrl_c_ends_the_wait_at_once(server: sshd.Server, tmp_path: Path) -> None:
    two = Two(server, tmp_path, 600)
    second = two.run(1, 0.1, "--wait-lock", "600")
    until(lambda: "waiting for the lock" in second.out, "does not wait", 20)
    second.send(signal.SIGINT)
    second.end(130, 10)
    # It looks again every few seconds, and may have been opening a session for that.
    ends = ("interrupted during first, before any change", "interrupted: it was still connecting")
    assert any(f"h0: error: {end}" in second.err for end in ends), second.err
    assert two.first.process.poll() is None, "the other one goes on"
    two.first.send(signal.SIGTERM)
    two.first.end(130)


@contextmanager
def held(lock: Path, seconds: float) -> Iterator[None]:
    """Within it somebody holds a lock, for so long at most."""
    with subprocess.Popen(
        ["flock", "--no-fork", lock, "sh", "-c", f"touch {lock}.held; exec sleep {seconds}"]
    ) as holder:
        try:
            until(lock.with_name(f"{lock.name}.held").exists, "is not held", 10)
            yield
        finally:
            holder.terminate()


def settle(directory: Path, wait: int) -> str:
    """Have a pool's script take its lock, and return what it says then, as there is no pool."""
    script = directory / "devmapper-pool"
    script.write_text(render("pool/devmapper-pool.sh.j2", conf_dir=str(directory), run_dir=str(directory), meta_most=1))
    (directory / "gone.conf").write_text("VARIANT=loop\n")
    command = ["env", f"DEVMAPPER_POOL_WAIT={wait}", "sh", str(script), "settle", "gone"]
    return subprocess.run(command, capture_output=True, text=True, check=False).stderr


def test_the_lock_of_a_pool_is_waited_for_as_long(tmp_path: Path) -> None:
    lock = tmp_path / "gone.lock"
    with held(lock, 600):
        begin = monotonic()
        said = settle(tmp_path, 1)
        assert 1 <= monotonic() - begin < 10
        assert re.search(r"gone has been held for 1 s by .*process \d+, sleep 600 ", said), said
    lock.with_name("gone.lock.held").unlink()
    with held(lock, 2):
        said = settle(tmp_path, 30)
    assert "gone is not active" in said, "it got the lock"


def test_who_waits_for_the_lock_of_a_pool_does_not_hold_it(tmp_path: Path) -> None:
    lock = tmp_path / "gone.lock"
    with ThreadPoolExecutor() as threads:
        with held(lock, 600):
            other = threads.submit(settle, tmp_path, 30)
            until(lambda: blocked(lock), "does not wait", 10)
            said = settle(tmp_path, 1)
        assert "gone is not active" in other.result()
    assert re.findall(r"process \d+, (\S+) ", said) == ["sleep"], said


def blocked(lock: Path) -> bool:
    """Whether a process waits for the lock."""
    lines = Path("/proc/locks").read_text().splitlines()
    return any(" -> " in line and f":{lock.stat().st_ino} " in line for line in lines)


def test_only_root_may_open_the_lock_of_a_pool(tmp_path: Path) -> None:
    lock = tmp_path / "gone.lock"
    for _ in ("made", "made by an earlier version"):
        assert "gone is not active" in settle(tmp_path, 1)
        assert stat.S_IMODE(lock.stat().st_mode) == 0o600
        lock.chmod(0o644)
