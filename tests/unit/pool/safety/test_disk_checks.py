"""Findings about disks, from inspections of a machine with one disk of each kind."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fabfile.errors import Refused
from fabfile.facts import disks
from fabfile.facts.disks import Disk
from fabfile.plan import describe
from fabfile.pool.safety import disk_checks
from tests.unit.fakes import recorded

DISKS = disks.parse(recorded("disks", "catalogue"))
EMPTY = DISKS[-1]

FOUND = {
    2: ["content: partition /dev/vdd1", "content: a partition table (dos), signature at 0x1fe"],
    3: ["content: a file system (ext4) 'precious', signature at 0x438"],
    4: ["in use: mounted at /srv/xfs", "content: a file system (xfs), signature at 0x0"],
    5: ["in use: mounted at /srv/private", "content: a file system (ext4), signature at 0x438"],
    6: [
        "in use: held by taken-lv (lvm)",
        "in use: a physical volume of the volume group taken",
        "content: an LVM physical volume, signature at 0x218",
    ],
    7: [
        "in use: a physical volume of the volume group containerd",
        "content: an LVM physical volume, signature at 0x218",
    ],
    8: ["content: an LVM physical volume, signature at 0x218"],
    9: ["content: a member of a RAID array, signature at 0x1000"],
    10: ["content: LUKS, signature at 0x0"],
    11: ["in use: in use as swap: /dev/vdm", "content: swap space, signature at 0xff6"],
    12: ["content: a member of a ZFS pool, signature at 0x20c00"],
    13: ["in use: held by above (dm)"],
    14: ["in use: held by mpatha (mpath)"],
    15: [
        "content: a file system (xfs), signature at 0x0",
        "content: a file system (ext4), signature at 0x438",
        "content: more than one signature, so that lsblk shows none",
    ],
    16: ["content: 7 bytes that are not zero in its first 4 MiB, which no program recognises"],
    18: ["in use: open in process 439 sleep"],
    19: ["cannot: read-only"],
    20: [],
}
"""Number of the disk → obstacles."""


def inspected(text: str) -> Disk:
    (found,) = disks.parse(text)
    return found


def found(disk: Disk) -> list[str]:
    return [f"{obstacle.weight}: {obstacle.what}" for obstacle in disk_checks.obstacles(disk)]


@pytest.mark.parametrize("number", FOUND)
def test_each_disk_has_its_findings(number: int) -> None:
    (disk,) = [disk for disk in DISKS if disk.asked == f"/dev/disk/by-id/virtio-lab-disk{number}"]
    assert found(disk) == FOUND[number]


def test_the_root_disk_and_what_is_no_disk() -> None:
    by_name = {disk.asked: found(disk) for disk in DISKS}
    assert by_name["/dev/vda"][:2] == ["in use: the root file system is on it", "in use: mounted at /"]
    assert by_name["/dev/vdc"][0] == "cannot: too small: 10.0K, at least 128M"
    assert by_name["/dev/vdd1"][0] == "cannot: a partition, not a whole disk"
    assert by_name["/dev/loop0"][0].startswith("cannot: a loop device")
    assert by_name["/dev/taken/lv"][0] == "cannot: not a whole disk but of type lvm"
    assert by_name["/dev/null"] == ["cannot: not a block device but a character special file"]
    assert by_name["/dev/vd"] == ["cannot: it does not exist"]


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("multipath", "in use: a path of a multipath device"),
        ("root /dev/vda", "in use: the root file system is on it"),
        ("signature mpath_member,,", "content: a path of a multipath device"),
        ("signature ddf_raid_member,0x1,", "content: a member of a RAID array, signature at 0x1"),
        ("signature oracleasm,0x20,ASM, or so", "content: a file system (oracleasm) 'ASM, or so', signature at 0x20"),
        ("signature wipefs: error: /dev/vdb: probing failed", "cannot: wipefs: error: /dev/vdb: probing failed"),
        ("bytes 0 10", "content: 10 bytes that are not zero in its last 4 MiB, which no program recognises"),
        (
            "unreadable error reading '/dev/vdb': Input/output error",
            "cannot: it cannot be read: error reading '/dev/vdb': Input/output error",
        ),
        ("exclusive", "in use: opened exclusively, by a file system, an array or another service of the kernel"),
        ("held btrfs 0af3", "in use: held by btrfs 0af3"),
        ("node 7:0 loop0 loop0 loop", "in use: held by loop0 (loop)"),
        ("pv 254:16|u|far|v|wz--n-|a--|web1", "in use: a physical volume of the volume group far, of the host 'web1'"),
        ("pv 254:16|u|far|v|wzx-n-|a--|", "in use: a physical volume of the volume group far, exported"),
        ("pv 254:16|u|||wz--n-|d--|", "in use: one of several devices with the physical volume u"),
        ("lvm Cannot use /dev/vdb: rejected", "cannot: LVM does not take it: Cannot use /dev/vdb: rejected"),
    ],
)
def test_each_additional_line_is_one_finding(line: str, says: str) -> None:
    assert found(EMPTY) == []
    assert found(inspected(f"{EMPTY.seen}\n{line}\n")) == [says]


@given(st.lists(st.sampled_from([disk.seen for disk in DISKS]), max_size=5))
def test_inspections_are_parsed_one_by_one(texts: list[str]) -> None:
    assert [disk.seen for disk in disks.parse("\n".join(texts))] == texts


@pytest.mark.parametrize("disk", DISKS, ids=lambda disk: disk.asked)
def test_bare_is_the_inspection_of_an_empty_disk(disk: Disk) -> None:
    if disk.nodes and disk.nodes[0].type == "disk" and disk.size >= disk_checks.LEAST and not disk.read_only:
        assert found(inspected(disk.bare)) == []
        assert disk_checks.obstacles(disk) or disk.bare == disk.seen


@pytest.mark.parametrize("disk", DISKS, ids=lambda disk: disk.asked)
def test_only_content_may_be_wiped(disk: Disk) -> None:
    weights = {obstacle.weight for obstacle in disk_checks.obstacles(disk)}
    if weights - {"content"}:
        with pytest.raises(Refused) as refused:
            disk_checks.refuse(disk, wipe=True)
        assert ("never wiped" in refused.value.hint) == ("in use" in weights)
    else:
        disk_checks.refuse(disk, wipe=True)


def test_a_wipe_is_shown_without_the_functions_that_it_calls() -> None:
    (disk,) = [disk for disk in DISKS if disk.asked.endswith("-disk2")]
    lines = describe(disk_checks.wipe(disk), diff=True)
    assert lines[0].startswith("* WIPE /dev/disk/by-id/virtio-lab-disk2, which destroys: partition /dev/vdd1;")
    assert not any("survey()" in line for line in lines)
    assert lines[-1].endswith(f"{disk.real} {disk.size} /dev/vdd1")


@pytest.mark.parametrize(
    "path", ["sdb", "/etc/passwd", "/dev/", "/dev/../etc", "/dev/a b", "/dev/$(x)", "-/dev/sdb", ""]
)
def test_invalid_device_paths_are_refused(path: str) -> None:
    with pytest.raises(Refused, match="is not the path of a device"):
        disk_checks.check_path(path, "device")


def test_no_part_of_an_inspection_is_skipped() -> None:
    """N4: a disk with a signature is still searched for users."""
    both = inspected(f"{EMPTY.seen}\nnode 7:5 loop5 loop5 loop\nsignature ext4,0x438,\nopen 77 qemu\nbytes 5 0 1-2\n")
    assert found(both) == [
        "in use: held by loop5 (loop)", "in use: open in process 77 qemu",
        "content: a file system (ext4), signature at 0x438",
    ]  # fmt: skip
    with pytest.raises(Refused, match="a device in use is never wiped"):
        disk_checks.refuse(both, wipe=True)


def test_an_lvm_label_that_lvm_does_not_show_is_not_free() -> None:
    (disk,) = found(inspected(f"{EMPTY.seen}\nsignature LVM2_member,0x218,\n"))[:1]
    assert disk.startswith("in use: an LVM physical volume that LVM does not show on the host")


def test_an_unreadable_disk_is_refused_even_with_wipe() -> None:
    """N15."""
    with pytest.raises(Refused) as refused:
        disk_checks.refuse(inspected(f"{EMPTY.seen}\nunreadable error reading '/dev/vdb'\nbytes 5 0 1-2\n"), wipe=True)
    assert "it cannot be read" in refused.value.details
    assert "--wipe" not in refused.value.hint


@pytest.mark.parametrize("path", ["/dev/disk/by-id/a=b#c", r"/dev/disk/by-id/usb-a\x20b", "/dev/sdb", "/dev/a/b~1,2"])
def test_what_udev_makes_of_names_is_the_path_of_a_device(path: str) -> None:
    disk_checks.check_path(path, "device")


CONTENT = [
    "signature ext4,0x438,", "signature dos,0x1fe,", "signature crypto_LUKS,0x0,", "bytes 7 9 1-2",
    "node 254:17 vdb1 vdb1 part", "inside vdb1 xfs",
]  # fmt: skip
STOPS = [
    "root /dev/vdb", "mount /srv",
    "swap /dev/vdb", "held btrfs 1", "node 7:1 loop1 loop1 loop", "multipath", "exclusive",
    "open 7 qemu", "pv 254:16|u|vg|v|wz--n-|a--|", "pv 254:17|u|vg|v|wz--n-|a--|web1", "unreadable error reading it",
    "signature LVM2_member,0x218,", "inside vdb1 LVM2_member", "signature wipefs: error: no", "lvm Cannot use it",
]  # fmt: skip


@given(st.lists(st.sampled_from(CONTENT), unique=True), st.lists(st.sampled_from(STOPS), unique=True))
def test_a_disk_in_use_is_never_wiped_and_content_only_on_request(content: list[str], stops: list[str]) -> None:
    if any("vdb1" in line or "254:17" in line for line in (*content, *stops)):
        content = [*dict.fromkeys(["node 254:17 vdb1 vdb1 part", *content])]
    disk = inspected("\n".join([EMPTY.seen, *content, *stops]))
    for wipe in (False, True):
        if stops or (content and not wipe):
            with pytest.raises(Refused):
                disk_checks.refuse(disk, wipe=wipe)
        else:
            disk_checks.refuse(disk, wipe=wipe)
