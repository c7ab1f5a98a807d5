"""Whether LVM would activate a direct pool that it sees again, as it is and with all of it."""

from __future__ import annotations

from collections.abc import Iterable

from fabfile import hints, sizes
from fabfile.facts import Facts
from fabfile.facts.lvm import Lvm, strings
from fabfile.facts.record import LvmRecord
from fabfile.facts.volume_group import LogicalVolume
from fabfile.pool import limits
from fabfile.pool.health.finding import Finding
from fabfile.shell import words

OTHER = "pool in its place"
"""Title of the finding that another volume has the pool's name."""


def findings(have: Facts, recorded: LvmRecord, volume: LogicalVolume) -> list[Finding]:
    """List what keeps LVM from activating the pool, or from activating all of it.

    Args:
        have: facts of the machine.
        recorded: the pool's record.
        volume: the volume with the pool's name.
    """
    assert have.lvm is not None
    if recorded.lv_uuid and volume.uuid != recorded.lv_uuid:
        return [_other(have.lvm, recorded, volume)]
    return [
        *_group(have.lvm, recorded),
        *_settings(have.lvm, recorded, volume),
        *_sizes(have, recorded, volume),
    ]


def _group(lvm: Lvm, recorded: LvmRecord) -> list[Finding]:
    """Whether the volume group is one that LVM uses on this host."""
    group = lvm.group
    assert group is not None
    if lvm.foreign(group):
        own = f"the system ID {lvm.system!r}" if lvm.system else "no system ID"
        found = f"the volume group {group.name} belongs to the host {group.system!r}, and this host has {own}"
        # As that host: without a system ID, LVM also ignores extra_system_ids.
        other = f'global/system_id_source="lvmlocal" local/system_id="{group.system}"'
        take = words("vgchange", "-y", "--config", other, "--systemid", lvm.system, group.name)
        way = f"if no other host has its disks: {hints.on_host(take)}"
        return [Finding("pool in LVM", "fail", f"{found}: LVM does not activate {recorded.path}", way)]
    if group.attr[2:3] == "x":
        found = f"the volume group {group.name} is exported: LVM does not activate {recorded.path}"
        return [Finding("pool in LVM", "fail", found, hints.on_host(words("vgimport", group.name)))]
    return []


def listed(lvm: Lvm, key: str, recorded: LvmRecord, tags: Iterable[str]) -> bool:
    """Whether a list of volumes in lvm.conf has the pool.

    Args:
        lvm: LVM's view of the host, with the list among its settings.
        key: the list, such as `volume_list`.
        recorded: the pool.
        tags: tags of its volume and of its group.
    """
    names = set(strings(lvm.settings[key]))
    return bool({recorded.vg, recorded.path, "@*", *(f"@{tag}" for tag in tags)} & names)


def _other(lvm: Lvm, recorded: LvmRecord, volume: LogicalVolume) -> Finding:
    """Another volume has the pool's name, as on a disk of another host."""
    disks = " ".join(lvm.group.devices) if lvm.group else ""
    found = (
        f"{recorded.path} on {disks} is another volume than the recorded one: its UUID is {volume.uuid}, recorded"
        f" {recorded.lv_uuid}. With this one, containerd would take other devices for its own"
    )
    own = lvm.names.get((recorded.lv_uuid or "").replace("-", ""))
    there = f"the pool's own is called {own} now" if own else "bring the pool's own disks back"
    return Finding(OTHER, "fail", found, f"{there}; remove the other disks, or vgrename their group by its UUID")


def _settings(lvm: Lvm, recorded: LvmRecord, volume: LogicalVolume) -> list[Finding]:
    """Settings of lvm.conf that keep LVM from activating the pool, or make it read-only."""
    assert lvm.group is not None
    path, tags = recorded.path, (*lvm.group.tags, *volume.tags)

    found = []
    if "volume_list" in lvm.settings and not listed(lvm, "volume_list", recorded, tags):
        what = f"lvm.conf says volume_list = {lvm.settings['volume_list']}: LVM does not activate {path}"
        found.append(Finding("pool in LVM", "fail", what, f'add "{path}" to volume_list in /etc/lvm/lvm.conf'))
    if "read_only_volume_list" in lvm.settings and listed(lvm, "read_only_volume_list", recorded, tags):
        what = (
            f"lvm.conf says read_only_volume_list = {lvm.settings['read_only_volume_list']}: {path} would be read-only"
        )
        found.append(Finding("pool in LVM", "fail", what, "take it out of read_only_volume_list in /etc/lvm/lvm.conf"))
    return found


def older(recorded: LvmRecord, volume: LogicalVolume, data: int, meta: int) -> tuple[str, str] | None:
    """Explain that LVM gives a pool less than it has had, as after vgcfgrestore from an older archive.

    Args:
        recorded: the pool's record.
        volume: the pool, as LVM has it.
        data: bytes of data that the pool itself has.
        meta: bytes of metadata that it has; LVM's may be longer than what the kernel uses.

    Returns:
        The cause and the fix; None if LVM gives it all.
    """
    lacks = [
        f"{sizes.human(has)} of {what}, LVM gives it {sizes.human(gives)}"
        for what, has, gives in (("data", data, volume.size), ("metadata", meta, volume.meta))
        if has > gives
    ]
    if not lacks:
        return None
    found = (
        f"the pool {recorded.path} has {' and '.join(lacks)}: an older record of the volume group was restored."
        " A repair would drop what is beyond, and LVM may give those extents to other volumes"
    )
    find = words("vgcfgrestore", "--list", recorded.vg)
    back = f"{words('vgcfgrestore', '--force', '-f')} FILE {words(recorded.vg)}"
    return found, f"restore the newest record that has all of it: {hints.on_host(f'{find}; {back}')}"


def _sizes(have: Facts, recorded: LvmRecord, volume: LogicalVolume) -> list[Finding]:
    """Whether the active pool is larger than LVM has it. The kernel was asked first, and LVM only lets a pool grow."""
    table, status = have.pool.table, have.pool.status
    if not table or not status or status.mode in ("Fail", "Error"):
        return []
    meta = status.total_meta * limits.META_BLOCK
    why = older(recorded, volume, table.sectors * sizes.SECTOR, meta)
    return [Finding("pool in LVM", "fail", *why)] if why else []
