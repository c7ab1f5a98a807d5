"""What of a volume group is ours: what has a UUID that the pool's settings record. Never what has a name of ours.

The UUIDs of physical volumes are chosen by us and recorded before anything is written to a disk, so an interrupted
creation is known by what it leaves. Those of the group and of volumes are LVM's; they are recorded by the script that
makes them.
"""

from __future__ import annotations

import hashlib
import re
from itertools import pairwise

import msgspec

from fabfile.facts.disks import Disk
from fabfile.facts.lvm import Group, Lvm, Volume
from fabfile.plan import words

KEYS = ("VG_UUID", "LV_UUID", "PV_UUIDS", "KEPT_UUIDS")
"""In the settings of a direct pool; versions before they were recorded have none of them."""


class Own(msgspec.Struct, frozen=True):
    """The recorded identities of a pool."""

    group: str = ""
    volume: str = ""
    physicals: tuple[str, ...] = ()
    """Of the physical volumes that were made for it."""
    kept: tuple[str, ...] = ()
    """Of volumes that a repair or a restore kept."""

    def volumes(self, group: Group) -> list[Volume]:
        """Those of a group's volumes that are ours."""
        return [of for of in group.volumes.values() if of.uuid and of.uuid in (self.volume, *self.kept)]


NONE = Own()


def own(settings: dict[str, str]) -> Own:
    """The identities in the settings of a pool."""
    return Own(
        settings.get("VG_UUID", ""),
        settings.get("LV_UUID", ""),
        tuple(settings.get("PV_UUIDS", "").split()),
        tuple(settings.get("KEPT_UUIDS", "").split()),
    )


def disk(serial: str, path: str, size: int) -> str:
    """What names a disk to a person: its serial number, or else its path, and its size."""
    return f"{re.sub(r'[^A-Za-z0-9_.:-]', '_', serial) or path},{size}"


def physical(seed: str, look: Disk) -> str:
    """The UUID of a physical volume that is to be made on a disk, in LVM's groups of letters."""
    digits = hashlib.sha256(f"{seed} {look.real}".encode()).hexdigest()
    ends = (0, 6, 10, 14, 18, 22, 26, 32)
    return "-".join(digits[start:end] for start, end in pairwise(ends))


def complete(lvm: Lvm | None, settings: dict[str, str]) -> dict[str, str]:
    """The settings of a pool with the identities that they lack, where all else that they record is there and matches.

    They lack some where an earlier version wrote them, or where we were interrupted between making and recording.
    Nothing is guessed while a disk is missing.
    """
    groups = [group for group in lvm.groups if group.name == settings["VG"]] if lvm else []
    if lvm is None or len(groups) != 1 or groups[0].missing:
        return settings
    (group,), new = groups, dict(settings)
    pool = group.volumes.get(settings["LV"])
    fits = pool is not None and pool.type == "thin-pool" and str(pool.chunk) == settings["CHUNK_BYTES"]
    made_of = {lvm.uuids.get(device, "") for device in group.devices}
    if not new.get("VG_UUID") and (fits or made_of & set(own(settings).physicals)):
        new["VG_UUID"] = group.uuid
    if new.get("VG_UUID") != group.uuid:
        return settings
    if not new.get("LV_UUID") and fits and pool is not None:
        new["LV_UUID"] = pool.uuid
    if "PV_UUIDS" not in settings:
        new["PV_UUIDS"] = " ".join(_recorded_disks(lvm, group, settings.get("DISKS", "").split()))
    return new


def _recorded_disks(lvm: Lvm, group: Group, disks: list[str]) -> list[str]:
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


def noted(text: str, settings: dict[str, str]) -> str:
    """A settings file that records the identities in `settings`; one of an earlier version gets their lines."""
    lines = [line for line in text.splitlines() if line.partition("=")[0] not in KEYS]
    lines += [f"{key}={words(settings[key])}" for key in KEYS if key in settings]
    return "".join(f"{line}\n" for line in lines)
