"""Foreign disks, volume groups and volumes: pool.direct, pool.grow and pool.reset destroy none of them.

The tests build on one another; N1, N2, … are the situations in which something of others was destroyed once.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator

import pytest

from tests.integration.conftest import started
from tests.integration.machine import Machine, lvm_says
from tests.integration.others_disks import KINDS, MAKE, direct, disk, emptied, pulled, started_again, sums


@pytest.fixture(scope="module")
def machine(request: pytest.FixtureRequest, lab: object, suite: str) -> Iterator[Machine]:
    """A machine with foreign disks."""
    with started(request, suite, disks=["300M"] * len(KINDS), mirror="") as machine:
        names = "\n".join(f"{kind}={disk(machine, kind)}" for kind in KINDS)
        machine.ssh(f"{names}\n{MAKE}")
        yield machine


RECORDS = (
    "dmsetup table | sort; cat /etc/devmapper-pool/*; systemctl list-units --all --plain --no-legend 'devmapper-pool*'"
)
"""What exists of our pools apart from LVM's volumes."""


def untouched(machine: Machine) -> str:
    """Everything that a refused task could have left behind."""
    return machine.ssh(
        "ls /etc/devmapper-pool /etc/systemd/system/devmapper* /etc/lvm/profile 2>&1; vgs -a; pvs", code=None
    )


@pytest.mark.parametrize(
    ("kind", "says"),
    [
        ("loop", "held by loop5 (loop)"),
        ("loop", "mounted at /srv/loop"),
        ("open", "open in process"),
        ("foreign", "a physical volume of the volume group far, of the host 'web1'"),
        ("exported", "a physical volume of the volume group away, exported"),
    ],
)
def test_a_disk_in_use_is_refused_even_with_wipe(machine: Machine, kind: str, says: str) -> None:
    """N4, N7."""
    before, state = sums(machine, kind), untouched(machine)
    said = direct(machine, "--device", disk(machine, kind), "--wipe", disk(machine, kind), code=2)
    assert says in said
    assert "a device in use is never wiped" in said
    assert (sums(machine, kind), untouched(machine)) == (before, state)


def test_a_disk_that_cannot_be_read_is_refused_even_with_wipe(machine: Machine) -> None:
    """N15."""
    path = disk(machine, "free")
    machine.ssh(f"dmsetup create bad --table '0 8 error\n8 600000 linear {path} 8'")
    said = direct(machine, "--device", "/dev/mapper/bad", "--wipe", "/dev/mapper/bad", code=2)
    assert "it cannot be read: error reading" in said
    assert "--wipe" not in said.partition("hint")[2]
    machine.ssh("dmsetup remove bad")


def test_pool_disks_explains_each_disk_in_the_words_of_the_refusal(machine: Machine) -> None:
    offers = machine.fab_json("pool.disks")["result"]
    found = {offer["device"]: offer for offer in offers if offer["kind"] == "disk"}
    assert found[disk(machine, "free")]["against"] == []
    assert "held by loop5 (loop)" in found[disk(machine, "loop")]["against"]
    refused = direct(machine, "--device", disk(machine, "exported"), code=2)
    for reason in found[disk(machine, "exported")]["against"]:
        assert reason in refused
    shown = machine.fab("pool.disks")
    assert re.search(rf"disk\s+/dev/disk/by-id/\S+-disk{KINDS.index('free') + 2}\s+300.0M.*: available", shown)
    assert re.search(r"group\s+far .*: no\n.*belongs to the host 'web1'", shown)


