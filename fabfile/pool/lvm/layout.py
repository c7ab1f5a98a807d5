"""The layout of a direct pool in its volume group: data, metadata, the spare of the metadata, and room for growth."""

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
"""Bytes in an extent of a new volume group: LVM's default."""

PREAMBLE = MIB
"""Bytes that LVM keeps at the start of each disk."""


BITMAP = 16320
"""Number of chunks whose use one metadata block of 4 KiB can record: 2 bits each, behind a header of 16 bytes."""


class Layout(msgspec.Struct, frozen=True):
    """A layout, in extents of `extent` bytes."""

    extent: int
    extents: int
    free: int
    data: int
    meta: int
    step: int
    """What the first automatic growth takes; 0: it never grows."""

    @property
    def left(self) -> int:
        """Free extents once the pool exists; LVM keeps a spare as large as the metadata."""
        return self.free - self.data - 2 * self.meta


def predicted(disks: list[int], extent: int = EXTENT) -> int:
    """Number of extents that disks of these sizes in bytes will provide."""
    return sum((size - PREAMBLE) // extent for size in disks)


def metadata(text: str, chunk: int, whole: int) -> int:
    """Compute the size of the metadata of a pool that may grow to the whole volume group.

    If no size is given, it is LVM's own 64 bytes per chunk of the group, or, if larger, the 1 GiB that lvmthin(7)
    recommends (1% of a group below 100 GiB), or what `limits.DEVICES` thin devices need.

    Args:
        text: a size, a percentage of the group such as `1%`, or nothing.
        chunk: size of a chunk in bytes.
        whole: size of the group in bytes.

    Returns:
        Bytes.

    Raises:
        Refused: it is not a size, or is outside of what the kernel uses.
    """
    if match := re.fullmatch(r"(\d{1,2})%", text):
        return min(max(whole * int(match[1]) // 100, META_LEAST), META_MOST)
    if text:
        return limits.meta_size(text)
    return min(max(64 * whole // chunk, min(GIB, whole // 100), limits.needed(whole, chunk)), META_MOST)


def refuse_small(meta: int, data: int, chunk: int) -> None:
    """Refuse metadata that is too small for the kernel's own bitmap of the chunks in use.

    The bitmap takes 2 bits per chunk (`BITMAP`); 64 blocks are added for everything else.

    Args:
        meta: size of the metadata in bytes.
        data: size of the data in bytes.
        chunk: size of a chunk in bytes.

    Raises:
        Refused: with the least size.
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
    """Lay out a pool in a volume group.

    Args:
        extent: size of an extent in bytes.
        extents: number of extents of the whole group.
        free: number of extents that are free.
        percent: share of the group's extents that becomes data.
        meta_size: as in `metadata`.
        chunk: size of a chunk in bytes.
        step: growth step in percent of the pool's size.
        grows: whether the pool grows by itself.
        closed: disks on which LVM may allocate nothing; their extents are not in `free`.

    Raises:
        Refused: the pool does not fit, or fits but could not grow.
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
