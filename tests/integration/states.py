"""Broken states of a pool: how to reach each one, what every command reports, and the fix.

The fix in a row is printed by a command, and typed as printed. Other states are in test_health_truth.py (LVM and
systemd), test_not_ours_files.py (a volume and its mount), test_repair.py and test_metadata_truth.py (damaged metadata),
and test_growth.py (full pools).
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable
from dataclasses import dataclass

from tests.integration.machine import Machine
from tests.unit import typed

Fab = Callable[..., str]

LOOP, TWO, SMALL = "containerd-pool", "containerd--two-thinpool", "small-pool"
DIR = "/var/lib/containerd/devmapper"
CTR = "ctr --address /run/containerd-two/containerd.sock"
CTR_SMALL = "ctr --address /run/containerd-small/containerd.sock"
SETTINGS = """
[defaults.pool]
size = "96M"
meta_size = "2M"
base_image_size = "512MB"
threshold = 100
"""
"""The loop pool of the instance `small`: it is soon full, and does not grow by itself."""
SHELL = re.compile(r"(?<![\w/-])(?:systemctl|dmsetup|lvchange|mount|mv|truncate|/\S+/ctr) .*?(?=; (?:or|where) |$)")
"""A command of the machine's own in a hint, up to its end or the next alternative."""


@dataclass(frozen=True)
class State:
    """A row."""

    make: str
    """Shell that reaches the state. `$image` is an image with a shell; `$ctr` and `$unit` are those of the variant."""
    says: str
    """Text that status, doctor, and refusals contain."""
    status: int = 0
    check: int = 0
    deploy: int = 2
    """Exit code of a deploy; doctor's is always 1."""
    checked: str = ""
    """Text that pool.check contains, if it differs."""
    direct: bool = False
    """The state is of the direct pool of the instance `two`."""
    small: bool = False
    """The state is of the pool of the instance `small`."""
    way: str = ""
    """Start of the fix."""
    then: tuple[tuple[str, ...], ...] = ()
    """Further commands, as the output of the fix names them."""
    after: str = ""
    """Shell that finally undoes what was needed to reach the state."""
    kept: bool = True
    """Whether the container `kept` still has its file afterwards."""

    @property
    def options(self) -> list[str]:
        """Options that select its containerd."""
        return ["--instance", "two"] if self.direct else ["--instance", "small"] if self.small else []

    @property
    def ctr(self) -> str:
        """Its ctr command."""
        return CTR if self.direct else CTR_SMALL if self.small else "ctr"

    @property
    def pool(self) -> str:
        """The name of its pool."""
        return TWO if self.direct else SMALL if self.small else LOOP

    @property
    def daemon(self) -> str:
        """The name of its unit."""
        return "-".join(["containerd", *self.options[1:]])

    @property
    def variant(self) -> list[str]:
        """Options of a deploy for it."""
        return [*self.options, *(["--variant", "direct"] if self.direct else [])]


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

MOUNT = """mkdir -p /mnt/kept
m=$($ctr snapshots --snapshotter devmapper mounts /mnt/kept kept); eval "${m%-o }"
"""
WRITE = "dd if=/dev/zero of=/mnt/kept/big bs=1M conv=fsync"
CUT = f"""size=$(stat -c %s {DIR}/meta) loop=$(losetup -n -O NAME -j {DIR}/meta)
truncate -s $left {DIR}/meta; losetup -c $loop"""
WHOLE = f"truncate -s $size {DIR}/meta; losetup -c $loop"
NEEDS_CHECK = f"""
last=$(head -c 4M {DIR}/meta | od -An -v -tx1 -w4096 | grep -n '[1-9a-f]' | tail -n 1 | cut -d : -f 1)
left=$((last * 4096)) i=1000000; {CUT}
until dmsetup status $pool | grep -q needs_check || [ $i -gt 1000500 ]; do
  dmsetup message $pool 0 "create_thin $i"; i=$((i + 1))
done
{WHOLE}"""
"""The device of the metadata ends, for a moment, behind what is written of it: what is new cannot be."""
GIVEN_UP = f"""dmsetup message $pool 0 "create_thin 1000000"
dmsetup create probe --table "0 2048 thin /dev/mapper/$pool 1000000"
sync; sleep 2; cp {DIR}/meta /root/meta
left=512; {CUT}
dd if=/dev/zero of=/dev/mapper/probe bs=64k count=1 conv=fsync
{WHOLE}
dd if=/root/meta of={DIR}/meta bs=1M conv=notrunc,fsync status=none; rm /root/meta
dmsetup remove probe"""
"""It is gone for a moment, the superblock with it, in which the kernel would note an error."""
FORGET = """i=1000000
while dmsetup message $pool 0 "delete $i"; do i=$((i + 1)); done"""