def test_what_lvm_would_refuse_half_way_is_refused_before_anything_is_written(machine: Machine) -> None:
    """N14."""
    state, free = untouched(machine), disk(machine, "free")
    before = sums(machine, "free", "open")
    assert "it belongs to the host 'web1'" in direct(machine, "--device", free, "--vg", "far", code=2)
    machine.ssh(
        "cp /etc/lvm/lvmlocal.conf /root; echo 'activation { volume_list = [ \"root\" ] }' >>/etc/lvm/lvmlocal.conf"
    )
    assert "LVM may not activate containerd/thinpool" in direct(machine, "--device", free, code=2)
    machine.ssh("cp /root/lvmlocal.conf /etc/lvm/lvmlocal.conf")
    assert (untouched(machine), sums(machine, "free", "open")) == (state, before)
    machine.ssh(f"vgcreate -q shut {free}; pvchange -q -x n {free}")
    said = direct(machine, "--vg", "shut", code=2)
    assert f"not counting {free}, where LVM may allocate nothing" in said
    machine.ssh("vgremove -q shut")
    emptied(machine, "free")
    assert untouched(machine) == state


def test_a_pool_records_what_is_its_own(machine: Machine) -> None:
    devices = [word for kind in ("ours", "second") for word in ("--device", disk(machine, kind))]
    direct(machine, *devices)
    conf = machine.ssh("cat /etc/devmapper-pool/containerd-thinpool.conf")
    ask = "vgs --noheadings -o vg_uuid containerd; lvs --noheadings -o lv_uuid containerd/thinpool"
    for uuid in machine.ssh(f"{ask}; pvs --noheadings -o pv_uuid {' '.join(devices[1::2])}").split():
        assert uuid in conf
    assert "ok 1  changed 0" in direct(machine, *devices)


@pytest.mark.parametrize("hidden", [("ours", "second"), ("second",)], ids="-".join)
def test_a_pool_that_lvm_sees_only_partly_is_not_half_removed(machine: Machine, hidden: tuple[str, ...]) -> None:
    """A filter or a devices file hides it: its record and units went, and on the disks all of it stayed."""
    state = f"pvs --noheadings -o pv_name,vg_name; lvs --noheadings containerd; {RECORDS}"
    before = machine.ssh(state)
    paths = [disk(machine, kind) for kind in hidden]
    rejected = ", ".join(f'"r|{path}|"' for path in paths)
    with lvm_says(machine, f"devices {{ global_filter = [{rejected}] }}"):
        for options in ([], ["--force"]):
            said = machine.fab("pool.reset", "--yes", *options, "--name", "containerd-thinpool", code=2)
            assert f"LVM ignores {' '.join(paths)} of containerd: lvm.conf says global_filter" in said
            assert f"let them through in /etc/lvm/lvm.conf: a|^{paths[0]}$|" in said
            assert f"then fab -H {machine.vm.name} pool.reset --name containerd-thinpool --yes" in said
    assert machine.ssh(state) == before


def test_a_disk_that_left_the_group_is_no_longer_ours(machine: Machine) -> None:
    """N6: grow takes it, its owner takes it out again and writes to it."""
    path = disk(machine, "user")
    machine.fab("pool.grow", "--name", "containerd-thinpool", "--device", path)
    machine.ssh(f"vgreduce -q containerd {path}; pvremove -q {path}; wipefs -q -a {path}")
    machine.ssh(f"head -c 40M /dev/urandom >{path}")
    before = sums(machine, "user")
    said = machine.fab("pool.grow", "--name", "containerd-thinpool", "--device", path, code=2)
    assert "bytes that are not zero" in said
    assert f"--wipe {path}" in said
    assert sums(machine, "user") == before


def test_a_volume_of_others_on_a_disk_that_is_missing_for_a_moment_survives_a_reset(machine: Machine) -> None:
    """N2, N3: with a volume that is called as one that a repair keeps."""
    machine.ssh(f"lvcreate -q -y -L 8M -n user containerd {disk(machine, 'second')}")
    machine.ssh("lvcreate -q -y -L 8M -n thinpool_meta0 containerd")
    machine.ssh("for v in user thinpool_meta0; do head -c 8M /dev/urandom >/dev/containerd/$v; done; sync")
    sums = machine.ssh("b2sum /dev/containerd/user /dev/containerd/thinpool_meta0")
    with pulled(machine, "second", "containerd"):
        said = machine.fab("pool.reset", "--yes", "--name", "containerd-thinpool", code=2)
        assert "parts of volumes that do not belong to the pool" in said
        assert "containerd/user" in said
    machine.ssh("systemctl restart devmapper-pool@containerd-thinpool; vgchange -q -ay containerd")
    shown = machine.fab("pool.reset", "--name", "containerd-thinpool", code=2)
    assert "remove containerd/thinpool, 176.0M" in shown
    assert "the volume group stays, with thinpool_meta0, user" in shown
    machine.fab("pool.reset", "--yes", "--name", "containerd-thinpool")
    assert machine.ssh("b2sum /dev/containerd/user /dev/containerd/thinpool_meta0") == sums
    machine.ssh("vgremove -q -y containerd")
    emptied(machine, "ours", "second")


