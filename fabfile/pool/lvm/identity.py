"""The identities of a direct pool's parts: LVM's UUIDs, as recorded; nothing is ours by its name.

We choose the UUIDs of physical volumes and record them before anything is written to a disk, so what an interrupted
creation leaves is recognised. LVM chooses those of the group and its volumes; they are recorded by the script that
creates them.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from itertools import pairwise

import msgspec

from fabfile.errors import Refused
from fabfile.facts import Facts
from fabfile.facts.disks import Disk
from fabfile.facts.lvm import Lvm
from fabfile.facts.record import LoopRecord, LvmRecord
from fabfile.facts.volume_group import LogicalVolume, VolumeGroup
from fabfile.pool import units
from fabfile.shell import words

KEYS = ("VG_UUID", "LV_UUID", "PV_UUIDS", "KEPT_UUIDS")
"""Keys of the record that identify something; earlier versions did not write them."""


def volumes(recorded: LvmRecord, group: VolumeGroup) -> list[LogicalVolume]:
    """List the volumes of a group that are ours."""
    return [volume for volume in group.volumes.values() if volume.uuid in recorded.volumes]


def disk(serial: str, path: str, size: int) -> str:
    """The recorded name of a disk: its serial number, or else its path, and its size in bytes."""
    return f"{re.sub(r'[^A-Za-z0-9_.:-]', '_', serial) or path},{size}"


def physical(seed: str, disk: Disk) -> str:
    """Choose the UUID of the physical volume to be made on a disk, in LVM's groups of characters.

    Args:
        seed: random, from the facts.
        disk: the disk.
    """
    digits = hashlib.sha256(f"{seed} {disk.real}".encode()).hexdigest()
    ends = (0, 6, 10, 14, 18, 22, 26, 32)
    return "-".join(digits[start:end] for start, end in pairwise(ends))


def recorded(have: Facts, name: str) -> LvmRecord | None:
    """Parse the record of a direct pool from the gathered files, and complete it.

    Args:
        have: facts; the query must have asked for the record's path.
        name: the pool's name.

    Returns:
        The record; None if there is none.

    Raises:
        Refused: the record is that of a loop pool.
    """
    found = units.recorded(have, name)
    if isinstance(found, LoopRecord):
        raise Refused(f"the pool {name} is not LVM's", f"{units.conf(name)} says that it is on {found.data}")
    return complete(have.lvm, found) if found else None


def complete(lvm: Lvm | None, recorded: LvmRecord) -> LvmRecord:
    """Fill in identities that a record lacks, provided that everything else in it exists and matches.

    They are missing if an earlier version wrote the record, or if we were interrupted between creating and recording.
    While a disk is missing, nothing is filled in.
    """
    groups = [group for group in lvm.groups if group.name == recorded.vg] if lvm else []
    if lvm is None or len(groups) != 1 or groups[0].missing:
        return recorded
    (group,), new = groups, recorded
    pool = group.volumes.get(recorded.lv)
    fits = pool is not None and pool.type == "thin-pool" and pool.chunk == recorded.chunk_bytes
    made_of = {lvm.uuids.get(device, "") for device in group.devices}
    if not new.vg_uuid and (fits or made_of & set(recorded.physicals)):
        new = msgspec.structs.replace(new, vg_uuid=group.uuid)
    if new.vg_uuid != group.uuid:
        return recorded
    if not new.lv_uuid and fits and pool is not None:
        new = msgspec.structs.replace(new, lv_uuid=pool.uuid)
    if recorded.pv_uuids is None:
        new = msgspec.structs.replace(new, pv_uuids=tuple(_recorded_disks(lvm, group, recorded.disks)))
    return new


def _recorded_disks(lvm: Lvm, group: VolumeGroup, disks: Sequence[str]) -> list[str]:
    """UUIDs of the physical volumes on the disks that an earlier version recorded, if they are in the group."""
    known = {disk(details.serial, device, details.size): lvm.uuids[device] for device, details in lvm.devices.items()}
    within = {lvm.uuids.get(device) for device in group.devices}
    return [known[name] for name in disks if known.get(name) in within]


def note_group(conf: str, name: str) -> str:
    """Shell that records the UUID of the volume group `name`; it needs the gate's functions."""
    return f'record {words(conf)} VG_UUID "$(ask vgs --noheadings -o vg_uuid {words(name)})"'


def note_volume(conf: str, path: str) -> str:
    """Shell that records the UUID of the volume `path`, VG/LV; it needs the gate's functions."""
    return f'record {words(conf)} LV_UUID "$(ask lvs --noheadings -o lv_uuid {words(path)})"'


def noted(text: str, recorded: LvmRecord) -> str:
    """Return the text of a record with the identities of `recorded`."""
    known = dict(zip(KEYS, (recorded.vg_uuid, recorded.lv_uuid, recorded.pv_uuids, recorded.kept_uuids), strict=True))
    lines = [line for line in text.splitlines() if line.partition("=")[0] not in KEYS]
    for key, value in known.items():
        if value is not None:
            lines.append(f"{key}={words(value if isinstance(value, str) else ' '.join(value))}")
    return "".join(f"{line}\n" for line in lines)
