"""Enlarge a direct pool online: add disks to its volume group, and extend data and metadata into free extents."""

from __future__ import annotations

from collections.abc import Sequence

from fabfile import hints, sizes
from fabfile.errors import Refused
from fabfile.facts import Facts
from fabfile.facts.disks import Disk
from fabfile.facts.query import POOL, about
from fabfile.facts.record import LvmRecord
from fabfile.facts.volume_group import LogicalVolume, VolumeGroup
from fabfile.host import Host, Pool
from fabfile.plan import Change, Command, Step, file
from fabfile.pool import limits, units
from fabfile.pool.health import usable, visibility
from fabfile.pool.limits import Growth
from fabfile.pool.lvm import disk_claims, identity, layout, rehearsal, volume_group
from fabfile.pool.ownership import owner
from fabfile.pool.safety import disk_checks
from fabfile.shell import words


def step(host: Host, growth: Growth) -> Step:
    """The step that enlarges a direct pool to the requested sizes.

    Args:
        host: the machine, with the pool that is meant.
        growth: the requested growth.

    Raises:
        Refused: neither a size nor a device is given, or one of them is not valid.
    """
    devices, wipes = growth.devices, growth.wipes
    if not (growth.size or growth.meta_size or devices):
        raise Refused(
            "pool.grow: no size is given",
            hint="give the new size: --size 200G, or --meta-size 1G, or another --device DEV",
        )
    for path in (*devices, *wipes):
        disk_checks.check_path(path, "device")
    data = limits.data_size(growth.size, limits.BLOCK_STEP) if growth.size else 0
    meta = limits.explicit_metadata(growth.meta_size) if growth.meta_size else 0
    inspected = tuple(dict.fromkeys((*devices, *wipes)))
    query = about(host, files=units.paths(host.pool.dm_name), devices=inspected, only=POOL)
    return Step("pool.grow", lambda have: plan(have, host.pool, devices, wipes, data, meta), query)


def plan(
    have: Facts, settings: Pool, devices: Sequence[str], wipes: Sequence[str], data: int, meta: int
) -> list[Change]:
    """Plan the growth.

    Args:
        have: facts of the machine.
        settings: the pool.
        devices: paths of the disks to add.
        wipes: those whose content may be destroyed.
        data: new size of the data device in bytes; 0: unchanged.
        meta: new size of the metadata device in bytes; 0: unchanged.

    Raises:
        Refused: the pool has no record, a disk is not empty, a size is less than the current one, or there is no room.
    """
    recorded, now, pool = _found(have, settings)
    name, path, conf = settings.dm_name, f"{settings.vg}/{settings.lv}", units.conf(settings.dm_name)
    limits.refuse_growth(have.pool, owner(recorded), name, units.unit(name))
    fresh = disk_claims.more(have, devices, wipes, recorded, now)
    rehearsal.refuse_sectors(have, fresh, now)
    mine = recorded.physicals
    emptied = disk_claims.wiped(have, fresh, wipes, mine)
    uuids = disk_claims.physicals(have, fresh, mine)
    free = now.free - now.closed_free + layout.predicted([disk.size for disk in fresh], now.extent)
    new = _asked(recorded, data, meta, fresh, uuids)
    more = _growth(now, pool, recorded, path, data, meta, free, visibility.unused(have.lvm, now))
    added: list[Change] = [*map(disk_checks.wipe, emptied)]
    if fresh:
        added.append(disk_claims.group(fresh, emptied, settings.vg, uuids, conf, "vgextend"))
    volume_group.refuse_change(now, [*added, *more])
    text = units.rewritten(identity.noted(have.files[conf].content, recorded), new)
    return [
        *disk_claims.unchanged(fresh),
        *([] if fresh else rehearsal.tried(f"{path} larger", [change.script for change in more])),
        *file(have, "what was asked for, in the pool's settings", conf, text),
        *added,
        *more,
    ]


