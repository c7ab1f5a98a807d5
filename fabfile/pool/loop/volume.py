"""The logical volume that may hold a loop pool's files: created and formatted once, mounted at every boot."""

from __future__ import annotations

import re

import msgspec

from fabfile import sizes
from fabfile.errors import Refused
from fabfile.facts import Facts
from fabfile.facts import under as facts
from fabfile.facts.record import LoopRecord
from fabfile.plan import Change, Command
from fabfile.pool.health import visibility
from fabfile.pool.loop import fstab, identity
from fabfile.pool.lvm import volume_group
from fabfile.pool.safety import disk_checks as disks
from fabfile.pool.safety import gate
from fabfile.shell import words
from fabfile.sizes import MIB


class VolumeSpec(msgspec.Struct, frozen=True):
    """A requested logical volume."""

    group: str
    name: str
    size: int
    """In bytes."""
    dir: str

    @property
    def path(self) -> str:
        """Path of its device."""
        return f"/dev/{self.group}/{self.name}"


def volume(name: str, size: str, dir: str) -> VolumeSpec | None:
    """Build a `VolumeSpec` from VG/LV and a size as written.

    Args:
        name: VG/LV; empty: none is requested.
        size: its size, as written.
        dir: the directory at which it is mounted.

    Returns:
        The volume; None if none is requested.

    Raises:
        Refused: one is given without the other, or the name is not valid in LVM.
    """
    if not name and not size:
        return None
    match = re.fullmatch(r"([A-Za-z0-9_+.][A-Za-z0-9_+.-]*)/([A-Za-z0-9_+.][A-Za-z0-9_+.-]*)", name)
    if not match:
        raise Refused(
            f"pool.volume: {name!r} is not VG/LV", hint="for example --volume datavg/lvdevm --volume-size 15G"
        )
    if not size:
        raise Refused(f"pool.volume_size: required with --volume {name}", hint="for example --volume-size 15G")
    return VolumeSpec(match[1], match[2], sizes.parse(size, "pool.volume_size", least=64 * MIB), dir)


MADE = ("volume", "filesystem", "mount")
"""What is created with a pool, in this order; removal goes in the opposite order."""


def tag(pool: str) -> str:
    """LVM's tag of the volume created for a pool, which it has from its creation on."""
    return f"devmapper-pool.{pool}"


def made(now: facts.BackingVolume | None, recorded: LoopRecord | None, pool: str) -> tuple[str, ...]:
    """Return which of `MADE` belong to the pool: those recorded and, while it is being created, those still missing.

    What is recorded before it is made may never have been made, and somebody else may have made it since.
    """
    said = set(recorded.volume_made) if recorded else set()
    if now and (not recorded or recorded.making):
        there = {what for what, key in zip(MADE, ("size", "filesystem", "mounted"), strict=True) if getattr(now, key)}
        if "volume" in there and not ours(now, recorded, pool):
            said -= there - {"mount"}
        said |= {*MADE} - there
    return tuple(what for what in MADE if what in said)


def changes(have: Facts, want: VolumeSpec, pool: str, conf: str, recorded: LoopRecord | None) -> list[Change]:
    """Plan to create, format and mount the volume.

    Args:
        have: facts of the machine.
        want: the volume.
        pool: name of the pool that it is for.
        conf: path of the pool's record.
        recorded: the record; None if there is none yet.

    Raises:
        Refused: the volume group does not exist or has no room; the volume exists, was not made by this tool,
            and has other content than an unused ext4; or the mount would hide files.
    """
    now = have.pool.volume
    volume_group.refuse_unasked(now)
    if now and now.hidden:
        found, way = visibility.hiding(now.hides, now.hidden, want.group)
        raise Refused(f"LVM ignores the volume group {want.group}", found, hint=way)
    if now is None or now.group_free is None:
        raise Refused(
            f"no volume group {want.group!r}", "vgs does not know it", hint=f"vgcreate {want.group} /dev/DISK"
        )
    plan: list[Change] = []
    inspected: list[str] = []
    if now.size is None:
        plan.append(_create(now, want, pool, conf))
    elif not ours(now, recorded, pool):
        _refuse_other(recorded, now, want)
        inspected = _unused(have, now, want)
    if now.mounted not in ("", want.dir):
        raise Refused(f"{want.path} is mounted at {now.mounted}", f"wanted at {want.dir}")
    known = (recorded.fs_uuid if recorded else None) or ""
    if now.filesystem and known and now.filesystem_uuid != known:
        raise Refused(
            f"{want.path} holds another file system than the pool's",
            f"its UUID is {now.filesystem_uuid or 'none'}, the record has {known}; it is left alone",
        )
    if not now.filesystem:
        plan.append(_format(now, want, conf, inspected))
    elif now.filesystem != "ext4":
        raise Refused(f"{want.path} holds {now.filesystem}", "it is left alone", hint="name another --volume")
    return [*plan, *_mounted(have, now, want, recorded)]


