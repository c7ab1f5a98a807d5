"""Whether LVM sees a direct pool of ours, complete and under its name, and would activate it again."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from fabfile import hints
from fabfile.facts import Facts
from fabfile.facts.lvm import Lvm
from fabfile.facts.prelude import LVM_WAIT
from fabfile.facts.record import LvmRecord, Record
from fabfile.facts.under import BackingVolume
from fabfile.facts.volume_group import LogicalVolume, VolumeGroup
from fabfile.pool.health import activation, rerun
from fabfile.pool.health.finding import Finding
from fabfile.pool.ownership import owner
from fabfile.shell import words

DUPLICATE = re.compile(r"duplicate PV|was already found on|Not using device|Device mismatch detected", re.IGNORECASE)
"""LVM's warnings about two disks with the same identity."""

APART = "remove the copy, or give it another identity: vgimportclone DEVICE"
"""How to tell a disk from a copy of it."""

RETURNED = re.compile(r"VG (\S+) was previously updated while PV (\S+) was missing")
"""LVM's warning about a disk that is there, and that it counts as missing until it is told otherwise."""

FILE = "/etc/lvm/devices"

IDS = "pool ids in LVM"
"""Title of the finding that LVM has thin volumes in the pool, or expects another transaction id."""

GONE = "pool gone"
"""Title of the finding that LVM does not know the pool at all."""


def findings(have: Facts, name: str, recorded: Record | None) -> list[Finding]:
    """List what is wrong with a direct pool in LVM; nothing if LVM sees it well.

    Of a loop pool, only whether LVM can be asked about the volume under it; see `missing` for the rest.

    Args:
        have: facts of the machine.
        name: the pool's name.
        recorded: its record.
    """
    direct = isinstance(recorded, LvmRecord)
    if recorded and (why := unasked(have.lvm if direct else have.pool.volume)):
        return [Finding("pool in LVM", "fail", *why)]
    lvm = have.lvm
    if not isinstance(recorded, LvmRecord) or lvm is None:
        return []
    group = recorded.vg
    if len(lvm.groups) > 1:
        which = "; ".join(f"{one.uuid} on {' '.join(one.devices)}" for one in lvm.groups)
        found = f"{len(lvm.groups)} volume groups are named {group}: {which}"
        return [Finding("pool in LVM", "fail", found, f"rename the other one: {words('vgrename', 'UUID', 'NAME')}")]
    volume = lvm.group.volumes.get(recorded.lv) if lvm.group else None
    if volume is None:
        return [_unseen(have, name, recorded)]
    return [
        *_disks(have, recorded, volume),
        *activation.findings(have, recorded, volume),
        *_ids(have, name, recorded, volume),
    ]


def unasked(lvm: Lvm | BackingVolume | None) -> tuple[str, str] | None:
    """Return why LVM was not asked, or did not answer, and what to do; None if it did."""
    if lvm and lvm.suspended:
        found = f"LVM cannot be queried while {' '.join(lvm.suspended)} is suspended: it would hang"
        return found, words("dmsetup", "resume", *lvm.suspended)
    if isinstance(lvm, Lvm) and lvm.failed:
        return (
            f"LVM does not report: {lvm.failed}",
            "fix that, in /etc/lvm/lvm.conf or lvmlocal.conf; then run it again",
        )
    if lvm and lvm.busy:
        why = "another of its commands holds a lock, or a disk does not respond"
        way = "see which of its commands run: lslocks | grep /lvm/; then run it again"
        return f"LVM did not answer within {LVM_WAIT} s: {why}", way
    return None


def identity(have: Facts, recorded: LvmRecord) -> tuple[str, str]:
    """UUIDs of the volume group and the volume, without hyphens: as recorded, or else those of the active device."""
    up = re.fullmatch(r"LVM-(.{32})(.{32})(-.*)?", have.pool.uuid)
    group, volume = (up[1], up[2]) if up else ("", "")
    known = [(uuid or "").replace("-", "") for uuid in (recorded.vg_uuid, recorded.lv_uuid)]
    return known[0] or group, known[1] or volume


