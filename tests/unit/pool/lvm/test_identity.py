"""What a record without identities is taken to mean: nothing becomes ours unless all that it has matches."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from fabfile.facts.lvm import Lvm, PhysicalDevice
from fabfile.facts.record import LvmRecord
from fabfile.pool import units
from fabfile.pool.lvm import identity
from fabfile.sizes import GIB, KIB
from tests.unit.pool import groups

SERIAL = "vdb-serial"


def lvm(devices: tuple[str, ...] = ("/dev/vdb",), **volume: Any) -> Lvm:
    """LVM's view of a host whose group has the name of our pool's, and two disks."""
    have = groups.with_group(groups.made(), devices=devices)
    if volume:
        have = groups.with_volume(have, **volume)
    assert have.lvm
    return msgspec.structs.replace(
        have.lvm,
        uuids={"/dev/vdb": groups.PV, "/dev/vdc": "another"},
        devices={
            "/dev/vdb": PhysicalDevice(512, 20 * GIB, SERIAL),
            "/dev/vdc": PhysicalDevice(512, 20 * GIB, "vdc-serial"),
        },
    )


def old_record() -> LvmRecord:
    """The record of an earlier version, which knows its disk by serial number and size alone."""
    conf = units.conf(groups.NAME)
    text = groups.made().files[conf].content
    absent = {"vg_uuid": None, "lv_uuid": None, "pv_uuids": None, "kept_uuids": None}
    return groups.recorded(conf, text, **absent, disks=(identity.disk(SERIAL, "/dev/vdb", 20 * GIB),))


def test_all_is_completed_where_all_matches() -> None:
    new = identity.complete(lvm(), old_record())
    assert (new.vg_uuid, new.lv_uuid, new.pv_uuids) == ("group-uuid", "volume-uuid", (groups.PV,))


@pytest.mark.parametrize("other", [{"type": "linear"}, {"chunk": 64 * KIB}])
def test_a_volume_of_our_pools_name_that_is_another_pool_or_none_stays_somebody_elses(other: dict[str, Any]) -> None:
    new = identity.complete(lvm(**other), old_record())
    assert not new.lv_uuid and not new.vg_uuid


def test_a_disk_that_its_owner_took_out_of_the_group_stays_somebody_elses() -> None:
    assert identity.complete(lvm(("/dev/vdc",)), old_record()).pv_uuids == ()
