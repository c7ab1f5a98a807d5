"""Remove LVM's own thin volumes from its record of a direct pool and reset its transaction id, which hide the pool.

A thin volume that LVM created may have got a thin id that containerd uses already. So LVM only forgets it: if LVM
removed it, containerd's content would be gone, too.
"""

from __future__ import annotations

from fabfile.console import say
from fabfile.errors import Failed, Refused
from fabfile.facts.record import LvmRecord
from fabfile.plan import Command
from fabfile.pool.health import visibility
from fabfile.pool.maintain import actions, thin_devices
from fabfile.pool.maintain.actions import InspectedPool
from fabfile.remote.context import Context
from fabfile.render import render


def record(pool: InspectedPool) -> LvmRecord:
    """Return the record of a direct pool.

    Raises:
        Refused: it is a loop pool.
    """
    if not isinstance(pool.record, LvmRecord):
        raise Refused(f"the pool {pool.name} is not LVM's", f"it is on {pool.record.data}")
    return pool.record


def forgotten(c: Context, task: str, pool: InspectedPool) -> list[str]:
    """List the consequences of LVM forgetting its thin volumes in the pool; none if it has none.

    Raises:
        Refused: one of them is in use.
    """
    own = visibility.thins(pool.have, pool.record)
    if not own:
        return []
    group, path = record(pool).vg, record(pool).path
    if busy := [f"{group}/{lv.name} is open: something uses it" for lv in own if lv.open]:
        raise Refused(f"{task}: LVM has thin volumes in {path}", "\n".join(busy), hint="unmount and close it first")
    printed = actions.do(c, task, pool, [actions.listing(pool)])
    entries = (thin_devices.read(printed, task).database or {}).values()
    names = {entry.id: entry.name for entry in entries}
    lines = []
    for lv in own:
        volume = f"/dev/{group}/{lv.name}"
        means = f"thin id {lv.thin} stays in the pool until pool.fsck --fix: copy what is needed from {volume} first"
        if lv.thin in names:
            means = (
                f"its thin id {lv.thin} is containerd's {names[lv.thin]}, which stays; what was written to {volume} is"
                " in it: if that image then fails, ctr images remove --sync IMAGE, and pull it again"
            )
        lines.append(f"LVM forgets its volume {group}/{lv.name}: {means}")
    return lines


def reset(c: Context, task: str, pool: InspectedPool) -> None:
    """Remove the thin volumes from LVM's record and reset both transaction ids; containerd and the pool are stopped.

    Raises:
        Refused: LVM no longer knows the pool.
        Failed: LVM's record was not changed.
    """
    group = pool.have.lvm.group if pool.have.lvm else None
    path = record(pool).path
    volume = group.volumes.get(record(pool).lv) if group else None
    if group is None or volume is None:
        raise Refused(f"LVM does not know {path}", "its transaction id is not changed")
    thins = [f"{lv.name}={lv.uuid}" for lv in visibility.thins(pool.have, pool.record)]
    script = render("pool/common.sh.j2", pool=pool) + render(
        "pool/relabel.sh.j2", pool=pool, group_uuid=group.uuid, pool_uuid=volume.uuid, thins=thins
    )
    why = f"LVM's transaction id of {path} becomes the pool's, and both 0"
    printed = actions.do(c, task, pool, [Command(why, script)])
    said = actions.reported(printed, "relabelled")
    if said is None:
        raise Failed(f"{task}: LVM's record of {path} was not changed", printed)
    say(f"the transaction id of {path} was {volume.transaction} for LVM and {said[0]} in the pool; both are 0 now")
    say(f"LVM's old record of {group.name}: {said[1]}")
