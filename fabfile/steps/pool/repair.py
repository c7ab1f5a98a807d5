"""Bring a pool with damaged metadata back from what is left of it.

The metadata in use is never written to. New metadata is made in a place of its own, checked, compared with what
containerd counts on, and only then takes the place of the old, which is kept.
"""

from __future__ import annotations

from typing import Annotated

from invoke import Context

from fabfile import hints, target
from fabfile.bolt import Broken
from fabfile.console import say
from fabfile.errors import Failed
from fabfile.option import about
from fabfile.outcome import result
from fabfile.plan import Command
from fabfile.render import render
from fabfile.steps.pool import action, view
from fabfile.steps.pool.action import Found
from fabfile.steps.pool.check import Checked, verdict
from fabfile.steps.pool.keep import KEEP, prune
from fabfile.steps.pool.pause import refuse_busy, start, stop, up_again
from fabfile.steps.pool.view import View
from fabfile.task import Force, Instance, Name, task

TOOLS = ("dmsetup", "thin_check", "thin_ls", "thin_repair", "thin_restore")


def swap(found: Found, candidate: str) -> Command:
    """Put new metadata in the place of the old."""
    script = render("pool/swap.sh.j2", pool=found, candidate=candidate)
    return Command("the new metadata takes the place of the old, which is kept", script)


def losses(seen: View) -> list[str]:
    """What containerd counts on and new metadata does not have, a line each."""
    entries = (seen.database or {}).values()
    lost = view.missing(seen.ids, entries)
    return [f"{entry.name}: thin id {entry.id} ({entry.state}) is not in it" for entry in lost]


def read(printed: str, task: str) -> View:
    """What a script said of new metadata and containerd's database.

    Raises:
        Failed: the database cannot be read.
    """
    try:
        return view.parse(printed.splitlines())
    except Broken as error:
        raise Failed(
            f"{task}: containerd's database cannot be read",
            str(error),
            hint="without it nobody knows which device is whose: restore the file first",
        ) from error


def kept(printed: str) -> str:
    """Where a script left the old metadata."""
    return " ".join(action.answer(printed, "kept") or ["as it was, in its place"])


@task(diff=True, answers=Checked)
def repair(
    c: Context,
    force: Force = False,
    yes: Annotated[bool, about("repair even if devices that containerd counts on are lost")] = False,
    name: Name = "",
    instance: Instance = "",
) -> None:
    """Repair a pool's damaged metadata into a new place; the old stays."""
    found = action.find(c, name, instance, TOOLS)
    script = render("pool/repair.sh.j2", pool=found)
    database = Command("what containerd counts on", render("pool/database.sh.j2", pool=found))
    changes = [stop(found, force=force), Command(f"thin_repair of {found.name} into new metadata", script), database]
    finish = [start(found)] if found.direct else [swap(found, found.candidate), start(found)]
    if target.is_dry(c):
        action.do(c, "pool.repair", found, lambda have: [*changes, *finish, prune(found, KEEP)])
    state = verdict(c, "pool.repair", found)
    result(Checked(found.name, state.good, state.what))
    if state.good:
        if found.have.pool.status is None:
            action.do(c, "pool.repair", found, lambda have: [start(found)])
            up_again(c, found, "pool.repair")
        say(f"pool {found.name}: sound ({state.what}): nothing to repair")
        return
    say(f"pool {found.name}: {state.what}: not sound\n{state.details}".rstrip())
    refuse_busy(c, "pool.repair", found, force=force)
    printed = action.do(c, "pool.repair", found, lambda have: [*changes])
    old = f"\nthe old metadata: {kept(printed)}" if found.direct else ""
    lost = losses(read(printed, "pool.repair"))
    if lost and not yes:
        there = old or f"\nthe new metadata is in {found.candidate}, the old in its place"
        raise Failed(
            f"the repaired metadata of {found.name} lacks devices that containerd counts on",
            "\n".join(lost) + there,
            hint=f"a backup may have them: {found.command('pool.restore')}; "
            f"to go on without them: {hints.again('pool.repair', found.daemon, found.name, '--yes')}",
        )
    printed += "\n" + action.do(c, "pool.repair", found, lambda have: [*finish])
    up_again(c, found, "pool.repair")
    say(f"the old metadata: {kept(printed)}")
    action.do(c, "pool.repair", found, lambda have: [prune(found, KEEP)])
