"""Recover the files of a loop pool that were deleted while it is active, from its devices, which still hold them."""

from __future__ import annotations

from fabfile import hints, sizes
from fabfile.console import say
from fabfile.errors import Failed, Refused
from fabfile.facts import Facts
from fabfile.facts.record import LoopRecord
from fabfile.plan import Command
from fabfile.pool import units
from fabfile.pool.health import missing
from fabfile.pool.maintain import actions
from fabfile.pool.maintain.actions import InspectedPool
from fabfile.pool.maintain.downtime import refuse_busy, start, up_again
from fabfile.remote.context import Context
from fabfile.render import render

TASK = "pool.rescue"


def needed(have: Facts) -> int:
    """Return the bytes that the files to be written will take: the blocks in use, and all of the metadata."""
    pool = have.pool
    if not (pool.status and pool.table):
        return 0
    meta = pool.meta_loop.size if pool.meta_loop and not pool.meta else 0
    data = 0 if pool.data else pool.status.used_data * pool.table.block_sectors * sizes.SECTOR
    return data + meta


def refuse_room(pool: InspectedPool) -> None:
    """Refuse if the file system has no room for the recovered files.

    Raises:
        Refused: with the required and the free space.
    """
    place, more = pool.have.pool.place, needed(pool.have)
    if place and place.free < more:
        raise Refused(
            f"{place.target} has no room for the files of {pool.name}",
            f"they take {sizes.human(more)}, free {sizes.human(place.free)}; nothing was stopped",
            hint=f"make room on {place.target}, and then {hints.command(TASK, pool.daemon, pool.name)}",
        )


def rescue_files(c: Context, name: str, instance: str, *, force: bool) -> None:
    """Recover the deleted files of an active pool.

    Args:
        c: the machine.
        name: see `actions.find`.
        instance: see `actions.find`.
        force: kill the containers that run on the pool.

    Raises:
        Refused: there is no room, or the pool is in use.
        Failed: the files were not written, or the pool does not work afterwards.
    """
    pool = actions.find(c, name, instance, ("dmsetup",), without=frozenset({"data", "meta"}))
    gone, record = [loss for loss in missing.losses(pool.have, pool.name) if loss.up], pool.record
    if not gone or not isinstance(record, LoopRecord):
        missing.refuse(pool.have, pool.name)
        say(f"pool {pool.name}: none of its files is deleted: nothing to do")
        return
    refuse_room(pool)
    script = render("pool/common.sh.j2", pool=pool)
    script += render("pool/rescue.sh.j2", pool=pool, daemon=pool.daemon, force=force)
    monitor = units.monitor_service(pool.name)
    verify = render("pool/common.sh.j2", pool=pool)
    verify += render("pool/rescued.sh.j2", daemon=pool.daemon, monitor=monitor)
    changes = [
        Command(f"write {record.data} and {record.meta} again from the pool's devices", script),
        start(pool),
        Command("check the pool, and find images whose content is gone", verify),
    ]
    refuse_busy(c, TASK, pool, force=force)
    actions.only_planned(c, TASK, changes)
    printed = actions.do(c, TASK, pool, changes)
    if actions.reported(printed, "rescued") is None:
        raise Failed(f"{TASK}: the files were not written", printed)
    for line in printed.splitlines():
        if line.startswith("@database "):
            say(f"{line.removeprefix('@database ')}: written again as well")
    say(f"{record.data} and {record.meta}: written again")
    for line in printed.splitlines():
        if line.startswith("@image "):
            _, space, image = line.split(" ", 2)
            say(
                f"image {image} in the namespace {space}: its content is gone; pull it again, then start its containers"
            )
    up_again(c, pool, TASK)
