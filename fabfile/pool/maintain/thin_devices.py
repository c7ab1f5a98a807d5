"""The thin devices of a pool as each of four sees them: the pool, containerd's two databases of them, device mapper.

The databases are bolt files that no program of a host can read; copies of them are read here. `POOL.db` has a device's
name, thin id and state, `metadata.db` the snapshots: snapshot number N is the device POOL-snap-N.
"""

from __future__ import annotations

import base64
import binascii
import zlib
from collections.abc import Iterable
from typing import Annotated, TypeVar

import msgspec

from fabfile.bolt import Broken, Bucket, load
from fabfile.errors import Failed

STATES = (
    "Unknown", "Creating", "Created", "Activating", "Activated", "Suspending", "Suspended", "Resuming", "Resumed",
    "Deactivating", "Deactivated", "Removing", "Removed", "Faulty",
)  # fmt: skip
"""States of a device by their numbers (containerd, plugins/snapshots/devmapper/device_info.go)."""

MOVING = frozenset({"Unknown", "Creating", "Activating", "Suspending", "Resuming", "Deactivating", "Removing"})
"""While containerd runs, such a device is in work; its next start marks what was left in one of them as Faulty."""

GONE = frozenset({"Unknown", "Creating", "Removing", "Removed", "Faulty"})
"""A device in such a state may have no thin id."""

KINDS = ("Unknown", "View", "Active", "Committed")
"""Kinds of a snapshot by their numbers (containerd, core/snapshots)."""

LARGEST = 256 << 20
"""Bytes of a database that is read: containerd's largest, with thousands of images, have tens of MiB."""


Kind = TypeVar("Kind")


class Thin(msgspec.Struct, frozen=True):
    """A thin device in the pool's metadata."""

    blocks: int
    created: int = 0
    """The pool's own time of it: how many snapshots were made before."""


class Entry(msgspec.Struct, frozen=True):
    """A device in containerd's database."""

    id: int
    name: str
    parent: str
    state: str
    size: int
    error: str = ""


class Device(msgspec.Struct, frozen=True):
    """A device in device mapper."""

    name: str
    id: int | None
    """None where the kernel does not tell it."""
    open: bool
    target: str = "thin"
    number: str = ""
    """MAJOR:MINOR."""


class Snapshot(msgspec.Struct, frozen=True):
    """A snapshot in the snapshotter's database."""

    number: int
    key: str
    """NAMESPACE/NUMBER/NAME, where containerd itself knows it as NAME."""
    kind: str
    parent: str = ""


class View(msgspec.Struct, frozen=True):
    """The content of each of the four records."""

    ids: dict[int, Thin]
    devices: tuple[Device, ...]
    database: dict[str, Entry] | None
    """Name → entry; None where there is no database."""
    snapshots: dict[int, Snapshot] | None = None
    """Number → snapshot; None where there is no database."""
    last_id: int = 0
    """The last thin id that containerd gave out."""
    last_number: int = 0
    """The last number of a snapshot that containerd gave out."""
    holders: dict[str, tuple[str, ...]] = {}
    """Name of a device → who has it open, besides containers; told of those that should not be there."""


class Files(msgspec.Struct, frozen=True):
    """The bytes of containerd's databases; None where there is no such file."""

    pool: bytes | None = None
    snapshots: bytes | None = None
    records: bytes | None = None
    """Of containerd itself: images, containers and their snapshots."""


class _Info(msgspec.Struct):
    """containerd's DeviceInfo, as it encodes it."""

    device_id: Annotated[int, msgspec.Meta(ge=0, lt=1 << 32)]
    size: Annotated[int, msgspec.Meta(ge=0)]
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
        info = decoded(key, value, _Info)
        state = STATES[info.state] if 0 <= info.state < len(STATES) else f"unknown {info.state}"
        entries[info.name] = Entry(info.device_id, info.name, info.parent_name, state, info.size, info.error)
    return entries


def decoded(key: bytes, value: bytes, kind: type[Kind]) -> Kind:
    """What containerd says of a device, in JSON.

    Raises:
        Broken: it is not that.
    """
    try:
        return msgspec.json.decode(value, type=kind)
    except (ValueError, RecursionError) as error:
        raise Broken(f"device {key!r:.200}: {error}") from error


def snapshots(content: bytes) -> dict[int, Snapshot]:
    """The snapshots in a copy of the snapshotter's `metadata.db`.

    Raises:
        Broken: it is not one.
    """
    root = load(content)
    found: dict[int, Snapshot] = {}
    if root.get(b"v1") is None:
        return found  # made, and no snapshot yet
    for key, bucket in root.bucket(b"v1", b"snapshots").buckets():
        values = {name: value for name, value in bucket if isinstance(value, bytes)}
        number, kind = uvarint(values.get(b"id", b"")), values.get(b"kind", b"\0")[0:1]
        named = KINDS[kind[0]] if kind and kind[0] < len(KINDS) else "Unknown"
        found[number] = Snapshot(number, text(key), named, text(values.get(b"parent", b"")))
    return found


