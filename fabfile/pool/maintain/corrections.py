"""The corrections that reconcile pool, databases and device mapper, computed as data while containerd is stopped.

Nothing is removed that is intact and that a snapshot owns. An entry that containerd marked Faulty because it could not
activate its device, for example while the pool did not respond, is marked good again, and so is one in a transitional
state, which its next start would mark. What is lost is marked Faulty: containerd starts with such an entry, gives it to
no container, and removes it together with its snapshot.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from fabfile.bolt import load, page_size, transaction
from fabfile.boltwriter import Content, content, dump
from fabfile.pool.maintain import thin_devices
from fabfile.pool.maintain.database_files import Files
from fabfile.pool.maintain.disagreements import Orphans, numbers
from fabfile.pool.maintain.thin_devices import DatabaseEntry, MappedDevice, View

FREE, TAKEN, FAULTY = b"\0", b"\1", b"\2"
"""States of a thin id in containerd's database."""


class Corrections(msgspec.Struct, frozen=True):
    """What to do, in this order."""

    devices: tuple[MappedDevice, ...] = ()
    """Devices to remove from device mapper."""
    ids: tuple[int, ...] = ()
    """Thin ids to delete from the pool."""
    files: Files = Files()
    """New contents of the databases; None: unchanged."""
    lost: tuple[str, ...] = ()
    """Names, in the snapshotter's database, of snapshots whose content is lost."""

    @property
    def changes(self) -> bool:
        """Whether there is anything to do."""
        return bool(self.devices or self.ids or self.files.pool is not None or self.files.snapshots is not None)


def corrections(seen: View, files: Files, found: Orphans, stale: Iterable[DatabaseEntry] = ()) -> Corrections:
    """Compute the corrections.

    Args:
        seen: the four records, read while containerd is stopped.
        files: the databases that they were read from.
        found: the inconsistencies among them.
        stale: entries that no longer have a device of their own, whatever their thin id has in the pool.

    Raises:
        Broken: a database is damaged.
    """
    stale = tuple(stale)
    whole = {} if stale else _whole(seen, found)
    dead = {entry.name: entry for entry in (*stale, *found.lost) if entry.name not in whole}
    dropped = {entry.name for entry in found.unowned}
    opened = {device.name for device in seen.devices if device.open}
    kept = {entry.id for name, entry in (seen.database or {}).items() if name not in dropped and name not in dead}
    going = [entry for entry in (*found.unowned, *dead.values()) if entry.name not in opened]
    # Two entries may have the same id, and the id of an open device cannot be deleted.
    held = kept | {device.id for device in seen.devices if device.open}
    ids = (set(found.ids) | {entry.id for entry in going}) & seen.ids.keys() - held
    names = {entry.name for entry in going} | {device.name for device in found.devices}
    names |= {device.name for device in found.mixed if device.replaceable}
    drop = dropped - opened
    snapshots, bare = _snapshots(seen, files, found)
    owners = numbers(seen)
    keys = [seen.snapshots[owners[name]].key for name in dead if seen.snapshots and name in owners]
    return Corrections(
        tuple(device for device in seen.devices if device.name in names),
        tuple(sorted(ids)),
        Files(pool=_pool(seen, files, drop, dead, whole, ids), snapshots=snapshots),
        tuple(sorted({*keys, *bare, *found.unbacked})),
    )


def _whole(seen: View, found: Orphans) -> dict[str, str]:
    """Map each entry that is Faulty, or will be, with an intact device to the state that it should have.

    A snapshot is recorded after its device was created. If it owns an entry, and the pool has a device with an id that
    no other entry has, then that device is complete, provided it is a copy of its parent or was committed.
    """
    entries = (seen.database or {}).values()
    owners = numbers(seen)
    states = {}
    for entry in found.faulty:
        snapshot = (seen.snapshots or {}).get(owners.get(entry.name, -1))
        alone = sum(other.id == entry.id for other in entries) == 1
        there = entry.id in seen.ids and seen.ids[entry.id].blocks > 0
        if snapshot and alone and there and (entry.parent or snapshot.kind == "Committed"):
            states[entry.name] = "Deactivated" if snapshot.kind == "Committed" else "Activated"
    return states


def _pool(
    seen: View, files: Files, drop: set[str], dead: dict[str, DatabaseEntry], whole: dict[str, str], ids: set[int]
) -> bytes | None:
    """The new content of containerd's database of devices."""
    if files.pool is None:
        return None
    before = content(load(files.pool))
    after = content(load(files.pool))
    devices, marks = after.at(b"devices"), after.at(b"device_ids")
    for key, value in list(devices.items.items()):
        assert isinstance(value, bytes)  # thin_devices.database accepted nothing else
        info = thin_devices.decoded(key, value, dict[str, object])
        name = str(info["name"])
        if name in drop:
            del devices.items[key]
            ids = ids | {int(str(info["device_id"]))}
        elif name in whole:
            info["state"], info["error"] = thin_devices.STATES.index(whole[name]), ""
            devices.items[key] = msgspec.json.encode(info)
            marks.items[str(info["device_id"]).encode()] = TAKEN
        elif name in dead and info.get("state") != thin_devices.STATES.index("Faulty"):
            info["state"], info["error"] = thin_devices.STATES.index("Faulty"), "its thin device is lost"
            devices.items[key] = msgspec.json.encode(info)
            marks.items[str(info["device_id"]).encode()] = FAULTY
    left = {entry.id for name, entry in (seen.database or {}).items() if name not in drop}
    for id in ids - left:
        if str(id).encode() in marks.items:
            marks.items[str(id).encode()] = FREE
    marks.sequence = max([marks.sequence, *left])
    return _file(files.pool, before, after)


def _snapshots(seen: View, files: Files, found: Orphans) -> tuple[bytes | None, list[str]]:
    """The new content of the snapshotter's database, and the names of lost snapshots."""
    if files.snapshots is None or not seen.snapshots:
        return None, []
    before, after = content(load(files.snapshots)), content(load(files.snapshots))
    root = after.at(b"v1", b"snapshots")
    # A snapshot with an entry needs its parents.
    by_key = {snapshot.key: snapshot for snapshot in seen.snapshots.values()}
    bare = {snapshot.key for snapshot in found.bare}
    needed: set[str] = set()
    for snapshot in seen.snapshots.values():
        at = snapshot if snapshot.key not in bare else None
        while at is not None and at.key not in needed:
            needed.add(at.key)
            at = by_key.get(at.parent)
    gone = bare - needed
    for key in [key for key in root.items if thin_devices.text(key) in gone]:
        del root.items[key]
    parents = after.items[b"v1"]
    assert isinstance(parents, Content)  # it contains snapshots
    links = parents.items.get(b"parents")
    if isinstance(links, Content):
        links.items = {number: key for number, key in links.items.items() if not _names(key, gone)}
    root.sequence = max([root.sequence, *(n for n in seen.snapshots), *numbers(seen).values()])
    return _file(files.snapshots, before, after), sorted(bare)


def _names(value: bytes | Content, keys: set[str]) -> bool:
    return isinstance(value, bytes) and thin_devices.text(value) in keys


def _file(old: bytes, before: Content, after: Content) -> bytes | None:
    """The bytes of a database with new content; None if it does not change."""
    if before == after:
        return None
    new = dump(after, page_size(old), transaction(old) + 2)
    if content(load(new)) != after:
        raise AssertionError("a bolt file that was written does not hold what was put into it")
    return new
