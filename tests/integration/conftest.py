"""Real machines for the tests: throwaway VMs with a kernel that has device mapper, thrown away again at the end.

The recipe is deployed once in a session; the machine's disk is kept, and whoever needs a deployed machine starts one
from it. A machine serves the tests of one file, in their order.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from time import monotonic, sleep, time
from typing import Any

import pytest

from fabfile.lab import image, machines, vm
from fabfile.lab.container import has_thin_pools
from fabfile.lab.vm import Vm
from fabfile.paths import REPOSITORY
from tests.integration import leaks

LIMIT = 300
"""Seconds for a machine to go down or come back, on two busy cores."""

BOOTED = "systemctl is-system-running --wait"
"""SSH answers before all units have started. Its exit code tells of failed ones, which a test sees for itself."""

STATE = """
find /etc /opt /usr/local -xdev -printf '%p %s %T@\\n' | sort
[ ! -d /var/lib/containerd ] || find /var/lib/containerd/devmapper -printf '%p %s\\n' | sort
losetup -n -O NAME,BACK-FILE | sort; dmsetup ls; dmsetup table; cat /proc/mounts
"""
"""All that a deploy could touch. Of what a running containerd writes by itself, the names and sizes."""


def pytest_addoption(parser: pytest.Parser) -> None:
    """Options after `nox -s integration --`."""
    parser.addoption("--keep", action="store_true", help="leave the machines of a failed test running")
    parser.addoption("--suite", default="bookworm", help="Debian generation of the machines")
    parser.addoption("--rounds", type=int, default=2, help="how often a machine loses its power in test_soak")
    parser.addoption("--every", type=int, default=40, help="test_faults kills after each so many-th command")
    parser.addoption("--first", type=int, help="after which command test_faults kills first, if not after --every")


def pytest_xdist_auto_num_workers() -> int:
    """Two, as one machine leaves half of two cores idle; one where tests may use this kernel's own loops and pools.

    Each would take the other's for a leak of its own.
    """
    return 1 if has_thin_pools() else 2


LOGS = REPOSITORY / "logs"
"""What is kept of the machines of failed tests."""

BEGIN = time()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say what was kept: the machine of a failed test may have ended with one that passed."""
    for file in sorted(LOGS.glob("*-*.log")):
        if file.stat().st_mtime > BEGIN:
            terminalreporter.write_line(file.read_text() if file.match("*-kept.log") else f"kept: {file}")


@dataclass(frozen=True)
class Machine:
    """A machine under test, driven as a user would: by fab, and looked at by a plain ssh."""

    vm: Vm
    suite: str

    def fab(self, *args: str, code: int | None = 0, inventory: Path | None = None) -> str:
        """Run fab against it and return all it printed; the exit code must be `code`, or any where that is None."""
        return run_fab("-H", self.vm.name, *args, code=code, inventory=inventory)

    def ssh(self, command: str, code: int | None = 0) -> str:
        """Run a command by OpenSSH and return its output."""
        done = subprocess.run(
            self.vm.ssh(command), capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False
        )
        assert code is None or done.returncode == code, f"{command}\n{done.stdout}{done.stderr}"
        return done.stdout + done.stderr

    def state(self) -> str:
        """All that a deploy could touch."""
        return self.ssh(STATE)

    def in_snapshot(self, name: str, script: str, ctr: str = "ctr") -> str:
        """Run a script in the file system of a container that is not running and return its output."""
        snapshots = f"{ctr} snapshots --snapshotter devmapper"
        # ctr prints an empty list of options, too.
        mount = f'set -e; d=$(mktemp -d); m=$({snapshots} mounts $d {name}); eval "${{m%-o }}"; cd $d'
        return self.ssh(f"{mount}\n{script}\nsync; cd /; umount $d; rmdir $d")

    def power_cut(self) -> None:
        """End it without warning and start it again."""
        vm.kill(self.vm)
        machines.restart(self.vm, self.suite)
        self.ssh(BOOTED, code=None)

    def reboot(self) -> None:
        """Reboot it in order and wait."""
        boot = "cat /proc/sys/kernel/random/boot_id"
        before = self.ssh(boot)
        self.ssh("systemctl reboot", code=None)
        until(lambda: self.ssh(boot, code=None) not in ("", before) and vm.answers(self.vm), "did not come back")
        self.ssh(BOOTED, code=None)

    def power_off(self) -> None:
        """Shut it down in order and wait; its disk stays."""
        self.ssh("systemctl poweroff", code=None)
        until(lambda: self.vm.pid is None, "did not go down")


def until(true: Any, otherwise: str, seconds: float = LIMIT) -> None:
    """Wait, at most for so many seconds, until `true()` is."""
    begin = monotonic()
    while not true():
        assert monotonic() - begin < seconds, f"it {otherwise}"
        sleep(0.2)


