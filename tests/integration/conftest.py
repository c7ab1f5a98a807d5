"""Real machines for the tests: a throwaway VM with a kernel that has device mapper, thrown away again at the end."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from fabfile.lab import machines, vm
from fabfile.lab.vm import Vm
from fabfile.paths import REPOSITORY


def pytest_addoption(parser: pytest.Parser) -> None:
    """Options after `nox -s integration --`."""
    parser.addoption("--keep", action="store_true", help="leave the machines of the tests running")
    parser.addoption("--suite", default="bookworm", help="Debian generation of the machines")


@dataclass(frozen=True)
class Machine:
    """A machine under test, driven as a user would: by fab, and looked at by a plain ssh."""

    vm: Vm
    suite: str

    def fab(self, *args: str, code: int = 0, inventory: Path | None = None) -> str:
        """Run fab against it and return all it printed; the exit code must be `code`."""
        return run_fab("-H", self.vm.name, *args, code=code, inventory=inventory)

    def ssh(self, command: str, code: int | None = 0) -> str:
        """Run a command by OpenSSH and return its output."""
        done = subprocess.run(
            self.vm.ssh(command), capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False
        )
        assert code is None or done.returncode == code, f"{command}\n{done.stdout}{done.stderr}"
        return done.stdout + done.stderr

    def power_cut(self) -> None:
        """End it without warning and start it again."""
        vm.kill(self.vm)
        machines.restart(self.vm, self.suite)

    def reboot(self) -> None:
        """Reboot it in order and wait."""
        before = self.ssh("cat /proc/sys/kernel/random/boot_id")
        self.ssh("systemctl reboot", code=None)
        for _ in range(300):
            done = subprocess.run(
                self.vm.ssh("cat /proc/sys/kernel/random/boot_id"), capture_output=True, text=True, check=False
            )
            if done.returncode == 0 and done.stdout != before:
                return
        raise AssertionError("it did not come back")


def run_fab(*args: str, code: int = 0, inventory: Path | None = None) -> str:
    """Run fab as a user would."""
    lab = Path(os.environ["LAB_DIR"])
    environment = {**os.environ, "HOSTS_FILE": str(inventory or lab / "hosts.toml")}
    done = subprocess.run(
        [str(Path(sys.executable).with_name("fab")), *args],
        cwd=REPOSITORY, env=environment, capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False,
    )  # fmt: skip
    output = done.stdout + done.stderr
    assert done.returncode == code, f"fab {' '.join(args)}: exit code {done.returncode}, expected {code}\n{output}"
    return output


@pytest.fixture(scope="session")
def machine(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    """One VM for the session. Its console is kept in logs/ when a test failed."""
    before = _qemus()
    lab = tmp_path_factory.mktemp("lab")
    os.environ["LAB_DIR"] = str(lab)
    suite = request.config.getoption("--suite")
    (started,) = machines.up(1, suite)
    yield Machine(started, suite)
    if request.session.testsfailed:
        logs = REPOSITORY / "logs"
        logs.mkdir(exist_ok=True)
        shutil.copyfile(started.console, logs / f"{started.name}-console.log")
        (logs / f"{started.name}-journal.log").write_text(
            Machine(started, suite).ssh("journalctl -b --no-pager", code=None)
        )
        print(f"\nlogs of the machine: {logs}")
    if request.config.getoption("--keep"):
        print(f"\nkept: LAB_DIR={lab} inv lab.shell {started.name}")
        return
    machines.down()
    assert not lab.exists()
    assert _qemus() == before, "a process of the lab is left"


def _qemus() -> set[int]:
    """Processes of qemu and the registry on this machine."""
    found = set()
    for directory in Path("/proc").glob("[0-9]*"):
        try:
            command = (directory / "cmdline").read_text()
        except OSError:
            continue
        if re.match(r"qemu-system|.*/docker-registry\0", command):
            found.add(int(directory.name))
    return found
