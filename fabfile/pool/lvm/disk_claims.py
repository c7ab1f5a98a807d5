"""The disks of a new or larger volume group: each is proved empty, and recorded as ours before it is written to."""

from __future__ import annotations

from collections.abc import Sequence

from fabfile import hints
from fabfile.errors import Refused
from fabfile.facts import Facts
from fabfile.facts.disks import Disk
from fabfile.facts.record import LvmRecord
from fabfile.facts.volume_group import VolumeGroup
from fabfile.host import lvm_name
from fabfile.plan import Change, Command
from fabfile.pool.lvm import identity as ours
from fabfile.pool.lvm import layout
from fabfile.pool.ownership import owner
from fabfile.pool.safety import disk_checks, gate
from fabfile.shell import words


def identity(disk: Disk) -> str:
    """The recorded name of a disk: its serial number, or else its path, and its size in bytes."""
    return ours.disk(disk.serial, disk.real, disk.size)


def disks(
    have: Facts, devices: Sequence[str], wipes: Sequence[str], recorded: LvmRecord | None, now: VolumeGroup | None
) -> list[Disk]:
    """Return the disks of which a new volume group will be made; none if the group exists.

    Args:
        have: facts of the machine.
        devices: paths, as requested.
        wipes: paths of devices whose content may be destroyed.
        recorded: the pool's record, if there is one.
        now: the volume group, if it exists.

    Raises:
        Refused: a disk is not empty and unused, or is not in the existing group.
    """
    seen = {disk.asked: disk for disk in have.disks}
    wanted = [seen[path] for path in devices]
    _refuse_wipes([seen[path] for path in wipes], wanted)
    if now:
        unnamed = len(now.devices) - sum(_within(disk, now) for disk in wanted)
        for disk in wanted:
            if not _within(disk, now):
                name = f"name those that it is on: {' '.join(f'--device {device}' for device in now.devices)}"
                raise Refused(
                    f"{disk.asked} is not in the existing volume group",
                    f"which is on {' '.join(now.devices)}" + ("" if disk.real else f"; {disk.asked} does not exist"),
                    hint=_elsewhere(recorded, disk, unnamed=unnamed > 0) if disk.real else name,
                )
        return []
    if not wanted:
        raise Refused(
            "there is no volume group for the pool, and no disk to create one on",
            "\n".join(have.lvm.said) if have.lvm else "",
            hint="--device /dev/disk/by-id/…, or --vg NAME of a group that vgs shows",
        )
    _refuse_unfit(wanted, {seen[path].real for path in wipes}, recorded)
    return wanted


def _elsewhere(recorded: LvmRecord | None, disk: Disk, *, unnamed: bool) -> str:
    """What to do about a disk that exists and is not in the group.

    Args:
        recorded: the pool's record, if there is one.
        disk: the disk.
        unnamed: the group has disks that were not requested. One was replaced, or the names changed at a boot, and this
            one may be anybody's.
    """
    name = lvm_name(recorded.vg, recorded.lv) if recorded else ""
    add = f"to add it to the pool: {hints.command('pool.grow', owner(recorded), name, '--device', disk.asked)}"
    if not unnamed:
        return add
    found = "if a disk of the group was replaced or got another name, name those that it is on, as /dev/disk/by-id/…"
    return f"{found}; {add}"


def more(
    have: Facts, devices: Sequence[str], wipes: Sequence[str], recorded: LvmRecord, now: VolumeGroup
) -> list[Disk]:
    """Return those of the requested disks that are not yet in the volume group.

    Args:
        have: facts of the machine.
        devices: paths, as requested.
        wipes: paths of devices whose content may be destroyed.
        recorded: the pool's record.
        now: the volume group.

    Raises:
        Refused: a disk is not empty and unused.
    """
    seen = {disk.asked: disk for disk in have.disks}
    requested = [seen[path] for path in devices]
    _refuse_wipes([seen[path] for path in wipes], requested)
    new = [disk for disk in requested if not _within(disk, now)]
    _refuse_unfit(new, {seen[path].real for path in wipes}, recorded)
    return new


def _within(disk: Disk, now: VolumeGroup) -> bool:
    """Whether a disk is in a volume group, even if LVM calls it by another name."""
    return disk.real in now.devices or any(
        label.group_uuid == now.uuid and label.number == disk.number for label in disk.physical
    )


def _refuse_unfit(wanted: list[Disk], wipes: set[str], recorded: LvmRecord | None) -> None:
    mine = recorded.physicals if recorded else ()
    for number, disk in enumerate(wanted):
        if disk.real and disk.real in {other.real for other in wanted[:number]}:
            raise Refused(f"{disk.asked} is named twice", "it is another name of a disk that is already in the list")
        if not begun(disk, mine):
            disk_checks.refuse(disk, wipe=disk.real in wipes)


