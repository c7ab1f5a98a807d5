"""A disk as in the virtio specification (5.2, "Block Device"), on files; `uml_vhost.py` brings it to the machine.

It uses only Python's standard library, as does `uml_supervisor.py`, which runs it.
"""

from __future__ import annotations

import ctypes
import errno
import os
import struct
import sys
from collections.abc import Iterator, Sequence

SECTOR = 512
"""Bytes in the unit of all positions and lengths, whatever the block size."""

PIECE = 8 << 40
"""Bytes in each file of a disk except the last, as a file system may not have files as large as a disk."""

REQUEST = struct.Struct("<IIQ")
"""Header of a request: type, priority, sector."""

RANGE = struct.Struct("<QII")
"""A range to be discarded or zeroed: sector, number of sectors, flags."""

CONFIG = struct.Struct("<QIIIIBBHIBBHIIIIIB3x")
"""`struct virtio_blk_config`, without the fields for secure erase."""

READ, WRITE, FLUSH, ID, DISCARD, ZERO = 0, 1, 4, 8, 11, 13
"""Types of requests."""

OK, FAILED, UNSUPPORTED = 0, 1, 2
"""Results."""

SEGMENTS = 126
"""Number of memory segments that one request may have."""

RANGE_SECTORS = 1 << 22
"""Number of sectors that one request may discard or zero."""

HAS_SEGMENTS, READ_ONLY, HAS_BLOCK_SIZE, HAS_FLUSH, HAS_TOPOLOGY, HAS_DISCARD, HAS_ZERO = (
    1 << bit for bit in (2, 5, 6, 9, 10, 13, 14)
)
"""Features."""

KEEP_SIZE, PUNCH_HOLE = 1, 2
"""Flags of fallocate(2)."""

libc = ctypes.CDLL(None, use_errno=True)


class Block:
    """A disk.

    Args:
        files: paths of its files, each of `PIECE` bytes except the last.
        size: its size in bytes.
        serial: its serial number.
        block: bytes in a logical block.
        physical: bytes in a physical block.
        read_only: whether every write fails.
        discard: whether it supports discard.

    Raises:
        OSError: a file could not be opened.
    """

    def __init__(
        self, files: Sequence[str], size: int, serial: str, block: int, physical: int, read_only: bool, discard: bool
    ) -> None:
        self.files = [os.open(file, os.O_RDONLY if read_only else os.O_RDWR) for file in files]
        self.size, self.serial, self.block, self.read_only = size, serial, block, read_only
        self.features = HAS_SEGMENTS | HAS_BLOCK_SIZE | HAS_FLUSH | HAS_TOPOLOGY | HAS_ZERO
        self.features |= (READ_ONLY if read_only else 0) | (HAS_DISCARD if discard else 0)
        exponent = (physical // block).bit_length() - 1
        ranges = (RANGE_SECTORS, 1)
        self.config = CONFIG.pack(
            size // SECTOR, 0, SEGMENTS, 0, block, exponent, 0, 0, 0, 0, 0, 1, *ranges, block // SECTOR, *ranges, 1
        )  # fmt: skip

    def answer(self, request: Sequence[memoryview], reply: Sequence[memoryview]) -> int:
        """Execute a request, and write the result.

        Args:
            request: buffers from the machine: type and sector, followed by data.
            reply: buffers for the machine: data, and the result as the last byte.

        Returns:
            Number of bytes written to the reply.
        """
        kind, _, sector = REQUEST.unpack_from(request[0])
        data, wanted = [request[0][REQUEST.size :], *request[1:]], [*reply[:-1], reply[-1][:-1]]
        try:
            reply[-1][-1] = self._do(kind, sector * SECTOR, data, wanted)
        except OSError as error:
            print(f"{self.serial}: {error}", file=sys.stderr, flush=True)
            # If the file system cannot punch holes, the machine writes zeros instead.
            reply[-1][-1] = UNSUPPORTED if error.errno == errno.EOPNOTSUPP else FAILED
        return sum(map(len, reply))

    def _do(self, kind: int, start: int, data: Sequence[memoryview], wanted: Sequence[memoryview]) -> int:
        if self.read_only and kind in (WRITE, DISCARD, ZERO):
            return FAILED
        if kind == READ:
            for file, offset, part in self._parts(start, wanted):
                _whole(os.preadv(file, [part], offset), part)
        elif kind == WRITE:
            for file, offset, part in self._parts(start, data):
                _whole(os.pwritev(file, [part], offset), part)
        elif kind in (DISCARD, ZERO):
            for sector, sectors, _ in RANGE.iter_unpack(b"".join(data)):
                self._empty(sector * SECTOR, sectors * SECTOR)
        elif kind == ID:
            wanted[0][:] = self.serial.encode()[: len(wanted[0])].ljust(len(wanted[0]), b"\0")
        elif kind != FLUSH:  # written data is in the controller's page cache, which outlives the machine
            return UNSUPPORTED
        return OK

    def _parts(self, start: int, memory: Sequence[memoryview]) -> Iterator[tuple[int, int, memoryview]]:
        """Map buffers to files and offsets in them."""
        self._check(start, sum(map(len, memory)))
        for part in memory:
            while part:
                number, offset = divmod(start, PIECE)
                here = part[: PIECE - offset]
                yield self.files[number], offset, here
                start, part = start + len(here), part[len(here) :]

    def _empty(self, start: int, length: int) -> None:
        """Release the space of a range, which then reads as zeros."""
        self._check(start, length)
        while length:
            number, offset = divmod(start, PIECE)
            here = min(length, PIECE - offset)
            place = ctypes.c_int64(offset), ctypes.c_int64(here)
            if libc.fallocate(self.files[number], KEEP_SIZE | PUNCH_HOLE, *place):
                raise OSError(ctypes.get_errno(), "fallocate")
            start, length = start + here, length - here

    def _check(self, start: int, length: int) -> None:
        if start + length > self.size or (start | length) % self.block:
            raise OSError(errno.EINVAL, f"{length} bytes at {start}")


def _whole(done: int, part: memoryview) -> None:
    if done != len(part):
        raise OSError(errno.EIO, f"{done} of {len(part)} bytes")
