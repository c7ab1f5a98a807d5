"""The thin devices of a pool as each of three sees them: the pool itself, containerd's database, device mapper.

The database is a bolt file that no program of a host can read; a copy of it is read here.
"""

from __future__ import annotations

import base64
import gzip
from collections.abc import Iterable

import msgspec

from fabfile.bolt import Broken, Bucket, load

STATES = (
    "Unknown", "Creating", "Created", "Activating", "Activated", "Suspending", "Suspended", "Resuming", "Resumed",
    "Deactivating", "Deactivated", "Removing", "Removed", "Faulty",
)  # fmt: skip
"""States of a device by their numbers (containerd, plugins/snapshots/devmapper/device_info.go)."""

MOVING = frozenset({"Unknown", "Creating", "Activating", "Suspending", "Resuming", "Deactivating", "Removing"})
"""While containerd runs, such a device is in work; its next start marks what was left in one of them as Faulty."""

GONE = frozenset({"Unknown", "Creating", "Removing", "Removed", "Faulty"})
"""A device in such a state may have no thin id."""


class Entry(msgspec.Struct, frozen=True):
    """A device in containerd's database."""

    id: int
    name: str
    parent: str
    state: str
    size: int
    error: str = ""


class Device(msgspec.Struct, frozen=True):
    """An active thin device."""

    name: str
    id: int
    open: bool


class View(msgspec.Struct, frozen=True):
    """What each of the three says."""

    ids: dict[int, int]
    """Thin ids in the pool, with their mapped blocks."""
    devices: tuple[Device, ...]
    database: dict[str, Entry] | None
    """Name → entry; None where there is no database."""


class _Info(msgspec.Struct):
    """containerd's DeviceInfo, as it encodes it."""

    device_id: int
    size: int
    name: str
    parent_name: str = ""
    state: int = 0
    error: str = ""


def database(content: bytes) -> dict[str, Entry]:
    """The devices in a copy of containerd's `POOL.db`.

    Raises:
        Broken: it is not one.
    """
    entries = {}
    for key, value in load(content).bucket(b"devices"):
        if isinstance(value, Bucket):
            raise Broken(f"a bucket among the devices: {key!r}")
        try:
            info = msgspec.json.decode(value, type=_Info)
        except msgspec.DecodeError as error:
            raise Broken(f"device {key!r}: {error}") from error
        state = STATES[info.state] if 0 <= info.state < len(STATES) else f"unknown {info.state}"
        entries[info.name] = Entry(info.device_id, info.name, info.parent_name, state, info.size, info.error)
    return entries


def parse(lines: Iterable[str]) -> View:
    """What the script pool/thins.sh printed: `id ID BLOCKS`, `dm NAME ID OPEN`, `db BASE64`; the rest is other talk.

    Raises:
        Broken: the database in it is not one.
    """
    ids: dict[int, int] = {}
    devices: list[Device] = []
    packed = ""
    for line in lines:
        match line.split():
            case ["id", id, blocks]:
                ids[int(id)] = int(blocks)
            case ["dm", name, id, opened]:
                devices.append(Device(name, int(id), opened != "0"))
            case ["db", part]:
                packed += part
    return View(ids, tuple(devices), database(gzip.decompress(base64.b64decode(packed))) if packed else None)


def missing(ids: Iterable[int], entries: Iterable[Entry]) -> list[Entry]:
    """The devices that containerd counts on and `ids` does not have."""
    there = set(ids)
    return [entry for entry in entries if entry.id not in there and entry.state not in GONE]
