"""A copy of a pool's metadata: which block is whose. Of the data it holds nothing."""

from __future__ import annotations

from typing import Annotated

import msgspec
from invoke import Context

from fabfile import sizes
from fabfile.console import say
from fabfile.errors import Failed
from fabfile.option import about
from fabfile.outcome import result
from fabfile.plan import Command
from fabfile.pool.maintain import session
from fabfile.render import render
from fabfile.task import Instance, Name, task

TOOLS = ("dmsetup", "thin_dump")


class Backup(msgspec.Struct, frozen=True):
    """A backup of a pool's metadata."""

    file: str
    bytes: int
    sha256: str
    thin_devices: int
    kept: int
    """Backups of this pool that there are now."""


@task(diff=True, answers=Backup)
def backup(
    c: Context,
    keep: Annotated[int, about("number of backups that stay, the newest ones", ge=1, le=10000)] = 8,
    name: Name = "",
    instance: Instance = "",
) -> None:
    """Copy a pool's metadata to a file on the machine, also under running containers."""
    found = session.find(c, name, instance, TOOLS)
    script = render("pool/backup.sh.j2", pool=found, keep=keep)
    printed = session.do(
        c, "pool.backup", found, lambda have: [Command(f"a backup of the metadata of {found.name}", script)]
    )
    said = session.answer(printed, "backup")
    if said is None:
        raise Failed("pool.backup: no backup was made", printed)
    file, size, digest, devices, count = said
    result(Backup(file, int(size), digest, int(devices), int(count)))
    say(f"{file}\n  {sizes.human(int(size))}, {devices} thin devices, sha256 {digest}; {count} of at most {keep} kept")
