"""The apply script in a real shell: the lock, the generation, the order of changes, and what a kill leaves."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import threading
import time
from pathlib import Path

import msgspec
import pytest
from invoke import Context

from fabfile.apply import apply, apply_script
from fabfile.errors import Failed
from fabfile.facts import Facts
from fabfile.plan import Change, Command, File, Upload
from fabfile.remote.lock import BUSY, Stale
from fabfile.remote.target import PROLOGUE
from tests.unit import fakes

pytestmark = pytest.mark.usefixtures("run_dir")


def have(generation: str = "0") -> Facts:
    """The facts of a machine at this generation."""
    now = fakes.have()
    return msgspec.structs.replace(now, system=msgspec.structs.replace(now.system, generation=generation))


def start(changes: list[Change], generation: str = "0") -> subprocess.Popen[bytes]:
    """Start the apply script in a process group of its own."""
    script = PROLOGUE + apply_script(changes, {}, generation)
    return subprocess.Popen(["sh", "-c", script], start_new_session=True, stdout=subprocess.DEVNULL)


def wait_for(path: Path) -> None:
    """Wait until `path` exists."""
    end = time.monotonic() + 20
    while not path.exists():
        assert time.monotonic() < end, f"{path} did not appear"
        time.sleep(0.01)


def test_changes_are_made_in_their_order(c: Context, tmp_path: Path) -> None:
    log = tmp_path / "log"
    changes: list[Change] = [Command(f"line {n}", f"echo {n} >>{log}") for n in range(3)]
    assert apply(c, "step", changes, have())
    assert log.read_text() == "0\n1\n2\n"


def test_each_application_is_a_generation(c: Context, run_dir: Path) -> None:
    for number in range(3):
        assert apply(c, "step", [Command("nothing", "true")], have(str(number)))
    assert (run_dir / "generation").read_text() == "3\n"


def test_a_plan_for_another_generation_is_not_applied(c: Context, run_dir: Path, tmp_path: Path) -> None:
    (run_dir / "generation").write_text("5\n")
    (run_dir / "lock").write_text("held by ada@laptop, deploy\n")
    with pytest.raises(Stale, match="held by ada@laptop, deploy"):
        apply(c, "step", [Command("touch", f"touch {tmp_path}/done")], have("4"))
    assert not (tmp_path / "done").exists()
    assert (run_dir / "generation").read_text() == "5\n"


def test_an_empty_generation_file_left_by_a_kill_is_continued(c: Context, run_dir: Path) -> None:
    (run_dir / "generation").touch()
    assert apply(c, "step", [Command("nothing", "true")], have("0"))
    assert (run_dir / "generation").read_text() == "1\n"


def test_a_failed_change_is_named_and_the_later_ones_are_not_made(c: Context, run_dir: Path, tmp_path: Path) -> None:
    changes: list[Change] = [
        Command("the first", "echo noise of the first"),
        Command("the second", "echo out; echo err >&2\nsh -c 'exit 7'\necho not reached"),
        Command("the third", f"touch {tmp_path}/third"),
    ]
    with pytest.raises(Failed) as failed:
        apply(c, "pool.loop", changes, have())
    assert failed.value.what == "pool.loop: the second: failed"
    assert failed.value.details == "exit code 7\nout\nerr"
    assert not (tmp_path / "third").exists()
    assert (run_dir / "generation").read_text() == "1\n", "the machine may have changed: older plans are void"


@pytest.mark.parametrize(
    ("script", "code"), [("echo $unset", 2), ("nosuchcommand", 127), (f"exit {BUSY}", 75), ("exit 76", 76)]
)
def test_whatever_a_change_exits_with_is_its_failure(c: Context, script: str, code: int) -> None:
    with pytest.raises(Failed, match="step: it: failed") as failed:
        apply(c, "step", [Command("it", script)], have())
    assert failed.value.details.startswith(f"exit code {code}")


def test_output_that_looks_like_our_marks_does_not_blame_another_change(c: Context) -> None:
    changes: list[Change] = [Command("it", "echo @@0; echo @@7; exit 3"), Command("not it", "true")]
    with pytest.raises(Failed, match="step: it: failed") as failed:
        apply(c, "step", changes, have())
    assert failed.value.details == "exit code 3\n@@0\n@@7"


def test_a_change_has_no_standard_input(c: Context, tmp_path: Path) -> None:
    assert apply(c, "step", [Command("read", f"cat >{tmp_path}/read")], have())
    assert (tmp_path / "read").read_text() == ""


def test_a_change_does_not_inherit_the_lock(c: Context, run_dir: Path, tmp_path: Path) -> None:
    daemon = f"sleep 30 >/dev/null 2>&1 & echo $! >{tmp_path}/pid"
    assert apply(c, "step", [Command("a daemon", daemon)], have())
    pid = int((tmp_path / "pid").read_text())
    try:
        started = time.monotonic()
        assert apply(c, "step", [Command("after it", "true")], have("1"))
        assert time.monotonic() - started < 4, "it did not wait for the daemon"
    finally:
        os.kill(pid, signal.SIGKILL)


def test_the_second_operator_is_told_who_holds_the_machine(c: Context, tmp_path: Path) -> None:
    first = threading.Thread(
        target=apply, args=(c, "step", [Command("slow", f"touch {tmp_path}/slow; sleep 8")], have())
    )
    first.start()
    wait_for(tmp_path / "slow")
    started = time.monotonic()
    with pytest.raises(Failed, match="step: another operator is changing the host") as failed:
        apply(Context(), "step", [Command("touch", f"touch {tmp_path}/second")], have())
    waited = time.monotonic() - started
    first.join()
    assert re.match(r"held by \S+@\S+, step \(login \S+\), pid \d+, since ", failed.value.details)
    assert not (tmp_path / "second").exists()
    assert 4 < waited < 8, "it waited a while, not for ever"


def test_a_run_that_has_ended_is_not_named_as_the_holder(c: Context, run_dir: Path, tmp_path: Path) -> None:
    assert apply(c, "first", [Command("nothing", "true")], have())
    assert ", first (" in (run_dir / "lock").read_text()
    hold = f"touch {tmp_path}/held; exec sleep 60"
    with subprocess.Popen(["flock", "--no-fork", run_dir / "lock", "sh", "-c", hold]) as holder:
        try:
            wait_for(tmp_path / "held")
            with pytest.raises(Failed, match="step: another process holds the lock of the host") as failed:
                apply(c, "step", [Command("touch", f"touch {tmp_path}/second")], have("1"))
        finally:
            holder.terminate()
    said = rf"held by sleep \(pid {holder.pid}\) of \S+, not a task of this tool"
    assert re.fullmatch(said, failed.value.details.strip())
    assert "kill PID" in failed.value.hint and not (tmp_path / "second").exists()


def test_of_two_concurrent_changes_one_is_planned_again(c: Context, tmp_path: Path) -> None:
    results: list[bool] = []

    def operator(name: str) -> None:
        change = Command("append", f"sleep 0.2; echo {name} >>{tmp_path}/log")
        try:
            results.append(bool(apply(Context(), "step", [change], have())))
        except Stale as stale:
            assert str(stale).startswith("held by ")
            results.append(False)

    threads = [threading.Thread(target=operator, args=(name,)) for name in "ab"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(results) == [False, True]
    assert len((tmp_path / "log").read_text().splitlines()) == 1


@pytest.mark.parametrize("killed_at", range(4))
def test_killed_in_the_middle_the_next_run_finishes(c: Context, run_dir: Path, tmp_path: Path, killed_at: int) -> None:
    etc = tmp_path / "etc"

    def changes(stop: str) -> list[Change]:
        hold = [f"touch {tmp_path}/reached; sleep 60" if n == killed_at and stop else "true" for n in range(4)]
        return [
            Command("first", f"mkdir -p {etc}; touch {etc}/first; {hold[0]}"),
            File("file", f"{etc}/file", "content\n", validate=hold[1]),
            File("file", f"{etc}/file", "other\n", before="content\n", backup=f"{etc}/file.bak", validate=hold[2]),
            Command("last", f"{hold[3]}; touch {etc}/last"),
        ]

    process = start(changes("stop"))
    wait_for(tmp_path / "reached")
    os.killpg(process.pid, signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    if killed_at < 2:
        assert not (etc / "file").exists(), "not half a file"
    assert not (etc / "last").exists()
    assert apply(c, "step", changes(""), have((run_dir / "generation").read_text().strip()))
    assert sorted(path.name for path in etc.iterdir()) == ["file", "file.bak", "first", "last"]
    assert ((etc / "file").read_text(), (etc / "file.bak").read_text()) == ("other\n", "content\n")


class Tarball(msgspec.Struct, frozen=True):
    """An existing source file."""

    file: str
    label: str = "tarball-1"

    def path(self) -> Path:
        """The path of the source."""
        return Path(self.file)


def test_an_upload_is_verified_and_used_where_it_is(c: Context, tmp_path: Path) -> None:
    source = tmp_path / "it's a tarball"
    source.write_text("content")
    assert apply(c, "step", [Upload("unpack", Tarball(str(source)), f'cp "$1" {tmp_path}/out')], have())
    assert (tmp_path / "out").read_text() == "content"
    assert source.exists(), "a file of the controller's cache stays"


def test_a_damaged_upload_is_not_used(tmp_path: Path) -> None:
    (tmp_path / "tar").write_text("conten")
    upload = Upload("unpack", Tarball("unused"), f"touch {tmp_path}/used")
    script = apply_script([upload], {0: (str(tmp_path / "tar"), "0" * 64)}, "0")
    done = subprocess.run(["sh", "-c", script], capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False)
    assert done.returncode == 1
    assert "the transfer broke" in done.stdout
    assert not (tmp_path / "used").exists()
