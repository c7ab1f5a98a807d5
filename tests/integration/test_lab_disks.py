"""The most disks a lab machine can have, of every kind: their names and features, that they keep what was written,
and that they use no CPU time while idle and do not outlive the machine.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from time import sleep

import pytest

from fabfile.lab import machines
from fabfile.lab.disk import MOST, LabDisk
from tests.integration.conftest import started
from tests.integration.machine import BOOTED, Machine, parts, running, until

SORTS = {
    "plain": LabDisk("200M"),
    "4Kn": LabDisk("200M", block=4096),
    "512e": LabDisk("200M", physical=4096),
    "read-only": LabDisk("200M", read_only=True),
    "no discard": LabDisk("200M", discard=False),
    "huge": LabDisk("16T"),
}
NUMBERS = {sort: number for number, sort in enumerate(SORTS, 2)}
WRITABLE = [number for sort, number in NUMBERS.items() if sort != "read-only"]
DISKS = [*SORTS.values(), *["200M"] * (MOST - len(SORTS))]
ALL = range(2, 2 + len(DISKS))

PARTITION = r"""
printf '\0\0\0\0\203\0\0\0\0\010\0\0\0\0\002\0' | dd of="$1" bs=1 seek=446 conv=notrunc status=none
printf '\125\252' | dd of="$1" bs=1 seek=510 conv=notrunc status=none
blockdev --rereadpt "$1"; udevadm settle
"""
"""Write a partition table with one partition, as the image has no program for it."""


@pytest.fixture(scope="module")
def machine(request: pytest.FixtureRequest, lab: Path, suite: str) -> Iterator[Machine]:
    """A machine with all of these disks."""
    with started(request, suite, disks=DISKS, mirror="") as machine:
        yield machine


def name(number: int) -> str:
    """The persistent name of a disk."""
    return f"/dev/disk/by-id/virtio-lab-disk{number}"


def write(machine: Machine, number: int, text: str) -> None:
    """Write a text to the last mebibyte of a disk; when this is done, it is on the disk."""
    at = f"$(($(blockdev --getsize64 {name(number)}) - 1048576))"
    options = f"bs=4096 seek={at} oflag=seek_bytes conv=notrunc,fsync,sync status=none"
    machine.ssh(f"echo {text} | dd of={name(number)} {options}")


def read(machine: Machine, number: int) -> str:
    """The first line of the last mebibyte of a disk."""
    return machine.ssh(f"tail -c 1048576 {name(number)} | head -n 1").strip()


def test_every_disk_is_known_by_its_serial_number_and_by_the_machines_list(machine: Machine) -> None:
    names = " ".join(map(name, ALL))
    found = machine.ssh(f"for disk in {names}; do readlink -e $disk; lsblk -d -n -o SERIAL $disk; done").split()
    assert found == [word for number in ALL for word in (machine.disk(number), f"lab-disk{number}")]


def test_no_disk_has_another_disks_name(machine: Machine) -> None:
    links = machine.ssh("cd /dev/disk/by-id && ls").split()
    others = ["virtio-lab-disk", "virtio-lab-root", "virtio-lab-seed"]
    assert sorted(links) == sorted([*others, *(f"virtio-lab-disk{number}" for number in ALL)])


def test_each_sort_is_what_was_asked_for(machine: Machine) -> None:
    for sort, number in NUMBERS.items():
        columns = "SIZE,LOG-SEC,PHY-SEC,RO,DISC-MAX"
        size, *blocks, read_only, discard = map(int, machine.ssh(f"lsblk -bdno {columns} {name(number)}").split())
        disk = SORTS[sort]
        assert (size, blocks) == (disk.bytes, [disk.block, disk.physical or disk.block])
        assert (bool(read_only), bool(discard)) == (disk.read_only, disk.discard)
    assert "Operation not permitted" in machine.ssh(f"dd if=/dev/zero of={name(NUMBERS['read-only'])} count=1", code=1)
    assert "not supported" in machine.ssh(f"blkdiscard -f {name(NUMBERS['no discard'])}", code=1)


def test_a_partition_has_a_persistent_name_too(machine: Machine) -> None:
    machine.ssh(f"set -- $(readlink -e {name(ALL[-1])})\n{PARTITION}")
    assert machine.ssh(f"readlink -e {name(ALL[-1])}-part1").strip() == f"{machine.disk(ALL[-1])}1"


def test_what_was_written_is_there_after_a_reboot(machine: Machine) -> None:
    for number in WRITABLE:
        write(machine, number, f"before-the-reboot-{number}")
    machine.reboot()
    assert [read(machine, number) for number in WRITABLE] == [f"before-the-reboot-{number}" for number in WRITABLE]
    test_every_disk_is_known_by_its_serial_number_and_by_the_machines_list(machine)


def test_nobody_works_while_the_disks_are_not_used(machine: Machine) -> None:
    """On User-mode Linux, where a thread of this process serves the disks."""
    machine.ssh(BOOTED)
    pid = parts(machine.vm)["supervisor"] if machine.vm.kind == "uml" else None
    if pid is None:
        pytest.skip("qemu is the disks of this machine")
    before = ticks(pid)
    sleep(3)
    assert ticks(pid) - before <= 0.03 * os.sysconf("SC_CLK_TCK")
    machine.ssh(f"head -c 20M {name(NUMBERS['plain'])} >/dev/null")
    assert ticks(pid) - before > 0, "the clock of this process does not count what it does for the disks"


def ticks(pid: int) -> int:
    """CPU time that a process has used, over all of its threads."""
    return sum(map(int, Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11:13]))


def test_no_process_stays_when_any_ends_and_what_was_written_before_is_there(machine: Machine) -> None:
    """As in a power cut right after it, the machine's own or of what it consists of."""
    for who in ("machine", "network", "supervisor") if machine.vm.kind == "uml" else ("machine",):
        for number in WRITABLE:
            write(machine, number, f"before-the-end-of-{who}-{number}")
        pid = parts(machine.vm)[who] if machine.vm.kind == "uml" else machine.vm.pid
        assert pid is not None
        os.kill(pid, signal.SIGKILL)
        until(lambda: not running(machine.vm.directory) and machine.vm.pid is None, f"did not end with its {who}", 60)
        machines.restart(machine.vm)
        assert [read(machine, number) for number in WRITABLE] == [f"before-the-end-of-{who}-{n}" for n in WRITABLE]


