"""States of a pool in which something is wrong: how each comes about, what every command says, and what leads out.

What a row names as the way out is printed by a command, and typed as it was printed. Beside these, test_health_truth.py
has the states that LVM and systemd bring about, test_not_ours_files.py those of a volume and its mount, test_repair.py
and test_metadata_truth.py damaged metadata, test_growth.py full pools.
"""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass

from tests.integration.machine import Machine
from tests.unit import typed

LOOP, TWO = "containerd-pool", "containerd--two-thinpool"
DIR = "/var/lib/containerd/devmapper"
CTR = "ctr --address /run/containerd-two/containerd.sock"
SHELL = re.compile(r"(?<![\w/-])(?:systemctl|dmsetup|lvchange|mount|mv|truncate|/\S+/ctr) .*?(?=; (?:or|where) |$)")
"""A command of the machine's own in a hint, to its end or to the next way out."""


@dataclass(frozen=True)
class State:
    """A row."""

    make: str
    """Shell that brings it about. `$image` is an image with a shell; `$ctr` and `$unit` are those of the variant."""
    says: str
    """What status, doctor, and whoever refuses say."""
    status: int = 0
    check: int = 0
    deploy: int = 2
    """Exit codes; doctor's is always 1."""
    direct: bool = False
    way: str = ""
    """What the way out begins with."""
    then: tuple[tuple[str, ...], ...] = ()
    """Further commands, as the way out names them in its turn."""
    kept: bool = True
    """Whether the container `kept` still has its file afterwards."""

    @property
    def options(self) -> list[str]:
        """Which containerd it is about."""
        return ["--instance", "two"] if self.direct else []

    @property
    def variant(self) -> list[str]:
        """The same for a deploy."""
        return [*self.options, "--variant", "direct"] if self.direct else []


RO = """t=$(dmsetup table $pool); set -- $t
dmsetup reload $pool --table "$1 $2 $3 $4 $5 $6 $7 1 read_only"; dmsetup resume $pool"""

RUN = "$ctr run -d --snapshotter devmapper $image runs sleep 10000"
END = "{ $ctr tasks kill -s KILL runs; sleep 1; $ctr tasks rm runs; $ctr containers rm runs; } >/dev/null 2>&1"

IDS = """systemctl stop $daemon $unit; vgcfgbackup -q -f /root/vg containerd-two >/dev/null
sed -i 's/transaction_id = 0/transaction_id = 5/' /root/vg; vgcfgrestore -q -y --force -f /root/vg containerd-two
systemctl start $unit || true"""

THINS = f"""systemctl stop $daemon
for d in $(dmsetup ls | grep -o '^{TWO}-snap-[0-9]*'); do dmsetup remove --retry $d; done
lvcreate -q -y -V 1G -T containerd-two/thinpool -n other; systemctl start $daemon"""
"""LVM refuses it while a device of a container is there."""

NO_DATABASES = f"""systemctl stop containerd
for d in $(dmsetup ls | grep -o '^{LOOP}-snap-[0-9]*'); do dmsetup remove $d; done
rm {DIR}/*.db; systemctl start containerd"""

STOP = "systemctl stop $daemon $unit"
NO_UNIT = "rm /etc/systemd/system/$unit; systemctl daemon-reload"
DOWN = "it is down: its unit does not run"
GONE = "is missing: the pool would not start at the next boot"

STATES = {
    "down": State(STOP, DOWN, status=1, deploy=0, way="systemctl restart"),
    "down, direct": State(STOP, DOWN, status=1, deploy=0, direct=True, way="systemctl restart"),
    "read-only": State(RO, "the kernel has made it read-only: writes fail", check=1, way="check it: systemctl stop"),
    "unit failed": State(
        f"{RUN}; systemctl stop $unit",
        "its unit failed (exit-code): devmapper-pool: containerd-pool-snap",
        deploy=0,
        way="systemctl start",
    ),
    "unit gone": State(NO_UNIT, GONE, deploy=0, way="pool.loop"),
    "unit gone, down, direct": State(f"{STOP}; {NO_UNIT}", GONE, status=1, deploy=0, direct=True, way="pool.direct"),
    "udev silent": State(
        "kill -STOP $(pidof systemd-udevd)", "", check=2, deploy=0, way="systemctl restart systemd-udevd"
    ),
    "metadata gone, down": State(
        f"{STOP}; rm {DIR}/meta", f"{DIR}/meta is gone", status=1, check=2, way="from a backup"
    ),
    "metadata cut, up": State(f"truncate -s 0 {DIR}/meta", f"{DIR}/meta was truncated", check=2, way="from a backup"),
    "directory removed, up": State(
        "rm -rf /var/lib/containerd",
        f"{DIR}/data is gone; its content is still in /dev/loop",
        check=2,
        way="pool.rescue",
    ),
    "databases gone": State(
        NO_DATABASES,
        "containerd's database lists no devices on it",
        way="pool.fsck",
        then=(("pool.fsck", "--fix"), ("pool.fsck", "--fix", "--yes"), ("containers", "rm")),
        kept=False,
    ),
    "thin volume of LVM's": State(
        THINS,
        "LVM has thin volumes of its own in containerd-two/thinpool",
        status=1,
        check=1,
        direct=True,
        way="pool.repair",
        then=(("pool.repair", "--yes"),),
    ),
    "transaction ids": State(IDS, "LVM expects transaction id 5", status=1, check=1, direct=True, way="pool.repair"),
}


def out(machine: Machine, hint: str, code: int | None = 0) -> str:
    """Type the way out as it was printed, and return what it said."""
    assert typed.wrong(hint) == []
    commands = typed.commands(hint)
    if commands and not SHELL.search(hint.partition(commands[0])[0]):
        return machine.fab(*shlex.split(commands[0])[3:], code=code)
    found = SHELL.search(hint)
    assert found, hint
    return machine.ssh(found[0], code=code)


def hint_in(said: str, what: str = "") -> str:
    """The first way out in what a command printed, of what is said to be `what`."""
    found = re.findall(rf"(?:(?:fail|FAIL) .*{re.escape(what)}.*\n.*→|hint:) (.*)", said)
    assert found, said
    return str(found[0])
