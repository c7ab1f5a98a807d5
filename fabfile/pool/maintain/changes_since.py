"""What containerd made or changed since a backup of its pool's metadata: after a restore of it, that is lost.

A thin id alone proves nothing. containerd gives the id of a removed device to the next one, so a backup may know the id
of an entry as another device's. Copies of the databases lie beside a backup; an entry is what it was then only if it is
in them, with the same id and as far as it is now.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from fabfile.pool.maintain.containerd_records import Affected
from fabfile.pool.maintain.disagreements import number
from fabfile.pool.maintain.thin_devices import GONE, Entry, View


def stale(now: View, then: Sequence[View], ids: Iterable[int]) -> list[Entry]:
    """The entries that will have no device of their own.

    Args:
        now: what containerd's databases say.
        then: what they said when the backup was made: once, or before and after where that differed; empty where the
            backup has no copies of them.
        ids: the thin ids in the backup.
    """
    there = set(ids)
    found = []
    for entry in (now.database or {}).values():
        if entry.state in GONE and entry.id not in there:
            continue  # it had none before, either
        if entry.id not in there or not all(_same(entry, now, view) for view in then):
            found.append(entry)
    return found


def _same(entry: Entry, now: View, then: View) -> bool:
    before = (then.database or {}).get(entry.name)
    if before is None or before.id != entry.id:
        return False
    of = number(entry.name)
    is_now, was = (now.snapshots or {}).get(of), (then.snapshots or {}).get(of)
    # A layer was still being written where it was not committed then.
    return is_now is None or is_now.kind != "Committed" or (was is not None and was.kind == "Committed")


def lines(entries: Sequence[Entry], now: View, means: Affected) -> list[str]:
    """What will be lost, for reading.

    Args:
        entries: those that will have no device.
        now: what containerd's databases say.
        means: what their loss means.
    """
    owners = {of: snapshot.key for of, snapshot in (now.snapshots or {}).items()}
    return [
        *(
            f"{entry.name}: made or changed since, thin id {entry.id} ({entry.state})"
            f"{', snapshot ' + owners[number(entry.name)] if number(entry.name) in owners else ''}"
            for entry in entries
        ),
        *meaning(means),
    ]


def meaning(means: Affected) -> list[str]:
    """Which images have to come again and which containers are lost, a line each."""
    return [
        *(f"image {image.name} in {image.namespace}: to be unpacked or pulled again" for image in means.images),
        *(f"container {of.name} in {of.namespace}: its file system is lost" for of in means.containers),
        *(f"snapshot {of.key} in {of.namespace}: lost, and kept by those on it" for of in means.stay),
    ]
