"""A finding: one problem of a pool, and its fix."""

from __future__ import annotations

from typing import Literal

import msgspec


class Finding(msgspec.Struct, frozen=True):
    """One problem and its fix."""

    what: str
    result: Literal["warn", "fail"]
    found: str
    hint: str


def since(seconds: int) -> str:
    """Format a duration in its two largest units, for example `2 d 3 h`."""
    for unit, size, small, less in (("d", 86400, "h", 3600), ("h", 3600, "min", 60), ("min", 60, "s", 1)):
        if seconds >= size:
            rest = seconds % size // less
            return f"{seconds // size} {unit}" + (f" {rest} {small}" if rest else "")
    return f"{seconds} s"
