"""Removal of a loop pool: its files, its mount point, and the volume they are on."""

from __future__ import annotations

import msgspec
import pytest

from fabfile.errors import Refused
from fabfile.facts.files import FileFact
from fabfile.facts.pool import Pool as PoolFact
from fabfile.facts.under import BackingVolume as Under
from fabfile.plan import Change
from fabfile.pool import remove, units
from fabfile.pool.loop import fstab, volume
from fabfile.sizes import GIB
from tests.unit.pool import loops
from tests.unit.pool.removals import going, scripts, whys

RECORDED = {"MAKING": "no", "VOLUME": "vg/lv", "VOLUME_UUID": "u-1", "FS_UUID": "f-1"}


MADE = Under(group_free=0, size=15 * GIB, uuid="u-1", filesystem="ext4", filesystem_uuid="f-1", mounted="/srv/pool")


def undone(settings: dict[str, str], now: Under = MADE) -> list[Change]:
    """Plan the removal of a volume on a machine whose fstab has lines of ours and of others."""
    ours = [fstab.line("f-1", "/srv/pool"), "/dev/vg/lv /srv/pool ext4 noatime 0 2"]
    text = "\n".join(["# a comment", "UUID=1 / ext4 defaults 0 1", "UUID=f-1 /mnt ext4 defaults 0 2", *ours])
    have = msgspec.structs.replace(
        loops.machine(PoolFact(volume=now)), files={fstab.PATH: FileFact(f"{text}\n", 0o664)}
    )
    return volume.undone(have, loops.record(**settings), loops.NAME, units.conf(loops.NAME), "/srv/pool")


@pytest.mark.parametrize(
    ("made", "done"),
    [
        ("volume filesystem mount", ["not mounted at boot"] * 2 + ["unmount /srv/pool", "remove /dev/vg/lv, 15.0G"]),
        ("filesystem mount", ["not mounted at boot"] * 2 + ["unmount /srv/pool", "no file system on /dev/vg/lv"]),
        ("mount", ["not mounted at boot"] * 2 + ["unmount /srv/pool"]),
        ("", []),
    ],
)
def test_only_what_was_created_of_a_volume_is_removed(made: str, done: list[str]) -> None:
    changes = undone(RECORDED | {"VOLUME_MADE": made})
    assert [why in change.why for why, change in zip(done, changes, strict=True)] == [True] * len(done)
    assert "/mnt" not in scripts(changes)
    if "volume" in made:
        assert "remove_lv vg/lv u-1" in scripts(changes)


def test_a_volume_with_another_identity_stays() -> None:
    made = {"VOLUME_MADE": "volume filesystem mount"}
    other = msgspec.structs.replace(MADE, uuid="u-2", mounted="")
    assert "remove_lv" not in scripts(undone(RECORDED | made, other))
    formatted = msgspec.structs.replace(MADE, filesystem_uuid="f-2")
    assert "wipe_fs" not in scripts(undone(RECORDED | {"VOLUME_MADE": "filesystem mount"}, formatted))
    interrupted = {"MAKING": "yes", "VOLUME": "vg/lv"} | made
    assert "remove_lv" not in scripts(undone(interrupted))
    assert "remove_lv" in scripts(undone(interrupted, msgspec.structs.replace(MADE, tags=("devmapper-pool.pool",))))


def test_another_volume_that_is_mounted_at_the_directory_stays_mounted() -> None:
    made = {"VOLUME_MADE": "volume filesystem mount"}
    other = msgspec.structs.replace(MADE, uuid="u-2", filesystem_uuid="f-2")
    changes = undone(RECORDED | made, other)
    assert whys(changes) == ["/srv/pool is not mounted at boot"], "only the line with the pool's UUID goes"
    assert "UUID=f-1" in scripts(changes) and "umount" not in scripts(changes)


def test_the_line_and_mount_of_a_volume_on_a_lost_disk_are_removed() -> None:
    lost = Under(group_free=None, mounted="/srv/pool")
    changes = undone(RECORDED | {"VOLUME_MADE": "volume filesystem mount"}, lost)
    assert whys(changes)[-1] == "unmount /srv/pool"
    assert "drop_fstab" in scripts(changes)
    assert "remove_lv" not in scripts(changes)


@pytest.mark.parametrize("unasked", [Under(suspended=("other",)), Under(busy=True, left=("datavg-lv", "253:4"))])
def test_nothing_is_removed_where_lvm_could_not_be_asked(unasked: Under) -> None:
    with pytest.raises(Refused, match=r"LVM (cannot be queried|did not answer)"):
        undone(RECORDED | {"VOLUME_MADE": "volume filesystem mount"}, unasked)


