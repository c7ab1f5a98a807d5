"""Disks that are in use or hold data: each kind is refused by its own message, and keeps every byte."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest
from fabric import Config
from paramiko import SSHConfig

from fabfile import inventory
from fabfile.apply import apply
from fabfile.errors import Failed, Refused
from fabfile.facts import Facts, gather
from fabfile.host import Host, Pool
from fabfile.pool.lvm import direct_pool
from fabfile.ssh.connections import Connections
from fabfile.ssh.machine import Machine as Connected
from tests.integration.conftest import started
from tests.integration.contents import digest
from tests.integration.machine import Machine

KERNEL = "debian"
"""Always on a kernel of Debian's own, whose disks are virtio's."""

SMALL = "200M"
CATALOGUE = {
    "dos": ("a partition table (dos)", "partition {disk}1"),
    "ext4": ("a file system (ext4) 'precious'",),
    "xfs": ("mounted at /srv/xfs", "a file system (xfs)"),
    "private": ("mounted at /srv/private", "a file system (ext4)"),
    "lvm": ("a physical volume of the volume group taken", "held by taken-lv (lvm)", "an LVM physical volume"),
    "same": ("a physical volume of the volume group containerd", "an LVM physical volume"),
    "orphan": ("an LVM physical volume",),
    "raid": ("a member of a RAID array",),
    "luks": ("LUKS",),
    "swap": ("in use as swap: {disk}", "swap space"),
    "zfs": ("a member of a ZFS pool",),
    "held": ("held by above (dm)",),
    "multipath": ("held by mpatha (mpath)",),
    "ambivalent": ("more than one signature, so that lsblk shows none",),
    "first": ("7 bytes that are not zero in its first 4 MiB",),
    "last": ("5 bytes that are not zero in its last 4 MiB",),
    "open": ("open in process",),
    "readonly": ("read-only",),
    "empty": (),
    "gone": (),
}
"""Kind → the text of its refusal; the last two are usable. The n-th row is the machine's n-th small disk."""

MAKE = r"""
set -eu
modprobe -a dm_multipath dm_round_robin loop xfs
put() { printf "$3" | dd of="$1" bs=1 seek="$2" conv=notrunc status=none; }
put "$dos" 446 '\x00\x00\x00\x00\x83\x00\x00\x00\x00\x08\x00\x00\x00\x00\x02\x00'
put "$dos" 510 '\x55\xaa'
partx -a "$dos" 2>/dev/null || partx -u "$dos"
mkfs.ext4 -q -L precious "$ext4"
mkfs.xfs -q -f --unsupported "$xfs"; mkdir -p /srv/xfs; mount "$xfs" /srv/xfs
mkfs.ext4 -q "$private"; mkdir -p /srv/private
unshare -m sh -c "mount $private /srv/private; exec sleep infinity" >/dev/null 2>&1 &
vgcreate -q taken "$lvm"; lvcreate -q -y -L 8M -n lv taken
vgcreate -q containerd "$same"
pvcreate -q "$orphan"
# The superblock of version 1.2, 4 KiB from the start: magic, major version, and its own place in sectors.
put "$raid" 4096 '\xfc\x4e\x2b\xa9\x01\x00\x00\x00'
put "$raid" 4240 '\x08\x00\x00\x00\x00\x00\x00\x00'
put "$luks" 0 'LUKS\xba\xbe\x00\x01'
put "$luks" 168 '1fbfbf1e-0000-4000-8000-000000000000'
mkswap -q "$swap"; swapon "$swap"
for i in 128 129 130 131; do put "$zfs" $((i * 1024)) '\x0c\xb1\xba\x00\x00\x00\x00\x00'; done
dmsetup create above --table "0 100000 linear $held 0"
dmsetup create mpatha --uuid mpath-lab --table \
  "0 $(blockdev --getsz "$multipath") multipath 0 0 1 1 round-robin 0 1 1 $multipath 1000"
mkfs.xfs -q -f --unsupported "$ambivalent"; cp "$ambivalent" /root/xfs.img; mkfs.ext4 -q -F "$ambivalent"
dd if=/root/xfs.img of="$ambivalent" bs=512 count=1 conv=notrunc status=none; rm /root/xfs.img
put "$first" 1234567 content
put "$last" $(($(blockdev --getsize64 "$last") - 9)) there
sleep infinity <"$open" >/dev/null 2>&1 &
blockdev --setro "$readonly"
truncate -s 200M /srv/file; losetup -f --show /srv/file
sync; udevadm settle
"""

DISKS = {kind: f"/dev/disk/by-id/virtio-lab-disk{number}" for number, kind in enumerate(CATALOGUE, 2)}

ROOT, EMPTY = "/dev/disk/by-id/virtio-lab-root", "/dev/disk/by-id/virtio-lab-disk"

