"""A pool on a whole disk: made by LVM, used by containers, monitored, grown, and up after a reboot and a power cut."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from tests.integration.conftest import started
from tests.integration.golden import Golden
from tests.integration.machine import EARLIER, Machine

DEVICE = "/dev/disk/by-id/virtio-lab-disk"
MORE = ["/dev/disk/by-id/virtio-lab-disk2", "/dev/disk/by-id/virtio-lab-disk3"]
POOL = ["--device", DEVICE]


@pytest.fixture(scope="module")
def machine(request: pytest.FixtureRequest, suite: str, golden: Golden) -> Iterator[Machine]:
    """A machine with containerd, whose loop pool was removed, and three empty disks."""
    with started(request, suite, base=golden.disk, disks=["1G", "1G"]) as machine:
        machine.fab("pool.reset", "--yes")
        yield machine


def report(machine: Machine) -> list[str]:
    """LVM's report on the pool."""
    fields = "seg_monitor,lv_profile,lv_when_full,chunk_size,zero,discards,vg_extent_size,lv_dm_path,thin_count"
    line = machine.ssh(f"lvs --noheadings --separator , --units k -o {fields} containerd/thinpool")
    return line.strip().split(",")


GOOD = [
    "monitored",
    "containerd-thinpool",
    "queue",
    "512.00k",
    "",
    "passdown",
    "4096.00k",
    "/dev/mapper/containerd-thinpool",
    "0",
]


@pytest.mark.parametrize(
    ("args", "what"),
    [
        (["--data-percent", "95", "--meta-size", "1%"], "leaves no room for autoextend to fire"),
        (["--meta-size", "17G"], "pool.meta_size"),
        (["--chunk-size", "100K"], "pool.chunk_size"),
        (["--vg", "a/b"], "pool.vg"),
        (["--lv", "x_tdata"], "pool.lv"),
    ],
)
def test_impossible_values_are_refused(machine: Machine, args: list[str], what: str) -> None:
    said = machine.fab("pool.direct", *POOL, *args, code=2)
    assert what in said
    if "autoextend" in what:
        assert "data 4863 + metadata 52 + its spare 52 = 4967 extents; 152 are left" in said
        assert "--data-percent 81, or --threshold 100" in said


def test_dry_shows_the_numbers_and_touches_nothing(machine: Machine) -> None:
    before = machine.ssh(f"sha256sum /etc/lvm/lvm.conf; ls /etc/devmapper-pool /etc/lvm/profile; wipefs {DEVICE}; pvs")
    said = machine.fab("--dry", "deploy", "--variant", "direct", *POOL, code=3)
    assert "data 16.0G (80% of 5119 extents), metadata and its spare 208.0M each, 3.6G left to grow into" in said
    assert before == machine.ssh(
        f"sha256sum /etc/lvm/lvm.conf; ls /etc/devmapper-pool /etc/lvm/profile; wipefs {DEVICE}; pvs"
    )


def test_deploy_creates_a_direct_pool_and_runs_containers_on_it(machine: Machine) -> None:
    # In a container LVM is told to do without udev. Where it is only told not to wait, it misses its own volumes.
    conf = "/etc/lvm/lvmlocal.conf"
    machine.ssh(f"cp {conf} /root; echo 'activation {{ udev_sync = 0 }}' >>{conf}")
    assert "does not find the volumes that it makes" in machine.fab("pool.direct", *POOL, code=2)
    # Defaults for what is made, of which each one made another pool than was asked for.
    other = "activation { udev_sync = 0 udev_rules = 0 error_when_full = 1 }"
    other += ' allocation { physical_extent_size = 1024 thin_pool_discards = "ignore" }'
    machine.ssh(f"cp /root/lvmlocal.conf {conf}; echo '{other}' >>{conf}")
    said = machine.fab("deploy", "--variant", "direct", *POOL)
    assert f'set variant = "direct", devices = ["{DEVICE}"] in its pool' in said
    assert re.search(r"snapshotter\.v1\s+devmapper\s+\S+\s+ok", machine.ssh("ctr plugins ls"))
    assert "ext4 on /dev/mapper/containerd-thinpool-snap-" in machine.fab("smoke")
    assert report(machine) == GOOD
    profile = machine.ssh("cat /etc/lvm/profile/containerd-thinpool.profile")
    assert "thin_pool_autoextend_threshold=80" in profile
    assert "thin_pool_autoextend_percent=20" in profile
    machine.ssh("mv /root/lvmlocal.conf /etc/lvm/")


def test_a_second_deploy_changes_nothing(machine: Machine) -> None:
    assert "ok 1  changed 0" in machine.fab("deploy", "--variant", "direct", *POOL)
    assert "data_percent: it has 80, requested: 70" in machine.fab("pool.direct", *POOL, "--data-percent", "70", code=2)


