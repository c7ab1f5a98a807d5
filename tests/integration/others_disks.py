"""A machine with disks that belong to others, and what tests do to them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import msgspec

from fabfile.lab import machines
from tests.integration.contents import digest
from tests.integration.machine import BOOTED, Machine

KINDS = ("ours", "second", "user", "loop", "open", "foreign", "exported", "big", "moved", "free")
"""Purposes of the small disks; the first is the machine's disk 2."""


SMALL = ("--data-percent", "30", "--meta-size", "4M", "--threshold", "100")


MAKE = r"""
set -eu
mkfs.ext4 -q "$loop"; losetup /dev/loop5 "$loop"; mkdir -p /srv/loop; mount /dev/loop5 /srv/loop
echo precious >/srv/loop/file; umount /srv/loop; mount -o ro /dev/loop5 /srv/loop
mkfs.ext4 -q "$open"; sleep infinity <"$open" >/dev/null 2>&1 &
vgcreate -q --systemid web1 far "$foreign" --config 'global/system_id_source="lvmlocal" local/system_id="web1"'
vgcreate -q away "$exported"; lvcreate -q -y -L 8M -n lv away; vgchange -q -an away; vgexport -q away
sync; udevadm settle
"""


def disk(machine: Machine, kind: str) -> str:
    return machine.disk(KINDS.index(kind) + 2)


def emptied(machine: Machine, *kinds: str) -> None:
    """Empty disks, as their owner would."""
    for kind in kinds:
        path = disk(machine, kind)
        machine.ssh(f"pvremove -q {path}; wipefs -q -a {path}; head -c 4M /dev/zero >{path}; sync")


def direct(machine: Machine, *args: str, code: int = 0) -> str:
    return machine.fab("pool.direct", *SMALL, *args, code=code)


def sums(machine: Machine, *kinds: str) -> list[str]:
    machine.ssh("sync")
    return [digest(machine, KINDS.index(kind) + 2) for kind in kinds]


@contextmanager
def pulled(machine: Machine, kind: str, group: str) -> Iterator[None]:
    """Pull a disk out, even if it is in use, and put it back in, by unbinding and binding its driver.

    The device-mapper devices of its volume group are removed before it comes back, as it would get another name
    otherwise.
    """
    path = disk(machine, kind)
    at = machine.ssh(f"readlink -e /sys/block/{path.rpartition('/')[2]}/device").strip()
    machine.ssh(f"echo {at.rpartition('/')[2]} >{at}/driver/unbind; udevadm settle")
    try:
        yield
    finally:
        remove = f"dmsetup ls | grep '^{group}-' | while read -r name _; do dmsetup remove $name 2>&1; done"
        machine.ssh("\n".join([remove] * 3))  # a pool, its devices, and what these are on
        machine.ssh(f"echo {at.rpartition('/')[2]} >/sys/bus/virtio/drivers/virtio_blk/bind; udevadm settle")
        now = machine.ssh(f"readlink -e /dev/disk/by-id/virtio-{serial(kind)}; dmsetup ls --tree").splitlines()
    assert now[0] == path, now


def serial(kind: str) -> str:
    return f"lab-disk{KINDS.index(kind) + 2}"


def started_again(machine: Machine, *exchanged: str, without: int = 0) -> None:
    """Power the machine off and on; meanwhile two disks swap places, or the last ones are taken out."""
    machine.power_off()
    if exchanged:
        one, other = (machine.vm.directory / f"disk{KINDS.index(kind) + 2}.raw" for kind in exchanged)
        aside = one.with_suffix(".aside")
        for file, name in ((one, aside), (other, one), (aside, other)):
            file.rename(name)
    disks = machine.vm.disks[: len(machine.vm.disks) - without]
    machines.restart(msgspec.structs.replace(machine.vm, disks=disks))
    machine.ssh(BOOTED, code=None)
