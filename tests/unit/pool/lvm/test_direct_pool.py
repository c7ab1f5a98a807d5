"""The plan that creates a direct pool."""

from __future__ import annotations

import msgspec
import pytest

from fabfile import facts, keyvalue
from fabfile.facts import Facts, disks, lvm
from fabfile.facts import pool as pool_facts
from fabfile.facts.files import FileFact
from fabfile.facts.lvm import Lvm
from fabfile.facts.query import Query
from fabfile.host import Host, Pool
from fabfile.plan import Command, File
from fabfile.pool import units
from fabfile.pool.lvm import direct_pool, identity
from fabfile.pool.safety import gate
from fabfile.sizes import GIB
from tests.unit.fakes import recorded
from tests.unit.pool import groups
from tests.unit.pool.groups import (
    NAME,
    SETTINGS,
    asked,
    empty,
    fresh,
    labelled,
    made,
    plan,
    refused,
    whys,
    with_group,
    with_volume,
    written,
)


def test_an_empty_machine_gets_everything_in_order() -> None:
    changes = plan(fresh(), asked())
    assert whys(changes) == [
        "look at /dev/vdb once more",
        f"settings of the pool {NAME}",
        "the script that activates pools",
        "kernel modules at boot",
        "the pool's unit, before containerd at every boot",
        "volume group containerd on /dev/vdb (vdb-serial)",
        "thin pool containerd/thinpool: data 16.0G (80% of 5119 extents), metadata and its spare 208.0M each, "
        "3.6G left to grow into",
        "LVM profile: at 80% used it grows by 20%",
        "attach the profile",
        "activate the pool and have dmeventd watch it, now and at every boot",
    ]
    scripts = [change.script for change in changes if isinstance(change, Command)]
    conf = units.conf(NAME)
    uuid = keyvalue.settings(written(changes)[conf].content)["PV_UUIDS"]
    assert scripts[1].splitlines()[-3:] == [
        f"pvcreate -q --norestorefile --uuid {uuid} /dev/vdb",
        "vgcreate -q -s 4096K containerd /dev/vdb",
        f'record {conf} VG_UUID "$(ask vgs --noheadings -o vg_uuid containerd)"',
    ]
    assert scripts[2].splitlines() == [
        "lvcreate -y --type thin-pool --zero n -c 512K --discards passdown --config activation/error_when_full=0"
        " --poolmetadatasize 212992K -l 4095 -n thinpool containerd",
        f'record {conf} LV_UUID "$(ask lvs --noheadings -o lv_uuid containerd/thinpool)"',
    ]


def test_a_pool_is_created_with_what_happens_when_it_is_full() -> None:
    """lvm.conf has a default for it, too, so a change afterwards may or may not be necessary."""
    changes = plan(fresh(), asked(when_full="error"))
    assert any("error_when_full=1" in change.script for change in changes if isinstance(change, Command))
    assert not any(why.startswith("when full") for why in whys(changes))


def test_a_disk_with_another_name_by_now_is_not_to_be_added() -> None:
    have = made()
    gone = disks.Disk("/dev/disk/by-id/gone")
    said = refused(msgspec.structs.replace(have, disks=(gone,)), asked("/dev/disk/by-id/gone"))
    assert "/dev/disk/by-id/gone does not exist" in said.details
    assert said.hint == "name those that it is on: --device /dev/vdb"


def test_each_write_to_a_disk_follows_an_inspection_of_it() -> None:
    for change in plan(fresh(empty(), empty("/dev/vdd")), asked("/dev/vdb", "/dev/vdd")):
        if isinstance(change, Command) and "/dev/vdb" in change.script and "--test" not in change.script:
            assert change.functions == gate.functions()
            assert change.script.count("same_disk /dev/vd") == 2


def test_an_existing_pool_is_left_alone() -> None:
    assert plan(made(), asked()) == []
    assert plan(with_volume(made(), size=5000 << 22), asked()) == []  # dmeventd was at it


def begun() -> dict[str, FileFact]:
    """The files of a machine on which the volume group was not yet created."""
    return written(plan(fresh(), asked()))


