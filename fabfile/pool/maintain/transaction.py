"""LVM's thin volumes in a direct pool, and its transaction id, taken back: with them containerd finds no pool.

A thin volume that LVM makes may get a thin id that containerd has already, so LVM only forgets it: where it
removes it, what containerd keeps there goes, too.
"""

from __future__ import annotations

from invoke import Context

from fabfile.console import say
from fabfile.errors import Failed, Refused
from fabfile.plan import Command
from fabfile.pool.health import visibility
from fabfile.pool.maintain import session, thin_devices
from fabfile.pool.maintain.session import Found
from fabfile.render import render


def forgotten(c: Context, task: str, found: Found) -> list[str]:
    """What it means that LVM forgets its thin volumes in the pool, a line each; nothing where it has none.

    Raises:
        Refused: one of them is in use.
    """
    own = visibility.thins(found.have, found.settings)
    if not own:
        return []
    if busy := [f"{found.settings['VG']}/{of.name} is open: something uses it" for of in own if of.open]:
        raise Refused(f"{task}: LVM has thin volumes in {found.lv}", "\n".join(busy), hint="unmount and close it first")
    database = Command("devices that containerd uses", render("pool/database.sh.j2", pool=found))
    entries = (thin_devices.read(session.do(c, task, found, [database]), task).database or {}).values()
    names = {entry.id: entry.name for entry in entries}
    group, lines = found.settings["VG"], []
    for of in own:
        volume = f"/dev/{group}/{of.name}"
        means = f"thin id {of.thin} stays in the pool until pool.fsck --fix: copy what is needed from {volume} first"
        if of.thin in names:
            means = (
                f"its thin id {of.thin} is containerd's {names[of.thin]}, which stays; what was written to {volume} is"
                " in it: where that image fails then, ctr images remove --sync IMAGE, and pull it again"
            )
        lines.append(f"LVM forgets its volume {group}/{of.name}: {means}")
    return lines


def mend(c: Context, task: str, found: Found) -> None:
    """Take them back. containerd and the pool are down.

    Raises:
        Refused: the group is not there as it was looked at.
    """
    group = found.have.lvm.group if found.have.lvm else None
    pool = group.volumes.get(found.settings["LV"]) if group else None
    if group is None or pool is None:
        raise Refused(f"LVM does not know {found.lv}", "its transaction id is not changed")
    thins = [f"{of.name}={of.uuid}" for of in visibility.thins(found.have, found.settings)]
    script = render("pool/common.sh.j2", pool=found) + render(
        "pool/relabel.sh.j2", pool=found, group_uuid=group.uuid, pool_uuid=pool.uuid, thins=thins
    )
    why = f"LVM's transaction id of {found.lv} becomes the pool's, and both 0"
    printed = session.do(c, task, found, [Command(why, script)])
    said = session.answer(printed, "relabelled")
    if said is None:
        raise Failed(f"{task}: LVM's record of {found.lv} was not changed", printed)
    say(f"the transaction id of {found.lv} was {pool.transaction} for LVM and {said[0]} in the pool; both are 0 now")
    say(f"LVM's old record of {group.name}: {said[1]}")
