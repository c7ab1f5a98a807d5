"""What the machine's own programs are like: the C library, which builds depend on, and what mke2fs can do."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from fabfile.keyvalue import lines

if TYPE_CHECKING:
    from fabfile.facts.query import Query

PREZEROED = "assume_storage_prezeroed"
"""Option of mke2fs since 1.47 (misc/mke2fs.c): do not write zeros to a device that reads as zeros already."""


class Userland(msgspec.Struct, frozen=True):
    """The machine's own programs."""

    libc: str = ""
    """Version of the C library, as `getconf GNU_LIBC_VERSION` prints it; empty if it is not glibc."""
    prezeroed: bool = False
    """Whether mke2fs has the option assume_storage_prezeroed."""


def fragment(query: Query) -> str:
    """Print a `key value` line for each fact."""
    return f"""
echo "libc $(getconf GNU_LIBC_VERSION 2>/dev/null)"
! grep -qs {PREZEROED} "$(command -v mke2fs)" || echo prezeroed yes
"""


def parse(text: str) -> Userland:
    """Parse the fragment's output."""
    found = lines(text)
    return Userland(libc=found["libc"], prezeroed="prezeroed" in found)
