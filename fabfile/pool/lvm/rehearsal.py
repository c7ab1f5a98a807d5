"""What LVM would refuse half-way is refused before the first write: by what is known, and by LVM's own test mode."""

from __future__ import annotations

import json
from collections.abc import Sequence

from fabfile.errors import Refused
from fabfile.facts import Facts
from fabfile.facts.disks import Disk
from fabfile.facts.volume_group import Group
from fabfile.plan import Command


def refuse_sectors(have: Facts, fresh: Sequence[Disk], now: Group | None) -> None:
    """Refuse disks whose sectors are not of one size: LVM makes no volume group of them.

    Args:
        have: the machine.
        fresh: disks that a group is to get.
        now: the group, where it is there already.
    """
    sizes = {look.asked: look.sector for look in fresh}
    if now and have.lvm and fresh:
        sizes |= {device: have.lvm.devices[device].sector for device in now.devices if device in have.lvm.devices}
    if len(set(sizes.values())) > 1:
        raise Refused(
            "disks with different sectors cannot be in one volume group",
            "\n".join(f"{device}: {size} bytes" for device, size in sizes.items()),
            hint="name disks with sectors of one size",
        )


def refuse_volume_list(have: Facts, group: str, volume: str) -> None:
    """Refuse a pool that lvm.conf says may not be activated on this machine: LVM would make it and leave it down."""
    said = have.lvm.settings.get("volume_list", "") if have.lvm else ""
    if not said:
        return
    entries = json.loads(said) if said.startswith("[") else [said]
    if not {group, f"{group}/{volume}"} & set(entries):
        raise Refused(
            f"LVM may not activate {group}/{volume} on this machine",
            f"lvm.conf says activation/volume_list = {said}",
            hint=f'add "{group}" to volume_list in /etc/lvm/lvm.conf',
        )


def tried(why: str, commands: Sequence[str]) -> list[Command]:
    """Have LVM try commands in its test mode, in which it writes nothing; what it refuses is refused by it here."""
    lines = [f"{command} --test" for command in commands]
    return [Command(f"have LVM try it first, in its test mode: {why}", "\n".join(lines))] if lines else []
