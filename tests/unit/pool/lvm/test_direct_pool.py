"""The plan of a direct pool, purely from the facts."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from fabfile import facts, keyvalue
from fabfile.errors import Refused
from fabfile.facts import Facts, disks, lvm
from fabfile.facts import pool as pool_facts
from fabfile.facts.files import FileFact
from fabfile.facts.lvm import Lvm
from fabfile.inventory import Host, Pool
from fabfile.plan import Command, File
from fabfile.pool import units
from fabfile.pool.lvm import direct_pool, identity
from fabfile.pool.safety import gate
from fabfile.sizes import GIB, KIB
from tests.unit import typed
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
from tests.unit.steps.conftest import having


def test_an_empty_machine_gets_all_of_it_in_order() -> None:
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
        "vgcreate -q containerd /dev/vdb",
        f'record {conf} VG_UUID "$(ask vgs --noheadings -o vg_uuid containerd)"',
    ]
    assert scripts[2].splitlines() == [
        "lvcreate -y --type thin-pool --zero n -c 512K --poolmetadatasize 212992K -l 4095 -n thinpool containerd",
        f'record {conf} LV_UUID "$(ask lvs --noheadings -o lv_uuid containerd/thinpool)"',
    ]


def test_each_write_to_a_disk_is_behind_a_look_at_it() -> None:
    for change in plan(fresh(empty(), empty("/dev/vdd")), asked("/dev/vdb", "/dev/vdd")):
        if isinstance(change, Command) and "/dev/vdb" in change.script and "--test" not in change.script:
            assert change.functions == gate.functions()
            assert change.script.count("same_disk /dev/vd") == 2


def test_a_pool_that_is_there_is_left_alone() -> None:
    assert plan(made(), asked()) == []
    assert plan(with_volume(made(), size=5000 << 22), asked()) == []  # dmeventd was at it


def begun() -> dict[str, FileFact]:
    """What is on the machine when the group was still to be made."""
    return written(plan(fresh(), asked()))


def test_after_an_interruption_it_goes_on() -> None:
    uuid = keyvalue.settings(begun()[units.conf(NAME)].content)["PV_UUIDS"]
    have = fresh(labelled(uuid=uuid), files=begun())
    changes = plan(have, asked())
    assert whys(changes)[:2] == ["look at /dev/vdb once more", "volume group containerd on /dev/vdb (vdb-serial)"]
    assert "pvcreate" not in "".join(change.script for change in changes if isinstance(change, Command))
    assert "an LVM physical volume" in refused(fresh(labelled(uuid="theirs"), files=begun()), asked()).details
    assert "an LVM physical volume" in refused(fresh(labelled(uuid=uuid)), asked()).details
    with_a_group = fresh(labelled(uuid=uuid, group="theirs"), files=begun())
    assert "volume group theirs" in refused(with_a_group, asked()).details


def test_a_disk_that_left_and_holds_something_else_by_now_is_nobodys() -> None:
    """N6: a recorded serial number and unknown bytes are no interrupted creation."""
    other = empty(bytes=(512, 0))
    assert refused(fresh(other, files=begun()), asked()).hint == "if its content may be destroyed: --wipe /dev/vdb"


def test_a_group_without_its_pool_gets_one() -> None:
    have = with_group(recorded_without(made(pool=pool_facts.Pool()), "LV_UUID"), volumes={}, free=5119)
    assert [why[:41] for why in whys(plan(have, asked()))][:2] == [
        "have LVM try it first, in its test mode: ", "thin pool containerd/thinpool: data 16.0G",
    ]  # fmt: skip


def recorded_without(have: Facts, *keys: str, absent: bool = False) -> Facts:
    """The same with settings in which identities are empty, or, as an earlier version wrote them, absent."""
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


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"uuid": "another"}, "the volume group containerd is not the one that was recorded"),
        ({"system": "web1"}, "the volume group containerd cannot be used"),
        ({"twice": ("/dev/vdb",)}, "the volume group containerd cannot be used"),
    ],
)
def test_a_group_of_the_name_that_is_not_ours_is_refused(change: dict[str, Any], says: str) -> None:
    assert refused(with_group(made(), **change), asked()).what == says


def test_a_volume_of_the_name_that_is_not_ours_is_refused() -> None:
    said = refused(with_volume(made(), uuid="another"), asked())
    assert said.what == "containerd/thinpool is not the volume that was recorded"


def test_a_group_that_lost_a_disk_of_others_is_used_and_not_changed() -> None:
    """N10: the pool lies whole on the other disks."""
    have = with_group(made(), missing=1)
    assert plan(have, asked()) == []
    assert "disks of the volume group containerd are missing" in refused(have, asked(when_full="error")).what
    assert "part of the pool" in refused(with_volume(have, partial=True), asked()).details


def test_what_lvm_would_refuse_half_way_is_refused_before() -> None:
    """N14: sectors of two sizes, volume_list, disks that may not be allocated from, another host's group."""
    two = fresh(empty(), empty("/dev/vdd", sector=4096))
    assert "different sectors" in refused(two, asked("/dev/vdb", "/dev/vdd")).what
    listed = fresh(lvm=Lvm(SETTINGS | {"volume_list": '["root", "@tag"]'}))
    assert refused(listed, asked()).what == "LVM may not activate containerd/thinpool on this machine"
    for entry in ("containerd", "containerd/thinpool"):
        assert plan(fresh(lvm=Lvm(SETTINGS | {"volume_list": f'["{entry}"]'})), asked())
    bare = with_group(made(files={}, pool=pool_facts.Pool(), disks=()), volumes={}, free=5119, closed=("/dev/vdb",))
    closed = refused(with_group(bare, closed_free=5119), Pool(variant="direct"))
    assert "/dev/vdb, where LVM may allocate nothing" in closed.details


