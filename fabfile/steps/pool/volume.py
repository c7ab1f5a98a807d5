"""The logical volume that a pool's directory may lie on: made once, formatted once, mounted at every boot."""

from __future__ import annotations

import re

import msgspec

from fabfile import sizes
from fabfile.errors import Refused
from fabfile.facts import Facts
from fabfile.facts import pool as facts
from fabfile.plan import Change, Command, File, words
from fabfile.sizes import MIB


class Volume(msgspec.Struct, frozen=True):
    """A logical volume, as wanted."""

    group: str
    name: str
    size: int
    """Bytes."""
    dir: str

    @property
    def path(self) -> str:
        """Its device."""
        return f"/dev/{self.group}/{self.name}"


def volume(name: str, size: str, dir: str) -> Volume | None:
    """A checked `Volume` from `VG/LV` and a size; None where none is asked for.

    Raises:
        Refused: one without the other, or a name that LVM would not take.
    """
    if not name and not size:
        return None
    match = re.fullmatch(r"([A-Za-z0-9_+.][A-Za-z0-9_+.-]*)/([A-Za-z0-9_+.][A-Za-z0-9_+.-]*)", name)
    if not match:
        raise Refused(
            f"pool.volume: {name!r} is not VG/LV", hint="for example --volume datavg/lvdevm --volume-size 15G"
        )
    if not size:
        raise Refused(f"pool.volume_size: needed with --volume {name}", hint="for example --volume-size 15G")
    return Volume(match[1], match[2], sizes.parse(size, "pool.volume_size", least=64 * MIB), dir)


MADE = ("volume", "filesystem", "mount")
"""What can be made, in this order, and is taken away again in the other."""


def made(now: facts.Volume | None, recorded: dict[str, str]) -> tuple[str, ...]:
    """What of the volume is made with the pool: what its settings record, and what is not there yet."""
    absent = ("size", "filesystem", "mounted")
    missing = {what for what, key in zip(MADE, absent, strict=True) if now and not getattr(now, key)}
    return tuple(what for what in MADE if what in missing or what in recorded.get("VOLUME_MADE", "").split())


def changes(have: Facts, want: Volume) -> list[Change]:
    """Make, format and mount the volume.

    Raises:
        Refused: no such volume group, not enough room in it, a volume that holds something else or is mounted
            elsewhere, files already in the directory that the mount would hide.
    """
    now = have.pool.volume
    if now is None or now.group_free is None:
        raise Refused(
            f"no volume group {want.group!r}", "vgs does not know it", hint=f"vgcreate {want.group} /dev/DISK"
        )
    plan: list[Change] = []
    if now.size is None:
        if now.group_free < want.size:
            raise Refused(
                f"{want.group} has no room for {want.name}",
                f"asked for {sizes.show(want.size)}, free {sizes.human(now.group_free)}",
            )
        make = words(
            "lvcreate", "-y", "--wipesignatures", "y", "-L", f"{want.size // MIB}M", "-n", want.name, want.group
        )
        plan.append(Command(f"logical volume {want.path} of {sizes.show(want.size)}", make))
    if now.filesystem not in ("", "ext4"):
        raise Refused(f"{want.path} holds {now.filesystem}", "it is not touched", hint="name another --volume")
    if now.mounted not in ("", want.dir):
        raise Refused(f"{want.path} is mounted at {now.mounted}", f"wanted at {want.dir}")
    if not now.filesystem:
        plan.append(Command(f"ext4 on {want.path}", words("mkfs.ext4", "-q", want.path)))
    if not now.mounted:
        if have.pool.data or have.pool.meta:
            raise Refused(f"{want.dir} holds a pool already", f"mounting {want.path} there would hide it")
        line = fstab(want.path, want.dir)
        entry = f"grep -qxF {words(line)} /etc/fstab || printf '%s\\n' {words(line)} >>/etc/fstab"
        mount = (
            f"mkdir -p {words(want.dir)}\n{entry}\nsync /etc/fstab\nsystemctl daemon-reload\nmount {words(want.dir)}"
        )
        plan.append(Command(f"mount it at {want.dir}, now and at every boot", mount))
    return plan


FSTAB = "/etc/fstab"


def fstab(path: str, dir: str) -> str:
    """The line that mounts it at every boot."""
    return f"{path} {dir} ext4 defaults 0 2"


def undone(have: Facts, settings: dict[str, str], dir: str) -> list[Change]:
    """Take away what was made with the pool, as its settings record it; the pool's files in it are gone by then."""
    name, made = settings.get("VOLUME", ""), settings.get("VOLUME_MADE", "").split()
    now, path = have.pool.volume, f"/dev/{name}"
    plan: list[Change] = []
    if "mount" in made:
        table = have.files.get(FSTAB)
        if table and (line := fstab(path, dir)) in table.content.splitlines():
            rest = "".join(f"{other}\n" for other in table.content.splitlines() if other != line)
            plan.append(File(f"{path} is not mounted at boot", FSTAB, rest, table.content, table.mode))
        if now and now.mounted == dir:
            plan.append(Command(f"unmount {dir}", f"{words('umount', dir)}\nsystemctl daemon-reload"))
    if now and now.size is not None:
        if "volume" in made:
            plan.append(Command(f"remove {path}, {sizes.human(now.size)}", words("lvremove", "-q", "-y", name)))
        elif "filesystem" in made and now.filesystem:
            plan.append(Command(f"no file system on {path}", words("wipefs", "-q", "-a", path)))
    return plan
