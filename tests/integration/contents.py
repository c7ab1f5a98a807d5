"""The content of disks of a lab machine, from their files: nothing within the machine can falsify it."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

from tests.integration.machine import Machine

BLOCK = 1 << 16


def digest(machine: Machine, number: int) -> str:
    """Return a digest of a disk's content; what the machine has written must have been synced.

    Args:
        machine: a lab machine, running or not.
        number: number of an additional disk; see `Machine.disk`.
    """
    digest = hashlib.sha256()
    for file in sorted(machine.vm.directory.glob(f"disk{number}.*")):
        for at, content in blocks(file):
            digest.update(f"{file.name} {at}\n".encode() + content)
    return digest.hexdigest()


def blocks(file: Path) -> Iterator[tuple[int, bytes]]:
    """Yield the blocks of a file that are not all zeros, with their offsets; holes are skipped unread."""
    with file.open("rb", buffering=0) as stream:
        size, at = os.fstat(stream.fileno()).st_size, 0
        while at < size:
            try:
                begin = os.lseek(stream.fileno(), at, os.SEEK_DATA)
            except OSError:  # there is no more data
                return
            at, end = begin // BLOCK * BLOCK, os.lseek(stream.fileno(), begin, os.SEEK_HOLE)
            while at < end:
                content = os.pread(stream.fileno(), BLOCK, at)
                if content.strip(b"\0"):
                    yield at, content
                at += BLOCK
