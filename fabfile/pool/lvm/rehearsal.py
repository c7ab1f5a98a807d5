"""What LVM would refuse half-way is refused before the first write: by facts, and by LVM's own test mode."""

from __future__ import annotations

from collections.abc import Sequence

from fabfile.errors import Refused
from fabfile.facts import Facts
from fabfile.facts.disks import Disk
from fabfile.facts.record import LvmRecord
from fabfile.facts.volume_group import VolumeGroup
from fabfile.plan import Command
from fabfile.pool.health import activation


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


def refuse_volume_list(have: Facts, pool: LvmRecord, now: VolumeGroup | None) -> None:
    """Refuse a pool that lvm.conf does not let LVM activate: LVM would create it and leave it inactive.

    Args:
        have: facts of the machine.
        pool: the pool, as requested.
        now: its volume group, if it exists.
    """
    said = have.lvm.settings.get("volume_list", "") if have.lvm else ""
    volume = now.volumes.get(pool.lv) if now else None
    tags = (*(now.tags if now else ()), *(volume.tags if volume else ()))
    if have.lvm and said and not activation.listed(have.lvm, "volume_list", pool, tags):
        raise Refused(
            f"LVM may not activate {pool.path} on the host",
            f"lvm.conf says activation/volume_list = {said}",
            hint=f'add "{pool.vg}" to volume_list in /etc/lvm/lvm.conf',
        )


def tried(why: str, commands: Sequence[str]) -> list[Command]:
    """Run LVM commands in test mode, which writes nothing, so that what LVM refuses is refused before any change."""
    lines = [f"{command} --test" for command in commands]
    return [Command(f"have LVM try it first, in its test mode: {why}", "\n".join(lines))] if lines else []
