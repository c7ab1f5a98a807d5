"""Copies of metadata that repairs and restores kept, and the removal of old ones.

Each is as large as the pool's metadata. A loop pool keeps them as files beside it; a direct pool keeps them as volumes,
which take up the room that the pool would grow into.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from fabfile import sizes
from fabfile.console import say
from fabfile.errors import Refused
from fabfile.output.outcome import result
from fabfile.plan import Command
from fabfile.pool.lvm import volume_group
from fabfile.pool.maintain import actions
from fabfile.pool.maintain.actions import InspectedPool, ManagedPool
from fabfile.remote import target
from fabfile.remote.context import Context

KEEP = 2
"""Number of copies kept after a repair or a restore."""


def prune(pool: ManagedPool, keep: int) -> Command:
    """Remove all copies but the newest `keep`, and print the remaining ones."""
    script = pool.render("kept", keep=keep)
    return Command(f"keep at most {keep} old copies of the metadata", script)


def list_copies(c: Context, pool: ManagedPool) -> list[tuple[str, int]]:
    """List the existing copies, oldest first, as path and size in bytes."""
    printed = target.sh(c, pool.render("kept", keep=None), "looking for kept metadata", read_only=True)
    return [(path, size) for _, path, size in _copies(printed)]


def _copies(printed: str) -> list[tuple[str, str, int]]:
    """Parse what a script printed about each copy: its status, path and size in bytes."""
    lines = [line.split(" ", 2) for line in printed.splitlines()]
    return [(line[0][1:], line[2], int(line[1])) for line in lines if line[0] in ("@removed", "@stays") and line[2:]]


class Copy(msgspec.Struct, frozen=True):
    """A copy of a pool's metadata."""

    status: str
    """`stays` or `removed`."""
    path: str
    bytes: int


def prune_copies(c: Context, name: str, instance: str, *, keep: int) -> None:
    """Remove all copies but the newest ones, and list the remaining ones.

    Args:
        c: the machine.
        name: see `actions.find`.
        instance: see `actions.find`.
        keep: number of copies to keep.

    Raises:
        Refused: copies would be removed while the pool is down or a restore is unfinished; see also `actions.find`.
    """
    pool = actions.find(c, name, instance, ("dmsetup",))
    volume_group.refuse_unasked(pool.have.lvm)
    there = list_copies(c, pool)
    copies = [("stays", *copy) for copy in there]
    if len(there) > keep:
        _refuse_needed(pool, there)
        copies = _copies(actions.do(c, "pool.kept", pool, [prune(pool, keep)]))
    result([Copy(*copy) for copy in copies])
    for what, path, size in copies:
        say(f"{what:8} {path}, {sizes.human(size)}")
    if not copies:
        say(f"pool {pool.name}: no metadata was kept")


def _refuse_needed(pool: InspectedPool, copies: Sequence[tuple[str, int]]) -> None:
    """Refuse to remove copies while one of them may be the only metadata with which the pool starts.

    Raises:
        Refused: the pool is down, or a restore is unfinished.
    """
    if pool.have.units.unfinished:
        why, hint = "a restore of it is unfinished", pool.command("pool.restore", "--yes")
    elif not pool.have.pool.status:
        why, hint = "it is down", pool.command("pool.check")
    else:
        return
    listed = "\n".join(f"{path}, {sizes.human(size)}" for path, size in copies)
    raise Refused(f"pool {pool.name}: {why}, and a copy of its metadata may be the only sound one", listed, hint=hint)
