"""Inconsistencies among the four records of a pool's thin devices, by kind.

A thin id without an entry wastes space, and containerd fails when it assigns the same id again. An entry without a
snapshot makes every new container fail with "object already exists" once its number is assigned again. An entry without
a thin id makes containerd or a container fail to start. A device without an entry keeps the pool from being
deactivated.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from fabfile import sizes
from fabfile.pool.maintain import thin_devices
from fabfile.pool.maintain.thin_devices import DatabaseEntry, MappedDevice, Snapshot, View


class Orphans(msgspec.Struct, frozen=True):
    """Inconsistencies, by kind."""

    ids: tuple[int, ...] = ()
    """Thin ids in the pool without an entry."""
    devices: tuple[MappedDevice, ...] = ()
    """Active devices without an entry that are not open."""
    busy: tuple[MappedDevice, ...] = ()
    """Active devices without an entry that are open."""
    entries: tuple[DatabaseEntry, ...] = ()
    """Entries of snapshots whose thin id is not in the pool."""
    mixed: tuple[MappedDevice, ...] = ()
    """Active devices with another thin id than their entry, or with another target."""
    unowned: tuple[DatabaseEntry, ...] = ()
    """Entries without a snapshot, with or without a thin id."""
    bare: tuple[Snapshot, ...] = ()
    """Snapshots without an entry."""
    faulty: tuple[DatabaseEntry, ...] = ()
    """Entries of snapshots that containerd marked Faulty; while it is stopped, also those that its start will mark."""
    inactive: tuple[DatabaseEntry, ...] = ()
    """Entries that a running containerd counts as active, without a device."""
    older: tuple[DatabaseEntry, ...] = ()
    """Entries of snapshots that are younger than the device with their thin id, which was another device's."""
    unbacked: tuple[str, ...] = ()
    """Snapshots that containerd's own database names and the snapshotter's lacks, as NAMESPACE/NUMBER/NAME."""
    behind: tuple[str, ...] = ()
    """Counters that would assign numbers in use, as sentences."""

    @property
    def count(self) -> int:
        """Number of inconsistencies."""
        return sum(len(getattr(self, field)) for field in self.__struct_fields__)

    @property
    def lost(self) -> tuple[DatabaseEntry, ...]:
        """Entries of snapshots whose content is lost."""
        return (*self.entries, *self.faulty)


def orphans(seen: View, *, running: bool, known: Iterable[str] = ()) -> Orphans:
    """Find the inconsistencies.

    Args:
        seen: the four records.
        running: whether containerd runs; then entries in a transitional state, and their thin ids, are not judged.
        known: names, in the snapshotter's database, of the snapshots that containerd's own database knows.
    """
    entries = seen.database or {}
    named = {entry.id for entry in entries.values()}
    strangers = [device for device in seen.devices if device.name not in entries]
    judged = [entry for entry in entries.values() if not (running and entry.state in thin_devices.MOVING)]
    owners = numbers(seen)
    owned = [entry for entry in judged if seen.snapshots is None or entry.name in owners]
    # An open device is in use: its thin id can be deleted only after it.
    held = {device.id for device in strangers if device.open}
    active = {device.name for device in seen.devices}
    return Orphans(
        ids=tuple(sorted(seen.ids.keys() - named - held)),
        devices=tuple(device for device in strangers if not device.open),
        busy=tuple(device for device in strangers if device.open),
        entries=tuple(thin_devices.missing(seen.ids, owned)),
        mixed=tuple(device for device in seen.devices if device.name in entries and _differs(device, entries)),
        unowned=tuple(_unowned(seen, judged, owners, running=running)),
        bare=tuple(_bare(seen, owners)) if seen.database is not None else (),
        faulty=tuple(entry for entry in owned if entry.state in thin_devices.FAULTY),
        inactive=tuple(entry for entry in owned if running and entry.state == "Activated" and entry.name not in active),
        older=tuple(_older(seen, owned, owners)),
        unbacked=tuple(sorted(set(known) - {snapshot.key for snapshot in (seen.snapshots or {}).values()})),
        behind=tuple(_behind(seen, owners)),
    )


def agreed(first: Orphans, second: Orphans) -> Orphans:
    """The inconsistencies that two comparisons of a pool in use share; all others were operations in progress."""
    fields = first.__struct_fields__
    return Orphans(
        **{field: tuple(one for one in getattr(second, field) if one in getattr(first, field)) for field in fields}
    )


def numbers(seen: View) -> dict[str, int]:
    """Map the names of entries to the numbers of their snapshots, for entries that have one."""
    there = {name: number(name) for name in seen.database or {}}
    return {name: id for name, id in there.items() if id in (seen.snapshots or {})}


def _differs(device: MappedDevice, entries: dict[str, DatabaseEntry]) -> bool:
    if device.id is None:
        return True
    return entries[device.name].id != device.id


