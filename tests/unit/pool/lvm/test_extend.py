"""The plan that enlarges a direct pool."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from fabfile.errors import Refused
from fabfile.facts import Facts
from fabfile.facts.lvm import PhysicalDevice
from fabfile.host import Host
from fabfile.plan import Change
from fabfile.pool import units
from fabfile.pool.limits import Growth
from fabfile.pool.lvm import extend
from fabfile.sizes import GIB, MIB
from tests.unit.pool.groups import NAME, RW, asked, empty, made, plan, whys, with_group, with_volume, written


def grow(have: Facts, **more: Any) -> list[Change]:
    return extend.step(Host(pool=asked()), Growth(**more)).plan(have)


def test_growing_by_a_disk() -> None:
    have = made(disks=(empty("/dev/vdd"),))
    changes = grow(have, devices=("/dev/vdd",))
    assert whys(changes) == [
        "look at /dev/vdd once more",
        "what was asked for, in the pool's settings",
        "add /dev/vdd (vdd-serial) to the volume group containerd",
    ]
    assert "DISKS='vdb-serial,21474836480 vdd-serial,21474836480'" in written(changes)[units.conf(NAME)].content
    done = with_group(
        made(files=have.files | written(changes), disks=(empty("/dev/vdd"),)), devices=("/dev/vdb", "/dev/vdd")
    )
    assert grow(done, devices=("/dev/vdd",)) == []
    assert plan(msgspec.structs.replace(done, disks=(empty(),)), asked()) == []


def test_growing_in_the_group() -> None:
    assert whys(grow(made(), size="17G", meta_size="400M")) == [
        "have LVM try it first, in its test mode: containerd/thinpool larger",
        "what was asked for, in the pool's settings",
        "data 16380M → 17G",
        "metadata 208M → 400M",
    ]
    assert whys(grow(made(), size=f"{4095 * 4}M")) == ["what was asked for, in the pool's settings"]
    with pytest.raises(Refused, match="cannot shrink") as refused:
        grow(made(), size="1G")
    assert refused.value.details == "it has 16380M, requested: 1G"
    with pytest.raises(Refused, match="no room for that") as refused:
        grow(made(), size="30G")
    assert "920 are free" in refused.value.details
    assert refused.value.hint == "add a disk: --device DEV"
    with pytest.raises(Refused, match="no size is given"):
        grow(made())
    with pytest.raises(Refused, match="no pool containerd/thinpool made by this tool"):
        grow(made(files={}), size="17G")


@pytest.mark.parametrize(("gained", "hint"), [(4 * MIB, "add a disk"), (GIB, "its disk is larger than LVM knows: pv")])
def test_a_disk_that_was_enlarged_is_the_first_way_to_more_room(gained: int, hint: str) -> None:
    have = made()
    assert have.lvm
    size = 5119 * (4 * MIB) + 3 * MIB + gained
    larger = msgspec.structs.replace(have.lvm, devices={"/dev/vdb": PhysicalDevice(512, size)})
    with pytest.raises(Refused, match="no room for that") as refused:
        grow(msgspec.structs.replace(have, lvm=larger), size="30G")
    assert refused.value.hint.startswith(hint)
    assert refused.value.hint.endswith("add a disk: --device DEV")


def test_a_request_may_be_repeated_after_dmeventd_exceeded_it() -> None:
    have = made()
    changes = grow(have, size="17G", meta_size="400M")
    grown = with_volume(made(files=have.files | written(changes)), size=19 << 30, meta=512 << 20)
    assert grow(grown, size="17G", meta_size="400M") == []
    assert plan(grown, asked()) == []
    with pytest.raises(Refused, match="data cannot shrink"):
        grow(grown, size="18G")
    with pytest.raises(Refused, match="metadata cannot shrink"):
        grow(grown, meta_size="300M")


@pytest.mark.parametrize(
    ("now", "what"),
    [
        ({"table": None, "status": None}, "is not active"),
        ({"status": msgspec.structs.replace(RW, needs_check=True)}, "before its metadata has been checked"),
        ({"status": msgspec.structs.replace(RW, mode="Fail")}, "before its metadata has been checked"),
    ],
)
def test_a_pool_that_cannot_grow_now_is_refused(now: dict[str, Any], what: str) -> None:
    have = made()
    with pytest.raises(Refused, match=what):
        grow(msgspec.structs.replace(have, pool=msgspec.structs.replace(have.pool, **now)), size="17G")