FULL = f"""echo 300 >/sys/module/dm_thin_pool/parameters/no_space_timeout
{MOUNT}
set -- $(dmsetup status $pool); used=${{6%/*}} total=${{6#*/}}
setsid {WRITE} count=$(((total - used) / 16 + 6)) >/root/dd 2>&1 </dev/null &
n=0
until dmsetup status --noflush $pool | grep -q out_of_data || [ $((n += 1)) -gt 300 ]; do sleep 0.2; done"""
"""A file of more than there is; the next step of growth has room for it."""
ERROR = f"""sed -i s/^WHEN_FULL=.*/WHEN_FULL=error/ /etc/devmapper-pool/$pool.conf
/usr/local/libexec/devmapper-pool settle $pool
{FULL}"""
EMPTY = f"""while pidof dd >/dev/null; do sleep 0.2; done
umount /mnt/kept
{MOUNT}
rm -f /mnt/kept/big; sync; fstrim /mnt/kept; umount /mnt/kept"""
"""Mounted again, as a file system that got errors is read-only."""

FULL_METADATA = f"""{MOUNT}
i=1000000
while dmsetup message $pool 0 "create_thin $i"; do i=$((i + 1)); done
n=0
until dmsetup status $pool | grep -q ' ro ' || [ $((n += 1)) -gt 20 ]; do {WRITE} count=1 seek=$n; done"""
"""Empty devices fill it; only what a device writes makes the pool look at what it has left."""
STOP = "systemctl stop $daemon $unit"
DAMAGED = f"""{STOP}; cp {DIR}/meta /root/meta
for first in $(seq 1 30); do
  dd if=/dev/urandom of={DIR}/meta bs=4096 seek=$first count=1 conv=notrunc,fsync status=none
  thin_check {DIR}/meta >/dev/null 2>&1 || break
  cp /root/meta {DIR}/meta
done
rm /root/meta; systemctl start $unit"""
"""The first block after the superblock whose loss is seen."""
NO_UNIT = "rm /etc/systemd/system/$unit; systemctl daemon-reload"
DOWN = "it is down: its unit does not run"
GONE = "is missing: the pool would not start at the next boot"

STATES = {
    "down": State(STOP, DOWN, status=1, deploy=0, way="systemctl restart"),
    "down, direct": State(STOP, DOWN, status=1, deploy=0, direct=True, way="systemctl restart"),
    "read-only": State(RO, "the kernel has made it read-only: writes fail", check=1, way="check it: systemctl stop"),
    "needs check": State(
        NEEDS_CHECK,
        "writing its metadata failed: read-only until it has been checked",
        check=1,
        checked="the kernel wants its metadata checked (mode ro, needs_check)",
        way="check it: systemctl stop",
        after=FORGET,
    ),
    "given up": State(
        GIVEN_UP,
        "the kernel has put it into fail mode: all I/O fails",
        check=1,
        checked="the kernel has it in mode Fail",
        way="pool.check",
        then=(("pool.repair",),),
        after=FORGET,
    ),
    "metadata full": State(
        FULL_METADATA,
        "its metadata is full (",
        check=1,
        checked="cannot be checked before its metadata has room",
        small=True,
        way="--meta-size",
        after=f"{EMPTY}\n{FORGET}",
    ),
    "full, writers wait": State(
        FULL, "its data is full: writers wait, for 300 s", small=True, way="pool.grow", after=EMPTY
    ),
    "full, writers get errors": State(
        ERROR,
        "its data is full: writes fail",
        small=True,
        way="restart the containers that got errors",
        after=EMPTY,
    ),
    "metadata damaged, down": State(
        DAMAGED,
        f"the metadata in {DIR}/meta is damaged: keep it",
        status=1,
        check=1,
        checked="all of its metadata: the pool is down",
        deploy=1,
        way="pool.check",
        then=(("pool.repair",),),
    ),
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


def out(fab: Fab, machine: Machine, hint: str, code: int | None = 0) -> str:
    """Type the fix as it was printed, command by command, and return the output.

    Args:
        fab: runs fab with words after the host's name.
        machine: the machine.
        hint: what was printed.
        code: required exit code of each; None: any.
    """
    assert typed.wrong(hint) == []
    first, _, then = hint.partition("; then ")
    commands = typed.commands(first)
    found = SHELL.search(first)
    if commands and not SHELL.search(first.partition(commands[0])[0]):
        said = fab(*shlex.split(commands[0])[3:], code=code)
    else:
        assert found, hint
        said = machine.ssh(found[0], code=code)
    return said + (out(fab, machine, then, code) if typed.commands(then) or SHELL.search(then) else "")


def hint_in(said: str, what: str = "") -> str:
    """Return the first fix in the output of a command, optionally of the finding `what`."""
    found = re.findall(rf"(?:(?:fail|FAIL) .*{re.escape(what)}.*\n.*→|hint:) (.*)", said)
    assert found, said
    return str(found[0])
