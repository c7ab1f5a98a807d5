"""The thin devices of a pool, in four records: the pool's metadata, containerd's two databases, and device mapper.

No program on a host can read the databases, which are bolt files, so copies of them are read here. `POOL.db` has the
name, thin id and state of each device, `metadata.db` the snapshots: snapshot number N has the device POOL-snap-N.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, TypeVar

import msgspec

from fabfile.bolt import Broken, Bucket, load
from fabfile.errors import Failed
from fabfile.pool.maintain.database_files import Files, unpack

STATES = (
    "Unknown", "Creating", "Created", "Activating", "Activated", "Suspending", "Suspended", "Resuming", "Resumed",
    "Deactivating", "Deactivated", "Removing", "Removed", "Faulty",
)  # fmt: skip
"""Names of a device's states, by number (containerd, plugins/snapshots/devmapper/device_info.go)."""

MOVING = frozenset({"Unknown", "Creating", "Activating", "Suspending", "Resuming", "Deactivating", "Removing"})
"""Transitional states; at its next start, containerd marks entries that were left in one of them as Faulty."""

FAULTY = MOVING | {"Faulty"}
"""States of entries that are Faulty once containerd has started; those in `MOVING` are not judged while it runs."""

GONE = frozenset({"Unknown", "Creating", "Removing", "Removed", "Faulty"})
"""States in which a device may have no thin id."""

KINDS = ("Unknown", "View", "Active", "Committed")
"""Names of a snapshot's kinds, by number (containerd, core/snapshots)."""

Kind = TypeVar("Kind")


class Thin(msgspec.Struct, frozen=True):
    """A thin device in the pool's metadata."""

    blocks: int
    created: int = 0
    """Creation time in the pool's own units: the number of snapshots made before it."""


class DatabaseEntry(msgspec.Struct, frozen=True):
    """A device in containerd's database."""

    id: int
    name: str
    parent: str
    state: str
    size: int
    error: str = ""


class MappedDevice(msgspec.Struct, frozen=True):
    """A device in device mapper."""

    name: str
    id: int | None
    """The thin id; None if the kernel does not show it."""
    open: bool
    target: str = "thin"
    number: str = ""
    """MAJOR:MINOR."""

    @property
    def replaceable(self) -> bool:
        """Whether containerd can activate it anew: it is not open, and maps the pool or, with target error, nothing."""
        return not self.open and (self.id is not None or self.target == "error")


class Snapshot(msgspec.Struct, frozen=True):
    """A snapshot in the snapshotter's database."""

    number: int
    key: str
    """NAMESPACE/NUMBER/NAME; containerd's own database calls it NAME."""
    kind: str
    parent: str = ""


class View(msgspec.Struct, frozen=True):
    """The contents of the four records."""

    ids: dict[int, Thin]
    devices: tuple[MappedDevice, ...]
    database: dict[str, DatabaseEntry] | None
    """Name → entry; None if there is no database."""
    snapshots: dict[int, Snapshot] | None = None
    """Number → snapshot; None if there is no database."""
    last_id: int = 0
    """The thin id that containerd assigned last."""
    last_number: int = 0
    """The snapshot number that containerd assigned last."""
    holders: dict[str, tuple[str, ...]] = {}
    """Name of a device → what has it open, apart from containers; only of devices that should not exist."""


class _Info(msgspec.Struct):
    """containerd's DeviceInfo, as encoded by it."""

    device_id: Annotated[int, msgspec.Meta(ge=0, lt=1 << 32)]
    size: Annotated[int, msgspec.Meta(ge=0)]
    name: str
    parent_name: str = ""
    state: int = 0
    error: str = ""


def database(content: bytes) -> dict[str, DatabaseEntry]:
    """Parse the devices in a copy of `POOL.db`: name → entry.

    Raises:
        Broken: it is damaged.
    """
    entries = {}
    for key, value in load(content).bucket(b"devices"):
        if isinstance(value, Bucket):
            raise Broken(f"a bucket among the devices: {key!r}")
        info = decoded(key, value, _Info)
        state = STATES[info.state] if 0 <= info.state < len(STATES) else f"unknown {info.state}"
        entries[info.name] = DatabaseEntry(info.device_id, info.name, info.parent_name, state, info.size, info.error)
    return entries


def decoded(key: bytes, value: bytes, kind: type[Kind]) -> Kind:
    """Decode the JSON that containerd stores about a device.

    Args:
        key: key of the device, for the error.
        value: the JSON.
        kind: type of the result.

    Raises:
        Broken: it cannot be decoded.
    """
    try:
        return msgspec.json.decode(value, type=kind)
    except (ValueError, RecursionError) as error:
        raise Broken(f"device {key!r:.200}: {error}") from error


