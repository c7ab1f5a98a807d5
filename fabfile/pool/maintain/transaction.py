"""Remove LVM's own thin volumes from its record of a direct pool and reset its transaction id, which hide the pool.

A thin volume that LVM created may have got a thin id that containerd uses already. So LVM only forgets it: if LVM
removed it, containerd's content would be gone, too.
"""

from __future__ import annotations

from fabfile.console import say
from fabfile.context import Context
from fabfile.errors import Failed, Refused
from fabfile.facts.record import LvmRecord
from fabfile.plan import Command
from fabfile.pool.health import visibility
from fabfile.pool.maintain import session, thin_devices
from fabfile.pool.maintain.session import Session
from fabfile.render import render


def record(found: Session) -> LvmRecord:
    """Return the record of a direct pool.

    Raises:
        Refused: it is a loop pool.
    """
    if not isinstance(found.record, LvmRecord):
        raise Refused(f"the pool {found.name} is not LVM's", f"it is on {found.record.data}")
    return found.record


def forgotten(c: Context, task: str, found: Session) -> list[str]:
    """List the consequences of LVM forgetting its thin volumes in the pool; none if it has none.

    Raises:
        Refused: one of them is in use.
    """
    own = visibility.thins(found.have, found.record)
    if not own:
        return []
    group, path = record(found).vg, record(found).path
    if busy := [f"{group}/{of.name} is open: something uses it" for of in own if of.open]:
        raise Refused(f"{task}: LVM has thin volumes in {path}", "\n".join(busy), hint="unmount and close it first")
    printed = session.do(c, task, found, [session.listing(found)])
    entries = (thin_devices.read(printed, task).database or {}).values()
    names = {entry.id: entry.name for entry in entries}
    lines = []
    for of in own:
        volume = f"/dev/{group}/{of.name}"
        means = f"thin id {of.thin} stays in the pool until pool.fsck --fix: copy what is needed from {volume} first"
        if of.thin in names:
            means = (
                f"its thin id {of.thin} is containerd's {names[of.thin]}, which stays; what was written to {volume} is"
                " in it: if that image then fails, ctr images remove --sync IMAGE, and pull it again"
            )
        lines.append(f"LVM forgets its volume {group}/{of.name}: {means}")
    return lines


def reset(c: Context, task: str, found: Session) -> None:
    """Remove the thin volumes from LVM's record and reset both transaction ids; containerd and the pool are stopped.

    Raises:
        Refused: LVM no longer knows the pool.
        Failed: LVM's record was not changed.
    """
    group = found.have.lvm.group if found.have.lvm else None
    path = record(found).path
    pool = group.volumes.get(record(found).lv) if group else None
    if group is None or pool is None:
        raise Refused(f"LVM does not know {path}", "its transaction id is not changed")
    thins = [f"{of.name}={of.uuid}" for of in visibility.thins(found.have, found.record)]
    script = render("pool/common.sh.j2", pool=found) + render(
        "pool/relabel.sh.j2", pool=found, group_uuid=group.uuid, pool_uuid=pool.uuid, thins=thins
    )
    why = f"LVM's transaction id of {path} becomes the pool's, and both 0"
    printed = session.do(c, task, found, [Command(why, script)])
    said = session.answer(printed, "relabelled")
    if said is None:
        raise Failed(f"{task}: LVM's record of {path} was not changed", printed)
    say(f"the transaction id of {path} was {pool.transaction} for LVM and {said[0]} in the pool; both are 0 now")
    say(f"LVM's old record of {group.name}: {said[1]}")