@dataclass(frozen=True)
class Golden:
    """The machine on which the recipe was deployed once: its disk, and what was seen on the way."""

    disk: image.Image
    fresh: str
    """The state before anything was done."""
    dry: str
    dry_json: str
    after_dry: str
    """The state after the dry runs."""
    deploy: str
    after_deploy: str


def run_fab(*args: str, code: int | None = 0, inventory: Path | None = None) -> str:
    """Run fab as a user would."""
    lab = Path(os.environ["LAB_DIR"])
    environment = {**os.environ, "HOSTS_FILE": str(inventory or lab / "hosts.toml")}
    done = subprocess.run(
        [str(Path(sys.executable).with_name("fab")), *args],
        cwd=REPOSITORY, env=environment, capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False,
    )  # fmt: skip
    output = done.stdout + done.stderr
    assert code in (None, done.returncode), (
        f"fab {' '.join(args)}: exit code {done.returncode}, expected {code}\n{output}"
    )
    return output


@pytest.fixture(scope="session")
def lab(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The session's own lab; at its end nothing of it is left on this machine."""
    before = leaks.state(devices=alone(request))
    directory = tmp_path_factory.mktemp("lab")
    os.environ["LAB_DIR"] = str(directory)
    yield directory
    if all(machine.pid is None for machine in machines.machines()):
        machines.down()
        assert leaks.left(before) == []
        shutil.rmtree(directory, ignore_errors=True)
    del os.environ["LAB_DIR"]


@pytest.fixture(scope="session")
def suite(request: pytest.FixtureRequest) -> str:
    """The Debian generation under test."""
    return str(request.config.getoption("--suite"))


@contextmanager
def started(request: pytest.FixtureRequest, suite: str, **options: Any) -> Iterator[Machine]:
    """A VM for the tests of one file. When one of them failed, its logs are kept; with --keep, it stays too.

    Args:
        request: of the fixture that wants it.
        suite: the Debian generation.
        options: see machines.up.
    """
    failed = request.session.testsfailed
    (new,) = machines.up(1, suite, **options)
    machine = Machine(new, suite)
    yield machine
    if request.session.testsfailed > failed:
        name = request.module.__name__.rpartition(".")[2]
        keep_logs(machine, name)
        if request.config.getoption("--keep"):
            (LOGS / f"{name}-kept.log").write_text(f"kept: LAB_DIR={os.environ['LAB_DIR']} inv lab.shell {new.name}\n")
            return
    machines.down(new.name)
    assert not new.directory.exists()


def keep_logs(machine: Machine, name: str) -> None:
    """Copy its console and journal to logs/."""
    LOGS.mkdir(exist_ok=True)
    shutil.copyfile(machine.vm.console, LOGS / f"{name}-console.log")
    if machine.vm.pid is not None:
        (LOGS / f"{name}-journal.log").write_text(machine.ssh("journalctl -b --no-pager", code=None))


@pytest.fixture(scope="session")
def golden(lab: Path, suite: str) -> Golden:
    """The recipe, deployed once on a machine that had nothing; the machine is shut down again."""
    (first,) = machines.up(1, suite)
    machine = Machine(first, suite)
    try:
        fresh = machine.state()
        dry = machine.fab("--dry", "deploy", code=3)
        dry_json = machine.fab("--dry", "deploy", "--json", code=3)
        after_dry = machine.state()
        deploy = machine.fab("deploy")
        after_deploy = machine.state()
        machine.power_off()
    except BaseException:
        try:
            keep_logs(machine, "golden")
        finally:
            vm.kill(first)
        raise
    disk = image.Image(suite, image.build(suite).directory, first.directory / "root.qcow2")
    return Golden(disk, fresh, dry, dry_json, after_dry, deploy, after_deploy)


@pytest.fixture(scope="module")
def bare(request: pytest.FixtureRequest, lab: Path, suite: str) -> Iterator[Machine]:
    """A machine on which nothing was done yet."""
    with started(request, suite) as machine:
        yield machine


@pytest.fixture(scope="module")
def deployed(request: pytest.FixtureRequest, suite: str, golden: Golden) -> Iterator[Machine]:
    """A machine that was deployed: loop pool, containerd up, hello-world pulled."""
    with started(request, suite, base=golden.disk) as machine:
        yield machine


def alone(request: pytest.FixtureRequest) -> bool:
    """Whether no other tests run at the same time."""
    workers = getattr(request.config, "workerinput", {"workercount": 1})["workercount"]
    return bool(workers == 1)


@pytest.fixture(autouse=True)
def leak_check(request: pytest.FixtureRequest) -> Iterator[None]:
    """After each test, this machine is as it was before: fixtures of a wider scope are there by then.

    Of two tests at a time only those of test_native make devices and mounts here, all others in a machine.
    """
    before = leaks.state(devices=alone(request) or "native" in request.fixturenames)
    yield
    assert leaks.left(before) == []