def test_an_interrupted_creation_is_continued() -> None:
    uuid = keyvalue.settings(begun()[units.conf(NAME)].content)["PV_UUIDS"]
    have = fresh(labelled(uuid=uuid), files=begun())
    changes = plan(have, asked())
    assert whys(changes)[:2] == ["look at /dev/vdb once more", "volume group containerd on /dev/vdb (vdb-serial)"]
    assert "pvcreate" not in "".join(change.script for change in changes if isinstance(change, Command))
    assert "an LVM physical volume" in refused(fresh(labelled(uuid="theirs"), files=begun()), asked()).details
    assert "an LVM physical volume" in refused(fresh(labelled(uuid=uuid)), asked()).details
    with_a_group = fresh(labelled(uuid=uuid, group="theirs"), files=begun())
    assert "volume group theirs" in refused(with_a_group, asked()).details


def test_a_recorded_disk_with_other_content_is_no_longer_ours() -> None:
    """N6: a recorded serial number and unknown bytes are no interrupted creation."""
    other = empty(bytes=(512, 0))
    assert refused(fresh(other, files=begun()), asked()).hint == "if its content may be destroyed: --wipe /dev/vdb"


def test_a_group_without_its_pool_gets_one() -> None:
    have = with_group(recorded_without(made(pool=pool_facts.Pool()), "LV_UUID"), volumes={}, free=5119)
    assert [why[:41] for why in whys(plan(have, asked()))][:2] == [
        "have LVM try it first, in its test mode: ", "thin pool containerd/thinpool: data 16.0G",
    ]  # fmt: skip


def recorded_without(have: Facts, *keys: str, absent: bool = False) -> Facts:
    """The same machine with identities missing from the record: empty, or absent as in an earlier version."""
    conf = have.files[units.conf(NAME)]
    empty = {key: None if absent else () if key.endswith("UUIDS") else "" for key in identity.KEYS if key in keys}
    ids = groups.recorded(units.conf(NAME), conf.content, **{key.lower(): value for key, value in empty.items()})
    text = identity.noted(conf.content, ids)
    return msgspec.structs.replace(have, files=have.files | {units.conf(NAME): FileFact(text, 0o644)})


def test_identities_that_an_earlier_version_did_not_record_are_recorded_where_all_matches() -> None:
    old = recorded_without(made(), *identity.KEYS, absent=True)
    (change,) = plan(old, asked())
    assert isinstance(change, File)
    now = keyvalue.settings(change.content)
    assert (now["VG_UUID"], now["LV_UUID"]) == ("group-uuid", "volume-uuid")
    assert plan(msgspec.structs.replace(old, files=old.files | written([change])), asked()) == []
    missing = with_group(old, missing=1)
    blind = identity.recorded(missing, NAME)
    assert blind and blind.vg_uuid is None
    interrupted = recorded_without(made(), "LV_UUID")
    assert keyvalue.settings(written(plan(interrupted, asked()))[units.conf(NAME)].content)["LV_UUID"] == "volume-uuid"


def test_settings_that_may_change_in_an_existing_pool() -> None:
    assert whys(plan(made(), asked(when_full="error"))) == ["when full: error"]
    assert whys(plan(made(), asked(percent=10))) == ["LVM profile: at 80% used it grows by 10%"]
    assert whys(plan(made(), asked(threshold=100))) == ["LVM profile: it never grows by itself"]
    assert whys(plan(with_volume(made(), profile=""), asked())) == ["attach the profile"]
    assert whys(plan(with_volume(made(), monitor="not monitored"), asked())) == ["have dmeventd watch the pool"]
    assert "activate the pool" in whys(plan(made(pool=pool_facts.Pool()), asked()))[0]


def test_what_is_not_ours_is_refused() -> None:
    assert "a pool containerd/thinpool exists and was not made by this tool" in refused(made(files={}), asked()).what
    bare = with_group(made(files={}, pool=pool_facts.Pool()), volumes={})
    assert "a volume group containerd exists already" in refused(bare, asked()).what
    without = plan(msgspec.structs.replace(with_group(bare, free=5119), disks=()), Pool(variant="direct"))
    assert "OWN_GROUP=no" in written(without)[units.conf(NAME)].content
    assert not any("vgcreate" in change.script for change in without if isinstance(change, Command))


