"""Repair a pool with damaged metadata.

The metadata in use is never written to. New metadata is made in a separate place, checked, and compared with what
containerd uses; only then does it replace the old metadata, which is kept.
"""

from __future__ import annotations

from fabfile import hints
from fabfile.console import say
from fabfile.errors import Failed, Refused
from fabfile.output.outcome import result
from fabfile.plan import Command
from fabfile.pool.health import writable
from fabfile.pool.health.findings import metadata_full
from fabfile.pool.maintain import actions, thin_devices, transaction
from fabfile.pool.maintain.actions import InspectedPool
from fabfile.pool.maintain.check import Checked, refusal, verdict
from fabfile.pool.maintain.downtime import down, refuse_busy, start, start_again, stop, up_again
from fabfile.pool.maintain.metadata_copies import KEEP, prune
from fabfile.pool.maintain.thin_devices import View
from fabfile.remote import target
from fabfile.remote.context import Context

TASK = "pool.repair"
TOOLS = ("dmsetup", "thin_check", "thin_ls", "thin_repair", "thin_restore")


def swap(pool: InspectedPool, candidate: str, source: str = "") -> Command:
    """Replace the metadata in use by `candidate`, a file or volume, and keep the old one.

    Args:
        pool: the pool.
        candidate: path of the new metadata.
        source: backup that it was made from, to be noted until containerd's databases fit it.
    """
    script = pool.render("swap", candidate=candidate, source=source)
    return Command("the new metadata takes the place of the old, which is kept", script)


def losses(seen: View) -> list[str]:
    """List the devices that containerd uses and that new metadata lacks."""
    entries = (seen.database or {}).values()
    lost = thin_devices.missing(seen.ids, entries)
    return [f"{entry.name}: thin id {entry.id} ({entry.state}) is not in it" for entry in lost]


def old_metadata(printed: str) -> str:
    """Return where a script left the old metadata."""
    return " ".join(actions.reported(printed, "kept") or ["unchanged, in its original place"])


def repair_pool(c: Context, name: str, instance: str, *, force: bool, yes: bool) -> None:
    """Repair a pool's damaged metadata, and LVM's record of the pool.

    Args:
        c: the machine.
        name: see `actions.find`.
        instance: see `actions.find`.
        force: kill the containers that run on the pool.
        yes: consent to losing devices, or LVM's own thin volumes.

    Raises:
        Refused: the pool is in use, its metadata is only full, or LVM's thin volumes would be lost without --yes.
        Failed: devices that containerd uses would be lost without --yes.
    """
    pool = actions.find(c, name, instance, TOOLS, lvm=True, ids=True)
    writable.refuse(pool.have, pool.name)
    if full := metadata_full(pool.have, pool.name):
        raise Refused(f"the metadata of the pool {pool.name} needs no repair", full.found, full.hint)
    script = pool.render("repair")
    repair = Command(f"thin_repair of {pool.name} into new metadata", script)
    changes = [stop(pool, force=force), repair, actions.listing(pool)]
    candidate = pool.record.candidate
    finish = [*([swap(pool, candidate)] if candidate else []), start(pool)]
    if target.is_dry(c) and refusal(pool.have):  # otherwise only a check would tell whether it is stopped at all
        refuse_busy(c, TASK, pool, force=force)
    actions.only_planned(c, TASK, [*changes, *finish, prune(pool, KEEP)])
    state = verdict(c, TASK, pool)
    result(Checked(pool.name, state.good, state.what))
    if state.good:
        if pool.have.pool.status is None:
            start_again(c, TASK, pool)
        say(f"pool {pool.name}: sound ({state.what}): nothing to repair")
        return
    unsound = "" if state.what == state.ids else ": not sound"
    say(f"pool {pool.name}: {state.what}{unsound}\n{state.details}".rstrip())
    refuse_busy(c, TASK, pool, force=force)
    if state.ids and state.what == state.ids:
        _relabel(c, pool, force=force, yes=yes)
        return
    printed = actions.do(c, TASK, pool, changes)
    lost = losses(thin_devices.read(printed, TASK))
    if lost and not yes:
        there = f"the old metadata: {old_metadata(printed)}"
        raise _incomplete(
            pool,
            lost,
            f"the new metadata is in {candidate}, the old is unchanged in its original place" if candidate else there,
        )
    if state.ids:
        transaction.reset(c, TASK, pool)
    printed += "\n" + actions.do(c, TASK, pool, finish)
    up_again(c, pool, TASK)
    say(f"the old metadata: {old_metadata(printed)}")
    actions.do(c, TASK, pool, [prune(pool, KEEP)])


def _incomplete(pool: InspectedPool, lost: list[str], there: str) -> Failed:
    """The error for repaired metadata that lacks devices which containerd uses."""
    return Failed(
        f"the repaired metadata of {pool.name} lacks devices that containerd uses",
        "\n".join([*lost, there]),
        hint=f"a backup may have them: {pool.command('pool.restore')}; "
        f"to continue without them: {hints.again('pool.repair', pool.daemon, pool.name, '--yes')}",
    )


def _relabel(c: Context, pool: InspectedPool, *, force: bool, yes: bool) -> None:
    """Correct LVM's record of a pool whose metadata is sound.

    Raises:
        Refused: LVM's own thin volumes would be lost without --yes.
    """
    loses = transaction.forgotten(c, TASK, pool)
    if loses and not yes:
        raise Refused(
            f"LVM has thin volumes of its own in {transaction.record(pool).path}",
            "\n".join(loses),
            hint=f"to have LVM forget them: {hints.again(TASK, pool.daemon, pool.name, '--yes')}",
        )
    actions.do(c, TASK, pool, [stop(pool, force=force)])
    with down(c, TASK, pool):
        transaction.reset(c, TASK, pool)
        for line in loses:
            say(line)
    fix = pool.command("pool.fsck", "--fix")
    say(f"devices that containerd could not activate meanwhile are Faulty in its database; to repair that: {fix}")
