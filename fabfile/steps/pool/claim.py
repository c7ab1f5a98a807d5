"""The disks of a volume group that is to be made: each proved empty, then ours, whatever interrupts us after that."""

from __future__ import annotations

import re
from collections.abc import Sequence

from fabfile.errors import Refused
from fabfile.facts import Facts
from fabfile.facts.disks import Disk
from fabfile.facts.lvm import Group
from fabfile.plan import Change, Command, words
from fabfile.steps.pool import disk, gate


def identity(of: Disk) -> str:
    """What names a disk also when the kernel calls it otherwise after a reboot: its serial number, or else its path."""
    return f"{re.sub(r'[^A-Za-z0-9_.:-]', '_', of.serial) or of.real},{of.size}"


def disks(
    have: Facts, devices: Sequence[str], wipes: Sequence[str], recorded: dict[str, str] | None, now: Group | None
) -> list[Disk]:
    """The disks that a new group will be made of; none where the group is there.

    Args:
        have: the machine.
        devices: paths as they were asked for.
        wipes: paths of devices whose content may be destroyed.
        recorded: the pool's settings, where it is ours already.
        now: the group, where it is there already.

    Raises:
        Refused: a disk that is not wholly empty and unused, or is not in the group that is there.
    """
    seen = {look.asked: look for look in have.disks}
    wanted = [seen[path] for path in devices]
    _refuse_wipes([seen[path] for path in wipes], wanted)
    if now:
        for look in wanted:
            if look.real not in now.devices:
                raise Refused(
                    f"{look.asked} is not in the volume group that is there",
                    f"which is on {' '.join(now.devices)}" + ("" if look.real else f"; {look.asked} does not exist"),
                    hint=f"to add a disk to a pool: pool.grow --device {look.asked}",
                )
        return []
    if not wanted:
        raise Refused(
            "there is no volume group for the pool, and no disk to make one of",
            "\n".join(have.lvm.said) if have.lvm else "",
            hint="--device /dev/disk/by-id/…, or --vg NAME of a group that vgs shows",
        )
    _refuse_unfit(have, wanted, {seen[path].real for path in wipes}, recorded)
    return wanted


def more(have: Facts, devices: Sequence[str], wipes: Sequence[str], recorded: dict[str, str], now: Group) -> list[Disk]:
    """Those of the disks that are not in the group yet.

    Raises:
        Refused: as in `disks`.
    """
    seen = {look.asked: look for look in have.disks}
    asked = [seen[path] for path in devices]
    _refuse_wipes([seen[path] for path in wipes], asked)
    new = [look for look in asked if look.real not in now.devices]
    _refuse_unfit(have, new, {seen[path].real for path in wipes}, recorded)
    return new


def _refuse_unfit(have: Facts, wanted: list[Disk], wipes: set[str], recorded: dict[str, str] | None) -> None:
    mine = recorded.get("DISKS", "").split() if recorded else []
    for number, look in enumerate(wanted):
        if look.real and look.real in {other.real for other in wanted[:number]}:
            raise Refused(f"{look.asked} is named twice", "it is another name of a disk that is in the list already")
        if not (identity(look) in mine and _begun(have, look)):
            group = have.lvm.physical.get(look.real, "") if have.lvm else ""
            disk.refuse(look, wipe=look.real in wipes, group=group)


def _refuse_wipes(wipes: list[Disk], wanted: list[Disk]) -> None:
    for look in wipes:
        if not look.real or look.real not in {other.real for other in wanted}:
            raise Refused(
                f"--wipe {look.asked} names no device of this pool",
                f"it is {look.real or 'not there'}; the pool's are: {' '.join(d.asked for d in wanted) or 'none'}",
                hint="name the very device that --device names",
            )


def _begun(have: Facts, look: Disk) -> bool:
    """Whether all that is on a disk of ours is what an interrupted vgcreate leaves: a physical volume in no group."""
    orphan = have.lvm is not None and have.lvm.physical.get(look.real) == ""
    if any(finding.weight != "content" for finding in disk.findings(look)) or len(look.nodes) > 1:
        return False
    return all(signature.type == "LVM2_member" for signature in look.signatures) and (orphan or not look.signatures)


def unchanged(fresh: list[Disk]) -> list[Change]:
    """The look that comes before anything is done."""
    looks = "\n".join(gate.look_again(look, look.seen, "anything") for look in fresh)
    return (
        [Command(f"look at {' '.join(look.asked for look in fresh)} once more", looks, gate.functions())]
        if fresh
        else []
    )


def wiped(have: Facts, fresh: list[Disk], wipes: Sequence[str]) -> list[Disk]:
    """Those whose content a person said may go, and that have some."""
    named = {look.real for look in have.disks if look.asked in wipes}
    return [look for look in fresh if look.real in named and disk.findings(look)]


def group(fresh: list[Disk], emptied: list[Disk], name: str, command: str = "vgcreate") -> Change:
    """Make the group, or with `vgextend` enlarge it; each disk is looked at in the last moment before."""
    looks = [gate.look_again(look, look.bare if look in emptied else look.seen, command) for look in fresh]
    make = words(command, "-y", name, *(look.real for look in fresh))
    size = ", ".join(f"{look.asked} ({look.serial or 'no serial number'})" for look in fresh)
    why = f"volume group {name} on {size}" if command == "vgcreate" else f"add {size} to the volume group {name}"
    return Command(why, "\n".join([*looks, make]), gate.functions())


def released(have: Facts, recorded: dict[str, str], *, reduce: bool = False) -> list[Change]:
    """Give back the disks that the settings of a pool record as ours: nothing is on them then, as when we took them.

    Args:
        have: the machine.
        recorded: the settings.
        reduce: their group was not made for the pool, and stays; a disk stays in it that others use by now.
    """
    plan: list[Change] = []
    name, mine = recorded["VG"], recorded.get("DISKS", "").split()
    for look in have.disks:
        within = have.lvm.physical.get(look.real) if have.lvm else None
        if identity(look) not in mine or within not in ("", name):
            continue
        assert have.lvm
        uuid, why = have.lvm.uuids.get(look.real, ""), f"wipe {look.real} ({look.serial or 'no serial number'})"
        deeds = [gate.blank(why, look, _physical_volume(look), uuid)]
        if reduce and within and have.lvm.group:
            deeds.insert(0, gate.leave_group(why, name, have.lvm.group.uuid, look.real, uuid))
        plan.append(gate.joined(why, deeds))
    return plan


def _physical_volume(look: Disk) -> str:
    """What a look at the disk says once it is a physical volume in no group."""
    signatures = [line for line in look.seen.splitlines() if line.startswith("signature ")]
    return "\n".join([look.bare, *signatures])
