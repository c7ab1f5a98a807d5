"""What LVM would refuse half-way is refused before the first write: by facts, and by LVM's own test mode."""

from __future__ import annotations

import json
from collections.abc import Sequence

from fabfile.errors import Refused
from fabfile.facts import Facts
from fabfile.facts.disks import Disk
from fabfile.facts.volume_group import VolumeGroup
from fabfile.plan import Command


def refuse_sectors(have: Facts, fresh: Sequence[Disk], now: VolumeGroup | None) -> None:
    """Refuse disks with different sector sizes, of which LVM makes no volume group.

    Args:
        have: facts of the machine.
        fresh: disks for the group.
        now: the group, if it exists.
    """
    sizes = {disk.asked: disk.sector for disk in fresh}
    if now and have.lvm and fresh:
        sizes |= {device: have.lvm.devices[device].sector for device in now.devices if device in have.lvm.devices}
    if len(set(sizes.values())) > 1:
        raise Refused(
            "disks with different sectors cannot be in one volume group",
            "\n".join(f"{device}: {size} bytes" for device, size in sizes.items()),
            hint="name disks with sectors of one size",
        )


def refuse_volume_list(have: Facts, group: str, volume: str) -> None:
    """Refuse a pool that lvm.conf does not let LVM activate: LVM would create it and leave it inactive."""
    said = have.lvm.settings.get("volume_list", "") if have.lvm else ""
    if not said:
        return
    entries = json.loads(said) if said.startswith("[") else [said]
    if not {group, f"{group}/{volume}"} & set(entries):
        raise Refused(
            f"LVM may not activate {group}/{volume} on the host",
            f"lvm.conf says activation/volume_list = {said}",
            hint=f'add "{group}" to volume_list in /etc/lvm/lvm.conf',
        )


def tried(why: str, commands: Sequence[str]) -> list[Command]:
    """Run LVM commands in test mode, which writes nothing, so that what LVM refuses is refused before any change."""
    lines = [f"{command} --test" for command in commands]
    return [Command(f"have LVM try it first, in its test mode: {why}", "\n".join(lines))] if lines else []
