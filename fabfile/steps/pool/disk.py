"""Whether a disk may be written to: everything that speaks against it, each by its name."""

from __future__ import annotations

import re
from typing import Literal

import msgspec

from fabfile import sizes
from fabfile.errors import Refused
from fabfile.facts.disks import Disk
from fabfile.plan import Command
from fabfile.sizes import MIB
from fabfile.steps.pool import gate

LEAST = 128 * MIB
"""Below it there is no room for a pool, its metadata and the spare of it."""

Weight = Literal["cannot", "in use", "content"]
"""Content can be wiped, if a person names the disk; the others stop us whatever was said."""

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
"""Type of a signature → what it means; any other is a file system's."""


class Finding(msgspec.Struct, frozen=True):
    """One thing that speaks against a disk."""

    weight: Weight
    what: str


def check_path(path: str, key: str) -> None:
    """Refuse what is not the path of a device."""
    if not re.fullmatch(r"/dev/[A-Za-z0-9_.+@:/-]+", path) or ".." in path.split("/"):
        raise Refused(f"{key}: {path!r} is not the path of a device", hint="for example /dev/disk/by-id/…, or /dev/sdb")


def findings(disk: Disk) -> list[Finding]:
    """All that speaks against writing to a disk; an empty list is an empty, unused, whole disk."""
    if not disk.real:
        return [Finding("cannot", "it does not exist")]
    if disk.special:
        return [Finding("cannot", f"not a block device but a {disk.special}")]
    return [*_unfit(disk), *_used(disk), *_content(disk)]


def _unfit(disk: Disk) -> list[Finding]:
    found = []
    kind = disk.nodes[0].type if disk.nodes else "unknown"
    if kind == "part":
        found.append("a partition, not a whole disk")
    elif kind == "loop":
        found.append("a loop device, which is gone after a reboot and belongs to whoever made it")
    elif kind != "disk":
        found.append(f"not a whole disk but of type {kind}")
    if disk.read_only:
        found.append("read-only")
    if disk.size < LEAST:
        found.append(f"too small: {sizes.human(disk.size)}, at least {sizes.show(LEAST)}")
    return [Finding("cannot", what) for what in found]


def _used(disk: Disk) -> list[Finding]:
    found = []
    if disk.root:
        found.append("the root file system is on it")
    found += [f"mounted at {target}" for target in disk.mounts]
    found += [f"in use as swap: {device}" for device in disk.swaps]
    found += [f"held by {node.name} ({node.type})" for node in disk.nodes[1:] if node.type != "part"]
    if disk.multipath:
        found.append("a path of a multipath device")
    found += [f"open in process {process}" for process in disk.opened]
    return [Finding("in use", what) for what in found]


def _content(disk: Disk) -> list[Finding]:
    unread = [Finding("cannot", s.type) for s in disk.signatures if s.type.startswith("wipefs: ")]
    found = [f"partition /dev/{node.kernel}" for node in disk.nodes[1:] if node.type == "part"]
    for signature in disk.signatures:
        if signature.type.startswith("wipefs: "):
            continue
        what = KINDS.get(signature.type, f"a file system ({signature.type})")
        named = f" {signature.label!r}" if signature.label else ""
        found.append(f"{what}{named}{f', signature at {signature.offset}' if signature.offset else ''}")
    first, last = disk.bytes
    if first:
        found.append(f"{first} bytes that are not zero in its first 4 MiB, which no program recognises")
    if last:
        found.append(f"{last} bytes that are not zero in its last 4 MiB, which no program recognises")
    content = [Finding("content", what) for what in dict.fromkeys(found)]
    return [*unread, *content, *(Finding("cannot", f"LVM does not take it: {line}") for line in disk.lvm)]


def refuse(disk: Disk, *, wipe: bool, group: str = "") -> None:
    """Refuse a disk that is not wholly empty and unused, except for content that may be wiped.

    Args:
        disk: as it was seen.
        wipe: a person named this very disk as one whose content may go.
        group: the volume group that LVM says it belongs to.

    Raises:
        Refused: with everything that was found.
    """
    found = findings(disk)
    if group:
        found.append(Finding("in use", f"a physical volume of the volume group {group}"))
    stops = [finding for finding in found if not wipe or finding.weight != "content"]
    if not stops:
        return
    hint = ""
    if all(finding.weight == "content" for finding in stops):
        hint = f"if nobody needs what is on it: --wipe {disk.asked}"
    elif wipe and any(finding.weight == "in use" for finding in stops):
        hint = "what is in use is never wiped: take it out of use first"
    name = disk.asked if disk.real in ("", disk.asked) else f"{disk.asked} ({disk.real})"
    raise Refused(f"{name} cannot be used", "\n".join(finding.what for finding in found), hint=hint)


def wipe(disk: Disk) -> Command:
    """Destroy what is on a disk: signatures in partitions, then its own, then the first and last 4 MiB."""
    found = "; ".join(finding.what for finding in findings(disk))
    return gate.wipe(f"WIPE {disk.asked}, which destroys: {found}", disk)
