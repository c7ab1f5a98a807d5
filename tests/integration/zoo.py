"""A zoo of disks: everything that can be on a disk, or use it, each on a disk of its own with known content.

A new case is a line in `CASES`, or in `VOLUMES` for a logical volume.
"""

from __future__ import annotations

import hashlib

import msgspec

from fabfile.lab.disk import LabDisk
from tests.integration.contents import digest
from tests.integration.machine import Machine
from tests.integration.signatures import BTRFS, LUKS, MBR, MD, REREAD, ZFS, bcache, gpt, put

SIZE = "160M"

PLAIN = LabDisk(SIZE)


class Case(msgspec.Struct, frozen=True):
    """One disk.

    Args:
        name: name of the case.
        make: shell that prepares `$disk`.
        says: text that its refusal must contain; empty if the disk is empty.
        wipe: whether `--wipe` may destroy its content.
        disk: properties of the disk.
    """

    name: str
    make: str
    says: tuple[str, ...]
    wipe: bool = False
    disk: LabDisk = PLAIN


RANDOM = b"".join(hashlib.sha256(bytes([number])).digest() for number in range(128))
"""4 KiB that no program recognises."""

EXT4 = "mkfs.ext4 -q -F -E lazy_itable_init=0,lazy_journal_init=0"
"""So that the kernel writes nothing to it later."""

MOUNT = "mount -o ro,noload"

FOREIGN = '--config \'global/system_id_source="lvmlocal" local/system_id="web1"\''

ALONE = '--config "devices { filter = [ \\"r|^$twin$|\\" ] }"'

SECTORS = '$(blockdev --getsz "$disk")'

MULTIPATH = f'"0 {SECTORS} multipath 0 0 1 1 round-robin 0 1 1 $disk 1000"'

CRYPT = f'"0 {SECTORS} crypt aes-cbc-essiv:sha256 {"00" * 32} 0 $disk 0"'

VOLUMES = {
    "raw": (put(8192, RANDOM), "bytes that are not zero in its first 4 MiB"),
    "tail": (put("$(blockdev --getsize64 $disk) - 512", b"tail"), "4 bytes that are not zero in its last 4 MiB"),
    "mbr": (MBR, "a partition table (dos)"),
    "xfs": ('mkfs.xfs -q -f --unsupported "$disk"', "a file system (xfs)"),
    "pv": ('pvcreate -q --config "devices/scan_lvs=1" "$disk"', "an LVM physical volume"),
    "open": ('sleep infinity <"$disk" >/dev/null 2>&1 &', "open in process"),
    "mounted": (f'{EXT4} "$disk"; mkdir -p /srv/volume; {MOUNT} "$disk" /srv/volume', "mounted at /srv/volume"),
}
"""Volumes of 128M in the group `user`: shell that prepares `$disk`, and text that each refusal must contain."""

GROUP = f"""vgcreate -q user "$disk"
for name in {" ".join(VOLUMES)}; do lvcreate -q -y -W n -L 128M -n $name user; done"""

ARRAY = """modprobe raid1; echo md127 >/sys/module/md_mod/parameters/new_array; cd /sys/block/md127/md
echo raid1 >level; echo 1 >raid_disks; echo none >metadata_version
echo $(($(blockdev --getsz "$disk") / 2)) >component_size
cat "/sys/block/${disk##*/}/dev" >new_dev; echo 0 >"dev-${disk##*/}/slot"; echo active >array_state"""
"""A running array without superblocks."""

