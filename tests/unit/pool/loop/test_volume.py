"""The logical volume under a loop pool."""

from __future__ import annotations

from typing import Any

import pytest

from fabfile.errors import Refused
from fabfile.facts import disks
from fabfile.facts.disks import Disk
from fabfile.facts.files import FileFact
from fabfile.facts.pool import Backing, Pool
from fabfile.facts.under import BackingVolume
from fabfile.plan import Change, Command
from fabfile.pool.loop import fstab, volume
from fabfile.sizes import GIB, MIB
from tests.unit.pool import loops
from tests.unit.steps.conftest import having

WANT = volume.VolumeSpec("datavg", "lvdevm", 15 * GIB, "/srv/pool")
ROOM = BackingVolume(group_free=20 * GIB, extent=4 * MIB)
CONF = "/etc/devmapper-pool/pool.conf"
EXT4 = ("signature ext4,0x438,precious", "signature ext4,,")


def there(**changes: Any) -> BackingVolume:
    """The requested volume, empty."""
    made: dict[str, Any] = {"group_free": 0, "size": 15 * GIB, "extent": 4 * MIB, "uuid": "u-1", "attr": "-wi-a-----"}
    return BackingVolume(**made | changes)


def inspected(*found: str) -> Disk:
    """Inspection of the volume, as a machine prints it."""
    lines = [f"asked {WANT.path}", "real /dev/dm-3", "number 254:3", f"size {15 * GIB}", "read-only 0", "serial "]
    (disk,) = disks.parse("\n".join([*lines, "sequence 9", "node 254:3 dm-3 datavg-lvdevm lvm", *found]))
    return disk


def changes(
    now: BackingVolume | None, *found: str, recorded: dict[str, str] | None = None, **pool: Any
) -> list[Change]:
    have = having(pool=Pool(volume=now, **pool), disks=(inspected(*found),))
    return volume.changes(have, WANT, "pool", CONF, loops.record(**recorded) if recorded else None)


def plan(now: BackingVolume | None, *found: str, recorded: dict[str, str] | None = None, **pool: Any) -> list[str]:
    return [change.why for change in changes(now, *found, recorded=recorded, **pool)]


LV, FS, MOUNT = (
    "logical volume /dev/datavg/lvdevm of 15G",
    "ext4 on /dev/datavg/lvdevm",
    "mount it at /srv/pool, now and at every boot",
)


def test_a_volume_is_created_formatted_and_mounted_only_as_needed() -> None:
    assert plan(ROOM) == [LV, FS, MOUNT]
    assert plan(there()) == [FS, MOUNT]
    assert plan(there(filesystem="ext4"), *EXT4) == [MOUNT]
    assert plan(there(filesystem="ext4", mounted="/srv/pool"), *EXT4, "mount /srv/pool") == []


def test_what_is_made_is_recorded_at_once_and_the_look_is_repeated_before() -> None:
    create, make, mount = (change.script for change in changes(ROOM) if isinstance(change, Command))
    assert "--addtag devmapper-pool.pool" in create
    assert create.splitlines()[-1].startswith(f"record {CONF} VOLUME_UUID")
    assert make.index("FS_UUID") < make.index("make_ext4")
    assert "nofail,x-systemd.device-timeout=30s" in mount
    taken, _ = (change.script for change in changes(there()) if isinstance(change, Command))
    assert taken.startswith("same_disk /dev/datavg/lvdevm")
    assert "make_ext4 datavg/lvdevm u-1 -U" in taken


@pytest.mark.parametrize(
    ("now", "what"),
    [
        (None, "no volume group 'datavg'"),
        (BackingVolume(group_free=None), "no volume group 'datavg'"),
        (BackingVolume(suspended=("other",)), "LVM cannot be queried while other is suspended"),
        (BackingVolume(busy=True), "LVM did not answer within 60 s"),
        (BackingVolume(hidden=("/dev/vdb",), hides={"use_devicesfile": "1"}), "LVM ignores the volume group datavg"),
        (BackingVolume(group_free=GIB), "no room"),
        (there(size=GIB), "another size"),
        (there(size=16 * GIB), "another size"),
        (there(attr="-wi-------"), "is not active"),
        (there(filesystem="ext4", mounted="/home"), "is mounted at /home"),
    ],
)
def test_what_is_in_the_way_of_a_volume_is_named(now: BackingVolume | None, what: str) -> None:
    with pytest.raises(Refused, match=what):
        plan(now)