def test_what_is_changed_in_a_pool() -> None:
    assert whys(plan(made(), asked(when_full="error"))) == ["when full: error"]
    assert whys(plan(made(), asked(percent=10))) == ["LVM profile: at 80% used it grows by 10%"]
    assert whys(plan(made(), asked(threshold=100))) == ["LVM profile: it never grows by itself"]
    assert whys(plan(with_volume(made(), profile=""), asked())) == ["attach the profile"]
    assert whys(plan(with_volume(made(), monitor="not monitored"), asked())) == ["have dmeventd watch the pool"]
    assert "activate the pool" in whys(plan(made(pool=pool_facts.Pool()), asked()))[0]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"data_percent": 70}, "DATA_PERCENT: it has 80, requested: 70"),
        ({"meta_size": "1G"}, "META_SIZE: it has , requested: 1G"),
        ({"chunk_size": "64K"}, "CHUNK_BYTES: it has 524288, requested: 65536"),
    ],
)
def test_other_parameters_are_refused_with_both_values(change: dict[str, Any], says: str) -> None:
    assert refused(made(), asked(**change)).details == says


def test_what_is_not_ours_is_refused() -> None:
    assert "a pool containerd/thinpool exists and is not ours" in refused(made(files={}), asked()).what
    bare = with_group(made(files={}, pool=pool_facts.Pool()), volumes={})
    assert "a volume group containerd exists already" in refused(bare, asked()).what
    without = plan(msgspec.structs.replace(with_group(bare, free=5119), disks=()), Pool(variant="direct"))
    assert "OWN_GROUP=no" in written(without)[units.conf(NAME)].content
    assert not any("vgcreate" in change.script for change in without if isinstance(change, Command))


def test_a_pool_that_was_there_and_is_gone_is_not_made_again() -> None:
    have = made(lvm=Lvm(SETTINGS), disks=(empty(),), pool=pool_facts.Pool())
    assert "was made here, and is gone" in refused(have, asked()).what


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"thins": 2}, "holds 2 thin volumes of LVM's own"),
        ({"type": "linear"}, "is not a thin pool"),
        ({"dm_name": "other"}, "LVM calls containerd/thinpool other"),
        ({"chunk": 64 * KIB}, "has another chunk size"),
    ],
)
def test_a_pool_that_containerd_could_not_use_is_refused(change: dict[str, Any], says: str) -> None:
    assert says in refused(with_volume(made(), **change), asked()).what


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"lock_type": "sanlock"}, "shared between machines (sanlock)"),
        ({"attr": "wzx-n-"}, "exported"),
        ({"attr": "rz--n-"}, "read-only"),
    ],
)
def test_a_group_that_cannot_be_used_is_refused(change: dict[str, Any], says: str) -> None:
    assert says in refused(with_group(made(), **change), asked()).details


def test_two_groups_of_one_name_and_a_machine_that_watches_nothing() -> None:
    have = made()
    assert have.lvm
    twice = msgspec.structs.replace(have.lvm, groups=have.lvm.groups * 2)
    assert "2 volume groups are named containerd" in refused(made(lvm=twice), asked()).what
    blind = msgspec.structs.replace(have.lvm, settings={"monitoring": "0"})
    assert "LVM monitors no pools" in refused(made(lvm=blind), asked()).what


