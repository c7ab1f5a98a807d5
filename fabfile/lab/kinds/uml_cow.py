"""An empty overlay of a disk image, in the format of User-mode Linux.

User-mode Linux can make one itself, but then it looks for the image's absolute path and changes into every directory on
the way, which the user that the machine runs as may not.
"""

from __future__ import annotations

import struct
from pathlib import Path

HEADER = struct.Struct(">4sIIQIII4096s")
"""`struct cow_header_v3` of arch/um/drivers/cow_user.c: magic, version, the image's time and size, sector, alignment,
format, path of the image."""

MAGIC, VERSION, SECTOR, ALIGNMENT = b"OOOM", 3, 512, 4096


def create(overlay: Path, image: Path, known_as: str) -> None:
    """Make an overlay in which no sector is written yet. It is sparse.

    Args:
        overlay: the new file.
        image: what is under it; a later change of its size or time makes the overlay useless.
        known_as: the path by which the machine opens the image.
    """
    below = image.stat()
    sectors = below.st_size // SECTOR
    # After the header a bit for each sector, then the sectors; each begins at a multiple of the alignment.
    bits = _aligned(HEADER.size)
    data = _aligned(bits + -(-sectors // 8))
    header = HEADER.pack(MAGIC, VERSION, int(below.st_mtime), below.st_size, SECTOR, ALIGNMENT, 0, known_as.encode())
    with overlay.open("xb") as out:
        out.write(header)
        out.truncate(data + below.st_size)


def _aligned(size: int) -> int:
    return -(-size // ALIGNMENT) * ALIGNMENT
