"""Four records describe a thin device and have to agree, and a backup belongs to the state it was made from.

One machine: the default containerd on a loop pool, the instance `two` on a disk. The tests build on each other.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from time import monotonic

import pytest

from tests.integration.conftest import started
from tests.integration.golden import Golden
from tests.integration.machine import Machine, until

POOL, TWO = "containerd-pool", "containerd--two-thinpool"
DIR = "/var/lib/containerd/devmapper"
DISK = "/dev/disk/by-id/virtio-lab-disk"
SNAPSHOTS = "ctr snapshots --snapshotter devmapper"
BACKUPS = f"/var/lib/containerd-devmapper/backup/{POOL}"


@pytest.fixture(scope="module")
def machine(request: pytest.FixtureRequest, suite: str, golden: Golden) -> Iterator[Machine]:
    with started(request, suite, base=golden.disk) as machine:
        yield machine


def image(machine: Machine, name: str) -> str:
    """The name of an image in the lab's registry."""
    inventory = tomllib.loads((machine.vm.directory.parent / "hosts.toml").read_text())
    return f"{inventory['defaults']['registry'].removeprefix('http://')}/library/{name}:latest"


def pull(machine: Machine, ref: str, ctr: str = "ctr") -> None:
    machine.ssh(f"{ctr} images pull --plain-http --snapshotter devmapper {ref}")


def prepare(machine: Machine, key: str) -> str:
    """Make a snapshot of the first image there, and return the name of its device."""
    top = f"$({SNAPSHOTS} ls | awk '/Committed/ {{ print $1; exit }}')"
    mounts = machine.ssh(f"{SNAPSHOTS} prepare {key} {top} && {SNAPSHOTS} mounts /x {key}")
    return next(word for word in mounts.split() if word.startswith("/dev/mapper/")).rpartition("/")[2]


def remove(machine: Machine, key: str) -> None:
    """Remove a snapshot and wait for its device: ctr leaves that to containerd's garbage collection."""
    collect = "ctr leases create --id collect >/dev/null && ctr leases delete --sync collect"
    machine.ssh(f"{SNAPSHOTS} rm {key} && {collect}")


def thin_id(machine: Machine, device: str) -> str:
    return machine.ssh(f"dmsetup table {device}").split()[4]


def runs(machine: Machine, ref: str, code: int = 0) -> str:
    return machine.ssh(f"ctr run --rm --snapshotter devmapper {ref} once sleep 0", code=code)


def test_f8_a_device_that_no_snapshot_owns_is_found_and_mended(machine: Machine) -> None:
    hello = machine.ssh("ctr images ls -q").strip()  # pulled when the machine was deployed, maybe from another registry
    machine.ssh(f"systemctl stop containerd; cp {DIR}/metadata.db /root/; systemctl start containerd")
    prepare(machine, "k1")
    machine.ssh(f"systemctl stop containerd; cp /root/metadata.db {DIR}/metadata.db; systemctl start containerd")
    assert "already exists" in machine.ssh(f"ctr run --rm --snapshotter devmapper {hello} once", code=None)
    # What no record of a proof tells: a snapshot is tried.
    for task, code in (("doctor", 1), ("deploy", 2)):
        said = machine.fab(task, code=code)
        assert "already exists" in said and f"fab -H {machine.vm.name} pool.fsck" in said
    said = machine.fab("pool.fsck", code=1)
    assert "no snapshot owns it" in said
    assert f"hint: fab -H {machine.vm.name} pool.fsck --fix" in said
    assert "containerd-pool.db: corrected" in machine.fab("pool.fsck", "--fix")
    assert "they agree" in machine.fab("pool.fsck")
    assert "Hello" in machine.ssh(f"ctr run --rm --snapshotter devmapper {hello} once")


CHURN = """
touch /run/churn
for lane in 1 2 3 4; do
  (
    n=0
    while [ -e /run/churn ]; do
      ctr run --rm --snapshotter devmapper {image} "churn-$lane-$n" 2>>/run/churn.said || touch /run/churn.failed
      n=$((n + 1)); echo $n >/run/churn.$lane
    done
    touch /run/churn.ended.$lane
  ) </dev/null >/dev/null 2>&1 &
done
"""
"""Containers that are created and removed, four at a time, so that thin ids are reused at once."""