def ours(now: facts.BackingVolume, recorded: LoopRecord | None, pool: str) -> bool:
    """Return whether the existing volume is the one that the record means."""
    if recorded is None:
        return False
    if recorded.volume_uuid is not None:
        return recorded.volume_uuid == now.uuid
    return bool(recorded.making) and tag(pool) in now.tags  # lvcreate was the last command that ran


def _create(now: facts.BackingVolume, want: VolumeSpec, pool: str, conf: str) -> Change:
    assert now.group_free is not None
    if now.against:
        raise Refused(f"LVM would not make {want.path}", now.against, hint="name another --volume")
    if now.group_free < want.size:
        raise Refused(
            f"{want.group} has no room for {want.name}",
            f"asked for {sizes.show(want.size)}, free {sizes.human(now.group_free)}",
        )
    size, name = f"{want.size // MIB}M", f"{want.group}/{want.name}"
    make = words(
        "lvcreate", "-y", "--wipesignatures", "y", "--addtag", tag(pool), "-L", size, "-n", want.name, want.group
    )
    known = f'record {words(conf)} VOLUME_UUID "$(ask lvs --noheadings -o lv_uuid {words(name)})"'
    why = f"logical volume {want.path} of {sizes.show(want.size)}"
    return Command(why, f"{make}\n{known}", gate.functions())


def _refuse_other(recorded: LoopRecord | None, now: facts.BackingVolume, want: VolumeSpec) -> None:
    """Refuse a volume of another size than requested, or with another UUID than recorded."""
    if recorded and recorded.volume_uuid:
        raise Refused(
            f"{want.path} is not the volume that the pool was made with",
            f"its UUID is {now.uuid}, the record has {recorded.volume_uuid}; it is left alone",
            hint="bring back the other one, or name another --volume",
        )
    size = now.size or 0
    if not want.size <= size < want.size + max(now.extent, MIB):
        raise Refused(
            f"{want.path} exists with another size",
            f"it has {sizes.show(size)}, requested: {sizes.show(want.size)}; it is left alone",
            hint=f"name another --volume, or take this one as it is: --volume-size {sizes.show(size)}",
        )
    if not now.active:
        raise Refused(
            f"{want.path} exists and is not active",
            "so its content cannot be checked; it is left alone",
            hint=f"lvchange -ay {want.group}/{want.name}, or name another --volume",
        )


def _unused(have: Facts, now: facts.BackingVolume, want: VolumeSpec) -> list[str]:
    """Refuse a volume that is in use, or has other content than ext4; return shell that inspects it again."""
    if now.mounted == want.dir and now.filesystem == "ext4":
        return []
    disk = next((disk for disk in have.disks if disk.asked == want.path), None)
    if disk is None:
        raise Refused(f"{want.path} was not inspected", "it is left alone")
    # The volume need not be fit for a physical volume of LVM's, as it gets a file system.
    against = [found for found in disks.obstacles(disk, "lvm") if not found.what.startswith("LVM does not take it")]
    found = [obstacle.what for obstacle in against]
    if disk.signatures and all(signature.type == "ext4" for signature in disk.signatures):
        found = [what for what in found if not what.startswith("a file system (ext4)")]
    if now.attr[5:6] == "o" and not any(obstacle.weight == "in use" for obstacle in against):
        found.append("open: something uses it")
    if found:
        raise Refused(
            f"{want.path} exists and cannot be used",
            "\n".join([*found, "it is left alone"]),
            hint="name another --volume; if nobody needs what is on this one, lvremove it first",
        )
    return [gate.inspect_again(disk, disk.seen, "making a file system")]