def test_status_and_doctor_know_the_direct_pool(machine: Machine) -> None:
    status = machine.fab("pool.status", "--name", "containerd-thinpool")
    assert re.search(r"watched\s+yes", status)
    assert machine.disk(1) in status


def test_trim_offline_discards_what_removed_containers_left(machine: Machine) -> None:
    machine.trims_offline("containerd-thinpool")
    assert "ok 1  changed 0" in machine.fab("deploy", "--variant", "direct", *POOL)


def test_a_volume_that_an_interrupted_trim_left_active_does_not_keep_the_pool_down(machine: Machine) -> None:
    machine.ssh("systemctl stop containerd devmapper-pool@containerd-thinpool")
    machine.ssh("lvchange -ay -y containerd/thinpool_tmeta; lvchange -ay -y containerd/thinpool_tdata")
    assert "prohibited while" in machine.ssh("lvchange -ay containerd/thinpool", code=5)
    machine.fab("deploy", "--variant", "direct", *POOL)
    assert report(machine) == GOOD


def test_what_was_undone_by_hand_is_restored(machine: Machine) -> None:
    machine.ssh("lvchange -q --detachprofile containerd/thinpool; rm /etc/lvm/profile/containerd-thinpool.profile")
    # Last: any other change of the pool has it watched again.
    machine.ssh("lvchange -q --errorwhenfull y containerd/thinpool; lvchange -q --monitor n containerd/thinpool")
    said = machine.fab("pool.direct", *POOL)
    assert all(why in said for why in ("attach the profile", "when full: queue", "have dmeventd watch the pool"))
    assert report(machine) == GOOD


def test_what_an_earlier_version_wrote_is_replaced_in_one_deploy(machine: Machine) -> None:
    machine.write_as_earlier("containerd-thinpool")
    assert "systemd reads the changed unit" in machine.fab("deploy", "--variant", "direct", *POOL)
    assert machine.ssh(f"grep -rl '{EARLIER}' /etc /usr/local/libexec", code=1) == ""
    assert "ok 1  changed 0" in machine.fab("deploy", "--variant", "direct", *POOL)
    assert report(machine) == GOOD


def test_a_direct_pool_survives_a_reboot_with_its_containers(machine: Machine) -> None:
    image = machine.ssh("ctr images ls -q").split()[0]
    machine.ssh(f"ctr containers create --snapshotter devmapper {image} kept")
    machine.in_snapshot("kept", "echo still here >file")
    machine.reboot()
    assert report(machine)[0] == "monitored"
    assert "ok 1  changed 0" in machine.fab("deploy", "--variant", "direct", *POOL)
    assert machine.in_snapshot("kept", "cat file") == "still here\n"
    assert "Hello" in machine.said_by("kept")
    machine.ssh("ctr containers rm kept")


def test_a_disk_that_was_enlarged_is_named(machine: Machine) -> None:
    """The hint was to add another disk."""
    machine.ssh("pvresize -q -y --setphysicalvolumesize 18G $(pvs --noheadings -o pv_name)")
    said = machine.fab("pool.grow", "--name", "containerd-thinpool", "--size", "18G", code=2)
    way = said.partition("hint: its disk is larger than LVM knows: on the host: ")[2].partition("; or add a disk")[0]
    assert way.startswith("pvresize /dev/"), said
    machine.ssh(way)
    assert machine.ssh("pvs --noheadings --units g --nosuffix -o pv_size").strip().startswith("20.0")


def test_disks_are_added_and_the_pool_enlarged(machine: Machine) -> None:
    grow = ["pool.grow", "--name", "containerd-thinpool", *(word for disk in MORE for word in ("--device", disk))]
    assert "has no room for that" in machine.fab("pool.grow", "--name", "containerd-thinpool", "--size", "30G", code=2)
    machine.fab(*grow, "--size", "17G")
    assert "ok 1  changed 0" in machine.fab(*grow, "--size", "17G")
    assert machine.ssh("vgs --noheadings -o pv_count containerd").strip() == "3"
    assert "4352 524288" in machine.ssh(
        "lvs --noheadings --units b --nosuffix -o lv_size,chunk_size containerd/thinpool |"
        " awk '{ print $1 / 4194304, $2 }'"
    )
    assert "ok 1  changed 0" in machine.fab("deploy", "--variant", "direct", *POOL)
    assert "Hello from containerd!" in machine.fab("smoke")


def test_a_thin_volume_of_lvms_own_is_refused(machine: Machine) -> None:
    # LVM makes none while the device of a container is there, which only garbage collection removes.
    machine.ssh("ctr leases create --id now; ctr leases delete --sync now")
    machine.ssh("lvcreate -q -y -V 10M -T containerd/thinpool -n theirs")
    said = machine.fab("pool.direct", *POOL, code=2)
    assert "LVM has thin volumes of its own in containerd/thinpool: theirs (thin id" in said
