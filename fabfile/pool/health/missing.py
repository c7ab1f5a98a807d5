"""Missing parts of a loop pool that was complete: its volume, its mount, its files, or a part of them."""

from __future__ import annotations

from typing import Literal

import msgspec

from fabfile import hints, sizes
from fabfile.errors import Refused
from fabfile.facts import Facts
from fabfile.facts.pool import Backing
from fabfile.facts.record import LoopRecord, plainly
from fabfile.facts.under import Loop
from fabfile.pool import units
from fabfile.pool.health import visibility
from fabfile.pool.ownership import owner
from fabfile.shell import words

RESCUE = "docs/rescue.md"
"""The page about recovering what is missing."""


class Loss(msgspec.Struct, frozen=True):
    """One missing part."""

    what: Literal["volume", "mount", "data", "meta"]
    found: str
    way: str = f"bring it back: see {RESCUE}"
    """How to recover it: a command, where one does it."""
    up: bool = False
    """Its content is still in a device of the pool, and nowhere else."""


def losses(have: Facts, name: str) -> list[Loss]:
    """List the missing parts of a pool; none for a direct pool, an unfinished one, or one not managed by this tool."""
    recorded = have.instances.pools.get(name)
    if not isinstance(recorded, LoopRecord) or recorded.making:
        return []
    if not have.pool.table and visibility.unasked(have.pool.volume):
        return []  # nothing may be missing but LVM's answer
    start = f"systemctl restart {words(units.unit(name))} && systemctl start {owner(recorded).unit}"
    volume = _volume(have, recorded, start)
    mount = [] if _are(have, recorded) else _mount(have, recorded, start)
    if (volume or mount) and not (have.pool.data or have.pool.meta):
        return [*volume, *mount]
    found = [
        *_file(name, recorded, "data", have.pool.data, have.pool.data_loop),
        *_file(name, recorded, "meta", have.pool.meta, have.pool.meta_loop),
    ]
    return [*volume, *mount, *found]


def refuse(have: Facts, name: str, *, except_for: frozenset[str] = frozenset()) -> None:
    """Refuse to use a pool of which a part is missing.

    Args:
        have: facts of the machine.
        name: the pool's name.
        except_for: parts that may be missing.

    Raises:
        Refused: with all missing parts, how to recover them, and how to discard the pool.
    """
    found = [loss for loss in losses(have, name) if loss.what not in except_for]
    if found:
        reset = hints.command("pool.reset", owner(have.instances.pools[name]), name, "--yes")
        ways = "; ".join(dict.fromkeys(loss.way for loss in found))
        raise Refused(
            f"a part of the pool {name} is missing",
            "\n".join(
                [*(loss.found for loss in found), "nothing new is created in its place: that would hide the loss"]
            ),
            hint=f"{ways}; or discard the pool: {reset}",
        )


def _volume(have: Facts, recorded: LoopRecord, start: str) -> list[Loss]:
    name, now = recorded.volume, have.pool.volume
    if not name or visibility.unasked(now):
        return []
    group, _, volume = name.partition("/")
    if now and now.size is None and now.renamed:
        now_group, _, now_volume = now.renamed.partition("/")
        back = visibility.renames(now_group, now_volume, group, volume)
        back.append(words("lvchange", "-ay", name))
        return [
            Loss("volume", f"the volume {name} is now called {now.renamed}", hints.on_host(" && ".join([*back, start])))
        ]
    if now and now.hidden:
        found, way = visibility.hiding(now.hides, now.hidden, group)
        return [Loss("volume", found, way if have.pool.table else f"{way}; then {hints.on_host(start)}")]
    if now is None or now.group_free is None:
        found = f"LVM does not know the volume group {group}: is its disk there?"
        activate = words("vgchange", "-ay", group)
        return [Loss("volume", found, f"bring its disk back, then {hints.on_host(f'{activate} && {start}')}")]
    if now.size is None:
        found = f"there is no volume {name}"
    elif recorded.volume_uuid and now.uuid != recorded.volume_uuid:
        found = f"{name} is another volume: its UUID is {now.uuid}, the pool's is {recorded.volume_uuid}"
    elif now.partial:
        found = f"a disk of the volume {name} is missing"
    elif not now.active:
        again = hints.on_host(f"{words('lvchange', '-ay', name)} && {start}")
        if not now.against:
            return [Loss("volume", f"the volume {name} is not active", again)]
        way = f"see pvs -a; {visibility.APART}" if "duplicate" in now.against else "see to that"
        found = f"the volume {name} is not active, and LVM does not activate it: {now.against}"
        return [Loss("volume", found, f"{way}; then {again}")]
    else:
        return []
    return [Loss("volume", found)]