OTHERS = {
    ROOT: "the root file system is on it",
    "/dev/disk/by-id/virtio-lab-seed": "too small",
    f"{DISKS['dos']}-part1": "a partition, not a whole disk",
    "/dev/loop0": "a loop device",
    "/dev/taken/lv": "not a whole disk but of type lvm",
    "/dev/null": "not a block device but a character special file",
    "/dev/shm": "not a block device but a directory",
    "/dev/vd": "it does not exist",
    EMPTY: "",
}
"""Other devices of the machine; the last is usable."""


@pytest.fixture(scope="module")
def machine(request: pytest.FixtureRequest, lab: object, suite: str) -> Iterator[Machine]:
    """A machine with a disk of each kind."""
    with started(request, suite, disks=[SMALL] * len(CATALOGUE), mirror="") as machine:
        names = "\n".join(f"{kind}=$(readlink -e {path})" for kind, path in DISKS.items())
        machine.ssh(f"{names}\n{MAKE}")
        yield machine


def sums(machine: Machine) -> dict[str, str]:
    """A digest of every small disk."""
    machine.ssh("sync")
    return {kind: digest(machine, number) for number, kind in enumerate(DISKS, 2)}


def pool(*devices: str, **settings: Any) -> Pool:
    """A direct pool on these disks, in a group of its own."""
    return Pool(variant="direct", devices=devices, vg="pool", **settings)


@pytest.fixture(scope="module")
def connection(machine: Machine) -> Iterator[Connected]:
    """The same machine, as fab sees it."""
    hosts = inventory.load(machine.vm.directory.parent / "hosts.toml")
    with Connections(hosts, Config(ssh_config=SSHConfig())).to(hosts.hosts[machine.vm.name]) as connection:
        yield connection


@pytest.fixture(scope="module")
def seen(connection: Connected, machine: Machine) -> Facts:
    """One look at all of them; at the empty disk by both of its names."""
    return gather(connection, direct_pool.step(Host(pool=pool(*DISKS.values(), *OTHERS, machine.disk(1)))).query)


@pytest.fixture(scope="module")
def kept(machine: Machine, seen: Facts) -> dict[str, str]:
    """The digests before anything is tried."""
    return sums(machine)


def refusal(seen: Facts, settings: Pool, wipes: tuple[str, ...] = ()) -> Refused:
    """The message with which the plan of a pool on these disks is refused."""
    with pytest.raises(Refused) as refused:
        direct_pool.step(Host(pool=settings), wipes).plan(seen)
    assert refused.value.code == 2
    return refused.value


@pytest.mark.parametrize("kind", [kind for kind, says in CATALOGUE.items() if says])
def test_a_disk_of_this_kind_is_refused_with_all_that_is_on_it(seen: Facts, kept: dict[str, str], kind: str) -> None:
    refused = refusal(seen, pool(DISKS[kind]))
    disk = next(disk for disk in seen.disks if disk.asked == DISKS[kind])
    assert refused.what == f"{disk.asked} ({disk.real}) cannot be used"
    for says in CATALOGUE[kind]:
        assert says.format(disk=disk.real) in refused.details


@pytest.mark.parametrize("path", [path for path, says in OTHERS.items() if says])
def test_another_device_is_refused(seen: Facts, path: str) -> None:
    assert OTHERS[path] in refusal(seen, pool(path)).details


def test_every_finding_on_a_disk_is_reported(seen: Facts) -> None:
    details = refusal(seen, pool(ROOT)).details.splitlines()
    assert details[:2] == ["the root file system is on it", "mounted at /"]
    assert details[-1] == "a file system (ext4), signature at 0x438"


def test_one_bad_disk_among_good_ones_refuses_all(seen: Facts) -> None:
    assert DISKS["ext4"] in refusal(seen, pool(DISKS["empty"], DISKS["ext4"])).what


def test_two_names_of_one_disk_are_refused(seen: Facts, machine: Machine) -> None:
    assert "named twice" in refusal(seen, pool(machine.disk(1), EMPTY)).what


def test_an_empty_disk_is_used(seen: Facts) -> None:
    assert direct_pool.step(Host(pool=pool(DISKS["empty"]))).plan(seen)


def test_a_group_of_the_same_name_is_refused_wherever_it_is(machine: Machine, kept: dict[str, str]) -> None:
    said = machine.fab("pool.direct", "--device", DISKS["empty"], code=2)
    assert "a volume group containerd exists already" in said
    said = machine.fab("pool.direct", "--device", DISKS["same"], "--vg", "other", code=2)
    assert "a physical volume of the volume group containerd" in said
    assert sums(machine) == kept


@pytest.mark.parametrize("kind", ["xfs", "private", "lvm", "same", "swap", "held", "multipath", "open"])
def test_a_disk_in_use_is_never_wiped(seen: Facts, kind: str) -> None:
    assert "a device in use is never wiped" in refusal(seen, pool(DISKS[kind]), (DISKS[kind],)).hint


@pytest.mark.parametrize("path", [*(path for path, says in OTHERS.items() if says), DISKS["readonly"]])
def test_an_unusable_disk_is_never_wiped(seen: Facts, path: str) -> None:
    assert refusal(seen, pool(path), (path,))


