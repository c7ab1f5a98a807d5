"""Return space that files no longer use: from mounted devices to the pool, from a loop pool to its file system."""

from __future__ import annotations

import msgspec

from fabfile import hints, sizes
from fabfile.console import say
from fabfile.errors import Failed, Refused
from fabfile.facts.record import LoopRecord
from fabfile.output.outcome import result
from fabfile.plan import Command
from fabfile.pool.maintain import actions
from fabfile.pool.maintain.actions import InspectedPool
from fabfile.pool.maintain.downtime import refuse_busy, resume, start, stop
from fabfile.remote import target
from fabfile.remote.context import Context
from fabfile.shell import quote

TASK = "pool.trim"


class Trimmed(msgspec.Struct, frozen=True):
    """The outcome of a trim. Sizes are in bytes."""

    pool: str
    used_before: int
    used_after: int
    allocated_before: int | None
    """Space that a loop pool's data file takes on its file system."""
    allocated_after: int | None


def trimmed(pool: InspectedPool, first: str, last: str) -> Trimmed:
    """Parse the outcome.

    Args:
        pool: the pool.
        first: output of the first script.
        last: output of the last script.

    Raises:
        Failed: the script did not finish.
    """
    before, after = actions.reported(first, "before"), actions.reported(last, "after")
    if before is None or after is None:
        raise Failed(f"{TASK}: the script did not finish", last)
    block = pool.have.pool.table.block_sectors * sizes.SECTOR if pool.have.pool.table else pool.record.block
    on_disk = (int(before[1]), int(after[1])) if isinstance(pool.record, LoopRecord) else (None, None)
    return Trimmed(pool.name, int(before[0]) * block, int(after[0]) * block, *on_disk)


def report(pool: InspectedPool, was: Trimmed) -> list[str]:
    """Format how much space was returned."""
    said = [f"pool {pool.name}: {_change(was.used_before, was.used_after)} used of the pool"]
    if isinstance(pool.record, LoopRecord) and was.allocated_before is not None and was.allocated_after is not None:
        change = _change(was.allocated_before, was.allocated_after)
        said.append(f"{pool.record.data}: {change} allocated on its file system")
    return said


def _change(before: int, after: int) -> str:
    freed = f"{sizes.human(before - after)} less" if after < before else "no less"
    return f"{sizes.human(before)} → {sizes.human(after)}, {freed},"


def refuse_without_discards(c: Context, pool: InspectedPool) -> None:
    """Refuse to stop the pool if the devices under it do not support discards.

    Args:
        c: the machine.
        pool: the pool; an inactive one is not refused, as nothing is known about its devices.

    Raises:
        Refused: the disk under the pool, or its file system, does not support discards.
    """
    table = pool.have.pool.table
    if not table or not table.data:
        return
    limit = f"/sys/dev/block/{table.data}/queue/discard_max_bytes"
    if target.sh(c, f"cat {quote(limit)}", "checking whether its disks take discards", read_only=True).strip() == "0":
        raise Refused(
            f"{TASK}: the data device of the pool {pool.name} takes no discards",
            f"{limit} is 0: the disk under it, or its file system, does not support them",
            hint=hints.command(TASK, pool.daemon, pool.name),
        )


def trim_pool(c: Context, name: str, instance: str, *, offline: bool, force: bool) -> None:
    """Return space that files no longer use.

    Devices that are not mounted, such as an image's layers, keep what they have: nobody deletes files in them.

    Args:
        c: the machine.
        name: see `actions.find`.
        instance: see `actions.find`.
        offline: also discard every unallocated block, while the pool is stopped.
        force: kill the containers that run on the pool.

    Raises:
        Refused: the pool is in use, or discards are not supported.
        Failed: a script did not finish.
    """
    pool = actions.find(c, name, instance, ("dmsetup", "thin_dump") if offline else ("dmsetup",))
    script = pool.render("trim")
    online = Command("fstrim of every mounted thin device", script)
    whole = Command("discard every block that no device has", pool.render("trim-offline"))
    again = Command("how much is used now", script)
    rest = [stop(pool, force=force), whole, start(pool), again] if offline else []
    if offline:
        refuse_without_discards(c, pool)
        refuse_busy(c, TASK, pool, force=force)
    actions.only_planned(c, TASK, [online, *rest])
    printed = [actions.do(c, TASK, pool, [online])]
    if offline:
        try:
            printed.append(actions.do(c, TASK, pool, rest))
        except Failed:
            resume(c, TASK, pool)
            raise
    for line in "\n".join(printed).splitlines():
        if line.startswith(("trimmed ", "not trimmed ")):
            say(line)
    came_back = trimmed(pool, printed[0], printed[-1])
    result(came_back)
    say("\n".join(report(pool, came_back)))
