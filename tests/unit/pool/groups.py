"""A machine with a direct pool of ours, as facts."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from fabfile.errors import Refused
from fabfile.facts import Facts, disks, record
from fabfile.facts import pool as pool_facts
from fabfile.facts.files import FileFact
from fabfile.facts.lvm import Lvm
from fabfile.facts.record import LvmRecord
from fabfile.facts.volume_group import LogicalVolume, VolumeGroup
from fabfile.host import Host, Pool
from fabfile.plan import Change, File
from fabfile.pool import units
from fabfile.pool.lvm import direct_pool, identity
from fabfile.sizes import GIB, KIB
from tests.unit.steps.conftest import having

NAME = "containerd-thinpool"
PV = "123456-7890-abcd-efgh-ijkl-mnop-qrstuv"
SETTINGS = {"monitoring": "1", "profile_dir": "/etc/lvm/profile"}
RW = pool_facts.Status(100, 53248, 10, 32760, "rw", needs_check=False)


RECORD = {"VARIANT": "direct", "VG": "containerd", "LV": "thinpool", "CHUNK_BYTES": str(512 * KIB)}
"""The keys that every version wrote to a record."""


def asked(*devices: str, **changes: Any) -> Pool:
    return Pool(variant="direct", devices=devices or ("/dev/vdb",), **changes)


def empty(name: str = "/dev/vdb", **changes: Any) -> disks.Disk:
    """Inspection of an empty disk of 20G."""
    kernel = name.rpartition("/")[2]
    text = f"asked {name}\nreal {name}\nnumber 254:16\nsize {20 * GIB}\nread-only 0\nserial {kernel}-serial\n"
    (disk,) = disks.parse(f"{text}sequence 2\nnode 254:16 {kernel} {kernel} disk\n")
    return msgspec.structs.replace(disk, **changes)


def labelled(name: str = "/dev/vdb", uuid: str = PV, **physical: Any) -> disks.Disk:
    """Inspection of a disk that is a physical volume."""
    label = disks.Physical("254:16", uuid, **physical)
    return empty(name, signatures=(disks.Signature("LVM2_member", "0x218"),), physical=(label,))


def fresh(*found: disks.Disk, **changes: Any) -> Facts:
    """A machine with empty disks and no volume group."""
    return having(disks=found or (empty(),), **{"lvm": Lvm(SETTINGS), **changes})


def plan(have: Facts, want: Pool, wipes: tuple[str, ...] = ()) -> list[Change]:
    return direct_pool.step(Host(pool=want), wipes).plan(have)


def whys(changes: list[Change]) -> list[str]:
    return [change.why for change in changes]


def written(changes: list[Change]) -> dict[str, FileFact]:
    return {change.path: FileFact(change.content, change.mode) for change in changes if isinstance(change, File)}


def recorded(conf: str, text: str, **changes: Any) -> LvmRecord:
    """The record in a file, with other values."""
    found = record.parse(conf, text)
    assert isinstance(found, LvmRecord)
    return msgspec.structs.replace(found, **changes)


def made(want: Pool | None = None, **changes: Any) -> Facts:
    """The machine after the plan for an empty one was applied."""
    want = want or asked()
    content = written(plan(fresh(), want))
    volume = LogicalVolume(
        "thinpool",
        "thin-pool",
        4095 << 22,
        52 << 22,
        NAME,
        True,
        512 * KIB,
        0,
        "queue",
        NAME,
        "monitored",
        "volume-uuid",
    )
    group = VolumeGroup(
        "group-uuid", 4 << 20, 5119, 920, 0, "wz--n-", "", ("/dev/vdb",), {"thinpool": volume}, "containerd"
    )
    conf = units.conf(NAME)
    ids = recorded(conf, content[conf].content, vg_uuid="group-uuid", lv_uuid="volume-uuid", pv_uuids=(PV,))
    content[conf] = msgspec.structs.replace(content[conf], content=identity.noted(content[conf].content, ids))
    profile = content.pop(f"/etc/lvm/profile/{NAME}.profile").content
    table = pool_facts.Table("thin-pool", 1, "253:0", "253:1", 1024)
    have = having(
        files=content,
        lvm=Lvm(SETTINGS, (group,), {"/dev/vdb": "containerd"}, profile, (), {"/dev/vdb": PV}),
        disks=(labelled(group="containerd", group_uuid="group-uuid"),),
        pool=pool_facts.Pool(table=table, status=RW, active=True, enabled=True),
    )
    return msgspec.structs.replace(have, **changes)


def with_volume(have: Facts, **changes: Any) -> Facts:
    """The same machine with another pool volume in the group."""
    assert have.lvm and have.lvm.group
    volume = msgspec.structs.replace(have.lvm.group.volumes["thinpool"], **changes)
    return with_group(have, volumes={"thinpool": volume})


def with_group(have: Facts, **changes: Any) -> Facts:
    assert have.lvm and have.lvm.group
    group = msgspec.structs.replace(have.lvm.group, **changes)
    return msgspec.structs.replace(have, lvm=msgspec.structs.replace(have.lvm, groups=(group,)))


def refused(have: Facts, want: Pool, wipes: tuple[str, ...] = ()) -> Refused:
    with pytest.raises(Refused) as refused:
        plan(have, want, wipes)
    return refused.value


def with_disk(have: Facts, **changes: Any) -> Facts:
    """The machine of `made`, with the inspection of its disk while the pool is on it."""
    (disk,) = have.disks
    seen = f"{empty().seen}\nnode 254:0 dm-0 containerd-thinpool lvm\nsignature LVM2_member,0x218,"
    return msgspec.structs.replace(have, disks=(msgspec.structs.replace(disk, seen=seen, **changes),))