def test_lvm_that_leaves_nodes_to_udev_has_to_wait_for_it() -> None:
    have = made()
    assert have.lvm

    def told(**settings: str) -> Facts:
        assert have.lvm
        return made(lvm=msgspec.structs.replace(have.lvm, settings=have.lvm.settings | settings))

    assert "udev_sync = 0" in refused(told(udev_sync="0", udev_rules="1"), asked()).details
    for settings in ({"udev_sync": "0", "udev_rules": "0"}, {"udev_sync": "1", "udev_rules": "1"}):
        assert direct_pool.step(Host(pool=asked())).plan(told(**settings)) == []


def test_no_disk_and_no_group() -> None:
    said = refused(
        having(lvm=Lvm(SETTINGS, said=("WARNING: a device is not in the devices file",))), Pool(variant="direct")
    )
    assert "no volume group for the pool, and no disk" in said.what
    assert "devices file" in said.details


def test_a_disk_that_is_not_in_the_group_is_for_pool_grow() -> None:
    have = made(disks=(empty(), empty("/dev/vdd")))
    assert (
        refused(have, asked("/dev/vdb", "/dev/vdd")).hint
        == "to add it to the pool: inv pool.grow --name containerd-thinpool --device /dev/vdd"
    )


def test_missing_programs_are_refused_unless_a_step_before_installs_them() -> None:
    bare = fresh(lvm=None, needs=frozenset())
    assert "thin_check" in refused(bare, asked()).details
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


@pytest.mark.parametrize(
    ("change", "key"),
    [
        ({"vg": "a/b"}, "pool.vg"),
        ({"vg": "-a"}, "pool.vg"),
        ({"lv": "a b"}, "pool.lv"),
        ({"lv": "snapshot1"}, "pool.lv"),
        ({"lv": "x_tmeta"}, "pool.lv"),
        ({"lv": "p" * 60}, "pool.lv"),
        ({"data_percent": 0}, "pool.data_percent"),
        ({"data_percent": 101}, "pool.data_percent"),
        ({"threshold": 49}, "pool.threshold"),
        ({"threshold": 101}, "pool.threshold"),
        ({"percent": 0}, "pool.percent"),
        ({"max_size": "1T"}, "pool.max_size"),
        ({"when_full": "wait"}, "pool.when_full"),
        ({"chunk_size": "100K"}, "pool.chunk_size"),
        ({"chunk_size": "2G"}, "pool.chunk_size"),
        ({"meta_size": "x"}, "pool.meta_size"),
        ({"dir": "pool"}, "pool.dir"),
        ({"devices": ("sdb",)}, "pool.devices"),
        ({"devices": ("/dev/../etc/passwd",)}, "pool.devices"),
        ({"devices": ("/dev/sdb;reboot",)}, "pool.devices"),
    ],
)
def test_values_that_cannot_be_are_refused_by_their_key(change: dict[str, Any], key: str) -> None:
    with pytest.raises(Refused) as refused:
        direct_pool.step(Host(pool=msgspec.structs.replace(asked(), **change)))
    assert refused.value.what.startswith(f"{key}: ")


def test_hyphens_are_doubled_as_lvm_does_it() -> None:
    want = asked(vg="my-vg", lv="a-b")
    assert want.dm_name == "my--vg-a--b"
    assert units.conf("my--vg-a--b") in direct_pool.step(Host(pool=want)).query.files


def test_the_recorded_pool_is_what_was_made() -> None:
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


def test_lvm_and_disks_are_asked_only_for_a_direct_pool() -> None:
    query = direct_pool.step(Host(pool=asked())).query
    assert (query.vg, query.devices) == ("containerd", ("/dev/vdb",))
    assert facts.disks.fragment(facts.Query()) == ":"


def test_the_pool_of_the_other_variant_with_that_name_is_refused_with_both_ways_out() -> None:
    text = "VARIANT=loop\nDATA=/srv/x/data\nMETA=/srv/x/meta\nBLOCK_SECTORS=128\n"
    text += f"ASKED_BYTES={100 * GIB}\nASKED_META_BYTES={GIB}\n"
    have = fresh(files={units.conf(NAME): FileFact(text, 0o644)})
    error = refused(have, asked())
    assert (error.what, error.details) == (
        f"the pool {NAME} exists with other parameters",
        "VARIANT: it has loop, requested: direct",
    )
    assert f"to keep it: inv pool.loop --name {NAME} --dir /srv/x" in error.hint
    assert typed.wrong(error.hint) == []
