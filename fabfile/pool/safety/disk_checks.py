"""Findings against a disk: everything that forbids writing to it."""

from __future__ import annotations

import re
from typing import Literal

import msgspec

from fabfile import hints, sizes
from fabfile.errors import Refused
from fabfile.facts.disks import Disk
from fabfile.plan import Command
from fabfile.pool.safety import gate
from fabfile.sizes import MIB

LEAST = 128 * MIB
"""Less has no room for a pool, its metadata and the spare copy of the metadata."""

Weight = Literal["cannot", "in use", "content"]
"""An operator may allow `content` to be destroyed, by naming the disk. The other two are never overridden."""

RAID = (
    "linux_raid_member",
    "ddf_raid_member",
    "isw_raid_member",
    "nvidia_raid_member",
    "promise_fasttrack_raid_member",
)
KINDS = {
    "LVM2_member": "an LVM physical volume",
    "LVM1_member": "an LVM physical volume",
    "crypto_LUKS": "LUKS",
    "swap": "swap space",
    "swsuspend": "a hibernated system",
    "zfs_member": "a member of a ZFS pool",
    "bcache": "a bcache device",
    "mpath_member": "a path of a multipath device",
    "ambivalent": "more than one signature, so that lsblk shows none",
    "DM_snapshot_cow": "a device-mapper snapshot",
    "drbd": "a DRBD device",
    "ceph_bluestore": "a Ceph disk",
    **dict.fromkeys(RAID, "a member of a RAID array"),
    **{table: f"a partition table ({table})" for table in ("gpt", "dos", "PMBR", "atari", "mac", "bsd", "sun", "sgi")},
}
"""Type of a signature → its meaning; any other type is that of a file system."""


class Obstacle(msgspec.Struct, frozen=True):
    """One reason not to use a disk."""

    weight: Weight
    what: str


def check_path(path: str, key: str) -> None:
    """Refuse a value that is not the path of a device; `key` names it in the error."""
    if not re.fullmatch(r"/dev/[A-Za-z0-9_.+@:/=#,~\\-]+", path) or ".." in path.split("/"):
        raise Refused(f"{key}: {path!r} is not the path of a device", hint="for example /dev/disk/by-id/…, or /dev/sdb")


def obstacles(disk: Disk, kind: str = "disk") -> list[Obstacle]:
    """List every reason not to write to a device; an empty list means that it is empty and unused.

    Args:
        disk: the device, as inspected.
        kind: the type that it must have, as lsblk prints it: `disk` for a whole disk, `lvm` for a logical volume.
    """
    if not disk.real:
        return [Obstacle("cannot", "it does not exist")]
    if disk.special:
        return [Obstacle("cannot", f"not a block device but a {disk.special}")]
    return [*_unfit(disk, kind), *_used(disk), *_content(disk)]


def _unfit(disk: Disk, wanted: str) -> list[Obstacle]:
    found = []
    kind = disk.nodes[0].type if disk.nodes else "unknown"
    if kind == wanted:
        pass
    elif kind == "part":
        found.append("a partition, not a whole disk")
    elif kind == "loop":
        found.append("a loop device, which is gone after a reboot and belongs to whoever made it")
    elif wanted == "disk":
        found.append(f"not a whole disk but of type {kind}")
    else:
        found.append(f"of type {kind}, not {wanted}")
    if disk.read_only:
        found.append("read-only")
    if wanted == "disk" and disk.size < LEAST:
        found.append(f"too small: {sizes.human(disk.size)}, at least {sizes.show(LEAST)}")
    found += [f"it cannot be read: {said}" for said in disk.unreadable]
    found += [signature.type for signature in disk.signatures if signature.type.startswith("wipefs: ")]
    found += [f"LVM does not take it: {line}" for line in dict.fromkeys(disk.lvm)]
    return [Obstacle("cannot", what) for what in found]