def test_a_record_of_an_earlier_version_identifies_the_volume_by_its_mount() -> None:
    old = {"VOLUME": "vg/lv", "VOLUME_MADE": "volume filesystem mount"}
    record, *_, removal = undone(old)
    assert "VOLUME_UUID u-1" in scripts([record])
    assert "remove_lv vg/lv u-1" in scripts([removal])
    with pytest.raises(Refused, match="do not have the UUID"):
        undone(old, msgspec.structs.replace(MADE, mounted=""))


def test_a_file_that_is_not_the_recorded_one_is_not_removed() -> None:
    down = loops.pool(table=None, status=None)
    have = loops.known(loops.machine(down), DATA_INO="17")
    with pytest.raises(Refused, match="/srv/pool/data is not the file") as refused:
        remove.plan(have, going(have, loops.NAME))
    assert "its inode is 0, the record has 17" in refused.value.details
    up = loops.known(loops.machine(), DATA_INO="17")
    assert "remove_file /srv/pool/data" in scripts(remove.plan(up, going(up, loops.NAME)))


def test_files_on_an_unmounted_file_system_stay_and_are_reported() -> None:
    have = loops.known(loops.machine(PoolFact(place=loops.ROOM)), MOUNT="/srv/pool")
    changes = remove.plan(have, going(have, loops.NAME))
    assert "remove_file" not in scripts(changes)
    assert "is not mounted at /srv/pool" in changes[-1].why


@pytest.mark.parametrize(("made", "goes"), [(True, True), (False, False), (None, False)])
def test_a_mount_point_is_removed_only_if_created_for_the_pool(made: bool | None, goes: bool) -> None:
    have = loops.machine()
    pool = going(have, loops.NAME)
    pool = msgspec.structs.replace(pool, record=msgspec.structs.replace(pool.record, dir_made=made))
    assert ("rmdir /srv/pool;" in scripts(remove.plan(have, pool))) == goes


BY_HAND = Under(group_free=1, size=1, uuid="u-3")
"""A volume that somebody else made."""

HALF = {"MAKING": "yes", "VOLUME": "vg/lv", "VOLUME_MADE": "volume filesystem mount"}
"""The record of a pool whose volume was about to be made."""


@pytest.mark.parametrize(
    ("now", "recorded", "made"),
    [
        (Under(group_free=1), None, ("volume", "filesystem", "mount")),
        (Under(group_free=1), {"MAKING": "yes"}, ("volume", "filesystem", "mount")),
        (Under(group_free=1, size=1), {"VOLUME_MADE": "volume filesystem mount"}, ("volume", "filesystem", "mount")),
        (BY_HAND, HALF, ("filesystem", "mount")),
        (msgspec.structs.replace(BY_HAND, filesystem="ext4"), HALF, ("mount",)),
        (msgspec.structs.replace(BY_HAND, uuid="u-1"), HALF | {"VOLUME_UUID": "u-1"}, volume.MADE),
        (msgspec.structs.replace(BY_HAND, uuid="u-2"), HALF | {"VOLUME_UUID": "u-1"}, ("filesystem", "mount")),
        (msgspec.structs.replace(BY_HAND, tags=("devmapper-pool.pool",)), HALF, volume.MADE),
        (Under(group_free=1, size=1), {"MAKING": "yes", "VOLUME_MADE": ""}, ("filesystem", "mount")),
        (Under(group_free=1, size=1, filesystem="ext4", mounted="/d"), None, ()),
        (Under(group_free=1, size=1, filesystem="ext4", mounted="/d"), {"VOLUME_MADE": "mount"}, ("mount",)),
        (Under(group_free=1, size=1), {"MAKING": "no", "VOLUME_MADE": "mount"}, ("mount",)),
        (None, {"VOLUME_MADE": "volume"}, ("volume",)),
    ],
)
def test_what_is_created_of_a_volume_is_recorded_first_and_stays_recorded(
    now: Under | None, recorded: dict[str, str] | None, made: tuple[str, ...]
) -> None:
    assert volume.made(now, None if recorded is None else loops.record(**recorded), loops.NAME) == made


def test_a_loop_pool_on_a_volume_that_lvm_ignores_stays() -> None:
    hidden = Under(hidden=("/dev/vdb",), hides={"use_devicesfile": "1"}, left=("vg-lv", "254:0"), mounted="/srv/pool")
    have = loops.known(loops.machine(loops.pool(volume=hidden)), VOLUME="vg/lv", VOLUME_UUID="u", VOLUME_MADE="volume")
    with pytest.raises(Refused) as refused:
        remove.plan(have, going(have, loops.NAME))
    assert "it is not in /etc/lvm/devices/system.devices\nnothing was removed" in refused.value.details
    assert refused.value.hint.startswith("lvm lvmdevices --adddev /dev/vdb; then inv pool.reset")