def _mount(have: Facts, recorded: LoopRecord, start: str) -> list[Loss]:
    uuid, mount, place = recorded.fs_uuid, recorded.mount, have.pool.place
    if place is None or not mount:
        return []
    same = place.uuid == uuid if uuid and place.uuid else plainly(place.target) == mount
    if same:
        return []
    found = f"the file system {uuid or 'under it'} is not mounted at {mount}: {recorded.dir} is on {place.target} now"
    return [
        Loss("mount", found, hints.on_host(f"{words('mount', f'UUID={uuid}', mount)} && {start}"))
        if uuid
        else Loss("mount", found)
    ]


def _are(have: Facts, recorded: LoopRecord) -> bool:
    """Whether the files at the recorded paths are the pool's: its devices use them, or the inodes match the record."""
    pool = have.pool
    if not (pool.data and pool.meta):
        return False
    if pool.table and pool.table.data in pool.data.loops and pool.table.meta in pool.meta.loops:
        return True
    return (str(pool.data.inode), str(pool.meta.inode)) == (recorded.data_ino, recorded.meta_ino)


def _file(
    name: str, recorded: LoopRecord, what: Literal["data", "meta"], file: Backing | None, loop: Loop | None
) -> list[Loss]:
    path, asked, inode = (
        (recorded.data, recorded.asked_bytes, recorded.data_ino)
        if what == "data"
        else (recorded.meta, recorded.asked_meta_bytes, recorded.meta_ino)
    )
    daemon = owner(recorded)
    restore = hints.command("pool.restore", daemon, name)
    rescue = f"stop nothing; run {hints.command('pool.rescue', daemon, name)}"
    if file is None and loop is None:
        return [
            Loss(what, f"{path} is gone", f"from a backup: {restore}")
            if what == "meta"
            else Loss(what, f"{path} is gone")
        ]
    if file is None and loop and loop.deleted:
        found = f"{path} is gone; its content is still in {loop.path}, until that is detached"
        return [Loss(what, found, rescue, up=True)]
    if file is None and loop:
        back = hints.on_host(words("mv", loop.file, path))
        return [Loss(what, f"{path} is gone; {loop.path} is on {loop.file} now", back)]
    assert file is not None
    if loop and (loop.device, loop.inode) != (file.device, file.inode):
        if loop.deleted and str(file.inode) == inode:
            found = f"{path} was written by a rescue that was not finished; {loop.path} is still on the deleted file"
            return [Loss(what, found, rescue, up=True)]
        return [Loss(what, f"{path} is not the file that {loop.path} is on, which was deleted or moved")]
    least = max(loop.size if loop else 0, *asked)
    # A loop device has whole sectors only.
    if file.size // sizes.SECTOR * sizes.SECTOR >= least // sizes.SECTOR * sizes.SECTOR:
        return []
    found = f"{path} was truncated: it has {sizes.human(file.size)} of {sizes.human(least)}"
    if what == "meta":
        return [Loss(what, found, f"from a backup: {restore}")]
    longer = words("truncate", "-s", least, path)
    return [Loss(what, found, f"the rest is lost; to read zeros in its place: {hints.on_host(longer)}")]
