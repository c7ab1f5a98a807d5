"""A loop pool touches no foreign volume, file or mount point, and a lost pool is never replaced by a new one.

One machine with a volume group of somebody else's, on a disk that can vanish. The tests build on each other; those with
an N and a number are inputs that once destroyed something, hid a loss, or had no remedy.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.conftest import started
from tests.integration.machine import Machine, lvm_says

DIR, POOL, UNIT = "/srv/v", "containerd-pool", "devmapper-pool@containerd-pool.service"

PLUG = 'dmsetup create flaky --table "0 $(($(blockdev --getsz {disk}) - 2048)) linear {disk} 2048"; udevadm settle'
"""A disk that is there after this, and not after a boot. What is on it is not where LVM finds it on the real one."""

LEFT = """
losetup -n -O NAME,BACK-FILE; dmsetup ls | grep -v -e '^flaky' -e '^uv-'; cat /etc/fstab; grep -e ' /srv' /proc/mounts
find /etc/devmapper-pool /srv /etc/systemd/system -path '*devmapper*' -o -path '/srv/*'; systemctl --failed --no-legend
"""
"""Everything that a pool could leave behind."""


@pytest.fixture(scope="module")
def machine(request: pytest.FixtureRequest, lab: Path, suite: str) -> Iterator[Machine]:
    """A machine with the group `uv`, and a mount point and a file system of the user's own."""
    with started(request, suite, disks=["3G", "1G"]) as machine:
        plug(machine)
        machine.ssh(f"vgcreate -q uv /dev/mapper/flaky; mkdir -p {DIR}")
        yield machine


def plug(machine: Machine) -> None:
    """The disk is there."""
    machine.ssh(PLUG.format(disk=machine.disk(2)))


def left(machine: Machine) -> str:
    return machine.ssh(LEFT, code=None)


def loop(volume: str, size: str = "400M", data: str = "128M") -> list[str]:
    """The command that makes a pool on a volume."""
    return ["pool.loop", "--dir", DIR, "--size", data, "--volume", f"uv/{volume}", "--volume-size", size]