def text(value: bytes) -> str:
    """Bytes of a database as text; what is no UTF-8 is escaped."""
    return value.decode(errors="backslashreplace")


def uvarint(value: bytes) -> int:
    """An unsigned number as Go encodes it (encoding/binary).

    Raises:
        Broken: it has no end, or more than 64 bits.
    """
    number = 0
    for place, byte in enumerate(value[:10]):
        number |= (byte & 0x7F) << 7 * place
        if byte < 0x80 and number < 1 << 64:
            return number
    raise Broken(f"{value[:10]!r} is not a number")


def sequence(content: bytes, *path: bytes) -> int:
    """The last number that the bucket at the end of a path gave out; 0 where there is none."""
    found: bytes | Bucket | None = load(content)
    for key in path:
        found = found.get(key) if isinstance(found, Bucket) else None
    return found.sequence if isinstance(found, Bucket) else 0


def parse(lines: Iterable[str]) -> View:
    """What the script pool/thins.sh printed; what it does not print is empty.

    Lines are `id ID BLOCKS CREATED`, `dm NAME ID OPEN TARGET NUMBER` and those of `unpack`. The rest is other talk.

    Raises:
        Broken: a database in it is not one.
    """
    lines = list(lines)
    ids: dict[int, Thin] = {}
    devices: list[Device] = []
    for line in lines:
        try:
            match line.split():
                case ["id", id, blocks, created]:
                    ids[int(id)] = Thin(int(blocks), int(created))
                case ["dm", name, id, opened, target, number]:
                    devices.append(Device(name, None if id == "-" else int(id), opened != "0", target, number))
        except ValueError as error:
            raise Broken(f"{line!r} is not understood") from error
    files = unpack(lines)
    return msgspec.structs.replace(known(files), ids=ids, devices=tuple(devices))


def holders(lines: Iterable[str]) -> dict[str, tuple[str, ...]]:
    """Name of a device → who has it open: what the script pool/holders.sh printed, in lines `held NAME WHO`."""
    found: dict[str, tuple[str, ...]] = {}
    for line in lines:
        match line.split():
            case ["held", name, *who]:
                found[name] = (*found.get(name, ()), " ".join(who))
    return found


def known(files: Files) -> View:
    """What containerd's databases say.

    Raises:
        Broken: one of them is not one.
    """
    return View(
        {},
        (),
        database(files.pool) if files.pool is not None else None,
        snapshots(files.snapshots) if files.snapshots is not None else None,
        sequence(files.pool, b"device_ids") if files.pool is not None else 0,
        sequence(files.snapshots, b"v1", b"snapshots") if files.snapshots is not None else 0,
    )


NAMES = {"db": "pool", "snap": "snapshots", "records": "records"}
"""What a script calls the databases."""


def unpack(lines: Iterable[str], prefix: str = "") -> Files:
    """The databases in what a script printed, in lines `PREFIXdb BASE64`, `PREFIXsnap BASE64`, `PREFIXrecords BASE64`.

    Raises:
        Broken: what is there is not what was packed, or too large.
    """
    packed: dict[str, list[str]] = {}
    for line in lines:
        name, _, part = line.partition(" ")
        if name.startswith(prefix) and (field := NAMES.get(name[len(prefix) :])):
            packed.setdefault(field, []).append(part.strip())
    return Files(**{field: _inflate(field, "".join(parts)) for field, parts in packed.items()})


def _inflate(what: str, packed: str) -> bytes:
    inflate = zlib.decompressobj(wbits=31)
    try:
        content = inflate.decompress(base64.b64decode(packed, validate=True), LARGEST)
    except (binascii.Error, zlib.error) as error:
        raise Broken(f"the copy of the database {what} did not arrive whole: {error}") from error
    if not inflate.eof:
        raise Broken(f"the copy of the database {what} is cut off, or larger than {LARGEST >> 20} MiB")
    return content


def missing(ids: Iterable[int], entries: Iterable[Entry]) -> list[Entry]:
    """The devices that containerd counts on and `ids` does not have."""
    there = set(ids)
    return [entry for entry in entries if entry.id not in there and entry.state not in GONE]


def read(printed: str, task: str) -> View:
    """What a script said of new metadata and containerd's database.

    Raises:
        Failed: the database cannot be read.
    """
    try:
        return parse(printed.splitlines())
    except Broken as error:
        raise Failed(
            f"{task}: containerd's database cannot be read",
            str(error),
            hint="without it, nothing tells which device is whose: restore the file first",
        ) from error
