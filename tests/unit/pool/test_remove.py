"""What takes a pool away again, purely from the facts."""

from __future__ import annotations

import re
from typing import Any

import msgspec
import pytest

from fabfile import keyvalue
from fabfile.errors import Refused
from fabfile.facts import Facts
from fabfile.facts.files import FileFact
from fabfile.facts.instances import Instances
from fabfile.facts.lvm import Device, Hidden, Lvm
from fabfile.facts.pool import Pool as PoolFact
from fabfile.facts.under import Volume as Under
from fabfile.facts.volume_group import Volume
from fabfile.instance import Daemon
from fabfile.plan import Change, Command, File, words
from fabfile.pool import remove, units
from fabfile.pool.loop import fstab, volume
from fabfile.pool.lvm import identity
from fabfile.pool.safety import gate
from fabfile.sizes import GIB
from tests.unit import typed
from tests.unit.pool import groups, loops

DIRECT = groups.NAME


def going(have: Facts, name: str, **changes: Any) -> remove.Removal:
    record = units.recorded(have, name)
    assert record
    return msgspec.structs.replace(remove.Removal(name, Daemon(), record, "/srv/pool"), **changes)


def whys(changes: list[Change]) -> list[str]:
    return [change.why for change in changes]


def scripts(changes: list[Change]) -> str:
    return "\n".join(change.script for change in changes if isinstance(change, Command))


def bare(have: Facts) -> Facts:
    """The same machine without any file, pool or group of ours."""
    lvm = msgspec.structs.replace(have.lvm, groups=(), physical={}, profile=None) if have.lvm else None
    return msgspec.structs.replace(have, files={}, pool=PoolFact(), lvm=lvm)


def with_disk(have: Facts, **changes: Any) -> Facts:
    """The machine of `groups.made` with the look at its disk as it is while the pool is on it."""
    (look,) = have.disks
    seen = f"{groups.empty().seen}\nnode 254:0 dm-0 containerd-thinpool lvm\nsignature LVM2_member,0x218,"
    return msgspec.structs.replace(have, disks=(msgspec.structs.replace(look, seen=seen, **changes),))


def test_a_loop_pool_goes_in_the_one_order_that_works() -> None:
    have = loops.machine()
    changes = remove.plan(have, going(have, loops.NAME))
    assert whys(changes) == [
        "stop containerd.service and take the pool pool down with all its thin devices",
        "remove /srv/pool/data and /srv/pool/meta, 10.1G",
        "remove all images, containers and snapshots of the default containerd",
        "remove its units and files",
        "forget the pool pool",
    ]
    assert scripts(changes).rstrip().splitlines()[-1].count("rmdir") == 1
    assert units.conf(loops.NAME) in scripts(changes[-1:])
    assert units.conf(loops.NAME) not in scripts(changes[:-1])


def test_what_is_gone_is_nothing_to_do_and_what_stayed_is() -> None:
    have = loops.machine()
    pool = going(have, loops.NAME)
    assert remove.plan(bare(have), pool) == []
    left = msgspec.structs.replace(bare(have), pool=PoolFact(data=have.pool.data))
    assert "remove /srv/pool/data and /srv/pool/meta, 10.0G" in whys(remove.plan(left, pool))
    assert remove.plan(msgspec.structs.replace(bare(have), pool=PoolFact(table=have.pool.table)), pool)


@pytest.mark.parametrize("have", [loops.machine(), with_disk(groups.made())])
def test_what_an_interrupted_reset_left_empty_goes_too(have: Facts) -> None:
    (conf,) = (path for path in have.files if path.startswith(units.CONF_DIR))
    left = msgspec.structs.replace(bare(have), files={conf: have.files[conf]})
    name = conf.rpartition("/")[2].removesuffix(".conf")
    script = scripts(remove.plan(left, going(left, name)))
    for path in ("containerd.service.d", f"{units.unit(name)}.wants", units.SCRIPT.rpartition("/")[0], units.CONF_DIR):
        assert re.search(rf"rmdir \S*{re.escape(path)};", script), path
    assert re.search(rf"^rm -f .*{units.SCRIPT}( |$)", script, re.MULTILINE)
    assert script.index("daemon-reload") < script.rindex(conf)