@pytest.fixture(scope="module")
def inventory(machine: Machine, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One that describes the pools of `loop("pool", "600M")` and of FILES, so that deploy is about them."""
    file = tmp_path_factory.mktemp("files") / "hosts.toml"
    text = (machine.vm.directory.parent / "hosts.toml").read_text()
    file.write_text(f'{text}\n[defaults.pool]\ndir = "{DIR}"\nsize = "128M"\n')
    return file


def make(machine: Machine, name: str, then: str) -> None:
    """A volume of the user's, on which `then` is done with `$lv`."""
    ends = "for end in 0 396; do dd if=/dev/zero of=$lv bs=1M count=4 seek=$end conv=notrunc status=none; done"
    machine.ssh(f"lvcreate -q -y -Wn -Zn -L 400M -n {name} uv; lv=/dev/uv/{name}; wipefs -q -a $lv; {ends}\n{then}")


THEIRS = {
    "raw": ("printf precious | dd of=$lv bs=1 seek=1234567 conv=notrunc status=none", "bytes that are not zero"),
    "mbr": (
        "put() { printf \"$2\" | dd of=$lv bs=1 seek=$1 conv=notrunc status=none; }; put 510 '\\125\\252';"
        " put 446 '\\0\\0\\0\\0\\203\\0\\0\\0\\0\\010\\0\\0\\0\\0\\002\\0'",
        "a partition table (dos)",
    ),
    "xfs": ("mkfs.xfs -q -f --unsupported $lv", "a file system (xfs)"),
    "opened": ("sleep infinity <$lv >/dev/null 2>&1 &", "open in process"),
    "looped": ("losetup /dev/loop5 $lv", "held by loop5 (loop)"),
    "elsewhere": ("mkfs.ext4 -q $lv; mkdir -p /srv/else; mount -o ro $lv /srv/else", "mounted at /srv/else"),
    "inactive": ("mkfs.xfs -q -f --unsupported $lv; lvchange -an uv/inactive", "is not active"),
    "small": ("lvreduce -q -f -y -L 200M $lv", "it has 200M, requested: 400M"),
}
"""Name of a volume → the shell that sets it up, and the text of the refusal."""

CLEAR = {
    "opened": "kill $(pidof sleep)",
    "looped": "losetup -d /dev/loop5",
    "elsewhere": "umount /srv/else; rmdir /srv/else",
}


@pytest.mark.parametrize("kind", THEIRS)
def test_n1_n16_a_volume_that_is_not_ours_is_refused_before_anything_is_written(machine: Machine, kind: str) -> None:
    before = left(machine)
    make(machine, kind, THEIRS[kind][0])
    sum_ = f"lvchange -ay uv/{kind}; b2sum </dev/uv/{kind}"
    content = machine.ssh(sum_.partition("; ")[2]) if kind != "inactive" else ""
    assert THEIRS[kind][1] in machine.fab(*loop(kind), code=2)
    if content:
        assert machine.ssh(sum_.partition("; ")[2]) == content
    else:
        assert 'TYPE="xfs"' in machine.ssh(f"lvchange -ay uv/{kind}; blkid -p /dev/uv/{kind}")
    machine.ssh(f"{CLEAR.get(kind, ':')}; udevadm settle; lvremove -q -y uv/{kind}")
    assert left(machine) == before
    assert machine.ssh("ls /etc/devmapper-pool", code=None).startswith("ls: cannot")


def test_an_empty_volume_is_used_and_empty_again_after_a_reset(machine: Machine) -> None:
    """The mount point is the user's own, and stays."""
    before = left(machine)
    make(machine, "empty", "")
    machine.fab(*loop("empty"))
    assert "ok 1  changed 0" in machine.fab(*loop("empty"))
    assert "nofail" in machine.ssh(f"grep {DIR} /etc/fstab")
    uuid = machine.ssh("lvs --noheadings -o lv_uuid uv/empty").strip()
    assert f"VOLUME_UUID={uuid}" in machine.ssh(f"cat /etc/devmapper-pool/{POOL}.conf")
    machine.fab("pool.reset", "--yes", "--name", POOL)
    assert machine.ssh("lvs --noheadings -o lv_uuid uv/empty").strip() == uuid
    assert machine.ssh("wipefs /dev/uv/empty") == ""
    assert left(machine) == before


def test_an_existing_file_system_is_used_and_kept(machine: Machine) -> None:
    machine.ssh("mkfs.ext4 -q /dev/uv/empty; mount /dev/uv/empty /mnt; echo mine >/mnt/precious; umount /mnt")
    machine.fab(*loop("empty"))
    machine.fab("pool.reset", "--yes")
    assert machine.ssh("mount /dev/uv/empty /mnt; cat /mnt/precious; ls /mnt; umount /mnt").split() == [
        "mine", "lost+found", "precious",
    ]  # fmt: skip
    machine.ssh("lvremove -q -y uv/empty")


def test_n9_a_machine_boots_without_the_disk_and_every_task_says_what_is_missing(
    machine: Machine, inventory: Path
) -> None:
    machine.fab(*loop("pool", "600M"))
    machine.ssh(thin(1, "content"))
    machine.reboot()  # the disk is not there
    assert machine.ssh(f"systemctl is-active {UNIT}", code=None).strip() in ("inactive", "failed")
    before = left(machine)
    for task in (
        loop("pool", "600M"),
        ["deploy"],
        ["pool.grow", "--size", "200M"],
        *([f"pool.{task}"] for task in ("trim", "check", "backup", "repair", "restore", "fsck")),
    ):
        said = machine.fab(*task, code=2, inventory=inventory)
        assert "LVM does not know the volume group uv: is its disk there?" in said, task
        assert "vgchange -ay uv && systemctl restart " in said
    assert "LVM does not know the volume group uv" in machine.fab("pool.status", code=1)
    assert left(machine) == before


def test_a_restored_pool_is_the_same_pool(machine: Machine) -> None:
    plug(machine)
    machine.ssh(f"vgchange -q -ay uv; systemctl reset-failed; systemctl start {UNIT}")
    assert content(machine, 1) == "content"
    assert "ok 1  changed 0" in machine.fab(*loop("pool", "600M"))


def test_a_volume_that_lvm_ignores_is_not_half_removed(machine: Machine) -> None:
    before = left(machine)
    with lvm_says(machine, 'devices { global_filter = ["r|flaky|"] }'):
        for task in (["pool.reset", "--yes"], ["pool.reset", "--yes", "--force"], loop("pool", "600M")):
            said = machine.fab(*task, code=2)
            assert "LVM ignores /dev/mapper/flaky of uv: lvm.conf says global_filter" in said
            assert "let them through in /etc/lvm/lvm.conf: a|^/dev/mapper/flaky$|" in said
    assert left(machine) == before
    assert content(machine, 1) == "content"
    assert "ok 1  changed 0" in machine.fab(*loop("pool", "600M"))


def test_a_volume_of_the_same_name_is_not_the_pools(machine: Machine) -> None:
    """The machine also boots without the volume."""
    machine.ssh(f"systemctl stop {UNIT}; umount {DIR}; lvrename -q uv/pool uv/away; lvcreate -q -y -L 600M -n pool uv")
    said = machine.fab(*loop("pool", "600M"), code=2)
    assert "uv/pool is another volume" in said
    machine.ssh("lvremove -q -y uv/pool; lvchange -an uv/away; systemctl daemon-reload")
    assert "the volume uv/pool is now called uv/away" in machine.fab(*loop("pool", "600M"), code=2)
    machine.ssh(f"lvrename -q uv/away uv/pool; lvchange -ay uv/pool; udevadm settle; systemctl start {UNIT}")
    assert content(machine, 1) == "content"


def test_a_volume_that_is_not_mounted_is_not_removed_unseen(machine: Machine) -> None:
    machine.ssh(f"touch {DIR}/mine; systemctl stop {UNIT}; umount {DIR}")
    said = machine.fab("pool.reset", "--yes", "--force", code=2)
    assert f"/dev/uv/pool is not mounted, and has data meta mine: mount /dev/uv/pool {DIR}" in said
    machine.ssh("lvchange -an uv/pool")
    assert "uv/pool is not active" in machine.fab("pool.reset", "--yes", "--force", code=2)
    machine.ssh(
        f"lvchange -ay uv/pool; udevadm settle; mount /dev/uv/pool {DIR}; rm {DIR}/mine; systemctl start {UNIT}"
    )
    assert content(machine, 1) == "content"


def test_a_disk_that_vanishes_for_good_leaves_a_pool_that_can_be_removed(machine: Machine) -> None:
    machine.ssh('dmsetup load flaky --table "0 $(blockdev --getsz /dev/mapper/flaky) error"; dmsetup resume flaky')
    said = machine.fab("pool.reset", "--yes", "--force")
    assert "changed 1" in said
    assert DIR not in machine.ssh("cat /etc/fstab /proc/mounts")
    assert machine.ssh("losetup -n -O NAME; ls -d /etc/devmapper-pool* /srv/v 2>/dev/null", code=None).split() == [DIR]
    machine.ssh("dmsetup remove --retry flaky")  # nothing is left on it
    plug(machine)
    machine.ssh("lvremove -q -y uv/pool")


FILES = ["pool.loop", "--dir", DIR, "--size", "128M"]


def test_n26_a_pool_whose_mount_is_missing_is_not_replaced_by_a_new_one(machine: Machine, inventory: Path) -> None:
    disk = machine.disk(3)
    machine.ssh(f"mkfs.ext4 -q {disk}; echo '{disk} {DIR} ext4 nofail 0 2' >>/etc/fstab; mount {DIR}")
    machine.fab(*FILES)
    machine.ssh(thin(2, "other content"))
    machine.ssh(f"systemctl stop {UNIT}; umount {DIR}")
    for task in (FILES, ["deploy"], ["pool.trim"]):
        assert f"is not mounted at {DIR}: {DIR} is on / now" in machine.fab(*task, code=2, inventory=inventory)
    assert machine.ssh(f"ls {DIR}") == ""
    machine.ssh(f"mount {DIR}; systemctl start {UNIT}")
    assert content(machine, 2) == "other content"


def test_n26_nor_is_one_whose_files_were_removed_while_it_was_down(machine: Machine, inventory: Path) -> None:
    machine.ssh(f"systemctl stop {UNIT}; mkdir /root/away; mv {DIR}/data {DIR}/meta /root/away")
    for task in (FILES, ["deploy"], ["pool.check"]):
        said = machine.fab(*task, code=2, inventory=inventory)
        assert f"{DIR}/data is gone" in said
        assert f"{DIR}/meta is gone" in said
    machine.ssh(f"cp /root/away/* {DIR}; rm -r /root/away; systemctl start {UNIT}")
    assert content(machine, 2) == "other content"
    assert "record which files are the pool's" in machine.fab(*FILES)
    assert "ok 1  changed 0" in machine.fab(*FILES)


def test_n13_a_truncated_file_is_reported_and_not_enlarged(machine: Machine) -> None:
    machine.ssh(f"truncate -s 64M {DIR}/data; systemctl start devmapper-pool-monitor@{POOL}.service")
    for task, code in ((["pool.status"], 0), (["doctor"], 1), (["pool.grow", "--size", "256M"], 2), (FILES, 2)):
        assert f"{DIR}/data was truncated: it has 64.0M of 128.0M" in machine.fab(*task, code=code), task
    assert "was truncated" in machine.ssh(f"cat /run/devmapper-pool/{POOL}.warning")
    assert machine.ssh(f"stat -c %s {DIR}/data").strip() == str(64 << 20)
    # docs/rescue.md: what is beyond is lost, and reads as zeros from then on.
    machine.ssh(f"truncate -s 128M {DIR}/data")
    assert content(machine, 2) == "other content"
    assert "ok 1  changed 0" in machine.fab(*FILES)


def test_n13_truncated_metadata_is_restored_from_a_backup(machine: Machine) -> None:
    machine.fab("pool.backup")
    machine.ssh(f"truncate -s 0 {DIR}/meta")
    for task, code in ((["pool.status"], 0), (["pool.grow", "--size", "256M"], 2), (["pool.check"], 2)):
        said = machine.fab(*task, code=code)
        assert f"{DIR}/meta was truncated: it has " in said, task
    hint = said.partition("hint: ")[2].partition("; ")[0]
    assert hint == f"from a backup: fab -H {machine.vm.name} pool.restore"
    machine.fab("pool.restore")
    assert content(machine, 2) == "other content"
    assert "ok 1  changed 0" in machine.fab(*FILES)


def test_a_file_system_that_takes_no_writes_is_named_and_nothing_stays_read_only(machine: Machine) -> None:
    """The pool came up on read-only devices, seemed to be well until it wrote, and kept the file system busy."""
    disk = machine.disk(3)
    machine.ssh(f"""mount -o remount,errors=remount-ro {DIR}
        echo test >/sys/fs/ext4/{disk.rpartition("/")[2]}/trigger_fs_error""")
    refused = [FILES, ["pool.repair"], ["pool.grow", "--size", "1G"]]
    tasks = [(["doctor"], 1), (["pool.status"], 0), *((task, 2) for task in refused)]
    for task, code in tasks:
        said = machine.fab(*task, code=code)
        assert f"{DIR}/data cannot be written: the file system at {DIR} takes no writes" in said, task
    machine.ssh(f"systemctl restart {UNIT}", code=1)
    said = machine.fab("doctor", code=1)
    assert f"devmapper-pool: {DIR}/meta cannot be written: its file system takes no writes" in said
    machine.ssh(f"""losetup --read-only --find {DIR}/data # as others may, to look at it
        umount {DIR} && exit 1; losetup -D; umount {DIR}; e2fsck -fy {disk} || [ $? = 1 ]; mount {DIR}
        losetup --read-only --find {DIR}/data; systemctl restart {UNIT}""")
    assert content(machine, 2) == "other content"
    machine.ssh(thin(4, "written"))
    assert content(machine, 4) == "written"


def test_a_pool_behind_a_link_waits_for_the_mount_that_it_leads_to(machine: Machine) -> None:
    """After a boot its files were said to be missing, as the mount came later."""
    machine.ssh(f"mkdir {DIR}/linked; ln -s {DIR}/linked /srv/link")
    linked = ["--instance", "two", "--name", "linked"]
    machine.fab("pool.loop", *linked, "--dir", "/srv/link", "--size", "64M")
    assert "srv-v.mount" in machine.ssh("systemctl show -p After devmapper-pool@linked")
    assert "ok 1  changed 0" in machine.fab("pool.loop", *linked, "--dir", "/srv/link", "--size", "64M")
    machine.fab("pool.reset", *linked, "--yes")
    machine.ssh(f"rm /srv/link; rmdir {DIR}/linked")


def test_n9_a_machine_boots_without_the_volume_and_status_tells_where_it_is(machine: Machine) -> None:
    disk = machine.disk(3)
    machine.fab("pool.reset", "--yes")
    machine.ssh(f"umount {DIR}; sed -i '\\|{DIR}|d' /etc/fstab; wipefs -q -a {disk}; vgcreate -q rv {disk}")
    made = ["pool.loop", "--dir", DIR, "--size", "128M", "--volume", "rv/pool", "--volume-size", "400M"]
    machine.fab(*made)
    machine.ssh(thin(3, "on a volume"))
    machine.ssh(f"systemctl stop {UNIT}; umount {DIR}; lvrename -q rv/pool rv/away")
    machine.ssh("lvchange -q --setautoactivation n rv/away")
    machine.reboot()
    assert machine.ssh(f"systemctl is-active {UNIT}", code=None).strip() in ("inactive", "failed")
    for task, code in ((["doctor"], 1), (["pool.status"], 1), (["pool.check"], 2), (made, 2)):
        said = machine.fab(*task, code=code)
        assert "the volume rv/pool is now called rv/away" in said, task
    machine.ssh(said.partition("on the host: ")[2].partition(" && systemctl start containerd")[0])
    assert content(machine, 3) == "on a volume"
    assert "ok 1  changed 0" in machine.fab(*made)
    machine.fab("pool.reset", "--yes")
    assert machine.ssh("lvs --noheadings rv; losetup -n -O NAME").strip() == ""


def test_a_copy_of_the_disk_under_a_volume_is_named(machine: Machine) -> None:
    """The hint was to activate the volume, which LVM refuses."""
    machine.fab("pool.loop", "--dir", DIR, "--size", "128M", "--volume", "rv/again", "--volume-size", "400M")
    disk = machine.disk(3)
    machine.ssh(f"""systemctl stop {UNIT}; umount {DIR}; lvchange -an rv/again
        truncate -s "$(blockdev --getsize64 {disk})" /root/copy
        dd if={disk} of=/root/copy bs=1M count=4 conv=notrunc status=none; losetup --find /root/copy; udevadm settle""")
    said = machine.fab("pool.status", code=1)
    assert "the volume rv/again is not active, and LVM does not activate it: Cannot activate LVs in VG rv" in said
    assert "vgimportclone DEVICE; then on the host: lvchange -ay rv/again" in said
    machine.ssh("losetup -D; rm /root/copy; udevadm settle")
    again = (
        machine.fab("pool.status", code=1)
        .partition("→ on the host: ")[2]
        .partition(" && systemctl start containerd")[0]
    )
    machine.ssh(again)
    machine.fab("pool.status")
    machine.fab("pool.reset", "--yes")


def thin(number: int, text: str) -> str:
    """Shell that makes a thin device of the pool and writes to its beginning."""
    return f"""
dmsetup message {POOL} 0 'create_thin {number}'
dmsetup create t{number} --table "0 65536 thin /dev/mapper/{POOL} {number}"
echo {text} | dd of=/dev/mapper/t{number} bs=1M count=1 conv=fsync,sync status=none; dmsetup remove --retry t{number}
"""


def content(machine: Machine, number: int) -> str:
    """The first line of a thin device."""
    return machine.ssh(
        f'dmsetup create t{number} --table "0 65536 thin /dev/mapper/{POOL} {number}"\n'
        f"head -n 1 /dev/mapper/t{number}; dmsetup remove --retry t{number}"
    ).strip()
