"""Space that files no longer use goes back: from mounted devices to the pool, from a loop pool to its file system."""

from __future__ import annotations

from invoke import Context, task

from fabfile import sizes, target
from fabfile.console import say
from fabfile.daemon import INSTANCE
from fabfile.errors import Failed
from fabfile.plan import Command
from fabfile.render import render
from fabfile.steps.pool import action
from fabfile.steps.pool.action import Found
from fabfile.steps.pool.pause import refuse_busy, resume, start, stop


def report(found: Found, printed: str) -> list[str]:
    """The lines that say how much came back.

    Raises:
        Failed: the script did not come to its end.
    """
    before, after = action.answer(printed, "before"), action.answer(printed, "after")
    if before is None or after is None:
        raise Failed("pool.trim: it did not come to its end", printed)
    block = found.have.pool.table.block_sectors * sizes.SECTOR if found.have.pool.table else found.block_sectors * 512
    said = [f"pool {found.name}: {_change(int(before[0]) * block, int(after[0]) * block)} used of the pool"]
    if not found.direct:
        said.append(f"{found.data}: {_change(int(before[1]), int(after[1]))} allocated on its file system")
    return said


def _change(before: int, after: int) -> str:
    freed = f"{sizes.human(before - after)} less" if after < before else "no less"
    return f"{sizes.human(before)} → {sizes.human(after)}, {freed},"


@task(
    help={
        "offline": "also what deleted devices left in the data file or on the disks: the pool goes down meanwhile",
        "force": "with --offline: also while containers run on the pool: they are killed",
        "name": "of the pool",
        "instance": INSTANCE,
    }
)
def trim(c: Context, offline: bool = False, force: bool = False, name: str = "", instance: str = "") -> None:
    """Give back space that files no longer use, and say how much.

    Devices that are not mounted, such as an image's layers, keep what they have: nobody deletes files in them.
    """
    found = action.find(c, name, instance, ("dmsetup", "thin_trim") if offline else ("dmsetup",))
    script = render("pool/trim.sh.j2", pool=found)
    if offline and not target.is_dry(c):
        refuse_busy(c, "pool.trim", found, "--offline", force=force)
    printed = action.do(c, "pool.trim", found, lambda have: [Command("fstrim of every mounted thin device", script)])
    if offline:
        whole = Command("discard every block that no device has", render("pool/trim-offline.sh.j2", pool=found))
        again = Command("how much is used now", script)
        rest = [stop(found, force=force), whole, start(found), again]
        try:
            printed += "\n" + action.do(c, "pool.trim", found, lambda have: [*rest])
        except Failed:
            resume(c, "pool.trim", found)
            raise
        first = action.answer(printed.partition("@after")[0], "before")
        printed += f"\n@before {' '.join(first or [])}"
    for line in printed.splitlines():
        if line.startswith(("trimmed ", "not trimmed ")):
            say(line)
    say("\n".join(report(found, printed)))
