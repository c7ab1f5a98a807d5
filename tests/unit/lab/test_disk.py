"""Disks of lab machines: valid ones, what each kind makes of them, and their names in the machine."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fabfile.errors import Refused
from fabfile.lab import disk, machines, vm
from fabfile.lab.disk import LabDisk
from fabfile.lab.image import Image
from fabfile.lab.kinds import KINDS, qemu, uml
from fabfile.lab.kinds.kind import letters
from fabfile.lab.kinds.uml_block import PIECE
from fabfile.lab.vm import Vm

PLAIN, LARGE_BLOCKS, READ_ONLY = LabDisk("1G"), LabDisk("1G", block=4096), LabDisk("1G", read_only=True)
NO_DISCARD, HUGE = LabDisk("1G", discard=False), LabDisk("20T")


def machine(kind: str, *disks: LabDisk) -> Vm:
    """A machine that does not run."""
    return Vm(Path("/lab/lab-1"), kind, "bookworm", Path("/image"), 1, disks=disks)


@pytest.mark.parametrize(
    ("place", "name"), [(0, "a"), (25, "z"), (26, "aa"), (27, "ab"), (51, "az"), (52, "ba"), (701, "zz"), (702, "aaa")]
)
def test_disk_letters_continue_after_z_as_in_the_kernel(place: int, name: str) -> None:
    assert letters(place) == name


@given(st.integers(0, 20000), st.integers(0, 20000))
def test_no_two_disks_have_the_same_letters_and_more_letters_come_later(one: int, other: int) -> None:
    sort = [(len(letters(place)), letters(place)) for place in (one, other)]
    assert (one < other) == (sort[0] < sort[1])


def test_in_qemu_the_third_disk_is_the_seed() -> None:
    names = [machines.disk(machine("tcg", *[PLAIN] * 25), number) for number in range(27)]
    assert names[:4] == ["/dev/vda", "/dev/vdb", "/dev/vdd", "/dev/vde"]
    assert names[24:] == ["/dev/vdz", "/dev/vdaa", "/dev/vdab"]


def test_in_user_mode_linux_the_further_disks_are_virtio_ones() -> None:
    names = [machines.disk(machine("uml", *[PLAIN] * 25), number) for number in range(27)]
    assert names[:4] == ["/dev/ubda", "/dev/ubdb", "/dev/vda", "/dev/vdb"]
    assert names[26] == "/dev/vdy"


@pytest.mark.parametrize("kind", KINDS)
def test_a_disk_that_a_machine_does_not_have_has_no_name(kind: str) -> None:
    with pytest.raises(IndexError):
        machines.disk(machine(kind, PLAIN), 3)


def test_more_disks_than_a_machine_can_have_are_refused_before_anything_is_done() -> None:
    with pytest.raises(Refused) as refused:
        machines.up(disks=["1G"] * 26)
    assert str(refused.value) == "error: disks: 26 disks\n  at most 25, besides the one that every machine has"


@pytest.mark.parametrize(
    ("options", "what"),
    [
        ({"size": "1"}, "disks: '1' is not a size"),
        ({"size": "0G"}, "disks: '0G' is too small"),
        ({"size": "1025T"}, "disks: '1025T' is too large"),
        ({"size": "1K", "block": 4096}, "disks: 1K is not a whole number of 4096-byte blocks"),
        ({"size": "1K", "physical": 4096}, "disks: 1K is not a whole number of 4096-byte blocks"),
        ({"size": "1G", "block": 1024}, "disks: no disk has logical blocks of 1024"),
        ({"size": "1G", "physical": 8192}, "disks: no disk has logical blocks of 512 and physical ones of 8192"),
        ({"size": "1G", "block": 4096, "physical": 512}, "disks: no disk has logical blocks of 4096"),
    ],
)
def test_an_impossible_disk_is_refused(options: dict[str, Any], what: str) -> None:
    with pytest.raises(Refused) as refused:
        disk.disks([LabDisk(**options)])
    assert refused.value.what.startswith(what)


def test_a_machine_is_read_with_its_disks(tmp_path: Path) -> None:
    written = msgspec.structs.replace(machine("uml", PLAIN, LARGE_BLOCKS, READ_ONLY, NO_DISCARD), directory=tmp_path)
    vm.write(written)
    assert vm.read(tmp_path) == written
    file = tmp_path / vm.FILE
    file.write_text(file.read_text().replace("1G", "1"))
    with pytest.raises(vm.BrokenMachine, match="'1' is not a size"):
        vm.read(tmp_path)


def test_qemu_is_told_of_each_sort_of_disk() -> None:
    new = machine("tcg", PLAIN, LARGE_BLOCKS, LabDisk("1G", physical=4096), READ_ONLY, NO_DISCARD, HUGE)
    command = list(map(str, qemu.command(new, Image("bookworm", new.image), (), ())))
    drives = [word for word in command if word.startswith("file=/lab/lab-1/disk")][1:]
    assert drives[0] == "file=/lab/lab-1/disk2.raw,format=raw,if=none,id=lab-disk2,discard=unmap"
    assert [",readonly=on" in drive for drive in drives] == [False, False, False, True, False, False]
    assert drives[5].startswith("file=/lab/lab-1/disk7.qcow2,format=qcow2,")
    devices = [word.partition(",serial=")[2] for word in command if word.startswith("virtio-blk-pci,")][3:]
    blocks = "logical_block_size={},physical_block_size={}".format
    assert devices == [
        f"lab-disk2,{blocks(512, 512)}",
        f"lab-disk3,{blocks(4096, 4096)}",
        f"lab-disk4,{blocks(512, 4096)}",
        f"lab-disk5,{blocks(512, 512)}",
        f"lab-disk6,{blocks(512, 512)},discard=off",
        f"lab-disk7,{blocks(512, 512)}",
    ]


def test_user_mode_linux_is_told_of_each_sort_of_disk(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "root.img").touch()
    monkeypatch.setattr("fabfile.lab.process.spawn", lambda *args: None)
    sorts = (PLAIN, LARGE_BLOCKS, LabDisk("1G", physical=4096), READ_ONLY, NO_DISCARD, HUGE)
    new = msgspec.structs.replace(machine("uml", *sorts), directory=tmp_path)
    KINDS["uml"].start(new, Image("bookworm", tmp_path))
    told = json.loads((tmp_path / uml.SETTINGS).read_text())
    devices = [word for word in told["machine"] if word.startswith("virtio_uml.")]
    assert devices == [f"virtio_uml.device=own/disk{number}:2" for number in range(2, 8)]
    assert [*told["disks"]] == [f"own/disk{number}" for number in range(2, 8)]
    special: list[dict[str, Any]] = [
        {}, {"block": 4096, "physical": 4096}, {"physical": 4096}, {"read_only": True}, {"discard": False},
        {"files": ["disk7.raw", "disk7.1.raw", "disk7.2.raw"], "size": 20 << 40},
    ]  # fmt: skip
    assert [*told["disks"].values()] == [
        {
            "files": [f"disk{number}.raw"], "size": 1 << 30, "serial": f"lab-disk{number}", "block": 512,
            "physical": 512, "read_only": False, "discard": True, **differs,
        }
        for number, differs in enumerate(special, 2)
    ]  # fmt: skip


@given(st.integers(1, disk.LARGEST >> 10))
def test_the_files_of_a_disk_are_as_large_as_the_disk_together(kibibytes: int) -> None:
    files = uml._files(2, LabDisk(f"{kibibytes}K"))
    *first, last = files.values()
    assert sum(files.values()) == kibibytes << 10
    assert {*first} <= {PIECE} and 0 < last <= PIECE
