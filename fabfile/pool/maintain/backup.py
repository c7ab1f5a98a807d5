"""Back up a pool's metadata, the tables of its blocks; the data itself is not copied."""

from __future__ import annotations

import msgspec

from fabfile import sizes
from fabfile.console import say
from fabfile.errors import Failed
from fabfile.output.outcome import result
from fabfile.plan import Command
from fabfile.pool.maintain import actions
from fabfile.remote.context import Context

TOOLS = ("dmsetup", "thin_dump")


class Backup(msgspec.Struct, frozen=True):
    """A backup of a pool's metadata."""

    file: str
    bytes: int
    sha256: str
    thin_devices: int
    kept: int
    """Number of backups of this pool that exist now."""


def back_up_pool(c: Context, name: str, instance: str, *, keep: int) -> None:
    """Copy a pool's metadata to a file on the machine.

    Args:
        c: the machine.
        name: see `actions.find`.
        instance: see `actions.find`.
        keep: number of backups to keep, the newest ones.

    Raises:
        Failed: no backup was made.
        Pending: with --dry.
        Refused: see `actions.find`.
    """
    pool = actions.find(c, name, instance, TOOLS)
    script = pool.render("backup", keep=keep)
    printed = actions.do(c, "pool.backup", pool, [Command(f"a backup of the metadata of {pool.name}", script)])
    said = actions.reported(printed, "backup")
    if said is None:
        raise Failed("pool.backup: no backup was made", printed)
    file, size, digest, devices, count = said
    result(Backup(file, int(size), digest, int(devices), int(count)))
    say(f"{file}\n  {sizes.human(int(size))}, {devices} thin devices, sha256 {digest}; {count} of at most {keep} kept")
