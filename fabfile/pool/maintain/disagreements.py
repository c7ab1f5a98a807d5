"""What does not belong together in a pool, each kind by itself, and in words.

A thin id that no entry names holds space for ever, and is in the way of containerd when it hands the number out again.
An entry that no snapshot owns is in the way when its number is handed out again: "object already exists", for every
container. An entry whose thin id is gone makes containerd's start fail, or a container's. A device that no entry names
keeps the pool from going down.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from fabfile import sizes
from fabfile.pool.maintain import thin_devices
from fabfile.pool.maintain.thin_devices import Device, Entry, Snapshot, View


class Orphans(msgspec.Struct, frozen=True):
    """Inconsistencies, by kind."""

    ids: tuple[int, ...] = ()
    """In the pool, without an entry."""
    devices: tuple[Device, ...] = ()
    """Active, without an entry, and not open."""
    busy: tuple[Device, ...] = ()
    """The same, open."""
    entries: tuple[Entry, ...] = ()
    """Without a thin id, of a snapshot."""
    mixed: tuple[Device, ...] = ()
    """Active under a name whose entry has another thin id, or with another target."""
    unowned: tuple[Entry, ...] = ()
    """Without a snapshot, with or without a thin id."""
    bare: tuple[Snapshot, ...] = ()
    """Without an entry."""
    faulty: tuple[Entry, ...] = ()
    """Of a snapshot, and containerd calls it Faulty."""
    inactive: tuple[Entry, ...] = ()
    """containerd runs and counts it as active, and device mapper has no such device."""
    older: tuple[Entry, ...] = ()
    """Of a snapshot that is younger than the device with its id: the id was another device's."""
    unbacked: tuple[str, ...] = ()
    """Snapshots that containerd's own records name and the snapshotter does not have, as NAMESPACE/NUMBER/NAME."""
    behind: tuple[str, ...] = ()
    """Counters that will give out what is in use, as sentences."""

    @property
    def count(self) -> int:
        """How many."""
        return sum(len(getattr(self, field)) for field in self.__struct_fields__)

    @property
    def lost(self) -> tuple[Entry, ...]:
        """Entries of snapshots whose content is not to be had."""
        return (*self.entries, *self.faulty)


def orphans(seen: View, *, running: bool, known: Iterable[str] = ()) -> Orphans:
    """What does not belong together.

    Args:
        seen: what each says.
        known: the snapshots that containerd's own records name, as the snapshotter calls them.
        running: containerd runs: an entry that is in work is not judged, and neither is its thin id; else nothing is
            in work, and nothing needs to be active.
    """
    entries = seen.database or {}
    named = {entry.id for entry in entries.values()}
    strangers = [device for device in seen.devices if device.name not in entries]
    judged = [entry for entry in entries.values() if not (running and entry.state in thin_devices.MOVING)]
    owners = numbers(seen)
    owned = [entry for entry in judged if seen.snapshots is None or entry.name in owners]
    # What is active is in use by somebody: its id goes only after it.
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
        faulty=tuple(entry for entry in owned if entry.state == "Faulty"),
        inactive=tuple(entry for entry in owned if running and entry.state == "Activated" and entry.name not in active),
        older=tuple(_older(seen, owned, owners)),
        unbacked=tuple(sorted(set(known) - {snapshot.key for snapshot in (seen.snapshots or {}).values()})),
        behind=tuple(_behind(seen, owners)),
    )


def agreed(first: Orphans, second: Orphans) -> Orphans:
    """What both of two looks at a pool that is in use show: all else was at work."""
    fields = first.__struct_fields__
    return Orphans(**{of: tuple(one for one in getattr(second, of) if one in getattr(first, of)) for of in fields})


def numbers(seen: View) -> dict[str, int]:
    """Name of an entry → the number of its snapshot, for those that have one."""
    there = {name: number(name) for name in seen.database or {}}
    return {name: of for name, of in there.items() if of in (seen.snapshots or {})}


def _differs(device: Device, entries: dict[str, Entry]) -> bool:
    if device.id is None:
        return True
    return entries[device.name].id != device.id


def _unowned(seen: View, judged: list[Entry], owners: dict[str, int], *, running: bool) -> list[Entry]:
    if seen.snapshots is None:
        return []
    # Removed, with its thin id: containerd's own cleaning up (async_remove) has it before it.
    found = [e for e in judged if e.name not in owners and not (e.state == "Removed" and e.id in seen.ids)]
    if not running:
        return found
    # A snapshot that is being made is written down after its device: one at a time, and it has the next number.
    opened = {device.name for device in seen.devices if device.open}
    following = f"-snap-{seen.last_number + 1}"
    return [entry for entry in found if not (entry.name.endswith(following) and entry.name in opened)]


def _bare(seen: View, owners: dict[str, int]) -> list[Snapshot]:
    known = set(owners.values())
    return [snapshot for number, snapshot in sorted((seen.snapshots or {}).items()) if number not in known]


def _older(seen: View, owned: list[Entry], owners: dict[str, int]) -> list[Entry]:
    """Entries whose device was made before that of a snapshot with a lower number.

    Numbers are given out in the order in which devices are made, and the pool's time of a device never goes back.
    """
    there = [e for e in owned if e.name in owners and e.id in seen.ids and e.state != "Faulty"]
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
    """What was found, for reading.

    Args:
        found: the orphans.
        seen: what they were found in.
        block: bytes of a block of the pool.
    """
    entries = seen.database or {}

    def holds(id: int) -> str:
        return f"{sizes.human(seen.ids[id].blocks * block)} in the pool" if id in seen.ids else "not in the pool"

    def snapshot(entry: Entry) -> str:
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
        *(f"snapshot {of.key}: number {of.number}, no entry in containerd's database" for of in found.bare),
        *(
            f"entry {entry.name}: Faulty{_why(entry)}; thin id {entry.id}: {holds(entry.id)}{snapshot(entry)}"
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
    """What is wrong between the databases alone."""
    named = [
        f"snapshot {key}: containerd's records name it, the snapshotter does not have it" for key in found.unbacked
    ]
    return [*named, *found.behind]


def number(name: str) -> int:
    """The number in the name of a device, POOL-snap-NUMBER; -1 where it has none."""
    digits = name.rpartition("-snap-")[2]
    return int(digits) if digits.isascii() and digits.isdigit() else -1


def _thin(device: Device) -> str:
    return f"thin id {device.id}" if device.id is not None else f"target {device.target}"


def _who(seen: View, device: Device) -> str:
    return "; ".join(seen.holders.get(device.name, ())) or "see who uses it"


def _why(entry: Entry) -> str:
    return f": {entry.error}" if entry.error else ""
