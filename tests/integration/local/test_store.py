"""Making a cache entry: killed and restarted at once, by two processes at a time, on a full disk."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from time import monotonic, sleep

import pytest

LIMIT = 20
"""Seconds to wait for a process that was started to show its effect."""

MAKE = """
import sys
from pathlib import Path
from fabfile.lab import store, tools
def make(part, log):
    (part / "tree").mkdir()
    if sys.argv[2] == "aside":
        tools.aside(part, "sh", "-c", sys.argv[3], log=log)
    else:
        tools.run("sh", "-c", sys.argv[3], log=log, cwd=part)
took = store.find(Path(sys.argv[1]), make)
print("there" if took is None else "made")
"""

QUICK = "touch tree/file"

SLOW = 'n=0; while [ $n -lt 100000 ]; do mkdir -p "$PWD/tree/$n"; n=$((n + 1)); done'


def making(wanted: Path, how: str, script: str) -> list[str]:
    return [sys.executable, "-c", MAKE, str(wanted), how, script]


@pytest.mark.parametrize("how", ["aside", "here"])
def test_a_killed_build_is_made_again_at_once(tmp_path: Path, how: str) -> None:
    wanted = tmp_path / "im ages" / 'a "b"'
    end = monotonic() + LIMIT
    with subprocess.Popen(making(wanted, how, SLOW)) as killed:
        try:
            while not list(wanted.parent.glob(".*.part/tree/9")):
                assert monotonic() < end and killed.poll() is None, "it does not begin"
                sleep(0.01)
        finally:
            killed.kill()
    assert subprocess.run(making(wanted, how, QUICK), check=True, capture_output=True).stdout == b"made\n"
    assert [path.name for path in (wanted / "tree").iterdir()] == ["file"]
    names = sorted(path.name for path in wanted.parent.iterdir())
    assert names == ['.a "b".lock', '.a "b".log', 'a "b"']


def test_two_concurrent_runs_make_a_directory_once(tmp_path: Path) -> None:
    both = [subprocess.Popen(making(tmp_path / "one", "here", QUICK), stdout=subprocess.PIPE) for _ in range(2)]
    assert sorted(each.communicate()[0] for each in both) == [b"made\n", b"there\n"]


def test_a_full_disk_is_reported_and_only_the_log_is_left(tmp_path: Path) -> None:
    """As root, in mounts of its own."""
    script = "head -c 4M /dev/zero >tree/file"
    mount = 'place=$1; shift; mount -t tmpfs -o size=2m none "$place"; "$@"; echo "exit code $?"; find "$place" -type f'
    command = ["unshare", "--mount", "sh", "-c", mount, "sh"]
    command += [str(tmp_path), *making(tmp_path / "one", "here", script)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert f"error: no room is left in {tmp_path}\n  sh failed" in done.stderr
    assert "No space left on device" in done.stderr
    assert f"hint: df -h {tmp_path}; make room there, or let XDG_CACHE_HOME name a directory" in done.stderr
    code, *left = done.stdout.splitlines()
    assert code == "exit code 1"
    assert sorted(left) == [f"{tmp_path}/.one.lock", f"{tmp_path}/.one.log"]
