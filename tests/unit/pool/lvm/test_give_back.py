"""Removal of a direct pool: its volumes, its volume group, and its disks."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from fabfile import keyvalue
from fabfile.errors import Refused
from fabfile.facts import Facts
from fabfile.facts.files import FileFact
from fabfile.facts.instances import Instances
from fabfile.facts.lvm import Hidden, Lvm, PhysicalDevice
from fabfile.facts.pool import Pool as PoolFact
from fabfile.facts.volume_group import LogicalVolume
from fabfile.plan import Change, Command, File
from fabfile.pool import remove, units
from fabfile.pool.lvm import identity
from fabfile.pool.safety import gate
from fabfile.shell import words
from fabfile.sizes import GIB
from tests.unit import typed
from tests.unit.pool import groups
from tests.unit.pool.groups import with_disk
from tests.unit.pool.removals import bare, going, scripts, whys

DIRECT = groups.NAME


def test_a_direct_pool_is_removed_with_its_group_and_disks() -> None:
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
    """The same machine and pool with other values in the record."""
    conf = units.conf(pool.name)
    text = units.rewritten(have.files[conf].content, {key: f"'{value}'" for key, value in changes.items()})
    have = msgspec.structs.replace(have, files=have.files | {conf: FileFact(text, 0o644)})
    return have, going(have, pool.name)


def plan_told(have: Facts, **changes: str) -> list[Change]:
    return remove.plan(*told(going(have, DIRECT), have, **changes))


def with_volumes(have: Facts, *more: LogicalVolume, **changes: Any) -> Facts:
    """The same machine with more volumes in the group."""
    assert have.lvm
    assert have.lvm.group
    return groups.with_group(have, volumes=have.lvm.group.volumes | {of.name: of for of in more}, **changes)


def test_a_group_that_existed_before_or_has_other_volumes_stays() -> None:
    have = with_disk(groups.made())
    changes = plan_told(with_volumes(have, LogicalVolume("mine", "linear", 1 << 30, uuid="theirs")))
    assert "remove_vg" not in scripts(changes)
    assert "leave_vg containerd group-uuid /dev/vdb" in scripts(changes)  # which leaves a disk that others use
    assert "remove containerd/thinpool, 16.0G; the volume group stays, with mine" in whys(changes)
    left = with_volumes(have, LogicalVolume("mine", "linear", 1 << 30, uuid="theirs"))
    assert left.lvm
    assert left.lvm.group
    alone = groups.with_group(left, volumes={"mine": left.lvm.group.volumes["mine"]})
    done = msgspec.structs.replace(alone, files={}, pool=PoolFact())
    assert remove.plan(done, going(have, DIRECT)) == []  # a disk that stayed is nothing to do
    given_back = scripts(plan_told(have, OWN_GROUP="no"))
    assert "remove_vg" not in given_back
    assert f"leave_vg containerd group-uuid /dev/vdb {groups.PV}" in given_back
    assert "/dev/vdb" not in scripts(plan_told(have, OWN_GROUP="no", PV_UUIDS=""))


def test_a_group_with_a_disk_that_its_owner_added_stays() -> None:
    have = groups.with_group(with_disk(groups.made()), devices=("/dev/vdb", "/dev/vdz"))
    assert have.lvm
    uuids = have.lvm.uuids | {"/dev/vdz": "theirs"}
    have = msgspec.structs.replace(have, lvm=msgspec.structs.replace(have.lvm, uuids=uuids))
    done = scripts(plan_told(have))
    assert "remove_lv containerd/thinpool" in done and "remove_vg" not in done
    assert f"leave_vg containerd group-uuid /dev/vdb {groups.PV}" in done and "/dev/vdz" not in done


@pytest.mark.parametrize(
    ("key", "deed"), [("PV_UUIDS", "blank_pv"), ("LV_UUID", "remove_lv"), ("VG_UUID", "remove_vg")]
)
def test_only_what_has_a_recorded_identity_is_removed(key: str, deed: str) -> None:
    have = with_disk(groups.made())
    assert deed in scripts(plan_told(have))
    assert deed not in scripts(plan_told(have, **{key: "another"}))


def test_the_disk_with_our_label_is_wiped_whatever_its_name() -> None:
    """N5: two disks without serial numbers swapped names at boot."""
    moved = groups.labelled("/dev/vdc", group="containerd", group_uuid="group-uuid")
    changes = plan_told(msgspec.structs.replace(with_disk(groups.made()), disks=(groups.empty(), moved)))
    assert [why for why in whys(changes) if why.startswith("wipe")] == ["wipe /dev/vdc (vdc-serial)"]


def test_volumes_kept_by_repairs_are_removed_by_identity_never_by_name() -> None:
    """N3: a volume of the user's with such a name."""
    kept = [LogicalVolume(f"thinpool_meta{n}", "linear", 1 << 20, uuid=f"kept{n}") for n in (0, 1)]
    changes = plan_told(with_volumes(with_disk(groups.made()), *kept), KEPT_UUIDS="kept1")
    (removed,) = [why for why in whys(changes) if why.startswith("remove containerd/")]
    assert removed.startswith("remove containerd/thinpool, containerd/thinpool_meta1, 16.0G; the volume group stays")
    assert removed.endswith("with thinpool_meta0")


