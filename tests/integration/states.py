"""Broken states of a pool: how to reach each one, what every command reports, and the fix.

The fix in a row is printed by a command, and typed as printed. Other states are in test_health_truth.py (LVM and
systemd), test_not_ours_files.py (a volume and its mount), test_repair.py and test_metadata_truth.py (damaged metadata),
and test_growth.py (full pools).
"""

from __future__ import annotations

from dataclasses import dataclass

LOOP, TWO = "containerd-pool", "containerd--two-thinpool"
DIR = "/var/lib/containerd/devmapper"


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
    way: str = ""
    """Start of the fix."""
    then: tuple[tuple[str, ...], ...] = ()
    """Further commands, as the output of the fix names them."""
    after: str = ""
    """Shell that finally undoes what was needed to reach the state."""
    kept: bool = True
    """Whether the container `kept` still has its file afterwards."""


RO = """t=$(dmsetup table $pool); set -- $t
dmsetup reload $pool --table "$1 $2 $3 $4 $5 $6 $7 1 read_only"; dmsetup resume $pool"""

RUN = "$ctr run -d --snapshotter devmapper $image runs sleep 10000"
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

EMPTIED = f"""systemctl stop containerd
for d in $(dmsetup ls | grep -o '^{LOOP}-snap-[0-9]*'); do dmsetup remove $d; done
for i in $(seq 1 40); do dmsetup message $pool 0 "delete $i" || true; done; systemctl start containerd"""
"""As if the files of the pool had been exchanged for those of a new one."""

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

ON_FILES = {
    "down": State(STOP, DOWN, status=1, deploy=0, way="systemctl restart"),
    "read-only": State(
        RO,
        "the kernel has made it read-only: writes fail",
        check=1,
        way="check it: on the host: systemctl stop",
    ),
    "needs check": State(
        NEEDS_CHECK,
        "writing its metadata failed: read-only until it has been checked",
        check=1,
        checked="the kernel wants its metadata checked (mode ro, needs_check)",
        way="check it: on the host: systemctl stop",
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
    "emptied": State(
        EMPTIED,
        "it is empty, but containerd's databases list",
        way="pool.fsck",
        then=(("pool.fsck", "--fix", "--yes"),),
        kept=False,
    ),
}
"""Of a pool on files."""

ON_A_DISK = {
    "down": State(STOP, DOWN, status=1, deploy=0, way="systemctl restart"),
    "unit gone, down": State(f"{STOP}; {NO_UNIT}", GONE, status=1, deploy=0, way="pool.direct"),
    "thin volume of LVM's": State(
        THINS,
        "LVM has thin volumes of its own in containerd-two/thinpool",
        status=1,
        check=1,
        way="pool.repair",
        then=(("pool.repair", "--yes"),),
    ),
    "transaction ids": State(IDS, "LVM expects transaction id 5", status=1, check=1, way="pool.repair"),
}
"""Of a pool on a disk, for the instance `two`."""

FULL_ONES = {
    "metadata full": State(
        FULL_METADATA,
        "its metadata is full (",
        check=1,
        checked="cannot be checked before its metadata has room",
        way="--meta-size",
        after=f"{EMPTY}\n{FORGET}",
    ),
    "full, writers wait": State(FULL, "its data is full: writers wait, for 300 s", way="pool.grow", after=EMPTY),
    "full, writers get errors": State(
        ERROR,
        "its data is full: writes fail",
        way="restart the containers that got errors",
        after=EMPTY,
    ),
}
"""Of a pool on files that is small and does not grow by itself."""