def snapshots(content: bytes) -> dict[int, Snapshot]:
    """Parse the snapshots in a copy of `metadata.db`: number → snapshot.

    Raises:
        Broken: it is damaged.
    """
    root = load(content)
    found: dict[int, Snapshot] = {}
    if root.get(b"v1") is None:
        return found  # a new file, without snapshots
    for key, bucket in root.bucket(b"v1", b"snapshots").buckets():
        values = {name: value for name, value in bucket if isinstance(value, bytes)}
        number, kind = uvarint(values.get(b"id", b"")), values.get(b"kind", b"\0")[0:1]
        named = KINDS[kind[0]] if kind and kind[0] < len(KINDS) else "Unknown"
        found[number] = Snapshot(number, text(key), named, text(values.get(b"parent", b"")))
    return found


def text(value: bytes) -> str:
    """Decode bytes of a database; what is not UTF-8 is escaped."""
    return value.decode(errors="backslashreplace")


def uvarint(value: bytes) -> int:
    """Decode an unsigned integer in Go's variable-length encoding (encoding/binary).

    Raises:
        Broken: it is incomplete, or has more than 64 bits.
    """
    number = 0
    for place, byte in enumerate(value[:10]):
        number |= (byte & 0x7F) << 7 * place
        if byte < 0x80 and number < 1 << 64:
            return number
    raise Broken(f"{value[:10]!r} is not a number")


def sequence(content: bytes, *path: bytes) -> int:
    """Return the last number that the bucket at the end of `path` assigned; 0 if there is no such bucket."""
    found = load(content).find(*path)
    return found.sequence if found else 0


def parse(lines: Iterable[str]) -> View:
    """Parse the output of the script pool/thins.sh; what it does not contain is empty.

    Lines are `id ID BLOCKS CREATED`, `dm NAME ID OPEN TARGET NUMBER` and those of `unpack`; others are ignored.

    Raises:
        Broken: a line or a database is damaged.
    """
    lines = list(lines)
    ids: dict[int, Thin] = {}
    devices: list[MappedDevice] = []
    for line in lines:
        try:
            match line.split():
                case ["id", id, blocks, created]:
                    ids[int(id)] = Thin(int(blocks), int(created))
                case ["dm", name, id, opened, target, number]:
                    devices.append(MappedDevice(name, None if id == "-" else int(id), opened != "0", target, number))
        except ValueError as error:
            raise Broken(f"{line!r} is not understood") from error
    files = unpack(lines)
    return msgspec.structs.replace(known(files), ids=ids, devices=tuple(devices))


def holders(lines: Iterable[str]) -> dict[str, tuple[str, ...]]:
    """Parse the output of the script pool/holders.sh, lines `held NAME WHO`: name of a device → what has it open."""
    found: dict[str, tuple[str, ...]] = {}
    for line in lines:
        match line.split():
            case ["held", name, *who]:
                found[name] = (*found.get(name, ()), " ".join(who))
    return found


def known(files: Files) -> View:
    """Parse containerd's databases.

    Raises:
        Broken: one of them is damaged.
    """
    return View(
        {},
        (),
        database(files.pool) if files.pool is not None else None,
        snapshots(files.snapshots) if files.snapshots is not None else None,
        sequence(files.pool, b"device_ids") if files.pool is not None else 0,
        sequence(files.snapshots, b"v1", b"snapshots") if files.snapshots is not None else 0,
    )


def missing(ids: Iterable[int], entries: Iterable[DatabaseEntry]) -> list[DatabaseEntry]:
    """List the entries that should have a device, and whose thin id is not among `ids`."""
    there = set(ids)
    return [entry for entry in entries if entry.id not in there and entry.state not in GONE]


def read(printed: str, task: str) -> View:
    """Parse the output of a script about new metadata and containerd's database.

    Args:
        printed: the output.
        task: name of the task, for the error.

    Raises:
        Failed: the database cannot be read.
    """
    try:
        return parse(printed.splitlines())
    except Broken as error:
        raise unreadable(task, error) from error


def unreadable(task: str, error: Broken) -> Failed:
    """The error of a task that needs containerd's database, which is damaged."""
    hint = "without it, it is not known which device belongs to what: restore the file first"
    return Failed(f"{task}: containerd's database cannot be read", str(error), hint)