def test_f10_an_answer_comes_while_containers_come_and_go(machine: Machine) -> None:
    image = machine.ssh("ctr images ls -q | grep hello-world").split()[0]
    machine.ssh(CHURN.format(image=image))
    until(lambda: machine.ssh("ls /run/churn.[1-4] | wc -l", code=None) == "4\n", "did not begin", 60)
    for _ in range(3):
        begin = monotonic()
        assert "they agree" in machine.fab("pool.fsck")
        assert monotonic() - begin < 40, "it used to take 152 s, and then had no answer"
    machine.ssh(f"dmsetup message {POOL} 0 'create_thin 90001'")
    said = machine.fab("pool.fsck", code=1)
    assert "thin id 90001: 0B in the pool, no entry" in said
    assert "1 inconsistency" in said
    machine.ssh(f"rm /run/churn; dmsetup message {POOL} 0 'delete 90001'")
    until(lambda: machine.ssh("ls /run/churn.ended.* | wc -l", code=None) == "4\n", "did not end", 60)
    assert machine.ssh("ls /run/churn.failed; cat /run/churn.said", code=None).startswith("ls: cannot access")


def test_f9_g7_a_faulty_entry_and_a_device_that_is_gone_are_named(machine: Machine) -> None:
    device = prepare(machine, "gone")
    machine.ssh(f"sync; dmsetup remove --retry {device}")
    assert f"entry {device}: Activated, and there is no such device, snapshot" in machine.fab("pool.fsck", code=1)
    machine.fab("pool.fsck", "--fix")  # a start of containerd brings it back
    assert device in machine.ssh("dmsetup ls")
    # What a killed containerd leaves in the middle of making a device is Faulty from its next start on.
    broken = prepare(machine, "broken")
    number = thin_id(machine, broken)
    machine.ssh(f"""systemctl stop containerd; dmsetup remove --retry {broken}
        sed -i 's/\\("device_id":{number},.*"name":"{broken}",.*"state":\\)4/\\13/' {DIR}/{POOL}.db
        systemctl start containerd""")
    said = machine.fab("pool.fsck", code=1)
    assert f"entry {broken}: Faulty; thin id {number}: " in said
    assert "in the pool, snapshot default/" in said
    machine.fab("pool.fsck", "--fix")  # its device is whole: it is a good one again
    assert broken in machine.ssh("dmsetup ls")
    # When it gives up the removal of a device that was open, the entry stays in that state until its next start, which
    # would mark it Faulty; and the device has a table without the pool.
    machine.ssh(f"""systemctl stop containerd; dmsetup wipe_table {broken}
        sed -i 's/\\("device_id":{number},.*"name":"{broken}",.*"state":\\)4/\\19/' {DIR}/{POOL}.db""")
    said = machine.fab("pool.fsck", code=1)
    assert f"entry {broken}: Deactivating; thin id {number}: " in said
    assert f"device {broken}: it has target error" in said
    machine.fab("pool.fsck", "--fix")
    assert machine.ssh(f"dmsetup table {broken}").split()[2::2] == ["thin", number]
    machine.ssh(f"{SNAPSHOTS} rm broken")
    remove(machine, "gone")
    assert "they agree" in machine.fab("pool.fsck")


def test_n24_a_list_of_any_length_is_removed(machine: Machine) -> None:
    machine.ssh(f'for i in $(seq 70001 70200); do dmsetup message {POOL} 0 "create_thin $i"; done')
    said = machine.fab("pool.fsck", "--fix")
    assert "removed 0 devices and 200 thin ids" in said
    assert "they agree" in said
    assert machine.ssh("systemctl is-active containerd") == "active\n"


