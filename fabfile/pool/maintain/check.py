"""Check a pool's metadata with thin_check: on a snapshot of it while the pool is active, otherwise directly."""

from __future__ import annotations

import msgspec

from fabfile.errors import Failed
from fabfile.facts import Facts
from fabfile.facts.record import LvmRecord
from fabfile.output.answer import show
from fabfile.output.outcome import result
from fabfile.plan import Command
from fabfile.pool import limits
from fabfile.pool.health import activation, visibility, writable
from fabfile.pool.health.findings import metadata_full
from fabfile.pool.lvm import volume_group
from fabfile.pool.maintain import actions
from fabfile.pool.maintain.actions import InspectedPool
from fabfile.remote.context import Context

TOOLS = ("dmsetup", "thin_check")


class Verdict(msgspec.Struct, frozen=True):
    """The outcome of a check."""

    good: bool
    what: str
    """What was checked, or why nothing could be."""
    details: str = ""
    ids: str = ""
    """What is wrong with LVM's transaction id of the pool, or with its thin volumes in it; empty: nothing."""


class Checked(msgspec.Struct, frozen=True):
    """Whether a pool's metadata is sound."""

    pool: str
    sound: bool
    looked_at: str
    """What was checked, or why nothing could be."""


def refusal(have: Facts) -> str:
    """Return why the kernel accepts no writes to a pool; empty if it does, or if the pool is inactive."""
    status = have.pool.status
    if status is None:
        return ""
    if status.needs_check:
        return f"the kernel wants its metadata checked (mode {status.mode}, needs_check)"
    return "" if status.mode in ("rw", "out_of_data_space") else f"the kernel has it in mode {status.mode}"


def refuse_lost(have: Facts, name: str) -> None:
    """Refuse a pool with missing disks: its metadata cannot be read, and no repair would help.

    Raises:
        Failed: with what LVM reports, and the fix.
    """
    missing = bool(have.lvm and have.lvm.group and have.lvm.group.missing)
    for one in visibility.findings(have, name, have.instances.pools.get(name)):
        if one.result == "fail" and (one.what == visibility.GONE or missing):
            raise Failed(f"the pool {name} cannot be checked", one.found, hint=one.hint)


def verdict(c: Context, task: str, pool: InspectedPool) -> Verdict:
    """Check the metadata of a pool.

    Args:
        c: the machine.
        task: name of the task that runs the check.
        pool: the pool.

    Raises:
        Failed: thin_check did not finish; or LVM's record is older than the pool, and what it lacks is not damage.
    """
    against = refusal(pool.have)
    if against:
        return Verdict(False, against)  # in these modes the kernel provides no snapshot of the metadata
    wrong = [one.found for one in visibility.findings(pool.have, pool.name, pool.record) if one.what == visibility.IDS]
    if wrong and (pool.have.pool.status or visibility.thins(pool.have, pool.record)):
        return Verdict(False, wrong[0], ids=wrong[0])
    script = pool.render("check")
    printed = actions.do(c, task, pool, [Command(f"thin_check of the pool {pool.name}", script)], read_only=True)
    said = actions.reported(printed, "checked")
    if said is None:
        raise Failed(f"{task}: thin_check did not finish", printed)
    code, what = said[0], " ".join(said[1:])
    ids = differ(actions.reported(printed, "ids"))
    details = "\n".join(line for line in printed.splitlines() if not line.startswith("@"))
    if "checksum in superblock" not in details:
        _refuse_older(pool, actions.reported(printed, "blocks"))
    return Verdict(code == "0" and not ids, ids if code == "0" and ids else what, details, ids)


def _refuse_older(pool: InspectedPool, blocks: list[str] | None) -> None:
    """Refuse an inactive direct pool whose own metadata describes more than LVM gives it: neither is damaged.

    Args:
        pool: the pool.
        blocks: numbers of blocks of data and of metadata in the pool's superblock; None if they are not known.

    Raises:
        Failed: LVM's record of the volume group is older than the pool.
    """
    group = pool.have.lvm.group if pool.have.lvm else None
    if not isinstance(pool.record, LvmRecord) or group is None or blocks is None or len(blocks) != 2:
        return
    volume = group.volumes.get(pool.record.lv)
    if volume is None:
        return
    data, meta = int(blocks[0]) * pool.record.block, int(blocks[1]) * limits.META_BLOCK
    if older := activation.older(pool.record, volume, data, meta):
        raise Failed(f"LVM's record of {pool.record.path} is older than the pool", *older)


def differ(ids: list[str] | None) -> str:
    """Compare a direct pool's own transaction id with the one that LVM expects.

    Args:
        ids: both; None for a loop pool.

    Returns:
        What is wrong; empty if both are 0.
    """
    if ids is None or ids == ["0", "0"]:
        return ""
    own, expected = [*ids, "none", "none"][:2]
    if own != expected:
        return f"the pool's transaction id is {own}, LVM expects {expected}, so that LVM does not activate it"
    return f"the pool's transaction id is {own}, and so is LVM's: unless it is 0, containerd does not find the pool"


def check_pool(c: Context, name: str, instance: str) -> None:
    """Check that a pool's metadata is sound.

    Args:
        c: the machine.
        name: see `actions.find`.
        instance: see `actions.find`.

    Raises:
        Failed: it is damaged, full, or cannot be checked.
    """
    pool = actions.find(c, name, instance, TOOLS, ids=True)
    volume_group.refuse_unasked(pool.have.lvm)
    refuse_lost(pool.have, pool.name)
    if refusal(pool.have):
        writable.refuse(pool.have, pool.name)
    if full := metadata_full(pool.have, pool.name):
        raise Failed(f"the pool {pool.name} cannot be checked before its metadata has room", full.found, full.hint)
    state = verdict(c, "pool.check", pool)
    result(Checked(pool.name, state.good, state.what))
    if state.ids and state.what == state.ids:
        raise Failed(f"LVM cannot use the pool {pool.name} as it is", state.ids, hint=pool.command("pool.repair"))
    if not state.good:
        raise Failed(
            f"the metadata of the pool {pool.name} is damaged",
            f"{state.what}\n{state.details}",
            hint=f"repair it: {pool.command('pool.repair')}; or restore a backup: {pool.command('pool.restore')}",
        )
    show(f"pool {pool.name}: sound ({state.what})")
