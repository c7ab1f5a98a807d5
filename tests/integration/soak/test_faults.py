"""SIGKILL between any two commands of a task that changes a machine: a second run finishes, a third changes nothing.

The machine's `sh` is replaced by one that kills a script after its N-th command (sh.bash), for fab's own scripts and
for the one that the pool's unit starts; nothing of the product knows of it. N goes from 1 on until a run comes to its
end. `nox -s soak` takes all; `--every 40` takes each fortieth; `--first 13` goes on where a run was stopped.
"""

from __future__ import annotations

import logging
import shlex
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import count
from pathlib import Path

import pytest

from tests.integration.machine import Machine

log = logging.getLogger(__name__)

SH = "/usr/local/sbin/sh"
DROP_IN = "/run/systemd/system/devmapper-pool@.service.d"
"""The drop-in directory of every pool's unit."""

INSTALL = f"""
set -e; umask 022; mkdir -p /run/fault {DROP_IN}
printf '[Service]\\nExecStart=\\nExecStop=\\n' >{DROP_IN}/fault.conf
printf 'Exec%s={SH} /usr/local/libexec/devmapper-pool %s %%i\\n' Start up Stop down >>{DROP_IN}/fault.conf
systemctl daemon-reload; printf %s "$0" >{SH}; chmod 755 {SH}
"""
REMOVE = f"rm -r {SH} /run/fault {DROP_IN}; systemctl daemon-reload"

AGAIN = "ok 1  changed 0"


@dataclass
class Task:
    """A task to be killed, and what was learned about it."""

    line: str
    """The arguments of fab."""
    again: str = AGAIN
    """The message printed when there is nothing left to do."""
    dispensable: bool = False
    """Whether the tasks after it do not depend on it, so that it need not run again once all its kills are done."""
    kills: int = 0
    commands: tuple[int, int] | None = None
    """How many it has, and how many of them can change the machine: known once a run came to its end."""

    @property
    def name(self) -> str:
        """The task without its options."""
        return self.line.partition(" ")[0]

    def survive(self, machine: Machine, number: int) -> None:
        """Kill it after its `number`-th command; whatever that left, a plain run must finish."""
        line = shlex.split(self.line)
        if self.commands:
            if not self.dispensable:
                machine.fab(*line)
            return
        self.kill(machine, number)
        try:
            said = machine.fab(*line)
            # A change is only reported once the machine was looked at again and nothing was left to do.
            if self.commands:
                assert self.again in said, said
            elif self.again != AGAIN:
                assert self.again in machine.fab(*line)
        except AssertionError as error:
            where = machine.ssh("tail -n 1 /run/fault/killed")
            raise AssertionError(f"{self.name}, killed {where}{error}") from error

    def kill(self, machine: Machine, number: int) -> None:
        """Kill it after its `number`-th command, or, if it has no more, note how many it has."""
        machine.ssh(f"echo 0 0 no >/run/fault/count; echo {number} >/run/fault/at")
        said = machine.fab(*shlex.split(self.line), code=None)
        if "error:" in said:
            assert said.count("error:") == 1 and "Traceback" not in said, said
            assert machine.ssh("ls /run/fault") == "count\nkilled\n", f"it failed without being killed\n{said}"
            self.kills += 1
        else:
            all, changing, _ = machine.ssh("rm /run/fault/at; cat /run/fault/count").split()
            self.commands = int(all), int(changing)


INSTANCE = "--instance fault"
LOOP = (
    Task(f"pool.loop {INSTANCE} --size 1G"),
    Task(f"pool.grow {INSTANCE} --size 1088M --meta-size 4M", dispensable=True),
    Task(f"containerd.configure {INSTANCE}"),
    Task(f"pool.reset {INSTANCE} --yes", "nothing to do"),
)

DISK = "/dev/disk/by-id/virtio-lab-disk"
DIRECT = (
    Task(f"pool.direct {INSTANCE} --device {DISK} --wipe {DISK} --vg fault --lv pool --data-percent 50"),
    Task(f"pool.grow {INSTANCE} --name fault-pool --size 11G", dispensable=True),
    Task(f"pool.reset {INSTANCE} --name fault-pool --yes", "nothing to do"),
)

NAMES = (
    "find / -xdev -path /proc -prune -o -name '*fault-pool*' -print -o -name containerd-fault -print; "
    "(dmsetup ls; losetup -l -n; vgs 2>&1; systemctl list-units --plain 'devmapper*' 'containerd*') | grep fault"
)
"""Everything that the instance `fault` could leave behind."""

Report = Callable[[tuple[Task, ...]], None]


@pytest.fixture(scope="module")
def machine(deployed: Machine) -> Iterator[Machine]:
    """A machine whose `sh` can be told to kill the script it runs."""
    script = Path(__file__).with_name("sh.bash").read_text()
    deployed.ssh(f"sh -c {shlex.quote(INSTALL)} {shlex.quote(script)}")
    yield deployed
    deployed.ssh(REMOVE)


def survive(machine: Machine, tasks: tuple[Task, ...], numbers: Iterable[int]) -> None:
    """Kill each task after each of `numbers` commands, in rounds of all tasks in their order, until all were ended."""
    for number in numbers:
        machine.ssh(f"mkswap -q {DISK}")  # for --wipe
        for task in tasks:
            task.survive(machine, number)
        assert machine.ssh(NAMES, code=None) == ""
        log.info("%d: %s", number, ", ".join(f"{task.name} {'ended' if task.commands else 'killed'}" for task in tasks))
        if all(task.commands for task in tasks):
            return


@pytest.fixture
def numbers(request: pytest.FixtureRequest) -> Iterable[int]:
    """The numbers of commands after which to kill."""
    every = int(request.config.getoption("--every"))
    return count(int(request.config.getoption("--first") or every), every)


@pytest.fixture
def report(capsys: pytest.CaptureFixture[str]) -> Report:
    """Says how many commands there are and how many kills were survived."""

    def say(tasks: tuple[Task, ...]) -> None:
        with capsys.disabled():
            for task in tasks:
                all, changing = task.commands or (0, 0)
                kills = f"killed after {task.kills} of the {changing} that can change something"
                print(f"\n{task.name}: {all} commands, {kills}, all survived", end="")
            print(end=" ")

    return say


def test_faults_in_the_creation_growth_and_removal_of_a_loop_pool(
    machine: Machine, numbers: Iterable[int], report: Report
) -> None:
    survive(machine, LOOP, numbers)
    report(LOOP)


def test_faults_in_the_creation_growth_and_removal_of_a_direct_pool(
    machine: Machine, numbers: Iterable[int], report: Report
) -> None:
    survive(machine, DIRECT, numbers)
    report(DIRECT)