def test_n17_an_id_that_was_another_devices_is_named_and_cannot_be_used(machine: Machine) -> None:
    first = prepare(machine, "first")
    number = thin_id(machine, first)
    machine.fab("pool.backup")
    remove(machine, "first")
    second = prepare(machine, "second")
    assert thin_id(machine, second) == number
    said = machine.fab("pool.restore", code=2)  # the pool is sound: what would be lost is named all the same
    assert f"{second}: made or changed since, thin id {number} (Activated), snapshot default/" in said
    assert machine.ssh(f"ls {DIR} | grep -c candidate", code=1) == "0\n"
    # Interrupted while its databases do not fit: containerd is not started on them, and no backup is made of that.
    machine.ssh("printf '#!/bin/sh\nexit 1\n' >/usr/local/sbin/chown; chmod +x /usr/local/sbin/chown")
    said = machine.fab("pool.restore", "--yes", code=1)
    machine.ssh("rm /usr/local/sbin/chown")
    assert re.search(rf"hint: .* pool\.restore --yes --from {BACKUPS}/\S+\.xml\.gz\n", said)
    assert machine.ssh("systemctl is-active containerd", code=None) == "inactive\n"
    assert "was not finished" in machine.fab("pool.backup", code=1)
    for task, code in (("doctor", 1), ("deploy", 2)):
        said = machine.fab(task, code=code)
        assert "they do not fit the pool: its metadata was being restored from" in said
        assert f"fab -H {machine.vm.name} pool.restore --yes" in said
    assert f"{second}: made or changed since" in machine.fab("pool.restore", "--yes")
    assert "second" not in machine.ssh(f"{SNAPSHOTS} ls")
    assert second not in machine.ssh("dmsetup ls")
    assert "they agree" in machine.fab("pool.fsck")


def test_n18_an_image_that_came_since_is_named_and_unpacked_again(machine: Machine) -> None:
    machine.fab("pool.backup")
    busybox = image(machine, "busybox")
    pull(machine, busybox)
    machine.ssh(f"ctr containers create --snapshotter devmapper {busybox} since")
    said = machine.fab("pool.restore", code=2)
    assert f"image {busybox} in the namespace default: to be unpacked or pulled again" in said
    assert "container since in the namespace default: its file system is lost" in said
    said = machine.fab("pool.restore", "--yes")
    assert f"image {busybox} in the namespace default: unpacked again" in said
    assert "container since in the namespace default: its file system is lost; remove it" in said
    assert "they agree" in machine.fab("pool.fsck")
    runs(machine, busybox)
    machine.ssh("ctr containers rm since")


def test_n18_entries_whose_device_is_gone_are_mended_too(machine: Machine) -> None:
    busybox = image(machine, "busybox")
    seen = machine.fab_json("pool.fsck")["result"]["seen"]
    # That of the image which came last.
    of = max((number for number, snapshot in seen["snapshots"].items() if snapshot["kind"] == "Committed"), key=int)
    number = seen["database"][f"{POOL}-snap-{of}"]["id"]
    machine.ssh(f"sync; dmsetup message {POOL} 0 'delete {number}'")
    assert f"thin id {number} (Deactivated) is not in the pool" in machine.fab("pool.fsck", code=1)
    assert f"image {busybox} in the namespace default: unpacked again" in machine.fab("pool.fsck", "--fix")
    runs(machine, busybox)


def test_n19_backups_are_ordered_by_a_number_and_not_by_a_clock(machine: Machine) -> None:
    machine.ssh("date -s '-1 year' >/dev/null")
    for _ in range(2):
        made = machine.fab("pool.backup", "--keep", "1").split()[1]
        assert machine.ssh(f"ls {BACKUPS}/*.xml.gz") == f"{made}\n"
    assert made in machine.fab("pool.restore", code=2)
    machine.ssh("date -s '+1 year' >/dev/null")
    assert "made at a time that has not come" not in machine.fab("pool.restore", code=2)


def test_n20_kept_metadata_is_counted_shown_and_removed(machine: Machine) -> None:
    machine.fab("pool.restore", "--yes")
    assert machine.ssh(f"ls {DIR} | grep -c 'meta[.].*Z$'") == "2\n"  # after three restores
    assert "2 copies of its metadata" in machine.fab("pool.status")
    assert machine.fab("pool.kept", "--keep", "1").count("removed ") == 1
    machine.fab("pool.kept", "--keep", "0")
    assert machine.ssh(f"ls {DIR}") == f"{POOL}.db\ndata\nmeta\nmetadata.db\n"


