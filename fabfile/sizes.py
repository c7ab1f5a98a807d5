"""Sizes as people write them, `100G`, `1.5TiB`, `64k`: always binary, always with a unit."""

from __future__ import annotations

import re

from fabfile.console import shown
from fabfile.errors import Refused

UNITS = {"K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40, "P": 1 << 50, "E": 1 << 60}
LARGEST = 1 << 60
"""1 EiB: no machine has a device-mapper table larger than that."""

SECTOR = 512
"""Bytes in a sector, the unit of every device-mapper table."""

KIB, MIB, GIB = UNITS["K"], UNITS["M"], UNITS["G"]

SIZE = re.compile(r"(\d{1,20}(?:\.\d{1,20})?)([KMGTPE])(I?B)?", re.ASCII | re.IGNORECASE)
CONTAINERD = re.compile(r"(\d{1,20}(?:\.\d{1,20})?) ?([KMGTP]?)(I?B)?", re.ASCII | re.IGNORECASE)
"""A size in containerd's configuration; RAMInBytes of github.com/docker/go-units reads it."""


def parse(text: str, option: str = "size", *, least: int = 1, containerd: bool = False) -> int:
    """Parse a size such as `100G`, `512MiB` or `1.5t` into bytes.

    Args:
        text: a number and one of K, M, G, T, P, E, optionally followed by `iB`; case does not matter, and all are
            binary.
        option: name of the option, for the error.
        least: the smallest valid size in bytes.
        containerd: read it as containerd reads its configuration: `GB` is `GiB`, and without a unit it is in bytes.

    Raises:
        Refused: there is no unit, an unknown or a decimal one such as GB; or the size is not a whole number of bytes,
            less than `least`, or more than 1 EiB.
    """
    match = (CONTAINERD if containerd else SIZE).fullmatch(text.strip())
    if not match:
        raise Refused(
            f"{option}: {shown(text)} is not a size",
            "a size is a number and a binary unit, without a sign: 512M, 100G, 1.5T",
            hint=f"for example {_example(option, '100G')}",
        )
    from fractions import Fraction  # it is slow to import, and `inv --list` does not need it

    number, unit, suffix = Fraction(match[1]), match[2].upper(), (match[3] or "").upper()
    if suffix == "B" and not containerd:
        raise _ambiguous(option, text.strip(), match[1], unit)
    size = number * UNITS.get(unit, 1)
    if size.denominator != 1:
        raise Refused(
            f"{option}: {shown(text)} is not a whole number of bytes",
            f"it is {float(size):.1f} bytes",
            hint=f"for example {_example(option, show(max(int(size) // MIB * MIB, MIB)))}",
        )
    if size < least:
        raise Refused(f"{option}: {shown(text)} is too small", f"at least {show(least)}")
    if size > LARGEST:
        raise Refused(f"{option}: {shown(text)} is too large", f"at most {show(LARGEST)} (1 EiB)")
    return int(size)


def _ambiguous(option: str, text: str, number: str, unit: str) -> Refused:
    """The error for 100GB, which may mean powers of 1000 or 1024: a pool must not be created on a guess."""
    from fractions import Fraction

    power = "KMGTPE".index(unit) + 1
    decimal, binary = Fraction(number) * 1000**power, Fraction(number) * UNITS[unit]
    return Refused(
        f"{option}: {shown(text)} has a decimal unit",
        f"{number}{unit}B is {int(decimal)} bytes, {number}{unit}iB is {int(binary)} bytes",
        hint=f"sizes have binary units: {_example(option, f'{number}{unit}iB')}",
    )


def _example(option: str, size: str) -> str:
    """How to write a size: `--size 100G`, or `size = "100G"` if the option is a key in a file, `FILE: KEY`."""
    _, in_file, key = option.rpartition(": ")
    name = key.rpartition(".")[2]
    return f'{name} = "{size}"' if in_file else f"--{name.replace('_', '-').lstrip('-')} {size}"


def show(size: int) -> str:
    """Format bytes exactly and as short as possible, `75M`, `1536M`, `1.5K`; from 1 KiB on, `parse` reads it back."""
    for unit, factor in reversed(UNITS.items()):
        if size and size % factor == 0:
            return f"{size // factor}{unit}"
    if size >= KIB:
        from decimal import Decimal

        return f"{(Decimal(size) / KIB).normalize():f}K"
    return f"{size}B"


def exact(size: int) -> str:
    """Format bytes so that `parse` reads them back, rounded down to KiB."""
    unit, factor = next(((u, f) for u, f in reversed(UNITS.items()) if size % f == 0), ("K", KIB))
    return f"{size // factor}{unit}"


def human(size: int) -> str:
    """Format bytes for people, with one decimal: `47.3G`."""
    for unit, factor in reversed(UNITS.items()):
        if size >= factor:
            return f"{size / factor:.1f}{unit}"
    return f"{size}B"
