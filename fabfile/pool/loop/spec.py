"""A thin pool on files, as wanted."""

from __future__ import annotations

from typing import Literal

import msgspec

from fabfile import sizes
from fabfile.errors import Refused
from fabfile.facts.record import LoopRecord
from fabfile.pool import limits


class LoopSpec(msgspec.Struct, frozen=True):
    """A thin pool on files, as wanted. Sizes in bytes."""

    name: str
    dir: str
    data: int
    meta: int
    block: int
    threshold: int = 80
    """Percent used at which it grows by itself; 100: never."""
    percent: int = 20
    """By how much of its size it grows then."""
    most: int = 0
    """Bytes of data beyond which it does not grow by itself; 0: any."""
    when_full: Literal["queue", "error"] = "queue"
    instance: str = ""
    """The containerd that it is for; empty: the default one."""
    volume: str = ""
    """VG/LV that the files are on, where that is made with the pool."""

    @property
    def data_file(self) -> str:
        """The file behind the data device."""
        return f"{self.dir}/data"

    @property
    def meta_file(self) -> str:
        """The file behind the metadata device."""
        return f"{self.dir}/meta"


def wanted(
    *,
    name: str,
    dir: str,
    size: str,
    meta_size: str,
    block_size: str,
    threshold: int = 80,
    percent: int = 20,
    max_size: str = "",
    when_full: Literal["queue", "error"] = "queue",
    instance: str = "",
    volume: str = "",
) -> LoopSpec:
    """A checked `LoopSpec` from what a person wrote.

    Raises:
        Refused: a name, directory or size that cannot be; see `limits` for the limits.
    """
    limits.check_name(name)
    limits.check_directory(dir)
    block = sizes.parse(block_size, "pool.block_size")
    if block % limits.BLOCK_STEP or block > limits.BLOCK_MOST:
        raise Refused(f"pool.block_size: {block_size!r} is not a block size", "a multiple of 64K, at most 1G")
    data = limits.data_size(size, block)
    meta = limits.explicit_metadata(meta_size) if meta_size else limits.metadata_size(data, block)
    most = limits.check_autoextend(threshold, percent, max_size, data)
    if when_full not in ("queue", "error"):
        raise Refused(
            f"pool.when_full: {when_full!r}", "queue: writers wait for space; error: they get an error at once"
        )
    return LoopSpec(name, dir.rstrip("/"), data, meta, block, threshold, percent, most, when_full, instance, volume)


def has_meta(recorded: LoopRecord, want: LoopSpec) -> bool:
    """Whether that much metadata was asked for, or computed for that pool by an earlier version."""
    computed = want.meta == limits.metadata_size(want.data, want.block)
    asked = recorded.asked_meta_bytes
    return want.meta in asked or (computed and limits.earlier_size(want.data, want.block) in asked)