def test_another_pool_keeps_what_they_share_and_another_daemon_what_it_has() -> None:
    have = loops.machine()
    changes = remove.plan(have, going(have, loops.NAME, last=False, uses=False))
    assert units.SCRIPT not in scripts([change for change in changes if change.why.startswith("remove")])
    assert "containerd.service" not in changes[0].why
    assert "io.containerd" not in scripts(changes)
    assert "metadata.db" not in scripts(changes)


RECORDED = {"MAKING": "no", "VOLUME": "vg/lv", "VOLUME_UUID": "u-1", "FS_UUID": "f-1"}
MADE = Under(group_free=0, size=15 * GIB, uuid="u-1", filesystem="ext4", filesystem_uuid="f-1", mounted="/srv/pool")


def undone(settings: dict[str, str], now: Under = MADE) -> list[Change]:
    """What goes of a volume, on a machine whose fstab has lines of ours and others."""
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
def test_of_a_volume_goes_what_was_made(made: str, done: list[str]) -> None:
    changes = undone(RECORDED | {"VOLUME_MADE": made})
    assert [why in change.why for why, change in zip(done, changes, strict=True)] == [True] * len(done)
    assert "/mnt" not in scripts(changes)
    if "volume" in made:
        assert "remove_lv vg/lv u-1" in scripts(changes)


def test_what_is_not_the_recorded_one_stays() -> None:
    made = {"VOLUME_MADE": "volume filesystem mount"}
    other = msgspec.structs.replace(MADE, uuid="u-2", mounted="")
    assert "remove_lv" not in scripts(undone(RECORDED | made, other))
    formatted = msgspec.structs.replace(MADE, filesystem_uuid="f-2")
    assert "wipe_fs" not in scripts(undone(RECORDED | {"VOLUME_MADE": "filesystem mount"}, formatted))
    interrupted = {"MAKING": "yes", "VOLUME": "vg/lv"} | made
    assert "remove_lv" not in scripts(undone(interrupted))
    assert "remove_lv" in scripts(undone(interrupted, msgspec.structs.replace(MADE, tags=("devmapper-pool.pool",))))


def test_a_volume_whose_disk_is_lost_loses_its_line_and_its_mount() -> None:
    lost = Under(group_free=None, mounted="/srv/pool")
    changes = undone(RECORDED | {"VOLUME_MADE": "volume filesystem mount"}, lost)
    assert whys(changes)[-1] == "unmount /srv/pool"
    assert "drop_fstab" in scripts(changes)
    assert "remove_lv" not in scripts(changes)


def test_settings_of_an_earlier_version_know_the_volume_by_its_mount_and_record_it_first() -> None:
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
    assert "its inode is 0, recorded is 17" in refused.value.details
    up = loops.known(loops.machine(), DATA_INO="17")
    assert "remove_file /srv/pool/data" in scripts(remove.plan(up, going(up, loops.NAME)))


def test_files_on_a_file_system_that_is_not_mounted_stay_and_that_is_said() -> None:
    have = loops.known(loops.machine(PoolFact(place=loops.ROOM)), MOUNT="/srv/pool")
    changes = remove.plan(have, going(have, loops.NAME))
    assert "remove_file" not in scripts(changes)
    assert "is not mounted at /srv/pool" in changes[-1].why


@pytest.mark.parametrize(("made", "goes"), [(True, True), (False, False), (None, False)])
def test_a_mount_point_goes_where_it_was_made_for_the_pool(made: bool | None, goes: bool) -> None:
    have = loops.machine()
    pool = going(have, loops.NAME)
    pool = msgspec.structs.replace(pool, record=msgspec.structs.replace(pool.record, dir_made=made))
    assert ("rmdir /srv/pool;" in scripts(remove.plan(have, pool))) == goes