CASES = (
    Case("raw", put(1234567, RANDOM), ("bytes that are not zero in its first",), True, LabDisk(SIZE, discard=False)),
    Case("tail", put("$(blockdev --getsize64 $disk) - 9", b"there"), ("5 bytes that are not zero in its last",), True,
         LabDisk("16T")),
    Case("ext4", f'{EXT4} -L precious "$disk"', ("a file system (ext4) 'precious'",), True, LabDisk(SIZE, block=4096)),
    Case("xfs", 'mkfs.xfs -q -f --unsupported "$disk"', ("a file system (xfs)",), True, LabDisk(SIZE, physical=4096)),
    Case("mbr", f'{MBR}\n{REREAD}\n{EXT4} "${{disk}}1"', ("partition {disk}1 with a file system (ext4)",), True),
    Case("gpt", f'{gpt(PLAIN, (2048, 9000), (10240, 300000))}\nmkswap -q "${{disk}}2"',
         ("partition {disk}1", "partition {disk}2 with swap space", "a partition table (gpt)"), True),
    Case("empty gpt", gpt(PLAIN), ("a partition table (gpt)", "a partition table (PMBR)"), True),
    Case("physical volume", 'pvcreate -q "$disk"', ("an LVM physical volume",), True),
    Case("group", GROUP, ("a physical volume of the volume group user", "held by user-raw (lvm)"), disk=LabDisk("1G")),
    Case("exported", 'vgcreate -q away "$disk"; lvcreate -q -y -L 8M -n lv away; vgchange -an away; vgexport -q away',
         ("a physical volume of the volume group away, exported",)),
    Case("foreign", f'vgcreate -q --systemid web1 far "$disk" {FOREIGN}',
         ("a physical volume of the volume group far, of the host 'web1'",)),
    Case("twin", 'vgcreate -q twin "$disk"; twin=$disk', ("a physical volume of the volume group twin",)),
    Case("other twin", f'vgcreate -q twin "$disk" {ALONE}', ("a physical volume of the volume group twin",)),
    Case("md member", f'{MD}\nblockdev --setro "$disk"', ("read-only", "a member of a RAID array")),
    Case("md array", ARRAY, ("held by md127 (raid1)",)),
    Case("LUKS", LUKS, ("LUKS",), True),
    Case("dm-crypt", f"dmsetup create secret --uuid CRYPT-PLAIN-secret --table {CRYPT}; {EXT4} /dev/mapper/secret",
         ("held by secret (crypt)",)),
    Case("multipath", f"dmsetup create mpatha --uuid mpath-lab --table {MULTIPATH}", ("held by mpatha (mpath)",)),
    Case("zfs", ZFS, ("a member of a ZFS pool",), True),
    Case("bcache", f'{bcache()}\nmodprobe bcache; echo "$disk" >/sys/fs/bcache/register', ("held by bcache0",)),
    Case("btrfs", BTRFS, ("a file system (btrfs)",), True),
    Case("swap", 'mkswap -q "$disk"; swapon "$disk"', ("in use as swap: {disk}", "swap space")),
    Case("loop", f'{EXT4} "$disk"; losetup -r /dev/loop7 "$disk"; mkdir -p /srv/loop; {MOUNT} /dev/loop7 /srv/loop',
         ("held by loop7 (loop)", "mounted at /srv/loop")),
    Case("mounted", f'{EXT4} "$disk"; mkdir -p /srv/mounted; {MOUNT} "$disk" /srv/mounted',
         ("mounted at /srv/mounted",)),
    Case("free", ":", ()),
)  # fmt: skip
"""The n-th is the machine's n-th additional disk; the last one is for the pool of the tests."""

DISKS = tuple(case.disk for case in CASES)

OTHERS = {
    "/dev/mapper/unreadable": "it cannot be read: error reading",
    "/dev/mapper/mpatha": "not a whole disk but of type mpath",
    "/dev/mapper/secret": "a file system (ext4)",
    "/dev/md127": "not a whole disk but of type raid1",
    "/dev/loop7": "a loop device",
    "/dev/user/raw": "not a whole disk but of type lvm",
}
"""Other devices of the machine: text that the refusal of each must contain, even with `--wipe`."""

BEGIN = "set -eu\nmodprobe -a dm_multipath dm_round_robin dm_crypt loop xfs"

END = """dmsetup create unreadable --table "0 2048 error
2048 400000 zero"
sync; udevadm settle"""


def device(machine: Machine, name: str) -> str:
    """Return the machine's name of the disk of a case."""
    return machine.disk([case.name for case in CASES].index(name) + 2)


def prepare(machine: Machine) -> None:
    """Prepare the whole zoo on a machine that has `DISKS`."""
    lines = [BEGIN]
    for case in CASES:
        lines.append(f"disk={device(machine, case.name)}; cd /\n{case.make}")
        if case.name == "group":
            lines += [f"disk=/dev/user/{name}\n{make}" for name, (make, _) in VOLUMES.items()]
    machine.ssh("\n".join([*lines, END]))


def sums(machine: Machine) -> dict[str, str]:
    """Return a digest of each disk."""
    machine.ssh("sync")
    return {case.name: digest(machine, number) for number, case in enumerate(CASES, 2)}
