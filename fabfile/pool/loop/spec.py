"""The specification of a loop pool."""

from __future__ import annotations

from typing import Literal

import msgspec

from fabfile.errors import Refused
from fabfile.facts.record import LoopRecord
from fabfile.pool import limits


class LoopSpec(msgspec.Struct, frozen=True):
    """A requested loop pool. Sizes are in bytes."""

    name: str
    dir: str
    data: int
    meta: int
    block: int
    threshold: int = 80
    """Percent used at which it grows; 100: never."""
    percent: int = 20
    """Growth step in percent of the current size."""
    most: int = 0
    """Size of the data device that automatic growth does not exceed; 0: no limit."""
    when_full: Literal["queue", "error"] = "queue"
    instance: str = ""
    """The containerd instance that uses it; empty: the default one."""
    volume: str = ""
    """VG/LV that holds the files, if one is created with the pool."""

    @property
    def data_file(self) -> str:
        """Path of the file behind the data device."""
        return f"{self.dir}/data"

    @property
    def meta_file(self) -> str:
        """Path of the file behind the metadata device."""
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
    """Build a `LoopSpec` from settings as written; see `host.Pool` for each of them.

    Raises:
        Refused: a name, directory, size or percentage is not valid.
    """
    limits.check_name(name)
    limits.check_directory(dir)
    block = limits.block_size(block_size, "block")
    data = limits.data_size(size, block)
    meta = limits.explicit_metadata(meta_size) if meta_size else limits.metadata_size(data, block)
    most = limits.check_autoextend(threshold, percent, max_size, data)
    if when_full not in ("queue", "error"):
        raise Refused(
            f"pool.when_full: {when_full!r}", "queue: writers wait for space; error: they get an error at once"
        )
    return LoopSpec(name, dir.rstrip("/"), data, meta, block, threshold, percent, most, when_full, instance, volume)


def has_meta(recorded: LoopRecord, want: LoopSpec) -> bool:
    """Return whether the requested metadata size was requested before, or computed by an earlier version."""
    computed = want.meta == limits.metadata_size(want.data, want.block)
    asked = recorded.asked_meta_bytes
    return want.meta in asked or (computed and limits.earlier_size(want.data, want.block) in asked)
