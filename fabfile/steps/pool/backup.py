"""A copy of a pool's metadata: which block is whose. Of the data it holds nothing."""

from __future__ import annotations

from invoke import Context, task

from fabfile import sizes
from fabfile.console import say
from fabfile.daemon import INSTANCE
from fabfile.errors import Failed, Refused
from fabfile.plan import Command
from fabfile.render import render
from fabfile.steps.pool import action

TOOLS = ("dmsetup", "thin_dump")


@task(help={"keep": "how many backups stay, the newest ones", "name": "of the pool", "instance": INSTANCE})
def backup(c: Context, keep: int = 8, name: str = "", instance: str = "") -> None:
    """Copy a pool's metadata to a file on the machine, also under running containers."""
    if keep < 1:
        raise Refused(f"keep: {keep} is not a number of backups", "at least 1, the one that is made now")
    found = action.find(c, name, instance, TOOLS)
    script = render("pool/backup.sh.j2", pool=found, keep=keep)
    printed = action.do(
        c, "pool.backup", found, lambda have: [Command(f"a backup of the metadata of {found.name}", script)]
    )
    said = action.answer(printed, "backup")
    if said is None:
        raise Failed("pool.backup: no backup was made", printed)
    file, size, digest, devices, count = said
    say(f"{file}\n  {sizes.human(int(size))}, {devices} thin devices, sha256 {digest}; {count} of at most {keep} kept")
