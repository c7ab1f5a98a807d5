"""An additional disk of a lab machine: its size, and its properties."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import msgspec

from fabfile import sizes
from fabfile.errors import Refused

MOST = 25
"""Limit for the additional disks of a machine: an emulated PC has 30 free slots, of which each machine needs five."""

BLOCKS = (512, 4096)
"""Block sizes that a disk may have, in bytes."""

LARGEST = 1 << 50
"""Size of the largest possible disk in bytes."""


class LabDisk(msgspec.Struct, frozen=True):
    """An empty disk.

    Args:
        size: for example `1G`; a disk takes up only the space of what is written to it.
        block: bytes in a logical block: 512, or 4096 (4Kn).
        physical: bytes in a physical block; 0: as `block`. 4096 with a `block` of 512 is 512e.
        read_only: whether every write fails.
        discard: whether the disk supports discard.

    Raises:
        Refused: the size is not valid, too large, or not a whole number of blocks; or a block size is not valid.
    """

    size: str
    block: int = 512
    physical: int = 0
    read_only: bool = False
    discard: bool = True

    def __post_init__(self) -> None:
        """Validate the fields."""
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


def disks(wanted: Sequence[str | LabDisk]) -> tuple[LabDisk, ...]:
    """Build the additional disks of a machine.

    Args:
        wanted: disks, or sizes of plain disks.

    Raises:
        Refused: there are too many, or a size is not valid.
    """
    if len(wanted) > MOST:
        raise Refused(f"disks: {len(wanted)} disks", f"at most {MOST}, besides the one that every machine has")
    return tuple(each if isinstance(each, LabDisk) else LabDisk(each) for each in wanted)


def numbered(disks: Sequence[LabDisk]) -> Iterator[tuple[int, LabDisk]]:
    """Number additional disks, from 2 on; see `Kind.disk`."""
    return enumerate(disks, 2)


def serial(number: int) -> str:
    """Return the serial number of an additional disk, which is then /dev/disk/by-id/virtio-SERIAL.

    Args:
        number: see `Kind.disk`.
    """
    return f"lab-disk{number}"
