"""Whether containerd can make a snapshot of an image on the pool: tried where that is asked for, and removed again."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fabfile.facts import Query

PREFIX = "containerd-devmapper-proof"
"""How the names of such snapshots begin."""

UNMOUNTED = "cannot be mounted"
"""What is said of a snapshot that could be made and is of no use."""

ELSEWHERE = "is not on the pool"
"""What is said of a snapshot whose device is on another one."""


def fragment(query: Query) -> str:
    """Nothing, or the one part of a look that writes: it has the daemon make a snapshot, and remove it."""
    from fabfile.render import render

    if not query.prove:
        return ":"
    said = {"unmounted": UNMOUNTED, "elsewhere": ELSEWHERE}
    return render("containerd/prove.sh.j2", pool=query.pool, ctr=query.daemon.ctr, prefix=PREFIX, **said)


def parse(text: str) -> str | None:
    """Empty: it could; else what containerd, or the mount, said. None: that was not tried."""
    return text.removeprefix("proof").strip() if text.startswith("proof") else None