def _unowned(seen: View, judged: list[DatabaseEntry], owners: dict[str, int], *, running: bool) -> list[DatabaseEntry]:
    if seen.snapshots is None:
        return []
    # A removed entry that still has its thin id is left to containerd's own cleanup (async_remove).
    found = [e for e in judged if e.name not in owners and not (e.state == "Removed" and e.id in seen.ids)]
    if not running:
        return found
    # A snapshot is recorded after its device was created. One is created at a time, and gets the next number.
    opened = {device.name for device in seen.devices if device.open}
    following = f"-snap-{seen.last_number + 1}"
    return [entry for entry in found if not (entry.name.endswith(following) and entry.name in opened)]


def _bare(seen: View, owners: dict[str, int]) -> list[Snapshot]:
    known = set(owners.values())
    return [snapshot for number, snapshot in sorted((seen.snapshots or {}).items()) if number not in known]


def _older(seen: View, owned: list[DatabaseEntry], owners: dict[str, int]) -> list[DatabaseEntry]:
    """Entries whose device was created before that of a snapshot with a lower number.

    Numbers are assigned in the order in which devices are created, and the pool's creation time of a device never
    decreases.
    """
    there = [e for e in owned if e.name in owners and e.id in seen.ids and e.state not in thin_devices.FAULTY]
    found, latest = [], 0
    for entry in sorted(there, key=lambda e: owners[e.name]):
        created = seen.ids[entry.id].created
        if created < latest:
            found.append(entry)
        latest = max(latest, created)
    return found


def _behind(seen: View, owners: dict[str, int]) -> list[str]:
    entries = seen.database or {}
    ids = max((entry.id for entry in entries.values()), default=0)
    said = []
    if ids > seen.last_id:
        said.append(f"containerd's next thin id is {seen.last_id + 1}, and {ids} is in use")
    most = max(owners.values(), default=0)
    if seen.snapshots is not None and most > seen.last_number:
        said.append(f"the snapshotter's next number is {seen.last_number + 1}, and {most} is in use")
    return said


def lines(found: Orphans, seen: View, block: int) -> list[str]:
    """Format the inconsistencies, a line each.

    Args:
        found: the inconsistencies.
        seen: the records that they were found in.
        block: size of the pool's blocks in bytes.
    """
    entries = seen.database or {}

    def holds(id: int) -> str:
        return f"{sizes.human(seen.ids[id].blocks * block)} in the pool" if id in seen.ids else "not in the pool"

    def snapshot(entry: DatabaseEntry) -> str:
        owner = (seen.snapshots or {}).get(number(entry.name))
        return f", snapshot {owner.key}" if owner else ""

    return [
        *(f"thin id {id}: {holds(id)}, no entry in containerd's database" for id in found.ids),
        *(f"device {device.name}: {_thin(device)}, no entry in containerd's database" for device in found.devices),
        *(f"device {device.name}: the same, and it is open: {_who(seen, device)}" for device in found.busy),
        *(
            f"entry {entry.name}: thin id {entry.id} ({entry.state}) is not in the pool{_why(entry)}{snapshot(entry)}"
            for entry in found.entries
        ),
        *(
            f"device {device.name}: it has {_thin(device)}, its entry {entries[device.name].id}"
            f"{': ' + _who(seen, device) if device.open else ''}"
            for device in found.mixed
        ),
        *(
            f"entry {entry.name}: thin id {entry.id} ({entry.state}), {holds(entry.id)},"
            f" no snapshot owns it{_why(entry)}"
            for entry in found.unowned
        ),
        *(
            f"snapshot {snapshot.key}: number {snapshot.number}, no entry in containerd's database"
            for snapshot in found.bare
        ),
        *(
            f"entry {entry.name}: {entry.state}{_why(entry)}; thin id {entry.id}: {holds(entry.id)}{snapshot(entry)}"
            for entry in found.faulty
        ),
        *(f"entry {entry.name}: Activated, and there is no such device{snapshot(entry)}" for entry in found.inactive),
        *(
            f"entry {entry.name}: thin id {entry.id} is older than it: another device's blocks{snapshot(entry)}"
            for entry in found.older
        ),
        *_records(found),
    ]


def _records(found: Orphans) -> list[str]:
    """Inconsistencies between the databases alone."""
    named = [
        f"snapshot {key}: containerd's records name it, the snapshotter does not have it" for key in found.unbacked
    ]
    return [*named, *found.behind]


def pool_of(name: str) -> str:
    """The pool in the name of a device, POOL-snap-NUMBER."""
    return name.rpartition("-snap-")[0]


def number(name: str) -> int:
    """The number in the name of a device, POOL-snap-NUMBER; -1 if it has none."""
    digits = name.rpartition("-snap-")[2]
    return int(digits) if digits.isascii() and digits.isdigit() else -1


def _thin(device: MappedDevice) -> str:
    return f"thin id {device.id}" if device.id is not None else f"target {device.target}"


def _who(seen: View, device: MappedDevice) -> str:
    return "; ".join(seen.holders.get(device.name, ())) or "see who uses it"


def _why(entry: DatabaseEntry) -> str:
    return f": {entry.error}" if entry.error else ""
