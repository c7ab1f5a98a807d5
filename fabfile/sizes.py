"""Sizes as people write them: `100G`, `512M`, `64K`; always binary, always with a unit."""

from __future__ import annotations

import re

from fabfile.errors import Refused

UNITS = {"K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40, "P": 1 << 50, "E": 1 << 60}
LARGEST = 1 << 60
"""1 EiB: beyond it a device-mapper table in 512-byte sectors stops making sense on any real machine."""

SECTOR = 512
"""Bytes in a sector, the unit of every device-mapper table."""

KIB, MIB, GIB = UNITS["K"], UNITS["M"], UNITS["G"]


def parse(text: str, option: str = "size", *, least: int = 1) -> int:
    """Bytes of a size such as `100G` or `512MiB`.

    Args:
        text: a whole number and one of K, M, G, T, P, E (binary; `GiB` and `GB` mean `G`, as in containerd).
        option: what to call it in an error.
        least: the smallest size, in bytes, that is accepted.

    Raises:
        Refused: no unit, another unit, not positive, smaller than `least`, larger than 1 EiB.
    """
    match = re.fullmatch(r"(\d{1,20})([KMGTPE])(i?B)?", text.strip(), re.ASCII)
    if not match:
        raise Refused(
            f"{option}: {text!r} is not a size",
            "a size is a whole number and a binary unit, without a sign: 512M, 100G, 2T",
            hint=f"for example --{option.rpartition('.')[2].replace('_', '-')} 100G",
        )
    size = int(match[1]) * UNITS[match[2]]
    if size < least:
        raise Refused(f"{option}: {text!r} is too small", f"at least {show(least)}")
    if size > LARGEST:
        raise Refused(f"{option}: {text!r} is too large", f"at most {show(LARGEST)} (1 EiB)")
    return size


def show(size: int) -> str:
    """The shortest exact form of a number of bytes (`75M`), or one decimal where none is exact (`1.5G`)."""
    for unit, factor in reversed(UNITS.items()):
        if size and size % factor == 0:
            return f"{size // factor}{unit}"
    for unit, factor in reversed(UNITS.items()):
        if size >= factor:
            return f"{size / factor:.1f}{unit}"
    return f"{size}B"


def human(size: int) -> str:
    """A number of bytes for reading, with one decimal: `47.3G`."""
    for unit, factor in reversed(UNITS.items()):
        if size >= factor:
            return f"{size / factor:.1f}{unit}"
    return f"{size}B"