@pytest.mark.parametrize(
    ("now", "recorded", "made"),
    [
        (Under(group_free=1), None, ("volume", "filesystem", "mount")),
        (Under(group_free=1), {"MAKING": "yes"}, ("volume", "filesystem", "mount")),
        (Under(group_free=1, size=1), {"VOLUME_MADE": "volume filesystem mount"}, ("volume", "filesystem", "mount")),
        (Under(group_free=1, size=1), {"MAKING": "yes", "VOLUME_MADE": ""}, ("filesystem", "mount")),
        (Under(group_free=1, size=1, filesystem="ext4", mounted="/d"), None, ()),
        (Under(group_free=1, size=1, filesystem="ext4", mounted="/d"), {"VOLUME_MADE": "mount"}, ("mount",)),
        (Under(group_free=1, size=1), {"MAKING": "no", "VOLUME_MADE": "mount"}, ("mount",)),
        (None, {"VOLUME_MADE": "volume"}, ("volume",)),
    ],
)
def test_what_is_made_of_a_volume_is_recorded_before_and_stays_so(
    now: Under | None, recorded: dict[str, str] | None, made: tuple[str, ...]
) -> None:
    assert volume.made(now, None if recorded is None else loops.record(**recorded)) == made


def test_a_direct_pool_takes_its_group_and_its_disks_along() -> None:
    have = with_disk(groups.made())
    changes = remove.plan(have, going(have, DIRECT))
    assert whys(changes)[1:4] == [
        "remove containerd/thinpool, 16.0G",
        "remove the volume group containerd",
        "wipe /dev/vdb (vdb-serial)",
    ]
    assert isinstance(changes[3], Command)
    assert changes[3].script == words(
        "blank_pv", "/dev/vdb", groups.empty().seen, "/dev/vdb", 20 * GIB, groups.PV
    )  # what a look says once the group is gone
    assert remove.plan(bare(have), going(have, DIRECT)) == []


def told(pool: remove.Removal, have: Facts, **changes: str) -> tuple[Facts, remove.Removal]:
    """The same machine and pool with other settings."""
    conf = units.conf(pool.name)
    text = units.rewritten(have.files[conf].content, {key: f"'{value}'" for key, value in changes.items()})
    have = msgspec.structs.replace(have, files=have.files | {conf: FileFact(text, 0o644)})
    return have, going(have, pool.name)


def plan_told(have: Facts, **changes: str) -> list[Change]:
    return remove.plan(*told(going(have, DIRECT), have, **changes))


def with_volumes(have: Facts, *more: Volume, **changes: Any) -> Facts:
    """The same with more volumes in the group."""
    assert have.lvm
    assert have.lvm.group
    return groups.with_group(have, volumes=have.lvm.group.volumes | {of.name: of for of in more}, **changes)


def test_a_group_that_was_there_or_holds_something_else_stays() -> None:
    have = with_disk(groups.made())
    changes = plan_told(with_volumes(have, Volume("mine", "linear", 1 << 30, uuid="theirs")))
    assert "remove_vg" not in scripts(changes)
    assert "leave_vg containerd group-uuid /dev/vdb" in scripts(changes)  # which leaves a disk that others use
    assert "remove containerd/thinpool, 16.0G; the volume group stays, with mine" in whys(changes)
    left = with_volumes(have, Volume("mine", "linear", 1 << 30, uuid="theirs"))
    assert left.lvm
    assert left.lvm.group
    alone = groups.with_group(left, volumes={"mine": left.lvm.group.volumes["mine"]})
    done = msgspec.structs.replace(alone, files={}, pool=PoolFact())
    assert remove.plan(done, going(have, DIRECT)) == []  # a disk that stayed is nothing to do
    given_back = scripts(plan_told(have, OWN_GROUP="no"))
    assert "remove_vg" not in given_back
    assert f"leave_vg containerd group-uuid /dev/vdb {groups.PV}" in given_back
    assert "/dev/vdb" not in scripts(plan_told(have, OWN_GROUP="no", PV_UUIDS=""))