def _refuse_wipes(wipes: list[Disk], wanted: list[Disk]) -> None:
    for disk in wipes:
        if not disk.real or disk.real not in {other.real for other in wanted}:
            raise Refused(
                f"--wipe {disk.asked} names no device of this pool",
                f"it is {disk.real or 'not there'}; the pool's are: {' '.join(d.asked for d in wanted) or 'none'}",
                hint="pass the same path to --wipe as to --device",
            )


def begun(disk: Disk, mine: Sequence[str]) -> bool:
    """Return whether a disk holds only what an interrupted creation leaves: a physical volume of ours in no group.

    Args:
        disk: the disk, as inspected.
        mine: recorded UUIDs of our physical volumes.
    """
    if len(disk.nodes) > 1 or any(obstacle.weight != "content" for obstacle in disk_checks.obstacles(disk)):
        return False
    labels = [label for label in disk.physical if label.uuid in mine and not label.group]
    return bool(labels) and all(signature.type == "LVM2_member" for signature in disk.signatures)


def unchanged(fresh: list[Disk], name: str = "") -> list[Change]:
    """Inspect disks again before anything is changed.

    Args:
        fresh: the disks, as inspected.
        name: name of the volume group to be created, whose directory in /dev must not exist; empty: none is.
    """
    if not fresh:
        return []
    checks = [gate.inspect_again(disk, disk.seen, "anything") for disk in fresh]
    if name:
        # vgcreate refuses this, too, but only once the disks are physical volumes.
        checks.append(f"[ ! -e {words(f'/dev/{name}')} ] || {{ echo {words(f'/dev/{name} exists')}; exit 1; }}")
    return [Command(f"look at {' '.join(disk.asked for disk in fresh)} once more", "\n".join(checks), gate.functions())]


def wiped(have: Facts, fresh: list[Disk], wipes: Sequence[str], mine: Sequence[str]) -> list[Disk]:
    """Return the disks whose content will be destroyed: those of --wipe with more than a physical volume of ours.

    Args:
        have: facts of the machine.
        fresh: the disks.
        wipes: paths of devices whose content may be destroyed.
        mine: UUIDs of our physical volumes.
    """
    named = {disk.real for disk in have.disks if disk.asked in wipes}
    return [disk for disk in fresh if disk.real in named and disk_checks.obstacles(disk) and not begun(disk, mine)]


def physicals(have: Facts, fresh: Sequence[Disk], mine: Sequence[str]) -> dict[str, str]:
    """Map each disk to the UUID of the physical volume that it has, or will get."""
    seed = have.lvm.seed if have.lvm else ""
    there = {
        disk.real: label.uuid for disk in fresh for label in disk.physical if label.uuid in mine and begun(disk, mine)
    }
    return {disk.real: there.get(disk.real) or ours.physical(seed, disk) for disk in fresh}


def group(
    fresh: list[Disk], emptied: list[Disk], name: str, uuids: dict[str, str], conf: str, command: str = "vgcreate"
) -> Change:
    """Create a volume group, or enlarge it with `vgextend`; each disk is inspected again right before.

    Args:
        fresh: the disks.
        emptied: those of them that have been wiped by then.
        name: name of the volume group.
        uuids: device → UUID of its physical volume, from `physicals`, recorded by then.
        conf: path of the pool's record.
        command: `vgcreate` or `vgextend`.
    """
    checks = [gate.inspect_again(disk, disk.bare if disk in emptied else disk.seen, command) for disk in fresh]
    make = [
        words("pvcreate", "-q", "--norestorefile", "--uuid", uuids[disk.real], disk.real)
        for disk in fresh if uuids[disk.real] not in {label.uuid for label in disk.physical}
    ]  # fmt: skip
    size = ("-s", f"{layout.EXTENT // 1024}K") if command == "vgcreate" else ()  # lvm.conf may have another default
    make.append(words(command, "-q", *size, name, *(disk.real for disk in fresh)))
    named = ", ".join(f"{disk.asked} ({disk.serial or 'no serial number'})" for disk in fresh)
    why = f"volume group {name} on {named}" if command == "vgcreate" else f"add {named} to the volume group {name}"
    return Command(why, "\n".join([*checks, *make, ours.note_group(conf, name)]), gate.functions())


def released(have: Facts, recorded: LvmRecord, now: VolumeGroup | None, *, reduce: bool) -> list[Change]:
    """Plan to remove our physical volumes from disks, which leaves them as empty as they were when we took them.

    Args:
        have: facts of the machine.
        recorded: the pool's record.
        now: our volume group, if it exists.
        reduce: the group stays; disks that others use by now stay in it.
    """
    plan: list[Change] = []
    for disk in have.disks:
        label = next(
            (label for label in disk.physical if label.number == disk.number and label.uuid in recorded.physicals), None
        )
        if label is None or (label.group and not (now and label.group_uuid == now.uuid)):
            continue
        why = f"wipe {disk.real} ({disk.serial or 'no serial number'})"
        deeds = [gate.blank(why, disk, disk.bare, label.uuid)]
        if reduce and label.group and now:
            deeds.insert(0, gate.leave_group(why, now.name, now.uuid, disk.real, label.uuid))
        plan.append(gate.joined(why, deeds))
    return plan
