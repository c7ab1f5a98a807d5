"""Metadata that repairs and restores kept: how much of it stays, and what removes the rest.

Each copy is as large as the pool's metadata. On files it lies beside that; in a volume group it is a volume, and takes
the room that the pool would grow into.
"""

from __future__ import annotations

import msgspec

from fabfile import sizes, target
from fabfile.console import say
from fabfile.context import Context
from fabfile.outcome import result
from fabfile.plan import Command
from fabfile.pool.maintain import session
from fabfile.pool.maintain.session import ManagedPool

KEEP = 2
"""Copies that stay after a repair or a restore."""


def prune(found: ManagedPool, keep: int) -> Command:
    """Remove all copies but the newest ones, and print those that stay."""
    script = found.render("kept", keep=keep)
    return Command(f"of the metadata that was kept, at most {keep} copies stay", script)


def listed(c: Context, pool: ManagedPool) -> list[tuple[str, int]]:
    """The copies that there are, oldest first, each with its size in bytes."""
    printed = target.sh(c, pool.render("kept", keep=None), "looking for kept metadata", look=True)
    return [(path, size) for _, path, size in _copies(printed)]


def _copies(printed: str) -> list[tuple[str, str, int]]:
    """What a script printed of each copy: what became of it, its path and its size."""
    lines = [line.split(" ", 2) for line in printed.splitlines()]
    return [(line[0][1:], line[2], int(line[1])) for line in lines if line[0] in ("@removed", "@stays") and line[2:]]


class Copy(msgspec.Struct, frozen=True):
    """A copy of a pool's metadata."""

    status: str
    """`stays` or `removed`."""
    path: str
    bytes: int


def prune_copies(c: Context, name: str, instance: str, *, keep: int) -> None:
    """Remove all copies but the newest `keep`; `name` and `instance` are those of `session.find`."""
    found = session.find(c, name, instance, ("dmsetup",))
    printed = session.do(c, "pool.kept", found, [prune(found, keep)])
    copies = _copies(printed)
    result([Copy(*copy) for copy in copies])
    for what, path, size in copies:
        say(f"{what:8} {path}, {sizes.human(size)}")
    if not copies:
        say(f"pool {found.name}: no metadata was kept")