def test_a_lost_pool_is_not_created_again() -> None:
    have = made(lvm=Lvm(SETTINGS), disks=(empty(),), pool=pool_facts.Pool())
    assert "was made by this tool, and is gone" in refused(have, asked()).what


@pytest.mark.parametrize(
    ("other", "begins", "adds"),
    [
        (empty("/dev/vdd"), "if a disk of the group was replaced or got another name, name those that it is on", True),
        (empty("/dev/vdd", real=""), "name those that it is on: --device /dev/vdb", False),
    ],
)
def test_a_disk_in_the_place_of_one_of_the_group_s_may_have_taken_its_name(
    other: disks.Disk, begins: str, adds: bool
) -> None:
    """The hint was to add it to the pool, whoever's it is."""
    hint = refused(made(disks=(other,)), asked("/dev/vdd")).hint
    assert hint.startswith(begins)
    assert ("pool.grow" in hint) == adds


def test_a_disk_that_is_not_in_the_group_is_for_pool_grow() -> None:
    have = made(disks=(empty(), empty("/dev/vdd")))
    assert (
        refused(have, asked("/dev/vdb", "/dev/vdd")).hint
        == "to add it to the pool: inv pool.grow --name containerd-thinpool --device /dev/vdd"
    )


def test_missing_programs_are_refused_unless_a_step_before_installs_them() -> None:
    bare = fresh(lvm=None, needs=frozenset())
    error = refused(bare, asked())
    assert "thin_check" in error.what and "without thin_check LVM activates no pool" in error.details
    assert "packages: dmeventd dmsetup e2fsprogs lvm2 thin-provisioning-tools" in error.details
    assert direct_pool.step(Host(pool=asked()), after_packages=True).plan(bare)


def test_wipe_destroys_what_it_says_and_only_what_is_named() -> None:
    full = empty(
        nodes=(disks.Node("254:16", "vdb", "vdb", "disk"), disks.Node("254:17", "vdb1", "vdb1", "part")),
        signatures=(disks.Signature("dos", "0x1fe"),),
    )
    assert refused(fresh(full), asked()).hint == "if its content may be destroyed: --wipe /dev/vdb"
    changes = plan(fresh(full), asked(), ("/dev/vdb",))
    (wipe,) = [change for change in changes if change.why.startswith("WIPE")]
    assert wipe.why == (
        "WIPE /dev/vdb, which destroys: partition /dev/vdb1; a partition table (dos), signature at 0x1fe"
    )
    assert isinstance(wipe, Command)
    assert wipe.script.startswith("wipe_disk /dev/vdb ")
    assert wipe.script.endswith(f" /dev/vdb {20 * GIB} /dev/vdb1")
    assert plan(fresh(), asked(), ("/dev/vdb",)) == plan(fresh(), asked())
    other = fresh(full, empty("/dev/vdd"))
    assert "names no device of this pool" in refused(other, asked(), ("/dev/vdd",)).what
    assert plan(made(), asked(), ("/dev/vdb",)) == []


def test_the_recorded_facts_match_the_plan() -> None:
    now = lvm.parse(recorded("lvm", "deployed"))
    assert now and now.group
    assert now.group.volumes["thinpool"].dm_name == NAME
    have = made(lvm=now)
    assert now.group.uuid
    text = have.files[units.conf(NAME)].content
    ids = {"vg_uuid": now.group.uuid, "lv_uuid": now.group.volumes["thinpool"].uuid}
    text = identity.noted(text, groups.recorded(units.conf(NAME), text, **ids))
    have = msgspec.structs.replace(have, files=have.files | {units.conf(NAME): FileFact(text, 0o644)})
    assert plan(have, asked()) == []


def test_lvm_and_disks_are_queried_only_for_a_direct_pool() -> None:
    query = direct_pool.step(Host(pool=asked())).query
    assert (query.vg, query.devices) == ("containerd", ("/dev/vdb",))
    assert facts.disks.fragment(Query()) == ""