def _found(have: Facts, settings: Pool) -> tuple[LvmRecord, VolumeGroup, LogicalVolume]:
    """Return the record of the pool, its volume group, and its volume.

    Raises:
        Refused: there is no such pool of ours, or LVM does not see all of it.
    """
    volume_group.refuse_programs(have)
    recorded = identity.recorded(have, settings.dm_name)
    usable.refuse_unseen(have, settings.dm_name)
    now = volume_group.usable(have, settings.vg, recorded)
    pool = now.of_uuid(recorded.lv_uuid) if now and recorded else None
    if recorded is None or not now or not pool:
        make = hints.command("pool.direct", owner(have.instances.pools.get(settings.dm_name)), "", "--device", "DEV")
        why = f"no {units.conf(settings.dm_name)}" if recorded is None else ""
        raise Refused(f"no pool {settings.vg}/{settings.lv} made by this tool", why, f"make one: {make}")
    return recorded, now, pool


def _growth(
    now: VolumeGroup, pool: LogicalVolume, recorded: LvmRecord, path: str, data: int, meta: int, free: int, unused: str
) -> list[Command]:
    """Return the changes that grow the data and the metadata device to the sizes in bytes that are asked for.

    Args:
        now: volume group of the pool.
        pool: volume of the pool.
        recorded: record of the pool.
        path: path of the pool, GROUP/VOLUME.
        data: new size of the data device in bytes; 0: unchanged.
        meta: new size of the metadata device in bytes; 0: unchanged.
        free: free extents of the group, with the disks that are added.
        unused: beginning of the hint if there is no room.

    Raises:
        Refused: a size is less than the current one, too small for its metadata, or there is no room.
    """
    # dmeventd may have grown the pool beyond the size requested last; repeating that request is not one to shrink.
    data, meta = (
        0 if size < has and size == last else -(-size // now.extent)
        for last, size, has in ((recorded.asked_bytes, data, pool.size), (recorded.asked_meta_bytes, meta, pool.meta))
    )
    more = [
        *_larger("data", "-l", data, pool.size // now.extent, path, now.extent),
        *_larger("metadata", "--poolmetadatasize", meta, pool.meta // now.extent, path, now.extent),
    ]
    whole = (max(meta * now.extent, pool.meta), max(data * now.extent, pool.size))
    if whole != (pool.meta, pool.size):
        layout.refuse_small(*whole, pool.chunk)
    _refuse_room(now, free, max(data - pool.size // now.extent, 0), max(meta - pool.meta // now.extent, 0), unused)
    return more


def _asked(recorded: LvmRecord, data: int, meta: int, fresh: Sequence[Disk], uuids: dict[str, str]) -> dict[str, str]:
    """The new values of the record: sizes, and disks, which are ours from then on even if we are interrupted."""
    disks = [*recorded.disks, *map(disk_claims.identity, fresh)]
    physicals = [*recorded.physicals, *(uuids[disk.real] for disk in fresh)]
    new = {"DISKS": words(" ".join(dict.fromkeys(disks))), "PV_UUIDS": words(" ".join(dict.fromkeys(physicals)))}
    sizes = {"ASKED_BYTES": data, "ASKED_META_BYTES": meta}
    return new | {key: str(size) for key, size in sizes.items() if size}


def _larger(what: str, flag: str, wanted: int, now: int, path: str, extent: int) -> list[Command]:
    """The change, if any, from `now` to `wanted` extents of `extent` bytes each."""
    if not wanted or wanted == now:
        return []
    if wanted < now:
        raise limits.shrinking(what, now * extent, wanted * extent)
    # LVM reports an error if the size does not change.
    size = str(wanted) if flag == "-l" else f"{wanted * extent // 1024}K"
    why = f"{what} {sizes.show(now * extent)} → {sizes.show(wanted * extent)}"
    return [Command(why, words("lvextend", "-y", flag, size, path))]


def _refuse_room(now: VolumeGroup, free: int, data: int, meta: int, unused: str) -> None:
    if data + 2 * meta > free:
        raise Refused(
            "the volume group has no room for that",
            f"data {data} + metadata {meta} + as much for its spare = {data + 2 * meta} extents of "
            f"{sizes.show(now.extent)}, {free} are free",
            hint=f"{unused}add a disk: --device DEV",
        )
