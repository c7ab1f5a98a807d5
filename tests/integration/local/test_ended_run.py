"""A test run that is interrupted, or loses a process, removes its lab."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from fabfile.lab import process, vm
from fabfile.paths import REPOSITORY
from tests.integration.machine import until

WAITS = """
import os, shutil, time
from pathlib import Path
from fabfile.lab import directory, process, vm

def test_waits(lab):
    seen = Path({seen!r})
    {before}
    seen.touch()
    time.sleep(600)
"""

MACHINE = """(lab / directory.MARK).write_text(directory.FOUND)
    machine = vm.Vm(lab / "lab-1", "uml", "bookworm", lab, 1)
    machine.directory.mkdir()
    (lab / "file-of-a-test").touch()
    vm.write(machine)
    process.spawn(machine.process, ["env", "-u", "CONTAINERD_DEVMAPPER_TESTS", "sleep", "600"], machine.log)
    shutil.copy(machine.process, seen.with_name(vm.PROCESS))"""
"""Makes a machine that runs `sleep`, which does not count as a leak of the test."""

NOX = """
import nox
nox.options.default_venv_backend = "none"
import runpy
ours = runpy.run_path({noxfile!r})
@nox.session
def waits(session):
    ours["python"](session, *{words!r})
"""


def pytest_words(test: Path, *more: str) -> list[str]:
    """The arguments of Python for a test run of one file, with this directory's conftest."""
    options = ["-q", "-p", "no:cacheprovider", "-p", "tests.integration.conftest", f"--rootdir={test.parent}"]
    return ["-m", "pytest", *options, *more, str(test)]


def begin(
    test: Path, command: Sequence[str], before: str, tmp_path: Path, pipe: int | None = None
) -> subprocess.Popen[bytes]:
    """Start a test run in a session of its own and return it, once its test waits.

    Args:
        test: its file.
        command: how to start it.
        before: what the test does before it waits.
        tmp_path: an empty directory.
        pipe: descriptor for its output; None: a file.
    """
    seen = tmp_path / "seen"
    test.write_text(WAITS.format(before=before, seen=str(seen)))
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    environment = {**os.environ, "TMPDIR": str(temporary), "PYTHONPATH": str(REPOSITORY)}
    environment = {name: value for name, value in environment.items() if not name.startswith("PYTEST_XDIST")}
    # What a shell starts in the background ignores SIGINT, and so does what that starts.
    before_us = signal.signal(signal.SIGINT, signal.default_int_handler)
    with (tmp_path / "output").open("wb") as out:
        run = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=pipe or out, stderr=out, cwd=tmp_path, env=environment,
            start_new_session=True,
        )  # fmt: skip
    signal.signal(signal.SIGINT, before_us)
    until(lambda: seen.exists() or run.poll() is not None, "the test does not begin", 120)
    assert seen.exists(), (tmp_path / "output").read_text()
    return run


def check_gone(run: subprocess.Popen[bytes], tmp_path: Path) -> None:
    record = tmp_path / vm.PROCESS  # a copy, as the lab is removed with its own
    try:
        run.wait(60)
    finally:
        run.kill()
        left = process.read(record)
        process.end(record)
    output = (tmp_path / "output").read_text()
    assert record.exists() and left is None, output
    assert [path.name for path in (tmp_path / "tmp").iterdir() if "containerd-devmapper" in path.name] == [], output


@pytest.mark.parametrize(("sign", "workers"), [(signal.SIGINT, "-n0"), (signal.SIGTERM, "-n1"), (signal.SIGHUP, "-n1")])
def test_a_signal_ends_a_run_and_its_lab(tmp_path: Path, sign: signal.Signals, workers: str) -> None:
    test = tmp_path / "test_it.py"
    command = [sys.executable, *pytest_words(test, workers)]
    run = begin(test, command, MACHINE, tmp_path)
    os.kill(run.pid, sign)
    check_gone(run, tmp_path)


def test_a_reader_of_the_output_that_has_ended_keeps_no_lab(tmp_path: Path) -> None:
    """As after Ctrl-C on `./bootstrap nox | tee log`."""
    test = tmp_path / "test_it.py"
    reads, writes = os.pipe()
    run = begin(test, [sys.executable, *pytest_words(test, "-v", "-n1")], MACHINE, tmp_path, writes)
    os.close(reads)
    os.close(writes)
    os.kill(run.pid, signal.SIGTERM)
    check_gone(run, tmp_path)


def test_a_killed_worker_leaves_no_machine(tmp_path: Path) -> None:
    test = tmp_path / "test_it.py"
    command = [sys.executable, *pytest_words(test, "-n1", "--max-worker-restart=0")]
    test_dies = MACHINE + "\n    seen.touch(); os.kill(os.getpid(), 9)"
    run = begin(test, command, test_dies, tmp_path)
    check_gone(run, tmp_path)


def test_ctrl_c_on_nox_gives_the_tests_time_to_remove_the_lab(tmp_path: Path) -> None:
    test, file = tmp_path / "test_it.py", tmp_path / "noxfile.py"
    file.write_text(NOX.format(noxfile=str(REPOSITORY / "noxfile.py"), words=pytest_words(test, "-n1")))
    command = [sys.executable, "-m", "nox", "-f", str(file), "-s", "waits"]
    run = begin(test, command, MACHINE, tmp_path)
    os.killpg(run.pid, signal.SIGINT)
    check_gone(run, tmp_path)