def test_wipe_must_name_the_very_device(seen: Facts) -> None:
    refused = refusal(seen, pool(DISKS["ext4"]), (DISKS["orphan"],))
    assert f"--wipe {DISKS['orphan']} names no device of this pool" in refused.what
    assert "names no device of this pool" in refusal(seen, pool(DISKS["ext4"]), ("/dev/vd",)).what
    assert DISKS["luks"] in refusal(seen, pool(DISKS["ext4"], DISKS["luks"]), (DISKS["ext4"],)).what


def test_a_disk_that_lvm_does_not_see_is_refused(machine: Machine, kept: dict[str, str]) -> None:
    disk = machine.disk(1)
    machine.ssh(
        f"cp /etc/lvm/lvm.conf /root/; echo 'devices {{ global_filter = [ \"r|{disk}|\" ] }}' >>/etc/lvm/lvm.conf"
    )
    said = machine.fab("pool.direct", "--vg", "pool", "--device", disk, code=2)
    machine.ssh("mv /root/lvm.conf /etc/lvm/")
    assert re.search(r"LVM does not take it: .*filter", said)
    assert sums(machine) == kept


def test_a_machine_without_thin_check_is_refused(machine: Machine) -> None:
    machine.ssh("mv /usr/sbin/thin_check /root/")
    said = machine.fab("pool.direct", "--vg", "pool", "--device", machine.disk(1), code=2)
    machine.ssh("mv /root/thin_check /usr/sbin/")
    assert "without thin_check LVM activates no pool" in said


def test_a_disk_that_changes_after_the_plan_is_not_touched(
    machine: Machine, connection: Connected, kept: dict[str, str]
) -> None:
    step = direct_pool.step(Host(pool=pool(DISKS["empty"])))
    have = gather(connection, step.query)
    changes = step.plan(have)
    machine.ssh(f"printf mine | dd of={DISKS['empty']} bs=1M seek=1 conv=notrunc status=none")
    changed = sums(machine)
    with pytest.raises(Failed) as failed:
        apply(connection, step.name, changes, have)
    assert f"{DISKS['empty']} has changed since it was inspected" in failed.value.details
    assert "bytes 4 0" in failed.value.details
    assert sums(machine) == changed
    machine.ssh(
        f"wipefs -q {DISKS['empty']}; dd if=/dev/zero of={DISKS['empty']} bs=1M count=2 conv=notrunc status=none"
    )
    assert sums(machine) == kept


def test_a_disk_that_goes_away_after_the_plan_is_a_clean_error(
    machine: Machine, connection: Connected, kept: dict[str, str]
) -> None:
    step = direct_pool.step(Host(pool=pool(DISKS["empty"], DISKS["gone"])))
    have = gather(connection, step.query)
    changes = step.plan(have)
    # The driver lets go of it, which takes the disk away on any bus.
    device = f"/sys/block/$(basename $(readlink -e {DISKS['gone']}))/device"
    machine.ssh(f"d=$(readlink -e {device}) && echo ${{d##*/}} >$d/driver/unbind; udevadm settle")
    with pytest.raises(Failed) as failed:
        apply(connection, step.name, changes, have)
    assert f"{DISKS['gone']} has changed since it was inspected" in failed.value.details
    assert "absent" in failed.value.details
    assert (
        machine.ssh("ls /etc/devmapper-pool 2>/dev/null; vgs --noheadings -o vg_name pool", code=None).count("pool")
        <= 2
    )
    assert sums(machine) == kept


def test_afterwards_every_disk_has_its_bytes(machine: Machine, kept: dict[str, str]) -> None:
    for kind in ("ext4", "first"):
        assert f"{DISKS[kind]} " in machine.fab("pool.direct", "--vg", "pool", "--device", DISKS[kind], code=2)
    assert sums(machine) == kept


def test_a_group_that_the_devices_file_hides_is_not_there_and_its_disk_not_empty(
    machine: Machine, kept: dict[str, str]
) -> None:
    machine.ssh("mkdir -p /etc/lvm/devices; echo >/etc/lvm/devices/system.devices")
    machine.ssh("echo 'devices { use_devicesfile = 1 }' >>/etc/lvm/lvm.conf; ! vgs taken")
    assert "there is no volume group for the pool" in machine.fab("pool.direct", "--vg", "taken", code=2)
    said = machine.fab("pool.direct", "--vg", "other", "--device", DISKS["same"], code=2)
    assert "an LVM physical volume" in said
    assert sums(machine) == kept


def test_wipe_lists_what_it_destroys_and_creates_the_pool(machine: Machine) -> None:
    """With the devices file of the test before: LVM itself adds the disk to it."""
    device = DISKS["dos"]
    real = machine.disk(2)
    args = ["pool.direct", "--vg", "pool", "--device", device, "--wipe", real]
    plan = machine.fab("--dry", *args, code=3)
    assert re.search(rf"WIPE {device}, which destroys: partition {real}1; a partition table \(dos\)", plan)
    machine.fab(*args)
    assert "ok 1  changed 0" in machine.fab(*args)
    assert machine.ssh("lvs --noheadings -o seg_monitor pool/thinpool").strip() == "monitored"
