"""The lab itself, from a path with everything in it that a path may have; one machine, and nothing is left of it.

The tests build on each other.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from time import monotonic
from typing import IO

import pytest

from fabfile import paths
from fabfile.errors import Failed
from fabfile.lab import directory, kinds, machines, process
from tests.integration.machine import parts, run_fab, running, until
from tests.integration.user_mode import forbidden

ODD = "a b, \"c\" 'd' é%h ${HOME} \\x1;&#"

LIMIT = 60
"""Seconds for what ends to have ended, on two busy cores."""

WAITS = "waiting for another lab.up or lab.down"

Inv = subprocess.Popen[str]


def begin(*words: str, output: int | IO[str] = subprocess.PIPE) -> Inv:
    """Start inv as a user would."""
    inv = [str(Path(sys.executable).with_name("inv")), *words]
    return subprocess.Popen(
        inv,
        cwd=paths.REPOSITORY,
        stdout=output,
        stderr=subprocess.STDOUT,
        stdin=subprocess.DEVNULL,
        text=True,
    )


def end(inv: Inv, code: int = 0) -> str:
    output, _ = inv.communicate()
    assert inv.returncode == code, output
    return output


@pytest.fixture(scope="module", autouse=True)
def odd(tmp_path_factory: pytest.TempPathFactory, suite: str, lab: Path) -> Iterator[Path]:
    """The directory of a lab and a cache, the latter with what the one of this run has."""
    if why := forbidden():
        pytest.skip(why)
    kinds.choose(suite, "uml")
    place = tmp_path_factory.mktemp("lab") / ODD
    (place / "cache").mkdir(parents=True)
    (place / "cache" / "containerd-devmapper").symlink_to(paths.cache())
    with pytest.MonkeyPatch.context() as own:
        own.setenv("LAB_DIR", str(place / "lab"))
        own.setenv("XDG_CACHE_HOME", str(place / "cache"))
        yield place
        machines.down()


@pytest.fixture(scope="module", autouse=True)
def started(odd: Path, suite: str) -> list[str]:
    """The output of two processes that each started a machine as soon as a third one let them."""
    files = [odd / name for name in ("one", "other")]
    with ExitStack() as held:
        held.enter_context(directory.locked(paths.lab()))
        outputs = [held.enter_context(file.open("w")) for file in files]
        both = [begin("lab.up", "--machine", "uml", "--suite", suite, output=each) for each in outputs]
        until(lambda: all(WAITS in file.read_text() for file in files), "does not wait", LIMIT)
    assert [each.wait() for each in both] == [0, 0], [file.read_text() for file in files]
    return [file.read_text() for file in files]


def gone(pid: int) -> bool:
    """Whether a process has ended, even if its parent has not reaped it yet."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes() == b""
    except OSError:
        return True


def test_two_that_waited_get_a_machine_each(started: list[str]) -> None:
    assert all(WAITS in said for said in started)
    assert [vm.name for vm in machines.machines()] == ["lab-1", "lab-2"]
    listed = end(begin("lab.list"))
    assert [line.split()[:2] for line in listed.splitlines()] == [["lab-1", "running"], ["lab-2", "running"]]


def test_a_deploy_is_planned_by_its_inventory_and_its_mirror() -> None:
    defaults = tomllib.loads((paths.lab() / "hosts.toml").read_text())["defaults"]
    assert ODD in defaults["identity_file"] and ODD in defaults["known_hosts"] and ODD in defaults["mirror"]
    plan = run_fab("-H", "lab-1", "--dry", "deploy", code=3, inventory=paths.lab() / "hosts.toml")
    assert "containerd: none → 1.6." in plan


def test_the_demo_is_refused_beside_a_lab() -> None:
    assert "there is a lab already" in end(begin("lab.demo"), 2)


@pytest.mark.parametrize(("who", "name"), [("network", "lab-1"), ("machine", "lab-2"), ("supervisor", "lab-1")])
def test_a_machine_ends_when_a_part_of_it_is_killed(who: str, name: str) -> None:
    vm = machines.get(name)
    if vm.pid is None:
        machines.restart(vm)
    assert len(running(vm.directory)) >= 3
    os.kill(parts(vm)[who], signal.SIGKILL)
    until(lambda: not running(vm.directory) and vm.pid is None, f"did not end with its {who}", LIMIT)


def test_a_machine_is_removed_by_name() -> None:
    assert end(begin("lab.down", "lab-2")) == "lab-2: gone\n"
    assert "no machine 'lab-2'" in end(begin("lab.down", "lab-2"), 2)
    assert [vm.name for vm in machines.machines()] == ["lab-1"]


def test_a_registry_that_hangs_is_started_again() -> None:
    record = paths.lab() / ".registry" / "process.json"
    before = process.read(record)
    assert before is not None
    os.kill(before, signal.SIGSTOP)
    machines.offer()
    assert process.read(record) not in (None, before)
    assert gone(before)


def test_a_machine_without_its_image_is_not_started_but_can_be_removed(odd: Path) -> None:
    (vm,) = machines.machines()
    (odd / "cache" / "containerd-devmapper").unlink()
    with pytest.raises(Failed, match="the image of lab-1 is gone"):
        machines.restart(vm)
    registry = process.read(paths.lab() / ".registry" / "process.json")
    assert registry is not None
    os.kill(registry, signal.SIGSTOP)
    (vm.directory / "vm.json").write_bytes(b"")
    assert "lab-1    broken" in end(begin("lab.list"))
    since = monotonic()
    end(begin("lab.down"))
    assert monotonic() - since < 30
    assert not paths.lab().exists() and gone(registry)