def test_a_pool_in_a_group_of_others_that_lost_a_disk_is_used_and_its_group_not_changed(machine: Machine) -> None:
    """N10."""
    ours, second = disk(machine, "ours"), disk(machine, "second")
    machine.ssh(f"vgcreate -q shared {ours} {second}; lvcreate -q -y -l 100%PVS -n user shared {second}")
    options = ("--data-percent", "25", "--meta-size", "4M", "--threshold", "100", "--vg", "shared")
    machine.fab("pool.direct", *options)
    with pulled(machine, "second", "shared"):
        assert "ok 1  changed 0" in machine.fab("pool.direct", *options)
        machine.ssh("systemctl restart devmapper-pool@shared-thinpool")
        assert "are missing: it is not changed" in machine.fab("pool.direct", *options, "--when-full", "error", code=2)
        said = machine.fab("pool.reset", "--yes", "--name", "shared-thinpool", code=2)
        assert "shared/user" in said
        machine.fab("pool.reset", "--yes", "--force", "--name", "shared-thinpool")
    assert "thinpool" not in machine.ssh("lvs --noheadings -o lv_name shared")
    machine.ssh(f"vgextend -q --restoremissing shared {second}; lvchange -ay shared/user; vgremove -q -y shared")
    emptied(machine, "ours", "second")


def test_two_pools_in_a_group_created_for_one_leave_nothing(machine: Machine) -> None:
    path = disk(machine, "big")
    machine.fab("pool.direct", "--device", path, "--data-percent", "25", "--meta-size", "4M", "--threshold", "100")
    second = (
        "--vg",
        "containerd",
        "--lv",
        "second",
        "--data-percent",
        "25",
        "--meta-size",
        "4M",
        "--threshold",
        "100",
    )
    machine.fab("pool.direct", *second, "--instance", "two")
    machine.fab("pool.reset", "--yes", "--name", "containerd-thinpool")
    assert "second" in machine.ssh("lvs --noheadings -o lv_name containerd")
    reset = ("pool.reset", "--yes", "--name", "containerd-second", "--instance", "two")
    with lvm_says(machine, "devices { use_devicesfile = 1 }"):
        machine.ssh("mkdir -p /etc/lvm/devices; : >/etc/lvm/devices/system.devices")
        said = machine.fab(*reset, code=2)
        assert "it is not in /etc/lvm/devices/system.devices" in said
        see, _, again = said.partition("hint: ")[2].strip().partition("; then ")
        assert see == f"lvm lvmdevices --adddev {path}"
        machine.ssh(see)
        machine.fab(*shlex.split(again.splitlines()[0])[3:])
    machine.ssh("rm -r /etc/lvm/devices")
    assert machine.ssh(f"vgs --noheadings containerd 2>/dev/null; wipefs {path}", code=None) == ""


