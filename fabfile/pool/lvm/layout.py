"""The arithmetic of a direct pool: what of its volume group is data, metadata, spare, and left to grow into."""

from __future__ import annotations

import re
from collections.abc import Sequence

import msgspec

from fabfile import sizes
from fabfile.errors import Refused
from fabfile.pool import limits
from fabfile.pool.limits import DATA_LEAST, META_LEAST, META_MOST
from fabfile.sizes import GIB, MIB

EXTENT = 4 * MIB
"""LVM's default, for a group that is still to be made."""

PREAMBLE = MIB
"""What LVM keeps at the start of each disk."""


BITMAP = 16320
"""Chunks that a block of the metadata, 4 KiB, can say of whether they are in use."""


class Layout(msgspec.Struct, frozen=True):
    """What goes where, in extents of `extent` bytes."""

    extent: int
    extents: int
    free: int
    data: int
    meta: int
    step: int
    """What the pool takes when it first grows by itself; 0 where it never does."""

    @property
    def left(self) -> int:
        """Free extents once the pool is made; LVM keeps a spare of the metadata's size."""
        return self.free - self.data - 2 * self.meta


def predicted(disks: list[int], extent: int = EXTENT) -> int:
    """Extents that disks of these sizes in bytes will give a group."""
    return sum((size - PREAMBLE) // extent for size in disks)


def metadata(text: str, chunk: int, whole: int) -> int:
    """Bytes of metadata for a pool that may grow to the whole group.

    Without a size it is LVM's own 64 bytes for each chunk of the group, and at least the 1 GiB that lvmthin(7) advises
    or 1% of a smaller group, if that is enough for `thin.DEVICES` devices.

    Args:
        text: a size, a percentage of the group such as `1%`, or nothing.
        chunk: bytes.
        whole: bytes of the group.

    Raises:
        Refused: no size, or one that is too small or useless.
    """
    if match := re.fullmatch(r"(\d{1,2})%", text):
        return min(max(whole * int(match[1]) // 100, META_LEAST), META_MOST)
    if text:
        size = sizes.parse(text, "pool.meta_size", least=META_LEAST)
        if size > META_MOST:
            raise Refused(f"pool.meta_size: {text!r} is useless", f"the kernel uses at most {sizes.human(META_MOST)}")
        return size
    return min(max(64 * whole // chunk, min(GIB, whole // 100), limits.needed(whole, chunk)), META_MOST)


def refuse_small(meta: int, data: int, chunk: int) -> None:
    """Refuse metadata in which the kernel has no room to note which chunks are in use: two bits each, in its blocks.

    Args:
        meta: bytes of it.
        data: bytes of the data.
        chunk: bytes.
    """
    least = (-(-data // chunk // BITMAP) + 64) * sizes.SECTOR * 8
    if meta < least:
        raise Refused(
            f"pool.meta_size: {sizes.human(meta)} is too small for {sizes.human(data)} of {sizes.show(chunk)} chunks",
            f"at least {sizes.human(least)}, without any container in it",
            hint="leave out --meta-size, or choose larger chunks: --chunk-size",
        )


def layout(
    *,
    extent: int,
    extents: int,
    free: int,
    percent: int,
    meta_size: str,
    chunk: int,
    step: int,
    grows: bool,
    closed: Sequence[str] = (),
) -> Layout:
    """Lay a pool out in a volume group.

    Args:
        extent: bytes of an extent.
        extents: of the whole group.
        free: of them that nobody has.
        percent: of the group's extents that become data.
        meta_size: as in `metadata`.
        chunk: bytes.
        step: percent of its size by which the pool grows by itself.
        grows: whether it is to grow by itself at all.
        closed: disks of the group on which nothing may be allocated; what is free on them is not in `free`.

    Raises:
        Refused: it does not fit, or it fits and could then never grow.
    """
    data = extents * percent // 100
    meta = -(-metadata(meta_size, chunk, extents * extent) // extent)
    one = -(-data * step // 100) if grows else 0
    made = Layout(extent, extents, free, data, meta, one)
    if data * extent < DATA_LEAST:
        raise Refused(
            f"pool.data_percent: {percent}% of {extents} extents is too small",
            f"{sizes.human(data * extent)}, at least {sizes.show(DATA_LEAST)}",
        )
    refuse_small(meta * extent, data * extent, chunk)
    if made.left >= one:
        return made
    what = "does not fit" if made.left < 0 else "leaves no room for autoextend to fire"
    fits = next((p for p in range(percent - 1, 0, -1) if _fits(made, p, step if grows else 0)), 0)
    shut = f"; not counting {' '.join(closed)}, where LVM may allocate nothing (pvchange -x y)" if closed else ""
    needs = f"; the first step of {step}% needs {one}" if grows else ""
    raise Refused(
        f"pool.data_percent: {percent} {what}",
        f"the volume group has {extents} extents of {sizes.show(extent)}, {free} of them free{shut}\n"
        f"data {data} + metadata {meta} + its spare {meta} = {data + 2 * meta} extents; "
        f"{made.left} are left{needs}\n" + (f"{fits}% would fit" if fits > 0 else "nothing would fit"),
        hint=_way_out(fits, made.left >= 0),
    )


def _fits(made: Layout, percent: int, step: int) -> bool:
    data = made.extents * percent // 100
    return data + 2 * made.meta + -(-data * step // 100) <= made.free and data * made.extent >= DATA_LEAST


def _way_out(fits: int, only_growth: bool) -> str:
    ways = [f"--data-percent {fits}"] if fits > 0 else ["a larger disk"]
    if only_growth:
        ways.append("--threshold 100 for a pool that never grows by itself")
    return ", or ".join(ways)
