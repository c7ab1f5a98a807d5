"""The file systems that containerd makes on thin devices: with which options, and what they do at an error."""

from __future__ import annotations

import re

from fabfile.facts import Facts
from fabfile.facts.programs import PREZEROED
from fabfile.inventory import Pool
from fabfile.pool import variants

CONF = "/etc/mke2fs.conf"
"""How e2fsprogs makes file systems on this machine."""

ZEROED = f"nodiscard,{PREZEROED}=1"
"""containerd's fs_options on a pool that zeroes what it gives out; by itself it has mkfs write the zeros once more.

An image of 163 MiB takes 181 MiB of the pool with it, 628 MiB without: docs/benchmarks.md.
"""


def options(have: Facts, pool: Pool, version: str) -> str:
    """fs_options for containerd `version` on `pool`, see ZEROED; empty: what it does by itself.

    A direct pool gives out blocks as they are: what is not written of one holds what was there before. containerd has
    the key since 1.6 (snapshots/devmapper/config.go).
    """
    numbers = re.match(r"(\d+)\.(\d+)", version)
    knows = numbers is not None and (int(numbers[1]), int(numbers[2])) >= (1, 6)
    return ZEROED if knows and variants.wanted(pool).zeroes and PREZEROED in have.needs else ""


def stopping_at_errors(text: str) -> str:
    """An mke2fs.conf like `text`, whose file systems stop at their first error, unless it has its own mind about that.

    By default ext4 goes on. On a pool that was full it then loses what was synced: see docs/full-pools.md.
    """
    head, defaults, rest = text.partition("[defaults]\n")
    section = rest.partition("\n[")[0]
    if re.search(r"^\s*errors\s*=", section, re.MULTILINE):
        return text
    errors = "[defaults]\n\terrors = remount-ro\n"
    return f"{head}{errors}{rest}" if defaults else f"{errors}\n{text}"
