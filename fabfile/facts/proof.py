"""Whether containerd can make a snapshot of an image on the pool; tried only if the query asks for it."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fabfile.facts.query import Query

PREFIX = "containerd-devmapper-proof"
"""Prefix of the names of such snapshots."""

UNMOUNTED = "cannot be mounted"
"""Error about a snapshot that could be made, but not mounted."""

ELSEWHERE = "is not on the pool"
"""Error about a snapshot whose device is on another pool."""

SILENT = "no answer within 20 s"
"""Error of a program that the facts script stopped, because it took too long."""


def fragment(query: Query) -> str:
    """Have containerd make a snapshot and remove it, if the query asks for it: the only fragment that writes."""
    from fabfile.render import render

    if not query.prove:
        return ""
    said = {"unmounted": UNMOUNTED, "elsewhere": ELSEWHERE, "silent": SILENT}
    return render("containerd/prove.sh.j2", pool=query.pool, ctr=query.daemon.ctr, prefix=PREFIX, **said)


def parse(text: str) -> str | None:
    """Parse the result: empty if it worked, otherwise the error of containerd or of the mount; None: not tried."""
    return text.removeprefix("proof").strip() if text.startswith("proof") else None
