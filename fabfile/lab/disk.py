"""A further disk of a lab machine: how large it is, and what it can and cannot do."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import msgspec

from fabfile import sizes
from fabfile.errors import Refused

MOST = 25
"""Further disks of a machine: an emulated PC has 30 free slots, and every machine needs five of them."""

BLOCKS = (512, 4096)
"""Bytes that a block of a disk may have."""

LARGEST = 1 << 50
"""Bytes in the largest disk."""


class Disk(msgspec.Struct, frozen=True):
    """An empty disk.

    Args:
        size: such as `1G`; a disk takes only the space of what is written to it.
        block: bytes in a logical block: 512, or 4096 (4Kn).
        physical: bytes in a physical block: the same as `block` unless given; 4096 with a `block` of 512 is 512e.
        read_only: whether every write fails.
        discard: whether it supports discard.

    Raises:
        Refused: not a size, not a whole number of blocks, too large, or blocks of another size.
    """

    size: str
    block: int = 512
    physical: int = 0
    read_only: bool = False
    discard: bool = True

    def __post_init__(self) -> None:
        """Check it."""
        if self.block not in BLOCKS or self.physical not in (0, *BLOCKS) or 0 < self.physical < self.block:
            raise Refused(
                f"disks: no disk has logical blocks of {self.block} and physical ones of {self.physical} bytes",
                f"each is one of {', '.join(map(str, BLOCKS))}, and the physical one is not the smaller",
            )
        if self.bytes % (self.physical or self.block):
            raise Refused(f"disks: {self.size} is not a whole number of {self.physical or self.block}-byte blocks")
        if self.bytes > LARGEST:
            raise Refused(f"disks: {self.size!r} is too large", f"at most {sizes.show(LARGEST)}")

    @property
    def bytes(self) -> int:
        """Its size in bytes."""
        return sizes.parse(self.size, "disks")


def disks(wanted: Sequence[str | Disk]) -> tuple[Disk, ...]:
    """The further disks of a machine.

    Args:
        wanted: sizes of plain disks, or disks.

    Raises:
        Refused: more than a machine can have, or not a size.
    """
    if len(wanted) > MOST:
        raise Refused(f"disks: {len(wanted)} disks", f"at most {MOST}, besides the one that every machine has")
    return tuple(each if isinstance(each, Disk) else Disk(each) for each in wanted)


def numbered(disks: Sequence[Disk]) -> Iterator[tuple[int, Disk]]:
    """Further disks with their numbers, of which the first is 2; see `Kind.disk`."""
    return enumerate(disks, 2)


def serial(number: int) -> str:
    """The serial number of a further disk, whose name is then /dev/disk/by-id/virtio-SERIAL.

    Args:
        number: see `Kind.disk`.
    """
    return f"lab-disk{number}"