def test_a_group_that_lost_a_disk_of_others_is_changed_only_with_force() -> None:
    """N2, N10."""
    user = LogicalVolume("user", "linear", 1 << 30, uuid="theirs", partial=True)
    have = with_volumes(with_disk(groups.made()), user, missing=1)
    pool = going(have, DIRECT)
    with pytest.raises(Refused) as refused:
        remove.plan(have, pool)
    assert "parts of volumes that do not belong to the pool" in refused.value.what
    assert refused.value.details.startswith("containerd/user\n")
    forced = remove.plan(have, msgspec.structs.replace(pool, force=True))
    assert "remove_lv containerd/thinpool volume-uuid" in scripts(forced)
    assert "forget_missing containerd" not in scripts(forced)
    assert any("vgextend --restoremissing containerd" in why for why in whys(forced))
    alone = groups.with_group(with_disk(groups.made()), missing=1)
    assert "forget_missing containerd group-uuid\nremove_vg containerd group-uuid" in scripts(remove.plan(alone, pool))


def test_missing_identities_are_recorded_before_anything_is_removed() -> None:
    have = with_disk(groups.made())
    conf = units.conf(DIRECT)
    settings = keyvalue.settings(have.files[conf].content)
    text = "".join(f"{key}='{value}'\n" for key, value in settings.items() if key not in identity.KEYS)
    assert have.lvm
    lvm = msgspec.structs.replace(have.lvm, devices={"/dev/vdb": PhysicalDevice(512, 20 * GIB, "vdb-serial")})
    have = msgspec.structs.replace(have, files=have.files | {conf: FileFact(text, 0o644)}, lvm=lvm)
    changes = remove.plan(have, going(have, DIRECT))
    recorded = next(change for change in changes if isinstance(change, File) and change.path == conf)
    assert keyvalue.settings(recorded.content)["PV_UUIDS"] == groups.PV
    assert changes.index(recorded) < whys(changes).index("remove containerd/thinpool, 16.0G")
    assert "wipe /dev/vdb (vdb-serial)" in whys(changes)


def test_a_group_is_handed_over_to_another_pool_of_ours_in_it() -> None:
    have = with_volumes(with_disk(groups.made()), LogicalVolume("second", "thin-pool", 1 << 30, uuid="u-second"))
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


def test_lvms_thin_volumes_are_refused_and_of_two_groups_of_one_name_ours_is_removed() -> None:
    have = groups.made()
    assert have.lvm
    with pytest.raises(Refused, match="not containerd's alone"):
        remove.plan(groups.with_volume(have, thins=1), going(have, DIRECT))
    other = msgspec.structs.replace(have.lvm.groups[0], uuid="another", volumes={})
    twice = msgspec.structs.replace(have, lvm=msgspec.structs.replace(have.lvm, groups=(other, *have.lvm.groups)))
    assert "remove_vg containerd group-uuid" in scripts(remove.plan(twice, going(have, DIRECT)))


def test_a_different_inspection_stops_the_wipe() -> None:
    have = with_disk(groups.made())
    wipe = next(change for change in remove.plan(have, going(have, DIRECT)) if change.why.startswith("wipe"))
    assert isinstance(wipe, Command)
    assert wipe.functions == gate.functions()
    assert wipe.script.startswith("blank_pv /dev/vdb ")
    assert wipe.script.endswith(f" /dev/vdb {20 * GIB} {groups.PV}")


def test_while_lvm_cannot_be_queried_nothing_counts_as_gone() -> None:
    have = groups.made()
    pool = going(have, DIRECT)
    blind = msgspec.structs.replace(have, lvm=Lvm({}, suspended=("other",)))
    with pytest.raises(Refused) as refused:
        remove.plan(blind, pool)
    assert refused.value.hint == "dmsetup resume other"
    assert groups.refused(groups.fresh(groups.empty(), lvm=blind.lvm), groups.asked()).hint == "dmsetup resume other"


def test_what_lvm_ignores_does_not_count_as_gone() -> None:
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
    # In a group that LVM shows, a hidden disk of others is not what the pool is on.
    other = msgspec.structs.replace(have.lvm, hidden={"/dev/vdc": Hidden("other", "containerd", "group-uuid")})
    assert remove.plan(msgspec.structs.replace(have, lvm=other), going(have, DIRECT))
