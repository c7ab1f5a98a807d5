"""Removal of what is under a direct pool: volumes, volume group and physical volumes with a recorded identity."""

from __future__ import annotations

from fabfile import hints, sizes
from fabfile.errors import Refused
from fabfile.facts import Facts
from fabfile.facts.lvm import Lvm
from fabfile.facts.record import LvmRecord, Record
from fabfile.facts.volume_group import LogicalVolume, VolumeGroup
from fabfile.plan import Change, Command, file
from fabfile.pool import units
from fabfile.pool.health import visibility
from fabfile.pool.lvm import disk_claims, identity, volume_group
from fabfile.pool.ownership import owner
from fabfile.pool.safety import gate
from fabfile.shell import words


def complete(have: Facts, name: str, known: LvmRecord) -> LvmRecord:
    """Return the record as it is now, with the identities that it lacks; completed from `known` if the file is gone."""
    return identity.recorded(have, name) or identity.complete(have.lvm, known)


def recorded(have: Facts, name: str) -> list[Change]:
    """Plan to record missing identities before anything is removed: an interrupted reset needs them."""
    there, now = units.recorded(have, name), identity.recorded(have, name)
    if now is None or now == there:
        return []
    conf = units.conf(name)
    return file(have, f"the identity of what the pool {name} has", conf, identity.noted(have.files[conf].content, now))


def plan(have: Facts, name: str, known: LvmRecord, force: bool) -> list[Change]:
    """Plan to remove the pool's volumes, then its volume group and the labels of its disks, unless others use them.

    Args:
        have: facts of the machine, with an inspection of each of the pool's disks.
        name: the pool's name.
        known: its record as it was before the removal.
        force: change the group even if volumes of others in it have lost a disk.

    Raises:
        Refused: LVM ignores the pool's disks; its volume is no pool, or holds LVM's own thin volumes; or others'
            volumes in its group have lost a disk.
    """
    if have.lvm is None:
        return []
    volume_group.refuse_unasked(have.lvm)
    record = complete(have, name, known)
    _refuse_hidden(have.lvm, have, name, record)
    made = record.own_group
    now = have.lvm.by_uuid(record.vg_uuid or "")
    if now is None:
        return disk_claims.released(have, record, None, reduce=False)
    mine = identity.volumes(record, now)
    _refuse_thins(record, now, mine)
    others = sorted(volume.name for volume in now.volumes.values() if volume not in mine)
    _refuse_partial(now, mine, force=force)
    strangers = [
        device for device in now.devices if have.lvm.uuids.get(device) not in record.physicals and device[:1] == "/"
    ]
    changes: list[Change] = _removed(now, mine, others)
    if made and not others and not strangers:
        changes.append(_group(now))
    # Without a record, what others use in the group has been left to them, or belongs to another pool of ours.
    there = units.conf(name) in have.files
    heir = _heir(have, name, record) if made and others and there else None
    if heir:
        return [*changes, _handed_over(*heir, record)]
    within = now if there else None
    return [*changes, *disk_claims.released(have, record, within, reduce=not made or bool(others or strangers))]


def _refuse_hidden(lvm: Lvm, have: Facts, name: str, recorded: LvmRecord) -> None:
    """Refuse to remove a pool on disks that LVM ignores: it would stay there, and nothing would know it as ours.

    Raises:
        Refused: with what hides the disks, and the fix.
    """
    unseen, mine = visibility.hidden(have, recorded), recorded.pv_uuids or ()
    all_others = not any(lvm.hidden[device].uuid in mine for device in unseen)
    if not unseen or (lvm.by_uuid(recorded.vg_uuid or "") and all_others):
        return
    raise refused_hidden(name, recorded, *visibility.hiding(lvm.settings, unseen, recorded.vg))


def refused_hidden(name: str, recorded: Record, found: str, way: str) -> Refused:
    """The error for the removal of a pool on disks that LVM ignores.

    Args:
        name: the pool's name.
        recorded: its record.
        found: why LVM ignores them.
        way: the fix.
    """
    return Refused(
        f"LVM ignores disks of the pool {name}",
        f"{found}\nnothing was removed: the pool would stay on them, without a record",
        hint=f"{way}; then {hints.again('pool.reset', owner(recorded), name)}",
    )


def _removed(now: VolumeGroup, mine: list[LogicalVolume], others: list[str]) -> list[Change]:
    if not mine:
        return []
    size = sizes.human(sum(volume.size for volume in mine))
    why = f"remove {', '.join(f'{now.name}/{volume.name}' for volume in mine)}, {size}"
    if others:
        why += f"; the volume group stays, with {', '.join(others)}"
    if now.missing:
        why += f"; LVM then wants vgextend --restoremissing {now.name} for the disk that is missing, when it is back"
    return [gate.joined(why, [gate.remove_volume(why, f"{now.name}/{volume.name}", volume.uuid) for volume in mine])]


def _group(now: VolumeGroup) -> Change:
    why = f"remove the volume group {now.name}"
    if not now.missing:
        return gate.remove_group(why, now.name, now.uuid)
    why += "; its disks that are missing keep their labels"
    return gate.joined(why, [gate.forget_missing(why, now.name, now.uuid), gate.remove_group(why, now.name, now.uuid)])


def _refuse_thins(record: LvmRecord, now: VolumeGroup, mine: list[LogicalVolume]) -> None:
    there = next((volume for volume in mine if volume.uuid == record.lv_uuid), None)
    if there and (there.type != "thin-pool" or there.thins):
        raise Refused(
            f"{now.name}/{there.name} is not containerd's alone",
            f"it holds {there.thins} thin volumes of LVM's own" if there.thins else f"it is {there.type}",
            hint=f"see lvs {now.name}, and lvremove what is not needed",
        )


def _refuse_partial(now: VolumeGroup, mine: list[LogicalVolume], *, force: bool) -> None:
    """Refuse, without --force, to change a volume group in which others' volumes have lost a disk."""
    theirs = sorted(volume.name for volume in now.partial if volume not in mine)
    if theirs and mine and not force:
        raise Refused(
            f"disks of the volume group {now.name} are missing, and with them parts of volumes that do not belong"
            " to the pool",
            f"{', '.join(f'{now.name}/{name}' for name in theirs)}\n"
            "after a change of the group, LVM accepts a missing disk again only with vgextend --restoremissing",
            hint=f"bring the disk back; or pass --force, and later vgextend --restoremissing {now.name} DEVICE",
        )


def _heir(have: Facts, name: str, record: LvmRecord) -> tuple[str, LvmRecord] | None:
    """Another pool of ours in the same volume group."""
    for other, other_record in have.instances.pools.items():
        if other != name and isinstance(other_record, LvmRecord) and other_record.vg_uuid == record.vg_uuid:
            return other, other_record
    return None


def _handed_over(heir: str, theirs: LvmRecord, mine: LvmRecord) -> Change:
    """Hand the group and its disks over to the other pool, with which they will be removed."""
    conf = words(units.conf(heir))
    lines = [f"record {conf} OWN_GROUP yes"]
    for key, ours, others in (
        ("DISKS", mine.disks, theirs.disks),
        ("PV_UUIDS", mine.physicals, theirs.physicals),
    ):
        lines.append(f"record {conf} {key} {words(' '.join(dict.fromkeys([*ours, *others])))}")
    return Command(f"the volume group is the pool {heir}'s from now on", "\n".join(lines), gate.functions())
