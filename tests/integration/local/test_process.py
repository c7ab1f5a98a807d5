"""Real processes that one command starts and another ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from time import monotonic, sleep

import msgspec
import pytest

from fabfile.errors import Failed
from fabfile.lab import files, process
from fabfile.lab.process import Process


@pytest.fixture
def stranger(tmp_path: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A process of the user's, with the record's path among its arguments."""
    with subprocess.Popen(["tail", "-f", tmp_path / "process.json", "/dev/null"], stderr=subprocess.DEVNULL) as tail:
        yield tail
        tail.kill()


def begin(file: Path, *command: str) -> int:
    process.spawn(file, command, file.with_name("log"))
    pid = process.read(file)
    assert pid is not None
    return pid


@pytest.mark.parametrize("other", [{"started": 1}, {"boot": "another"}])
def test_a_process_that_reused_the_id_is_never_signalled(
    tmp_path: Path, stranger: subprocess.Popen[bytes], other: dict[str, object]
) -> None:
    file = tmp_path / "process.json"
    process.record(file, stranger.pid)
    known = msgspec.json.decode(file.read_bytes(), type=Process)
    file.write_bytes(msgspec.json.encode(msgspec.structs.replace(known, **other)))
    process.end(file)
    sleep(0.1)
    assert stranger.poll() is None


def test_a_stopped_process_ends_within_the_limit(tmp_path: Path) -> None:
    file = tmp_path / "process.json"
    pid = begin(file, "sleep", "600")
    os.kill(pid, signal.SIGSTOP)
    while Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "T":
        sleep(0.01)
    since = monotonic()
    process.end(file, signal.SIGTERM, limit=1)
    assert 0.5 <= monotonic() - since < 1
    assert process.read(file) is None and not Path(f"/proc/{pid}").exists()


def test_a_process_that_ignores_the_signal_ends(tmp_path: Path) -> None:
    file = tmp_path / "process.json"
    deaf = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); open('ready', 'w'); signal.pause()"
    begin(file, sys.executable, "-c", deaf)
    while not (tmp_path / "ready").exists():
        sleep(0.01)
    process.end(file, signal.SIGTERM, limit=1)
    assert process.read(file) is None


def test_a_process_that_cannot_be_recorded_never_starts(tmp_path: Path) -> None:
    file = tmp_path / "process.json"
    (tmp_path / ".process.json.new").mkdir()
    with pytest.raises(OSError):
        process.spawn(file, ["touch", "begun-by-this-test"], tmp_path / "log")
    assert [child for child in children() if "begun-by-this-test" in child] == []
    assert not (tmp_path / "begun-by-this-test").exists() and not file.exists()


def test_on_a_full_disk_the_directory_is_named_and_nothing_runs(tmp_path: Path) -> None:
    """Runs as root in a mount namespace of its own, where the file system is full when the record is written."""
    code = f"""
from pathlib import Path
from fabfile.lab import files, process
lab = Path({str(tmp_path)!r})
(lab / "log").touch()
with (lab / "ballast").open("wb", buffering=0) as out:
    try:
        while out.write(bytes(4096)):
            pass
    except OSError:
        pass
with files.writing(lab, "LAB_DIR"):
    process.spawn(lab / "process.json", ["touch", "begun-by-this-test"], lab / "log")
"""
    mount = f'mount -t tmpfs -o size=64k none \'{tmp_path}\' && exec "$0" -c "$1"'
    command = ["unshare", "--mount", "sh", "-c", f"{mount}; ", sys.executable, code]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert f"no room is left in {tmp_path}" in done.stderr and "No space left on device" in done.stderr
    assert "let LAB_DIR name a directory on another disk" in done.stderr
    assert done.returncode == 1 and [child for child in children() if "begun-by-this-test" in child] == []


def test_a_command_does_not_begin_if_we_are_killed_before_it_is_recorded(tmp_path: Path) -> None:
    code = f"""
import os, signal
from pathlib import Path
from fabfile.lab import process
process.record = lambda file, pid: os.kill(os.getpid(), signal.SIGKILL)
process.spawn(Path({str(tmp_path)!r}) / "process.json", ["touch", "begun-by-this-test"], Path("/dev/null"))
"""
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == -signal.SIGKILL
    end = monotonic() + 10
    while running := [child for child in children() if "begun-by-this-test" in child]:
        assert monotonic() < end, running
        sleep(0.01)
    assert not (tmp_path / "begun-by-this-test").exists()


def children() -> list[str]:
    """The command lines of all running processes. Zombies have none and are left out."""
    found = []
    for directory in Path("/proc").glob("[0-9]*"):
        if directory.name != str(os.getpid()):
            try:
                found.append((directory / "cmdline").read_text(errors="replace"))
            except OSError:
                continue  # it has ended
    return found


def test_a_directory_may_still_be_written_to_while_it_is_removed(tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    tree.mkdir()
    script = 'n=0; while [ $n -lt 100 ]; do mkdir -p "$1/$n/x" 2>/dev/null; n=$((n + 1)); done'
    with subprocess.Popen(["sh", "-c", script, "sh", tree]):
        files.remove(tree)
    files.remove(tree)
    assert not tree.exists()


def test_a_directory_with_a_mount_is_kept(tmp_path: Path) -> None:
    """As root, in mounts of its own."""
    code = f"""
from pathlib import Path
from fabfile.lab import files
files.remove(Path({str(tmp_path)!r}) / "tree")
"""
    (tmp_path / "tree" / "a b" / "c").mkdir(parents=True)
    (tmp_path / "precious").mkdir()
    (tmp_path / "precious" / "file").write_text("mine")
    mount = f'mount --bind "{tmp_path}/precious" "{tmp_path}/tree/a b" && "$0" -c "$1"'
    command = ["unshare", "--mount", "sh", "-c", mount, sys.executable, code]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert "stays: something is mounted in it" in done.stderr
    assert f"umount '{tmp_path}/tree/a b'" in done.stderr
    assert (tmp_path / "precious" / "file").read_text() == "mine"
    files.remove(tmp_path / "tree")
    with pytest.raises(Failed, match="is not a directory"):
        files.remove(tmp_path / "precious" / "file")
