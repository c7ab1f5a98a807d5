"""Which file systems may hold the files of a loop pool."""

from __future__ import annotations

from fabfile import sizes
from fabfile.errors import Refused
from fabfile.facts import Facts
from fabfile.facts.pool import Place
from fabfile.instance import Daemon
from fabfile.pool import ownership
from fabfile.pool.loop.spec import LoopSpec
from fabfile.shell import words

FIT = frozenset({"ext4", "xfs"})
UNFIT = {
    "tmpfs": "it is gone after a reboot",
    "ramfs": "it is gone after a reboot",
    "overlay": "a container's own layer: it is gone with the container",
    "nfs": "loop devices on a network file system lose writes and hang",
    "nfs4": "loop devices on a network file system lose writes and hang",
    "btrfs": "copy-on-write under a loop device fragments and can deadlock when it is full",
}


def refuse_unfit(have: Facts, want: LoopSpec) -> None:
    """Refuse a file system that is read-only, or of a type that cannot hold a pool."""
    place = have.pool.place
    if place is None:
        raise Refused(f"cannot determine the file system of {want.dir}", "findmnt did not answer")
    if place.type not in FIT:
        why = UNFIT.get(place.type, "only ext4 and xfs are known to work")
        raise Refused(
            f"{want.dir} is on {place.type}, which cannot carry a pool",
            f"mounted at {place.target}: {why}",
            hint="name a directory on ext4 or xfs, or have a volume created: --volume VG/LV --volume-size 15G",
        )
    if place.read_only:
        raise Refused(
            f"{want.dir} is on a file system that is mounted read-only",
            f"mounted at {place.target}; ext4 remounts itself read-only after an error, see dmesg",
            hint=words("mount", "-o", "remount,rw", place.target.replace(r"\x20", " ")),
        )


MOST = {"ext4": (16 << 40) - 4096}
"""File system → size of its largest file in bytes, with blocks of 4 KiB."""


def refuse_large(type: str, data: int) -> None:
    """Refuse data that does not fit into one file of a file system of this type."""
    if data > MOST.get(type, data):
        raise Refused(
            f"{sizes.show(data)} of data do not fit into a file on {type}",
            "its files are smaller than 16 TiB",
            hint="name a directory on xfs, or make a direct pool",
        )


def overcommitted(place: Place | None, more: int) -> str:
    """Return the end of the description of a change after which a pool may need more than its file system has.

    Args:
        place: the file system; None if it is unknown.
        more: what the pool's files may still take, in bytes.

    Returns:
        The text; empty if there is enough room.
    """
    if place is None or place.free >= more:
        return ""
    free = sizes.human(place.free)
    return f"; OVERCOMMITTED: {place.target} has {free} free, and when it is full the pool gets I/O errors"


def refuse_missing(have: Facts, want: LoopSpec, *, made: int) -> None:
    """Refuse a directory that does not exist, unless it is in the root of its containerd.

    Args:
        have: facts of the machine.
        want: the requested pool.
        made: number of missing path components that are created all the same.
    """
    if have.pool.missing > made and not ownership.within(want.dir, Daemon(want.instance)):
        raise Refused(
            f"no directory {want.dir}",
            "its name may be wrong, or its file system not mounted; only directories in containerd's root are created",
            hint=f"if it is right: mkdir -p {words(want.dir)}",
        )