def test_a_disks_file_is_the_disk_and_gives_discarded_space_back(machine: Machine) -> None:
    file, disk = machine.vm.directory / f"disk{NUMBERS['plain']}.raw", name(NUMBERS["plain"])
    write(machine, NUMBERS["plain"], "seen-from-outside")
    assert b"seen-from-outside\n" in file.read_bytes()
    machine.ssh(f"head -c 50M /dev/urandom >{disk}; sync")
    full = file.stat().st_blocks
    assert full >= (50 << 20) // 512
    machine.ssh(f"blkdiscard -f {disk}")
    assert file.stat().st_blocks < full // 10


def test_pages_of_zeros_are_written_as_any_other(machine: Machine) -> None:
    """User-mode Linux does not share its page of zeros as it does the rest of its memory."""
    metadata, data = (name(number) for number in ALL[-2:])
    machine.ssh(
        "modprobe dm_thin_pool\n"
        f"head -c 190M /dev/urandom >{data}; dd if=/dev/zero of={metadata} bs=4096 count=1 conv=fsync status=none\n"
        f'dmsetup create pool --table "0 307200 thin-pool {metadata} {data} 128 0 1 skip_block_zeroing"\n'
        'dmsetup message pool 0 "create_thin 0"; dmsetup create thin --table "0 204800 thin /dev/mapper/pool 0"'
    )
    machine.ssh("fallocate -z -l 10M /dev/mapper/thin; sync; echo 3 >/proc/sys/vm/drop_caches")
    assert machine.ssh("head -c 10M /dev/mapper/thin | tr -d '\\0' | wc -c").strip() == "0"
    machine.ssh("dmsetup remove thin; dmsetup remove pool")