def _format(now: facts.BackingVolume, want: VolumeSpec, conf: str, inspected: list[str]) -> Change:
    """Make the file system. Its UUID is chosen and recorded first, so an interrupted mkfs is recognised as ours."""
    name = words(f"{want.group}/{want.name}")
    uuid = f'"$(ask lvs --noheadings -o lv_uuid {name})"' if now.size is None else words(now.uuid)
    lines = [
        *inspected,
        f"record {words(conf)} VOLUME_UUID {uuid}",
        "read -r fs </proc/sys/kernel/random/uuid",
        f'record {words(conf)} FS_UUID "$fs"',
        f'make_ext4 {name} {uuid} -U "$fs"',
    ]
    return Command(f"ext4 on {want.path}", "\n".join(lines), gate.functions())


def _mounted(have: Facts, now: facts.BackingVolume, want: VolumeSpec, recorded: LoopRecord | None) -> list[Change]:
    """Mount it, now and at every boot; replace the line of an earlier version, which makes boot depend on the disk."""
    old = f"{want.path} {want.dir} ext4 defaults 0 2"
    # The UUID is known only when the script runs.
    line = words(fstab.line("@", want.dir)).replace("@", f"'\"$(blkid -p -s UUID -o value {words(want.path)})\"'", 1)
    if not now.mounted:
        if have.pool.data or have.pool.meta:
            raise Refused(f"{want.dir} holds a pool already", f"mounting {want.path} there would hide it")
        mount = f"mkdir -p {words(want.dir)}\nudevadm settle\nadd_fstab {line}\nmount {words(want.dir)}"
        return [Command(f"mount it at {want.dir}, now and at every boot", mount, gate.functions())]
    if recorded and "mount" in recorded.volume_made and old in fstab.lines(have, (want.path,), want.dir):
        renew = f"add_fstab {line}\n{words('drop_fstab', old)}"
        return [Command(f"let the host boot without {want.path}", renew, gate.functions())]
    return []


def undone(have: Facts, recorded: LoopRecord, pool: str, conf: str, dir: str) -> list[Change]:
    """Plan to remove what was created with the pool, as recorded; the pool's files in it are removed by then.

    Args:
        have: facts of the machine.
        recorded: the record.
        pool: the pool's name.
        conf: path of the record.
        dir: the directory at which the volume is mounted.

    Raises:
        Refused: the record does not identify the volume, or LVM could not be asked about it.
    """
    name, made = recorded.volume, recorded.volume_made
    now, path = have.pool.volume, f"/dev/{name}"
    if not now or not name:
        return []
    volume_group.refuse_unasked(now)
    uuid, fs = _known(now, recorded, pool, dir)
    plan: list[Change] = []
    if uuid and recorded.making is None:
        why = f"record that {name} is the pool's: it is mounted under its files"
        known = {"VOLUME_UUID": uuid, "FS_UUID": fs}
        plan.append(Command(why, identity.write(conf, known), gate.functions()))
    other = bool(uuid and now.size is not None and now.uuid != uuid)  # has taken the name of the pool's
    if "mount" in made:
        plan += fstab.dropped(have, (*([path] if not other else []), *([f"UUID={fs}"] if fs else [])), dir)
        if now.mounted == dir and not other:
            plan.append(Command(f"unmount {dir}", f"{words('umount', dir)}\nsystemctl daemon-reload"))
    if now.left and "volume" in made:
        plan.append(gate.remove_device(f"remove the device of {name}, whose disk is lost", *now.left))
    if now.size is None or not uuid or now.uuid != uuid:
        return plan
    if "volume" in made:
        plan.append(gate.remove_volume(f"remove {path}, {sizes.human(now.size)}", name, now.uuid))
    elif "filesystem" in made and fs and now.filesystem_uuid == fs:
        plan.append(gate.wipe_filesystem(f"no file system on {path}", path, fs))
    return plan


def _known(now: facts.BackingVolume, recorded: LoopRecord, pool: str, dir: str) -> tuple[str, str]:
    """UUIDs of the pool's volume and of its file system; empty if not known."""
    if recorded.making is not None:
        found = (recorded.volume_uuid or "", recorded.fs_uuid or "")
        return found if any(found) or not ours(now, recorded, pool) else (now.uuid, "")
    # An earlier version did not record them; its files were on the volume of that name that is mounted there.
    if now.size is None:
        return "", ""
    if now.mounted != dir:
        raise Refused(
            f"the settings of the pool {pool} do not have the UUID of the volume {recorded.volume}",
            f"it is not mounted at {dir}, so the volume of that name may belong to somebody else",
            hint="mount it there; or lvremove it, if it is the pool's",
        )
    return now.uuid, now.filesystem_uuid