def renames(now_group: str, now_volume: str, group: str, volume: str) -> list[str]:
    """Return the commands that give a volume its recorded name again.

    Args:
        now_group: the present name of its volume group.
        now_volume: its present name.
        group: the recorded name of its volume group.
        volume: its recorded name.
    """
    back = []
    if now_group != group:
        back.append(words("vgrename", now_group, group))
    if now_volume != volume:
        back.append(words("lvrename", group, now_volume, volume))
    return back


def _unseen(have: Facts, name: str, recorded: LvmRecord) -> Finding:
    lvm, group, volume = have.lvm, recorded.vg, recorded.lv
    assert lvm is not None
    of_group, of_volume = identity(have, recorded)
    now, then = lvm.names.get(of_volume, ""), recorded.path
    if now or of_group in lvm.names:
        now_group, _, now_volume = (now or lvm.names[of_group]).partition("/")
        if now and of_group and lvm.names.get(of_group) != now_group:
            # A group of others by now: renaming it would rename whatever else is in it.
            split = hints.on_host(words("vgsplit", "-n", now_volume, now_group, group))
            found = f"{then} was moved to another volume group: it is {now} now"
            return Finding("pool in LVM", "fail", found, f"split its disks off again: {split}")
        back = renames(now_group, now_volume or volume, group, volume)
        if back:
            return Finding("pool in LVM", "fail", f"{then} is now called {now or now_group}", " && ".join(back))
    if unseen := hidden(have, recorded):
        return Finding("pool in LVM", "fail", *hiding(lvm.settings, unseen, group))
    message = f": {lvm.said[-1]}" if lvm.said else ""
    what = f"the volume group {group}" if lvm.group is None else then
    reset = hints.command("pool.reset", owner(recorded), name, "--yes")
    disks = " ".join(recorded.disks)
    found = f"LVM knows no {what.removeprefix('the ')}{message}" + (f"; it was made on {disks}" if disks else "")
    finish = rerun.command(name, recorded)
    if not have.pool.enabled and (recorded.lv_uuid or (recorded.vg_uuid and lvm.group is None)):
        # A creation enables its unit last, a removal removes it late: this one was complete.
        way = f"to finish that: {reset}; or, if only its disks are missing, bring them back, then {finish}"
        return Finding(GONE, "fail", f"{found}; its removal was interrupted", way)
    if not have.pool.enabled:
        return Finding(GONE, "fail", f"{found}; its creation was interrupted", f"{finish}; or {reset}")
    restart = words("systemctl", "restart", f"devmapper-pool@{name}.service")
    bring = f"bring its disks back, then {hints.on_host(restart)}"
    return Finding(GONE, "fail", found, f"{bring}; or discard it: {reset}")


def hidden(have: Facts, recorded: LvmRecord) -> list[str]:
    """List the disks of a direct pool that are present but that LVM ignores."""
    of_group, _ = identity(have, recorded)
    mine = recorded.pv_uuids or ()
    return [
        device
        for device, pv in (have.lvm.hidden if have.lvm else {}).items()
        if pv.uuid in mine or (pv.group_uuid.replace("-", "") == of_group if of_group else pv.group == recorded.vg)
    ]


def hiding(settings: Mapping[str, str], devices: Sequence[str], group: str) -> tuple[str, str]:
    """Explain why LVM does not see disks.

    Args:
        settings: LVM's configuration.
        devices: the disks.
        group: name of the volume group that they belong to.

    Returns:
        The cause, and the command or the line of lvm.conf that lets LVM see them.
    """
    shown = " ".join(devices)
    if settings.get("use_devicesfile") == "1":
        file = f"{FILE}/{settings.get('devicesfile', 'system.devices')}"
        add = " && ".join(words("lvm", "lvmdevices", "--adddev", device) for device in devices)
        return f"LVM ignores {shown} of {group}: it is not in {file}", add
    filters = [
        f"{key} = {value}" for key in ("global_filter", "filter") if (value := settings.get(key, "")) not in ("", *ALL)
    ]
    found = f"LVM ignores {shown} of {group}: lvm.conf says {' and '.join(filters) or 'so'}"
    return found, f"let them through in /etc/lvm/lvm.conf: {', '.join(f'a|^{device}$|' for device in devices)}"