@pytest.mark.parametrize(
    ("key", "deed"), [("PV_UUIDS", "blank_pv"), ("LV_UUID", "remove_lv"), ("VG_UUID", "remove_vg")]
)
def test_only_what_has_a_recorded_identity_goes(key: str, deed: str) -> None:
    have = with_disk(groups.made())
    assert deed in scripts(plan_told(have))
    assert deed not in scripts(plan_told(have, **{key: "another"}))


def test_the_disk_with_our_label_is_wiped_whatever_its_name() -> None:
    """N5: two disks without serial numbers changed names at boot."""
    moved = groups.labelled("/dev/vdc", group="containerd", group_uuid="group-uuid")
    changes = plan_told(msgspec.structs.replace(with_disk(groups.made()), disks=(groups.empty(), moved)))
    assert [why for why in whys(changes) if why.startswith("wipe")] == ["wipe /dev/vdc (vdc-serial)"]


def test_only_volumes_that_a_repair_kept_go_and_none_by_its_name() -> None:
    """N3: a volume of the user's that is called as those are."""
    kept = [Volume(f"thinpool_meta{n}", "linear", 1 << 20, uuid=f"kept{n}") for n in (0, 1)]
    changes = plan_told(with_volumes(with_disk(groups.made()), *kept), KEPT_UUIDS="kept1")
    (removed,) = [why for why in whys(changes) if why.startswith("remove containerd/")]
    assert removed.startswith("remove containerd/thinpool, containerd/thinpool_meta1, 16.0G; the volume group stays")
    assert removed.endswith("with thinpool_meta0")


def test_a_group_that_lost_a_disk_with_parts_of_others_is_not_changed_unless_that_is_said() -> None:
    """N2, N10."""
    user = Volume("user", "linear", 1 << 30, uuid="theirs", partial=True)
    have = with_volumes(with_disk(groups.made()), user, missing=1)
    pool = going(have, DIRECT)
    with pytest.raises(Refused) as refused:
        remove.plan(have, pool)
    assert "parts of volumes that are not ours" in refused.value.what
    assert refused.value.details.startswith("containerd/user\n")
    forced = remove.plan(have, msgspec.structs.replace(pool, force=True))
    assert "remove_lv containerd/thinpool volume-uuid" in scripts(forced)
    assert "forget_missing containerd" not in scripts(forced)
    assert any("vgextend --restoremissing containerd" in why for why in whys(forced))
    alone = groups.with_group(with_disk(groups.made()), missing=1)
    assert "forget_missing containerd group-uuid\nremove_vg containerd group-uuid" in scripts(remove.plan(alone, pool))


def test_what_an_earlier_version_did_not_record_is_recorded_before_anything_goes() -> None:
    have = with_disk(groups.made())
    conf = units.conf(DIRECT)
    settings = keyvalue.settings(have.files[conf].content)
    text = "".join(f"{key}='{value}'\n" for key, value in settings.items() if key not in identity.KEYS)
    assert have.lvm
    lvm = msgspec.structs.replace(have.lvm, devices={"/dev/vdb": Device(512, 20 * GIB, "vdb-serial")})
    have = msgspec.structs.replace(have, files=have.files | {conf: FileFact(text, 0o644)}, lvm=lvm)
    changes = remove.plan(have, going(have, DIRECT))
    recorded = next(change for change in changes if isinstance(change, File) and change.path == conf)
    assert keyvalue.settings(recorded.content)["PV_UUIDS"] == groups.PV
    assert changes.index(recorded) < whys(changes).index("remove containerd/thinpool, 16.0G")
    assert "wipe /dev/vdb (vdb-serial)" in whys(changes)


