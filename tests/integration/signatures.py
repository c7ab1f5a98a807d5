"""Signatures of programs on disks, written as bytes, as the lab's image lacks these programs.

Each is shell that writes to `$disk`.
"""

from __future__ import annotations

import base64
import gzip
import hashlib
import struct
import zlib

from fabfile.lab.disk import LabDisk


def put(at: int | str, content: bytes) -> str:
    """Return shell that writes bytes at an offset, which may be a shell expression."""
    packed = base64.b64encode(gzip.compress(content, mtime=0)).decode()
    to = f'dd of="$disk" bs=64K iflag=fullblock oflag=seek_bytes seek=$(({at})) conv=notrunc status=none'
    return f"echo {packed} | base64 -d | gunzip | {to}"


REREAD = 'partx -a "$disk" 2>/dev/null || partx -u "$disk"'

MBR = "\n".join([
    put(446, struct.pack("<B3xB3xII", 0, 0x83, 2048, 131072)),
    put(510, b"\x55\xaa"),
])  # fmt: skip
"""One partition of 64M."""

LINUX = bytes.fromhex("af3dc60f838472478e793d69d8477de4")
"""Type of a partition in a GUID partition table: Linux file system."""


def gpt(disk: LabDisk, *partitions: tuple[int, int]) -> str:
    """Return a GUID partition table with partitions between two sectors, both included."""
    last = disk.bytes // 512 - 1
    entries = b"".join(
        LINUX + hashlib.sha256(bytes([number])).digest()[:16] + struct.pack("<QQ80x", *place)
        for number, place in enumerate(partitions)
    ).ljust(128 * 128, b"\0")

    def header(here: int, other: int, table: int) -> bytes:
        places = (here, other, 34, last - 33, bytes(range(16)), table, 128, 128, zlib.crc32(entries))

        def pack(crc: int) -> bytes:
            return struct.pack("<8sIIIIQQQQ16sQIII", b"EFI PART", 0x10000, 92, crc, 0, *places)

        return pack(zlib.crc32(pack(0))).ljust(512, b"\0")

    guard = struct.pack("<446xB3sB3sII48xH", 0, b"\0\2\0", 0xEE, b"\xff\xff\xff", 1, min(last, 0xFFFFFFFF), 0xAA55)
    first = put(0, guard + header(1, last, 2) + entries)
    return "\n".join([first, put((last - 32) * 512, entries + header(last, 1, last - 32)), REREAD])


MD = "\n".join([put(4096, bytes.fromhex("fc4e2ba901000000")), put(4240, struct.pack("<Q", 8))])
"""A superblock of version 1.2: magic, major version, and its own location in sectors."""

LUKS = put(0, b"LUKS\xba\xbe\0\1".ljust(168, b"\0") + b"1fbfbf1e-0000-4000-8000-000000000000")

ZFS = "\n".join(put(number * 1024, b"\x0c\xb1\xba") for number in range(128, 132))
"""Four uberblocks."""

BTRFS = put(0x10040, b"_BHRfS_M")


def bcache() -> str:
    """Return the superblock of a backing device, which the kernel accepts."""
    magic = bytes.fromhex("c68573f64e1a45ca8265f57f48ba6d81")
    ids = (magic, b"u" * 16, b"s" * 16)
    fields = struct.pack("<QQ16s16s16s32xQQ64xQHHHHIHH", 8, 1, *ids, 0, 0, 16, 1, 0, 0, 0, 0, 0, 0)
    crc = (1 << 64) - 1
    for byte in fields:
        crc ^= byte << 56
        for _ in range(8):
            crc = crc << 1 ^ (0x142F0E1EBA9EA3693 if crc >> 63 else 0)
    return put(4096, struct.pack("<Q", crc ^ (1 << 64) - 1) + fields)