def _used(disk: Disk) -> list[Obstacle]:
    found = []
    if disk.root:
        found.append("the root file system is on it")
    found += [f"mounted at {target}" for target in disk.mounts]
    found += [f"in use as swap: {device}" for device in disk.swaps]
    found += [f"held by {node.name} ({node.type})" for node in disk.nodes[1:] if node.type != "part"]
    found += [f"held by {what}" for what in disk.held]
    if disk.multipath:
        found.append("a path of a multipath device")
    found += _grouped(disk)
    if disk.exclusive and not found:
        found.append("opened exclusively, by a file system, an array or another service of the kernel")
    found += [f"open in process {process}" for process in disk.opened]
    return [Obstacle("in use", what) for what in found]


def _grouped(disk: Disk) -> list[str]:
    """The volume groups that the disk or one of its partitions belongs to, those of other hosts included."""
    names, found = {node.number: node.kernel for node in disk.nodes}, []
    for pv in disk.physical:
        part = "" if pv.number == disk.number else f" (in its partition {names.get(pv.number, pv.number)})"
        notes = [note for note, true in (
            (f"of the host {pv.system!r}", pv.system), ("exported", pv.group_attr[2:3] == "x"),
            ("shared between hosts", pv.group_attr[5:6] in ("c", "s")),
        ) if true]  # fmt: skip
        if pv.group:
            found.append(f"a physical volume of the volume group {', '.join([pv.group, *notes])}{part}")
        if pv.attr[:1] == "d":
            found.append(f"one of several devices with the physical volume {pv.uuid}{part}")
    listed = {pv.number for pv in disk.physical}
    marked = {disk.number} if any(s.type == "LVM2_member" for s in disk.signatures) else set()
    marked |= {node.number for node in disk.nodes if "LVM2_member" in disk.inside.get(node.kernel, "").split()}
    if marked - listed:
        found.append("an LVM physical volume that LVM does not show on the host: whether others use it is not known")
    return found


def _content(disk: Disk) -> list[Obstacle]:
    found = []
    for node in disk.nodes[1:]:
        if node.type == "part":
            inside = disk.inside.get(node.kernel)
            found.append(f"partition /dev/{node.kernel}{f' with {_kind(inside)}' if inside else ''}")
    for signature in disk.signatures:
        if signature.type.startswith("wipefs: "):
            continue
        named = f" {signature.label!r}" if signature.label else ""
        where = f", signature at {signature.offset}" if signature.offset else ""
        found.append(f"{_kind(signature.type)}{named}{where}")
    if not found:
        for count, where in zip(disk.bytes, ("first", "last"), strict=True):
            if count:
                found.append(f"{count} bytes that are not zero in its {where} 4 MiB, which no program recognises")
    return [Obstacle("content", what) for what in dict.fromkeys(found)]


def _kind(signature: str) -> str:
    return KINDS.get(signature, f"a file system ({signature})")


def refuse(disk: Disk, *, wipe: bool) -> None:
    """Refuse a disk that is not empty and unused.

    Args:
        disk: the disk, as inspected.
        wipe: the operator named this disk as one whose content may be destroyed.

    Raises:
        Refused: with everything that was found.
    """
    found = obstacles(disk)
    stops = [obstacle for obstacle in found if not wipe or obstacle.weight != "content"]
    if not stops:
        return
    name = disk.asked if disk.real in ("", disk.asked) else f"{disk.asked} ({disk.real})"
    raise Refused(
        f"{name} cannot be used", "\n".join(obstacle.what for obstacle in found), hint=_hint(disk, stops, wipe)
    )


def _hint(disk: Disk, stops: list[Obstacle], wipe: bool) -> str:
    if all(obstacle.weight == "content" for obstacle in stops):
        return f"if its content may be destroyed: --wipe {disk.asked}"
    if wipe and any(obstacle.weight == "in use" for obstacle in stops):
        return "a device in use is never wiped: stop what uses it first"
    return f"to list the disks that can be used: {hints.command('pool.disks')}"


def wipe(disk: Disk) -> Command:
    """The change that wipes a disk: signatures in partitions, then its own, then its first and last 4 MiB."""
    found = "; ".join(obstacle.what for obstacle in obstacles(disk))
    return gate.wipe(f"WIPE {disk.asked}, which destroys: {found}", disk)
