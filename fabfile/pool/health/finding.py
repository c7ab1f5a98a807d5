"""A finding: the result of one check, and the fix if it is a problem."""

from __future__ import annotations

from typing import Literal

import msgspec


class Finding(msgspec.Struct, frozen=True):
    """The result of one check of doctor or pool.status."""

    what: str
    """What was checked."""
    result: Literal["ok", "warn", "fail"]
    """`fail` if it has to be fixed, `warn` if it should be."""
    found: str
    """What was found."""
    hint: str = ""
    """How to fix it."""


def since(seconds: int) -> str:
    """Format a duration in its two largest units, for example `2 d 3 h`."""
    for unit, size, small, less in (("d", 86400, "h", 3600), ("h", 3600, "min", 60), ("min", 60, "s", 1)):
        if seconds >= size:
            rest = seconds % size // less
            return f"{seconds // size} {unit}" + (f" {rest} {small}" if rest else "")
    return f"{seconds} s"
