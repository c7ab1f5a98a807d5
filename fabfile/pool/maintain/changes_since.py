"""What containerd created or changed since a backup of its pool's metadata, and what a restore would therefore lose.

A thin id alone proves nothing: containerd reuses the id of a removed device, so in a backup it may be another device's.
Copies of the databases lie beside each backup. An entry is the same as then only if these have it with the same id and
in a state that fits.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from fabfile.pool.maintain.containerd_records import Affected
from fabfile.pool.maintain.disagreements import number
from fabfile.pool.maintain.thin_devices import GONE, DatabaseEntry, View


def stale(now: View, then: Sequence[View], ids: Iterable[int]) -> list[DatabaseEntry]:
    """List the entries of containerd's database that would have no device of their own after a restore.

    Args:
        now: containerd's databases now.
        then: the databases at the time of the backup: one copy, two if they changed meanwhile, none if there are none.
        ids: the thin ids in the backup.
    """
    there = set(ids)
    found = []
    for entry in (now.database or {}).values():
        if entry.state in GONE and entry.id not in there:
            continue  # it has no device now, either
        if entry.id not in there or not all(_same(entry, now, view) for view in then):
            found.append(entry)
    return found


def _same(entry: DatabaseEntry, now: View, then: View) -> bool:
    before = (then.database or {}).get(entry.name)
    if before is None or before.id != entry.id:
        return False
    snapshot_number = number(entry.name)
    is_now, was = (now.snapshots or {}).get(snapshot_number), (then.snapshots or {}).get(snapshot_number)
    # A layer that was not yet committed was still being written.
    return is_now is None or is_now.kind != "Committed" or (was is not None and was.kind == "Committed")


def lines(entries: Sequence[DatabaseEntry], now: View, means: Affected) -> list[str]:
    """Format what would be lost.

    Args:
        entries: entries that would have no device.
        now: containerd's databases now.
        means: the consequences of their loss.
    """
    owners = {snapshot_number: snapshot.key for snapshot_number, snapshot in (now.snapshots or {}).items()}
    return [
        *(
            f"{entry.name}: made or changed since, thin id {entry.id} ({entry.state})"
            f"{', snapshot ' + owners[number(entry.name)] if number(entry.name) in owners else ''}"
            for entry in entries
        ),
        *meaning(means),
    ]


def meaning(means: Affected) -> list[str]:
    """List the images to be pulled again and the containers and snapshots that are lost."""
    return [
        *(
            f"image {image.name} in the namespace {image.namespace}: to be unpacked or pulled again"
            for image in means.images
        ),
        *(
            f"container {container.name} in the namespace {container.namespace}: its file system is lost"
            for container in means.containers
        ),
        *(
            f"snapshot {snapshot.key} in the namespace {snapshot.namespace}: lost, and kept by those on it"
            for snapshot in means.stay
        ),
    ]
