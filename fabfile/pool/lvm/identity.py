"""What of a volume group is ours: what has a UUID that the pool's settings record. Never what has a name of ours.

The UUIDs of physical volumes are chosen by us and recorded before anything is written to a disk, so an interrupted
creation is known by what it leaves. Those of the group and of volumes are LVM's; they are recorded by the script that
makes them.
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
from fabfile.facts.volume_group import Group, Volume
from fabfile.plan import words
from fabfile.pool import units

KEYS = ("VG_UUID", "LV_UUID", "PV_UUIDS", "KEPT_UUIDS")
"""In the settings of a direct pool; versions before they were recorded have none of them."""


def volumes(recorded: LvmRecord, group: Group) -> list[Volume]:
    """Those of a group's volumes that are ours."""
    return [of for of in group.volumes.values() if of.uuid in recorded.volumes]


def disk(serial: str, path: str, size: int) -> str:
    """What names a disk to a person: its serial number, or else its path, and its size."""
    return f"{re.sub(r'[^A-Za-z0-9_.:-]', '_', serial) or path},{size}"


def physical(seed: str, look: Disk) -> str:
    """The UUID of a physical volume that is to be made on a disk, in LVM's groups of letters."""
    digits = hashlib.sha256(f"{seed} {look.real}".encode()).hexdigest()
    ends = (0, 6, 10, 14, 18, 22, 26, 32)
    return "-".join(digits[start:end] for start, end in pairwise(ends))


def recorded(have: Facts, name: str) -> LvmRecord | None:
    """The record of a pool of LVM's, complete; None where there is none.

    Raises:
        Refused: it is that of another variant.
    """
    found = units.recorded(have, name)
    if isinstance(found, LoopRecord):
        raise Refused(f"the pool {name} is not LVM's", f"{units.conf(name)} says that it is on {found.data}")
    return complete(have.lvm, found) if found else None


def complete(lvm: Lvm | None, recorded: LvmRecord) -> LvmRecord:
    """The record of a pool with the identities that it lacks, where all else that it has is there and matches.

    It lacks some where an earlier version wrote it, or where we were interrupted between making and recording.
    Nothing is guessed while a disk is missing.
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


def _recorded_disks(lvm: Lvm, group: Group, disks: Sequence[str]) -> list[str]:
    """The physical volumes, in a group that is ours or is used by us, on the disks that an earlier version recorded."""
    known = {disk(of.serial, device, of.size): lvm.uuids[device] for device, of in lvm.devices.items()}
    within = {lvm.uuids.get(device) for device in group.devices}
    return [known[name] for name in disks if known.get(name) in within]


def note_group(conf: str, name: str) -> str:
    """Shell that records the UUID of the volume group that was just made. It needs gate.functions."""
    return f'record {words(conf)} VG_UUID "$(ask vgs --noheadings -o vg_uuid {words(name)})"'


def note_volume(conf: str, path: str) -> str:
    """The same for the pool."""
    return f'record {words(conf)} LV_UUID "$(ask lvs --noheadings -o lv_uuid {words(path)})"'


def noted(text: str, recorded: LvmRecord) -> str:
    """A settings file that has the identities of `recorded`; one of an earlier version gets their lines."""
    known = dict(zip(KEYS, (recorded.vg_uuid, recorded.lv_uuid, recorded.pv_uuids, recorded.kept_uuids), strict=True))
    lines = [line for line in text.splitlines() if line.partition("=")[0] not in KEYS]
    for key, value in known.items():
        if value is not None:
            lines.append(f"{key}={words(value if isinstance(value, str) else ' '.join(value))}")
    return "".join(f"{line}\n" for line in lines)
