"""What is missing of a loop pool that was made here: its volume, the mount under it, its files, or a part of them."""

from __future__ import annotations

from typing import Literal

import msgspec

from fabfile import sizes
from fabfile.errors import Refused
from fabfile.facts import Facts
from fabfile.facts.pool import Backing
from fabfile.facts.under import Loop
from fabfile.steps.pool import files, record

RESCUE = "docs/rescue.md"
"""How what is missing is brought back."""


class Loss(msgspec.Struct, frozen=True):
    """One thing that is missing."""

    what: Literal["volume", "mount", "data", "meta"]
    found: str


def losses(have: Facts, name: str) -> list[Loss]:
    """What is missing of the pool `name`; nothing for one on disks, one that is still being made, or none of ours."""
    settings = have.instances.pools.get(name)
    if settings is None or settings.get("VARIANT", "loop") != "loop" or record.making(settings):
        return []
    volume = _volume(have, settings)
    mount = [] if _are(have, settings) else _mount(have, settings)
    if (volume or mount) and not (have.pool.data or have.pool.meta):
        return [*volume, *mount]
    asked = files.asked(settings)
    return [
        *volume,
        *mount,
        *_file("data", settings["DATA"], have.pool.data, have.pool.data_loop, max(asked.data, default=0)),
        *_file("meta", settings["META"], have.pool.meta, have.pool.meta_loop, max(asked.meta, default=0)),
    ]


def refuse(have: Facts, name: str, hint: str, *, except_for: frozenset[str] = frozenset()) -> None:
    """Refuse to do anything with a pool of which something is missing.

    Args:
        have: the machine.
        name: of the pool.
        hint: the command that gives it up.
        except_for: what may be missing.

    Raises:
        Refused: with all that is missing and the two ways out.
    """
    found = [loss.found for loss in losses(have, name) if loss.what not in except_for]
    if found:
        raise Refused(
            f"a part of the pool {name} is missing",
            "\n".join([*found, "nothing new is made in its place: that would hide the loss"]),
            hint=f"bring it back: {RESCUE}; or give up what was in the pool: {hint}",
        )


def _volume(have: Facts, settings: dict[str, str]) -> list[Loss]:
    name, now = settings.get("VOLUME", ""), have.pool.volume
    if not name:
        return []
    recorded = settings.get("VOLUME_UUID", "")
    if now is None or now.group_free is None:
        found = f"LVM does not know the volume group {name.partition('/')[0]}: is its disk there?"
    elif now.size is None:
        found = f"there is no volume {name}"
    elif recorded and now.uuid != recorded:
        found = f"{name} is another volume: its UUID is {now.uuid}, the pool's is {recorded}"
    elif now.partial:
        found = f"a disk of the volume {name} is missing"
    elif not now.active:
        found = f"the volume {name} is not active: lvchange -ay {name}"
    else:
        return []
    return [Loss("volume", found)]


def _mount(have: Facts, settings: dict[str, str]) -> list[Loss]:
    uuid, mount, place = settings.get("FS_UUID", ""), settings.get("MOUNT", ""), have.pool.place
    if place is None or not mount:
        return []
    same = place.uuid == uuid if uuid and place.uuid else record.plainly(place.target) == mount
    if same:
        return []
    directory = settings["DATA"].rpartition("/")[0]
    found = f"the file system {uuid or 'under it'} is not mounted at {mount}: {directory} is on {place.target} now"
    return [Loss("mount", found)]


def _are(have: Facts, settings: dict[str, str]) -> bool:
    """Whether the files at their paths are the pool's, whatever the file system is called: it runs on them, or did."""
    pool = have.pool
    if not (pool.data and pool.meta):
        return False
    if pool.table and pool.table.data in pool.data.loops and pool.table.meta in pool.meta.loops:
        return True
    return (str(pool.data.inode), str(pool.meta.inode)) == (settings.get("DATA_INO"), settings.get("META_INO"))


def _file(what: Literal["data", "meta"], path: str, file: Backing | None, loop: Loop | None, asked: int) -> list[Loss]:
    if file is None:
        still = ""
        if loop:
            held = f"what it held is still in {loop.path}, until that is detached"
            still = f"; {held if loop.deleted else f'{loop.path} is on {loop.file} now'}"
        return [Loss(what, f"{path} is gone{still}")]
    if loop and (loop.device, loop.inode) != (file.device, file.inode):
        return [Loss(what, f"{path} is another file than {loop.path} is on, which was deleted or moved")]
    least = max(loop.size if loop else 0, asked)
    # A loop device has whole sectors.
    if file.size // sizes.SECTOR * sizes.SECTOR < least // sizes.SECTOR * sizes.SECTOR:
        return [Loss(what, f"{path} was cut: it has {sizes.human(file.size)} of {sizes.human(least)}")]
    return []