ALL = ('["a|.*|"]', "a|.*|")
"""Filters that hide no disk."""


def unused(lvm: Lvm | None, group: VolumeGroup) -> str:
    """Return the beginning of a hint if disks of a group have become larger and LVM does not use that; else nothing."""
    larger = lvm.enlarged(group) if lvm else []
    if not larger:
        return ""
    what = "its disk is" if len(larger) == 1 else "one of its disks is"
    return f"{what} larger than LVM knows: {hints.on_host(words('pvresize', *larger))}; or "


def _disks(have: Facts, recorded: LvmRecord, volume: LogicalVolume) -> list[Finding]:
    lvm = have.lvm
    assert lvm is not None and lvm.group is not None
    disks = lvm.group.devices
    names = {*disks, *(lvm.uuids[disk] for disk in disks if disk in lvm.uuids), *recorded.physicals, f"{recorded.vg}/"}
    # A copy of another group's disk is not the pool's problem: LVM restricts only the group of that disk.
    twice = [line for line in lvm.said if DUPLICATE.search(line) and any(name in line for name in names)]
    if twice:
        found = f"two disks have one identity: {'; '.join(twice)}"
        return [Finding("pool in LVM", "fail", found, APART)]
    if not lvm.group.missing:
        other = [line for line in lvm.said if line.startswith("WARNING")]
        return [Finding("LVM says", "warn", "; ".join(other[:3]), "see vgck, pvs")] if other else []
    lost = "; ".join(line.removeprefix("WARNING: ") for line in lvm.said if "missing" in line or "find device" in line)
    found = f"{lvm.group.missing} disks of {recorded.vg} are missing"
    found, way = found + (f": {lost}" if lost else ""), "bring the disks back"
    if unseen := hidden(have, recorded):
        found, way = hiding(lvm.settings, unseen, recorded.vg)
    back = sorted({match[2] for match in map(RETURNED.search, lvm.said) if match and match[1] == recorded.vg})
    if len(back) == lvm.group.missing:
        found = f"LVM counts {' '.join(back)} of {recorded.vg} as missing, as the group was changed without it"
        way = f"if nothing else has written to it: {words('vgextend', '--restoremissing', recorded.vg, *back)}"
    if volume.partial or not volume.active:
        return [Finding("pool in LVM", "fail", f"{found}; the pool was on them", way)]
    return [Finding("pool in LVM", "warn", f"{found}; the pool itself is whole", way)]


def thins(have: Facts, recorded: Record) -> list[LogicalVolume]:
    """List the thin volumes that LVM itself has in the pool."""
    group = have.lvm.group if have.lvm else None
    if not isinstance(recorded, LvmRecord) or not group:
        return []
    return [volume for volume in group.volumes.values() if volume.pool == recorded.lv]


def _ids(have: Facts, name: str, recorded: LvmRecord, volume: LogicalVolume) -> list[Finding]:
    """LVM's thin volumes in the pool, and its transaction id: with either, LVM renames the pool's device.

    An inactive pool may have another transaction id than LVM expects, too; pool.check compares them.
    """
    path, status = recorded.path, have.pool.status
    repair = hints.command("pool.repair", owner(recorded), name)
    own = thins(have, recorded)
    if own:
        which = ", ".join(f"{volume.name} (thin id {volume.thin})" for volume in own)
        found = (
            f"LVM has thin volumes of its own in {path}: {which}; it moved the pool from {name} to {name}-tpool, where"
            " containerd does not find it. Their thin ids may be containerd's: removing them removes its layers"
        )
        return [Finding(IDS, "fail", found, repair)]
    expects = volume.transaction or 0
    if status and status.mode not in ("Fail", "Error") and status.transaction != expects:
        found = (
            f"the pool's transaction id is {status.transaction}, LVM expects {expects}: the pool cannot be activated"
        )
        return [Finding(IDS, "fail", found, repair)]
    if expects:
        found = f"LVM expects transaction id {expects} in {path}, as if it had thin volumes there; unless it is 0,"
        return [Finding(IDS, "fail", f"{found} containerd does not find the pool", repair)]
    return []
