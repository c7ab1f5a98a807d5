"""The file systems that containerd makes on thin devices: options of mkfs, and what they do after an error."""

from __future__ import annotations

import re

from fabfile.facts import Facts
from fabfile.facts.userland import PREZEROED
from fabfile.host import Pool
from fabfile.pool import variants

CONF = "/etc/mke2fs.conf"
"""The machine's configuration of mke2fs."""

ZEROED = f"nodiscard,{PREZEROED}=1"
"""containerd's fs_options on a pool that zeroes new blocks; by default mkfs writes zeros there once more.

An image of 163 MiB takes 181 MiB of the pool with it, and 628 MiB without: docs/benchmarks.md.
"""


def options(have: Facts, pool: Pool, version: str) -> str:
    """Return the fs_options for containerd `version` on `pool`; empty: containerd's default.

    A direct pool does not zero new blocks: a block has its former content where nothing is written. Nor does an adopted
    pool, until the next boot, if it was made with that feature. containerd has the key since 1.6
    (snapshots/devmapper/config.go).
    """
    zeroes = variants.wanted(pool).zeroes
    if have.pool.table and "skip_block_zeroing" in have.pool.table.features:
        zeroes = False
    numbers = re.match(r"(\d+)\.(\d+)", version)
    knows = numbers is not None and (int(numbers[1]), int(numbers[2])) >= (1, 6)
    return ZEROED if knows and zeroes and have.userland.prezeroed else ""


def stopping_at_errors(text: str) -> str:
    """Return an mke2fs.conf like `text` with `errors = remount-ro`, unless it already sets `errors`.

    By default ext4 continues. On a pool that was full, it then loses synced data: see docs/full-pools.md.
    """
    head, defaults, rest = text.partition("[defaults]\n")
    section = rest.partition("\n[")[0]
    if re.search(r"^\s*errors\s*=", section, re.MULTILINE):
        return text
    errors = "[defaults]\n\terrors = remount-ro\n"
    return f"{head}{errors}{rest}" if defaults else f"{errors}\n{text}"
