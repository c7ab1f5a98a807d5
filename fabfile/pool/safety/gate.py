"""The gate: all commands that destroy something take the recorded identity of their target, and check it first.

Nothing outside of the gate contains such commands, which a test verifies. The shell functions are in
templates/pool/gate.sh.j2; a template that learns an identity only at run time includes that file and calls them.
"""

from __future__ import annotations

from collections.abc import Iterable

from fabfile.facts import disks
from fabfile.facts.disks import Disk
from fabfile.plan import Command
from fabfile.render import render
from fabfile.shell import words


def functions() -> str:
    """The shell functions of the gate, and the function that inspects a disk, which some of them call."""
    return f"{disks.functions()}\n{render('pool/gate.sh.j2')}"


def deed(why: str, *words_: str | int) -> Command:
    """Call a function of the gate.

    Args:
        why: the reason, as shown in a plan.
        words_: name and arguments of the shell function.
    """
    return Command(why, words(*words_), functions())


def joined(why: str, deeds: Iterable[Command]) -> Command:
    """Combine several calls of the gate into one change."""
    return Command(why, "\n".join(deed.script for deed in deeds), functions())


def inspect_again(disk: Disk, expected: str, doing: str) -> str:
    """Shell that continues only if inspecting the disk again prints `expected`. It needs `functions`.

    Args:
        disk: the disk.
        expected: the output of the inspection that the plan was made from.
        doing: what follows, for the error.
    """
    return words("same_disk", disk.asked, expected, doing)


def remove_volume(why: str, path: str, uuid: str) -> Command:
    """Remove the logical volume `path`, VG/LV, if it has this UUID."""
    return deed(why, "remove_lv", path, uuid)


def remove_group(why: str, name: str, uuid: str) -> Command:
    """Remove the volume group, if it has this UUID and holds no volume."""
    return deed(why, "remove_vg", name, uuid)


def leave_group(why: str, name: str, uuid: str, device: str, physical: str) -> Command:
    """Take the disk `device` with the physical volume `physical` out of a volume group, if nothing uses it."""
    return deed(why, "leave_vg", name, uuid, device, physical)


def forget_missing(why: str, name: str, uuid: str) -> Command:
    """Remove missing disks from a volume group; LVM refuses this while any volume is partly on one of them."""
    return deed(why, "forget_missing", name, uuid)


def wipe(why: str, disk: Disk) -> Command:
    """Wipe a disk and its partitions, if it still looks as it did when it was inspected."""
    parts = [f"/dev/{node.kernel}" for node in disk.nodes[1:]]
    return deed(why, "wipe_disk", disk.asked, disk.seen, disk.real, disk.size, *parts)


def blank(why: str, disk: Disk, expected: str, physical: str) -> Command:
    """Remove a physical volume from a disk that is in no volume group any more.

    Args:
        why: the reason, as shown in a plan.
        disk: the disk, as inspected.
        expected: what an inspection prints by then, without the physical volume.
        physical: UUID of the physical volume.
    """
    return deed(why, "blank_pv", disk.asked, expected, disk.real, disk.size, physical)


def wipe_filesystem(why: str, device: str, uuid: str) -> Command:
    """Remove the signature of the file system with this UUID from a device."""
    return deed(why, "wipe_fs", device, uuid)


def remove_file(why: str, path: str, inode: str) -> Command:
    """Remove a file, if its inode is `inode`, MAJOR:MINOR:INODE."""
    return deed(why, "remove_file", path, inode)


def remove_device(why: str, name: str, number: str) -> Command:
    """Remove the device-mapper device with this name, if its number is `number`, MAJOR:MINOR."""
    return deed(why, "remove_dm", name, number)


def drop_fstab(why: str, line: str) -> Command:
    """Remove exactly this line from /etc/fstab."""
    return deed(why, "drop_fstab", line)
