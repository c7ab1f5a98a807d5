"""An empty overlay of a disk image, in the format of User-mode Linux.

User-mode Linux can create one itself, but then it looks up the image's absolute path and enters every directory on the
way, which the machine's user may not.
"""

from __future__ import annotations

import struct
from pathlib import Path

HEADER = struct.Struct(">4sIIQIII4096s")
"""`struct cow_header_v3` of arch/um/drivers/cow_user.c.

Magic, version, modification time and size of the image, sector size, alignment, format, path of the image.
"""

MAGIC, VERSION, SECTOR, ALIGNMENT = b"OOOM", 3, 512, 4096


def create(overlay: Path, image: Path, known_as: str) -> None:
    """Create a sparse overlay in which no sector has been written.

    Args:
        overlay: the new file.
        image: the file under it; if its size or time changes, the overlay can no longer be used.
        known_as: the path by which the machine opens the image.
    """
    below = image.stat()
    sectors = below.st_size // SECTOR
    # A bitmap with a bit per sector follows the header, then the sectors; each begins at a multiple of the alignment.
    bits = _aligned(HEADER.size)
    data = _aligned(bits + -(-sectors // 8))
    header = HEADER.pack(MAGIC, VERSION, int(below.st_mtime), below.st_size, SECTOR, ALIGNMENT, 0, known_as.encode())
    with overlay.open("xb") as out:
        out.write(header)
        out.truncate(data + below.st_size)


def _aligned(size: int) -> int:
    return -(-size // ALIGNMENT) * ALIGNMENT