def test_a_disk_with_two_names_is_one_disk(machine: Machine) -> None:
    """F21: a cloud's rule gives it a name that LVM prefers."""
    one, other = disk(machine, "ours"), disk(machine, "second")
    names = {one: "/dev/sdf", other: "/dev/sdg"}
    for real, name in names.items():
        rule = f'KERNEL=="{real.rpartition("/")[2]}", SYMLINK+="{name.rpartition("/")[2]}"'
        machine.ssh(
            f"echo '{rule}' >>/etc/udev/rules.d/99-cloud.rules; udevadm control --reload; udevadm trigger {real}"
        )
    machine.ssh("udevadm settle")
    direct(machine, "--device", one)
    assert machine.ssh("pvs --noheadings -o pv_name -S vg_name=containerd 2>/dev/null").split() == [names[one]]
    for name in (one, names[one]):
        assert "ok 1  changed 0" in direct(machine, "--device", name)
    grow = ("pool.grow", "--name", "containerd-thinpool", "--device")
    machine.fab(*grow, names[other])
    for name in (one, names[one], other, names[other]):
        assert "ok 1  changed 0" in machine.fab(*grow, name)
    machine.fab("pool.reset", "--yes", "--name", "containerd-thinpool")
    for real in names:
        assert machine.ssh(f"wipefs {real}; head -c 4M {real} | tr -d '\\0' | wc -c").split() == ["0"]
    machine.ssh("rm /etc/udev/rules.d/99-cloud.rules; udevadm control --reload; udevadm trigger; udevadm settle")


def told(machine: Machine, task: str) -> str:
    """The message of a task about a pool that is not sound."""
    return machine.fab(task, *(() if task == "doctor" else ("--name", "containerd-thinpool")), code=None)


TASKS = ("doctor", "pool.status", "pool.check")


def test_a_pool_whose_disk_is_pulled_out_is_reported_as_such(machine: Machine) -> None:
    """N12: the metadata was blamed, and repair advised."""
    direct(machine, "--device", disk(machine, "free"))
    with pulled(machine, "free", "containerd"):
        for task in TASKS:
            said = told(machine, task)
            assert "lab-disk11" in said, said
            assert "bring its disks back" in said, said
            assert "pool.repair" not in said, said
    machine.ssh("systemctl restart devmapper-pool@containerd-thinpool")
    machine.fab("pool.check", "--name", "containerd-thinpool")


def test_a_disk_missing_at_boot_is_reported(machine: Machine) -> None:
    """N12: the machine boots, and every task names the disk."""
    machine.ssh(f"vgcreate -q theirs {disk(machine, 'moved')}; lvcreate -q -y -L 8M -n user theirs")
    machine.ssh("head -c 8M /dev/urandom >/dev/theirs/user; sync")
    started_again(machine, without=1)
    for task in TASKS:
        said = told(machine, task)
        assert "lab-disk11" in said, said
        assert "bring its disks back" in said, said
        assert "pool.repair" not in said, said
    said = direct(machine, "--device", "/dev/disk/by-id/virtio-lab-disk11", code=2)
    assert "a new one would hide the loss" in said


def test_disks_that_swap_places_are_recognised_by_their_labels(machine: Machine) -> None:
    """N5: by name and serial number ours is another's physical volume by now, and ours is where that was."""
    ours, moved = disk(machine, "free"), disk(machine, "moved")
    started_again(machine, "free", "moved")
    for path, group in ((ours, "theirs"), (moved, "containerd")):
        assert machine.ssh(f"pvs --noheadings -o vg_name {path} 2>/dev/null").split() == [group]
    before = machine.ssh("b2sum /dev/theirs/user")
    machine.fab("pool.check", "--name", "containerd-thinpool")
    machine.fab("pool.reset", "--yes", "--name", "containerd-thinpool")
    assert machine.ssh("b2sum /dev/theirs/user") == before
    assert machine.ssh(f"wipefs {moved}; head -c 4M {moved} | tr -d '\\0' | wc -c").split() == ["0"]


def test_what_belongs_to_others_is_still_there(machine: Machine) -> None:
    machine.ssh(f"mount -o ro {disk(machine, 'loop')} /srv/loop")
    assert machine.ssh("cat /srv/loop/file") == "precious\n"
    assert "far" in machine.ssh("vgs --foreign --noheadings -o vg_name")
    assert "lv" in machine.ssh("vgimport -q away; lvs --noheadings -o lv_name away")
