"""Bring a pool with damaged metadata back from what is left of it.

The metadata in use is never written to. New metadata is made in a place of its own, checked, compared with what
containerd counts on, and only then takes the place of the old, which is kept.
"""

from __future__ import annotations

from fabfile import hints
from fabfile.console import say
from fabfile.context import Context
from fabfile.errors import Failed, Refused
from fabfile.outcome import result
from fabfile.plan import Command
from fabfile.pool.health.advice import metadata_full
from fabfile.pool.maintain import session, thin_devices, transaction
from fabfile.pool.maintain.check import Checked, verdict
from fabfile.pool.maintain.downtime import down, refuse_busy, start, start_again, stop, up_again
from fabfile.pool.maintain.kept import KEEP, prune
from fabfile.pool.maintain.session import Session
from fabfile.pool.maintain.thin_devices import View
from fabfile.render import render

TASK = "pool.repair"
TOOLS = ("dmsetup", "thin_check", "thin_ls", "thin_repair", "thin_restore")


def swap(found: Session, candidate: str) -> Command:
    """Put new metadata in the place of the old."""
    script = found.render("swap", candidate=candidate)
    return Command("the new metadata takes the place of the old, which is kept", script)


def losses(seen: View) -> list[str]:
    """What containerd counts on and new metadata does not have, a line each."""
    entries = (seen.database or {}).values()
    lost = thin_devices.missing(seen.ids, entries)
    return [f"{entry.name}: thin id {entry.id} ({entry.state}) is not in it" for entry in lost]


def kept(printed: str) -> str:
    """Where a script left the old metadata."""
    return " ".join(session.answer(printed, "kept") or ["as it was, in its place"])


def repair_pool(c: Context, name: str, instance: str, *, force: bool, yes: bool) -> None:
    """Repair a pool's damaged metadata into a new place, and LVM's record of the pool.

    Args:
        c: the machine.
        name: see `session.find`.
        instance: see `session.find`.
        force: containers that run on the pool are killed.
        yes: consent that devices, or thin volumes of LVM's, are lost.

    Raises:
        Refused: nothing is wrong but that the metadata is full.
        Failed: something that containerd counts on would be lost, and nobody said yes.
    """
    found = session.find(c, name, instance, TOOLS, lvm=True, ids=True)
    if full := metadata_full(found.have, found.name):
        raise Refused(f"the metadata of the pool {found.name} needs no repair", full.found, full.hint)
    script = found.render("repair")
    database = Command("devices that containerd uses", render("pool/database.sh.j2", pool=found))
    changes = [stop(found, force=force), Command(f"thin_repair of {found.name} into new metadata", script), database]
    candidate = found.record.candidate
    finish = [*([swap(found, candidate)] if candidate else []), start(found)]
    session.only_planned(c, TASK, [*changes, *finish, prune(found, KEEP)])
    state = verdict(c, TASK, found)
    result(Checked(found.name, state.good, state.what))
    if state.good:
        if found.have.pool.status is None:
            start_again(c, TASK, found)
        say(f"pool {found.name}: sound ({state.what}): nothing to repair")
        return
    say(f"pool {found.name}: {state.what}{': not sound' * (state.what != state.ids)}\n{state.details}".rstrip())
    refuse_busy(c, TASK, found, force=force)
    if state.ids and state.what == state.ids:
        _relabel(c, found, force=force, yes=yes)
        return
    printed = session.do(c, TASK, found, changes)
    lost = losses(thin_devices.read(printed, TASK))
    if lost and not yes:
        there = f"the old metadata: {kept(printed)}"
        raise _incomplete(
            found, lost, f"the new metadata is in {candidate}, the old in its place" if candidate else there
        )
    if state.ids:
        transaction.mend(c, TASK, found)
    printed += "\n" + session.do(c, TASK, found, finish)
    up_again(c, found, TASK)
    say(f"the old metadata: {kept(printed)}")
    session.do(c, TASK, found, [prune(found, KEEP)])


def _incomplete(found: Session, lost: list[str], there: str) -> Failed:
    """The new metadata lacks what containerd counts on, and nobody said yes to that."""
    return Failed(
        f"the repaired metadata of {found.name} lacks devices that containerd uses",
        "\n".join([*lost, there]),
        hint=f"a backup may have them: {found.command('pool.restore')}; "
        f"to go on without them: {hints.again('pool.repair', found.daemon, found.name, '--yes')}",
    )


def _relabel(c: Context, found: Session, *, force: bool, yes: bool) -> None:
    """Bring LVM's record of the pool, whose metadata is sound, back to what containerd needs.

    Raises:
        Refused: LVM would forget thin volumes of its own, and nobody said yes.
    """
    loses = transaction.forgotten(c, TASK, found)
    if loses and not yes:
        raise Refused(
            f"LVM has thin volumes of its own in {transaction.record(found).path}",
            "\n".join(loses),
            hint=f"to have LVM forget them: {hints.again(TASK, found.daemon, found.name, '--yes')}",
        )
    session.do(c, TASK, found, [stop(found, force=force)])
    with down(c, TASK, found):
        transaction.mend(c, TASK, found)
        for line in loses:
            say(line)
    fix = found.command("pool.fsck", "--fix")
    say(f"devices that containerd could not activate meanwhile are Faulty in its database; to repair that: {fix}")