@pytest.mark.parametrize(
    ("found", "what"),
    [
        (("signature dos,0x1fe,", "node 254:4 dm-4 datavg-lvdevm1 part"), "a partition table (dos)"),
        (("bytes 9 0",), "9 bytes that are not zero in its first 4 MiB"),
        (("bytes 0 9",), "9 bytes that are not zero in its last 4 MiB"),
        (("signature xfs,0x0,", "signature xfs,,"), "a file system (xfs)"),
        (("signature LVM2_member,0x218,",), "an LVM physical volume"),
        ((*EXT4, "mount /home"), "mounted at /home"),
        ((*EXT4, "node 7:5 loop5 loop5 loop"), "held by loop5 (loop)"),
        ((*EXT4, "open 17 qemu"), "open in process 17 qemu"),
        ((*EXT4, "signature xfs,0x0,"), "a file system (xfs)"),
        (("swap /dev/dm-3",), "in use as swap"),
    ],
)
@pytest.mark.parametrize("filesystem", ["", "ext4"])
def test_an_existing_volume_is_inspected_like_a_disk(found: tuple[str, ...], what: str, filesystem: str) -> None:
    """Whatever blkid prints: no output does not mean an empty volume."""
    with pytest.raises(Refused, match="exists and cannot be used") as refused:
        plan(there(filesystem=filesystem), *found)
    assert what in refused.value.details


def test_an_open_volume_is_refused_whatever_the_inspection_found() -> None:
    with pytest.raises(Refused) as refused:
        plan(there(attr="-wi-ao----"))
    assert "open: something uses it" in refused.value.details


def test_a_volume_that_was_not_inspected_is_not_used() -> None:
    with pytest.raises(Refused, match="was not inspected"):
        volume.changes(having(pool=Pool(volume=there())), WANT, "pool", CONF, None)


def test_what_an_interrupted_run_made_is_known_by_its_tag_or_uuid_and_only_by_them() -> None:
    making = {"MAKING": "yes", "VOLUME_MADE": "volume filesystem mount"}
    assert plan(there(tags=("devmapper-pool.pool",)), "bytes 9 9", recorded=making) == [FS, MOUNT]
    assert plan(there(), "bytes 9 9", recorded=making | {"VOLUME_UUID": "u-1"}) == [FS, MOUNT]
    done = there(filesystem="ext4", filesystem_uuid="f-1")
    assert plan(done, *EXT4, recorded=making | {"VOLUME_UUID": "u-1", "FS_UUID": "f-1"}) == [MOUNT]
    with pytest.raises(Refused, match="holds another file system than the pool's"):
        plan(done, *EXT4, recorded=making | {"VOLUME_UUID": "u-1", "FS_UUID": "f-2"})
    with pytest.raises(Refused, match="cannot be used"):
        plan(there(tags=("devmapper-pool.other",)), "bytes 9 9", recorded=making)
    with pytest.raises(Refused, match="is not the volume that the pool was made with"):
        plan(there(), recorded=making | {"VOLUME_UUID": "u-2"})
    with pytest.raises(Refused, match="cannot be used"):
        plan(there(tags=("devmapper-pool.pool",)), "bytes 9 9", recorded={"VOLUME": "datavg/lvdevm"})


def test_a_line_of_an_earlier_version_in_fstab_is_renewed_where_it_is_ours() -> None:
    old = FileFact(f"{WANT.path} {WANT.dir} ext4 defaults 0 2\n", 0o644)
    now = there(filesystem="ext4", mounted="/srv/pool")
    for recorded, whys in (({"VOLUME_MADE": "mount"}, [f"let the host boot without {WANT.path}"]), ({}, [])):
        have = having(pool=Pool(volume=now), files={fstab.PATH: old}, disks=(inspected(*EXT4),))
        assert [change.why for change in volume.changes(have, WANT, "pool", CONF, loops.record(**recorded))] == whys


def test_a_mount_that_would_hide_a_pool_is_refused() -> None:
    with pytest.raises(Refused, match="holds a pool already"):
        plan(ROOM, data=Backing(GIB, 0, used=False))


@pytest.mark.parametrize(
    ("name", "size", "what"),
    [
        ("datavg", "15G", "is not VG/LV"),
        ("", "15G", "is not VG/LV"),
        ("-vg/lv", "15G", "is not VG/LV"),
        ("vg/lv/x", "15G", "is not VG/LV"),
        ("vg/lv", "", "required with --volume"),
        ("vg/lv", "15", "is not a size"),
    ],
)
def test_a_volume_without_its_size_is_refused(name: str, size: str, what: str) -> None:
    with pytest.raises(Refused, match=what):
        volume.volume(name, size, "/srv/pool")


def test_no_volume_is_requested() -> None:
    assert volume.volume("", "", "/srv/pool") is None


def test_a_group_in_which_lvm_would_make_nothing_is_refused_before_anything_is_written() -> None:
    with pytest.raises(Refused, match="LVM would not make /dev/datavg/lvdevm") as refused:
        plan(BackingVolume(group_free=20 * GIB, extent=4 * MIB, against="Volume group datavg is exported"))
    assert refused.value.details == "Volume group datavg is exported"
