"""containerd's databases of a pool, as bytes, composed from their content."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from fabfile.boltwriter import Content, dump
from fabfile.pool.maintain.containerd_records import CONTENT, TOP
from fabfile.pool.maintain.thin_devices import KINDS, STATES, DatabaseEntry, Snapshot


def pool(entries: Mapping[str, DatabaseEntry], last: int, marks: Mapping[int, int] | None = None) -> bytes:
    """`POOL.db`."""
    devices = {
        name.encode(): msgspec.json.encode(
            {
                "device_id": of.id, "size": of.size, "name": name, "parent_name": of.parent,
                "state": STATES.index(of.state), "error": of.error, "a field of later versions": True,
            }
        )
        for name, of in entries.items()
    }  # fmt: skip
    ids = {of.id: 1 for of in entries.values()} | dict(marks or {})
    taken = Content({str(id).encode(): bytes([mark]) for id, mark in ids.items()}, last)
    return dump(Content({b"devices": Content(dict(devices)), b"device_ids": taken}), 4096, 8)


def snapshots(there: list[Snapshot], last: int) -> bytes:
    """`metadata.db`, with its links from parents to children."""
    numbers = {of.key: of.number for of in there}
    buckets, links = {}, {}
    for of in there:
        values: dict[bytes, bytes | Content] = {b"id": number(of.number), b"kind": bytes([KINDS.index(of.kind)])}
        if of.parent:
            values[b"parent"] = of.parent.encode()
            links[number(numbers[of.parent]) + b"\0" + number(of.number)] = of.key.encode()
        buckets[of.key.encode()] = Content(values)
    version = Content({b"snapshots": Content(dict(buckets), last), b"parents": Content(dict(links))})
    return dump(Content({b"v1": version}), 4096, 8)


def number(of: int) -> bytes:
    """Encode a number like Go."""
    parts = []
    while of >= 0x80:
        parts.append(of & 0x7F | 0x80)
        of >>= 7
    return bytes([*parts, of])


def records(there: Mapping[str, tuple[str, str]], images: Mapping[str, str], containers: Mapping[str, str]) -> bytes:
    """`meta.db` with one namespace.

    Args:
        there: key → name in the snapshotter's database, and the parent's key.
        images: name → its top snapshot.
        containers: name → its snapshot.
    """
    known: dict[bytes, bytes | Content] = {
        key.encode(): Content({b"name": name.encode(), b"parent": parent.encode()})
        for key, (name, parent) in there.items()
    }
    blobs: dict[bytes, bytes | Content] = {}
    named: dict[bytes, bytes | Content] = {}
    for name, top in images.items():
        manifest, config = f"sha256:m-{name}", f"sha256:c-{name}"
        blobs[manifest.encode()] = Content({b"labels": Content({f"{CONTENT}.config".encode(): config.encode()})})
        blobs[config.encode()] = Content({b"labels": Content({TOP.encode(): top.encode()})})
        named[name.encode()] = Content({b"target": Content({b"digest": manifest.encode()})})
    made: dict[bytes, bytes | Content] = {
        name.encode(): Content({b"snapshotter": b"devmapper", b"snapshotKey": key.encode()})
        for name, key in containers.items()
    }
    space = Content(
        {
            b"snapshots": Content({b"devmapper": Content(known)}),
            b"images": Content(named),
            b"content": Content({b"blob": Content(blobs)}),
            b"containers": Content(made),
            b"labels": Content({b"a": b"b"}),
        }
    )
    return dump(Content({b"v1": Content({b"default": space, b"version": b"\6"})}), 4096, 8)