def test_a_group_that_another_pool_of_ours_is_in_goes_with_that() -> None:
    have = with_volumes(with_disk(groups.made()), Volume("second", "thin-pool", 1 << 30, uuid="u-second"))
    theirs = groups.RECORD | {"LV": "second", "VG_UUID": "group-uuid", "OWN_GROUP": "no", "PV_UUIDS": "", "DISKS": "x"}
    have = msgspec.structs.replace(have, instances=Instances(settings={"containerd-second": theirs}))
    changes = plan_told(have)
    assert "the volume group is the pool containerd-second's from now on" in whys(changes)
    assert have.lvm
    assert have.lvm.group
    gone = groups.with_group(have, volumes={"second": have.lvm.group.volumes["second"]})
    done = msgspec.structs.replace(gone, files={}, pool=PoolFact())
    assert remove.plan(done, going(have, DIRECT)) == []
    handed = scripts(changes)
    assert f"record {units.conf('containerd-second')} OWN_GROUP yes" in handed
    assert f"record {units.conf('containerd-second')} PV_UUIDS {groups.PV}" in handed
    assert "blank_pv" not in handed


def test_thin_volumes_of_lvms_own_are_refused_and_of_two_groups_of_a_name_ours_goes() -> None:
    have = groups.made()
    assert have.lvm
    with pytest.raises(Refused, match="not containerd's alone"):
        remove.plan(groups.with_volume(have, thins=1), going(have, DIRECT))
    other = msgspec.structs.replace(have.lvm.groups[0], uuid="another", volumes={})
    twice = msgspec.structs.replace(have, lvm=msgspec.structs.replace(have.lvm, groups=(other, *have.lvm.groups)))
    assert "remove_vg containerd group-uuid" in scripts(remove.plan(twice, going(have, DIRECT)))


def test_a_look_that_differs_stops_the_wipe() -> None:
    have = with_disk(groups.made())
    wipe = next(change for change in remove.plan(have, going(have, DIRECT)) if change.why.startswith("wipe"))
    assert isinstance(wipe, Command)
    assert wipe.functions == gate.functions()
    assert wipe.script.startswith("blank_pv /dev/vdb ")
    assert wipe.script.endswith(f" /dev/vdb {20 * GIB} {groups.PV}")


def test_while_lvm_cannot_be_asked_nothing_is_taken_for_gone() -> None:
    have = groups.made()
    pool = going(have, DIRECT)
    blind = msgspec.structs.replace(have, lvm=Lvm({}, suspended=("other",)))
    with pytest.raises(Refused) as refused:
        remove.plan(blind, pool)
    assert refused.value.hint == "dmsetup resume other"
    assert groups.refused(groups.fresh(groups.empty(), lvm=blind.lvm), groups.asked()).hint == "dmsetup resume other"


def test_what_lvm_does_not_look_at_is_not_taken_for_gone_either() -> None:
    have = groups.made()
    assert have.lvm
    blind = Lvm(
        {"use_devicesfile": "1"},
        hidden={"/dev/vdb": Hidden(groups.PV, "containerd", "group-uuid"), "/dev/vdc": Hidden("x")},
    )
    with pytest.raises(Refused) as refused:
        remove.plan(msgspec.structs.replace(have, lvm=blind), going(have, DIRECT))
    assert "LVM ignores /dev/vdb of containerd: it is not in /etc/lvm/devices/system.devices" in refused.value.details
    assert refused.value.hint.startswith("lvm lvmdevices --adddev /dev/vdb; then ")
    assert typed.wrong(refused.value.hint) == []
    # In a group that LVM shows the hidden disk of somebody else's is not what the pool is on.
    other = msgspec.structs.replace(have.lvm, hidden={"/dev/vdc": Hidden("other", "containerd", "group-uuid")})
    assert remove.plan(msgspec.structs.replace(have, lvm=other), going(have, DIRECT))


def test_a_loop_pool_on_a_volume_that_lvm_does_not_look_at_stays() -> None:
    hidden = Under(hidden=("/dev/vdb",), hides={"use_devicesfile": "1"}, left=("vg-lv", "254:0"), mounted="/srv/pool")
    have = loops.known(loops.machine(loops.pool(volume=hidden)), VOLUME="vg/lv", VOLUME_UUID="u", VOLUME_MADE="volume")
    with pytest.raises(Refused) as refused:
        remove.plan(have, going(have, loops.NAME))
    assert "it is not in /etc/lvm/devices/system.devices\nnothing was removed" in refused.value.details
    assert refused.value.hint.startswith("lvm lvmdevices --adddev /dev/vdb; then inv pool.reset")
