"""Which volume groups, volumes and settings of LVM a direct pool refuses."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from fabfile.facts import Facts
from fabfile.facts import pool as pool_facts
from fabfile.facts.lvm import Lvm
from fabfile.host import Host, Pool
from fabfile.pool.lvm import direct_pool
from tests.unit.pool.groups import (
    SETTINGS,
    asked,
    empty,
    fresh,
    made,
    plan,
    refused,
    with_group,
    with_volume,
)
from tests.unit.steps.conftest import having


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"uuid": "another"}, "the volume group containerd is not the one that was recorded"),
        ({"system": "web1"}, "the volume group containerd cannot be used"),
        ({"twice": ("/dev/vdb",)}, "the volume group containerd cannot be used"),
    ],
)
def test_a_foreign_group_of_that_name_is_refused(change: dict[str, Any], says: str) -> None:
    assert refused(with_group(made(), **change), asked()).what == says


def test_a_group_that_was_split_off_again_is_recorded_by_the_operator() -> None:
    said = refused(with_group(made(), uuid="new"), asked())
    assert "sed -i 's/^VG_UUID=.*/VG_UUID=new/' /etc/devmapper-pool/containerd-thinpool.conf" in said.hint
    other = with_group(with_volume(made(), uuid="theirs"), uuid="new")
    assert "bring its own disks back" in refused(other, asked()).hint


def test_a_group_of_another_name_of_this_host_is_its_own() -> None:
    have = with_group(made(), system="web1")
    assert have.lvm
    settings = SETTINGS | {"extra_system_ids": '["web1"]'}
    assert plan(msgspec.structs.replace(have, lvm=msgspec.structs.replace(have.lvm, settings=settings)), asked()) == []


def test_a_foreign_volume_of_that_name_is_refused() -> None:
    said = refused(with_volume(made(), uuid="another"), asked())
    assert said.what == "containerd/thinpool is not the volume that was recorded"


def test_a_group_that_lost_a_disk_of_others_is_used_and_not_changed() -> None:
    """N10: the pool is completely on the other disks."""
    have = with_group(made(), missing=1)
    assert plan(have, asked()) == []
    assert "disks of the volume group containerd are missing" in refused(have, asked(when_full="error")).what
    assert "part of the pool" in refused(with_volume(have, partial=True), asked()).details


def test_what_lvm_would_refuse_half_way_is_refused_first() -> None:
    """N14: different sector sizes, volume_list, disks closed for allocation, another host's group."""
    two = fresh(empty(), empty("/dev/vdd", sector=4096))
    assert "different sectors" in refused(two, asked("/dev/vdb", "/dev/vdd")).what
    listed = fresh(lvm=Lvm(SETTINGS | {"volume_list": '["root", "@tag"]'}))
    assert refused(listed, asked()).what == "LVM may not activate containerd/thinpool on the host"
    for entry in ("containerd", "containerd/thinpool"):
        assert plan(fresh(lvm=Lvm(SETTINGS | {"volume_list": f'["{entry}"]'})), asked())
    tagged = with_group(made(), tags=("tag",))
    assert tagged.lvm
    by_tag = msgspec.structs.replace(tagged.lvm, settings=SETTINGS | {"volume_list": '["root", "@tag"]'})
    assert plan(msgspec.structs.replace(tagged, lvm=by_tag), asked()) == []
    bare = with_group(made(files={}, pool=pool_facts.Pool(), disks=()), volumes={}, free=5119, closed=("/dev/vdb",))
    closed = refused(with_group(bare, closed_free=5119), Pool(variant="direct"))
    assert "/dev/vdb, where LVM may allocate nothing" in closed.details


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"lock_type": "sanlock"}, "shared between hosts (sanlock)"),
        ({"attr": "wzx-n-"}, "exported"),
        ({"attr": "rz--n-"}, "read-only"),
    ],
)
def test_a_group_that_cannot_be_used_is_refused(change: dict[str, Any], says: str) -> None:
    assert says in refused(with_group(made(), **change), asked()).details


def test_two_groups_of_one_name_and_an_lvm_without_monitoring_are_refused() -> None:
    have = made()
    assert have.lvm
    twice = msgspec.structs.replace(have.lvm, groups=have.lvm.groups * 2)
    assert "2 volume groups are named containerd" in refused(made(lvm=twice), asked()).what
    blind = msgspec.structs.replace(have.lvm, settings={"monitoring": "0"})
    assert "LVM does not monitor pools" in refused(made(lvm=blind), asked()).what


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