def test_n25_who_holds_a_mount_is_named_before_anything_is_stopped(machine: Machine) -> None:
    busybox = image(machine, "busybox")
    machine.ssh(f"ctr run -d --snapshotter devmapper {busybox} one sleep 10000")
    device = next(word for word in machine.ssh("dmsetup ls").split() if "snap" in word)
    machine.ssh(f"mkdir -p /mnt/x; mount /dev/mapper/{device} /mnt/x; cd /mnt/x; setsid sleep 3000 >/dev/null 2>&1 &")
    for task in ("pool.reset", "pool.restore"):
        said = machine.fab(task, "--yes", "--force", code=2)
        assert f"{device} is mounted at /mnt/x, in use by sleep (pid " in said, task
    assert "one" in machine.ssh("systemctl is-active containerd >&2; ctr tasks ls -q")
    machine.ssh("pkill -x -f 'sleep 3000'; umount /mnt/x")


def test_n27_a_device_with_an_error_table_counts(machine: Machine) -> None:
    device = prepare(machine, "held")
    machine.ssh(f"""exec 7</dev/mapper/{device}; setsid sleep 3001 >/dev/null 2>&1 &
        {SNAPSHOTS} rm held""")
    until(lambda: "error" in machine.ssh(f"dmsetup table {device}"), "kept its table", 30)
    said = machine.fab("pool.fsck", code=1)
    assert f"device {device}: it has target error" in said
    assert f"{device} is open in sleep (pid " in said
    assert f"{device} is open in sleep" in machine.fab("pool.reset", "--yes", "--force", "--all", code=2)
    assert device in machine.ssh("dmsetup ls")
    machine.ssh("pkill -x -f 'sleep 3001'")
    machine.fab("pool.fsck", "--fix")
    # If containerd has given up meanwhile, it tries again when it removes another snapshot; the device's entry is good.
    other = prepare(machine, "other")
    remove(machine, "other")
    assert {device, other}.isdisjoint(machine.ssh("dmsetup ls").split())


FAIL = f"""set -eu
was=$(dmsetup table {TWO}_tmeta); set -- $was
echo "0 $2 error" | dmsetup load {TWO}_tmeta; dmsetup suspend --noflush {TWO}_tmeta; dmsetup resume {TWO}_tmeta
root=/run/containerd-two/io.containerd.runtime.v2.task/default/two/rootfs
dd if=/dev/zero of=$root/big bs=1M count=8 conv=fsync status=none || true
dmsetup status {TWO}; dmsetup table"""
"""The metadata device returns errors while a container writes."""


def test_n8_a_pool_that_failed_under_a_container_has_a_way_out(machine: Machine) -> None:
    machine.fab("deploy", "--instance", "two", "--variant", "direct", "--device", DISK)
    ctr, busybox = "ctr --address /run/containerd-two/containerd.sock", image(machine, "busybox")
    pull(machine, busybox, ctr)
    two = ("--instance", "two")
    for task in ("pool.repair", "pool.reset"):
        machine.ssh(f"{ctr} run -d --snapshotter devmapper {busybox} two sleep 10000")
        said = machine.ssh(FAIL)
        assert "thin-pool Fail" in said
        assert "thin Fail" in said
        assert "the kernel has it in mode Fail" in machine.fab("pool.fsck", *two, code=1)
        yes = ["--yes"] if task == "pool.reset" else []
        assert "container two runs, in the namespace default" in machine.fab(task, *two, *yes, code=2)
        assert machine.ssh(f"{ctr} tasks ls -q") == "two\n"  # nothing was stopped
        machine.fab(task, *two, "--yes", "--force")
        if task == "pool.repair":
            assert "they agree" in machine.fab("pool.fsck", *two)
            assert "thinpool_meta0" in machine.fab("pool.kept", *two)
            machine.ssh(f"{ctr} containers rm two")
    assert "two" not in machine.ssh("dmsetup ls; lvs --noheadings -o vg_name")
