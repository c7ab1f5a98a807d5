"""The gate for destruction: every deed takes the recorded identity of what goes, and looks again right before it.

Nothing else in this program contains the commands that destroy: a test reads all of it. The shell functions are in
templates/pool/gate.sh.j2; a template whose identities are known only while it runs includes that file and calls them.
"""

from __future__ import annotations

from collections.abc import Iterable

from fabfile.facts import disks
from fabfile.facts.disks import Disk
from fabfile.plan import Command, words
from fabfile.render import render


def functions() -> str:
    """The shell functions of the gate, with the look at a disk that some of them take."""
    return f"{disks.functions()}\n{render('pool/gate.sh.j2')}"


def deed(why: str, *words_: str | int) -> Command:
    """A command of the gate: the name of a shell function and what it is called with."""
    return Command(why, words(*words_), functions())


def joined(why: str, deeds: Iterable[Command]) -> Command:
    """Several deeds as one change."""
    return Command(why, "\n".join(deed.script for deed in deeds), functions())


def look_again(disk: Disk, expected: str, doing: str) -> str:
    """Shell that goes on only if a look at the disk says `expected` now, too. It needs `functions`."""
    return words("same_disk", disk.asked, expected, doing)


def remove_volume(why: str, path: str, uuid: str) -> Command:
    """Remove the logical volume `VG/LV` with this UUID."""
    return deed(why, "remove_lv", path, uuid)


def remove_group(why: str, name: str, uuid: str) -> Command:
    """Remove the volume group with this UUID; one that holds a volume stays."""
    return deed(why, "remove_vg", name, uuid)


def leave_group(why: str, name: str, uuid: str, device: str, physical: str) -> Command:
    """Take a disk, the physical volume `physical`, out of a volume group; one that is in use stays."""
    return deed(why, "leave_vg", name, uuid, device, physical)


def forget_missing(why: str, name: str, uuid: str) -> Command:
    """Have a volume group forget its missing disks; LVM refuses it while any volume is partly on one."""
    return deed(why, "forget_missing", name, uuid)


def wipe(why: str, disk: Disk) -> Command:
    """Destroy what is on a disk, its partitions included, if it still looks as it did."""
    parts = [f"/dev/{node.kernel}" for node in disk.nodes[1:]]
    return deed(why, "wipe_disk", disk.asked, disk.seen, disk.real, disk.size, *parts)


def blank(why: str, disk: Disk, expected: str, physical: str) -> Command:
    """Leave nothing of the physical volume `physical` on a disk that is in no volume group any more.

    Args:
        why: for a person.
        disk: as it was seen.
        expected: what a look says of it by then, the physical volume left out.
        physical: its UUID.
    """
    return deed(why, "blank_pv", disk.asked, expected, disk.real, disk.size, physical)


def make_ext4(why: str, path: str, uuid: str, options: Iterable[str] = ()) -> Command:
    """Make an ext4 on the logical volume `VG/LV` with this UUID, if nothing is on it."""
    return deed(why, "make_ext4", path, uuid, *options)


def wipe_filesystem(why: str, device: str, uuid: str) -> Command:
    """Remove the signature of the file system with this UUID."""
    return deed(why, "wipe_fs", device, uuid)


def remove_file(why: str, path: str, inode: str) -> Command:
    """Remove a file that is `MAJOR:MINOR:INODE`."""
    return deed(why, "remove_file", path, inode)


def detach_loop(why: str, device: str, inode: str) -> Command:
    """Detach a loop device from the file that is `MAJOR:MINOR:INODE`, deleted or not."""
    return deed(why, "detach_loop", device, inode)


def remove_device(why: str, name: str, number: str) -> Command:
    """Remove the device-mapper device with this name and number, `MAJOR:MINOR`."""
    return deed(why, "remove_dm", name, number)


def add_fstab(why: str, line: str) -> Command:
    """Have a line in /etc/fstab, whole or not at all."""
    return deed(why, "add_fstab", line)


def drop_fstab(why: str, line: str) -> Command:
    """Have this very line no more in /etc/fstab."""
    return deed(why, "drop_fstab", line)
