"""What containerd itself knows about snapshots: which image or container of which namespace needs which one.

Its database `meta.db` has a snapshot under the name that an image or container uses; the snapshotter's database calls
it NAMESPACE/NUMBER/NAME. Labels lead from an image's manifests to its configuration, and from that to its top snapshot.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import msgspec

from fabfile.bolt import Broken, Bucket, load
from fabfile.pool.maintain.thin_devices import text

CONTENT = "containerd.io/gc.ref.content"
"""Prefix of the labels by which a blob refers to another one."""

TOP = "containerd.io/gc.ref.snapshot.devmapper"
"""Label of an image's configuration that names the snapshot with all of its layers."""


DEEPEST = 1000
"""Limit for the depth of a chain of snapshots; overlayfs mounts at most some hundred layers."""


class SnapshotRecord(msgspec.Struct, frozen=True):
    """A snapshot, as containerd knows it."""

    namespace: str
    key: str
    backend: str
    """Its name in the snapshotter's database."""
    parent: str = ""


class Image(msgspec.Struct, frozen=True):
    """An image that is unpacked on this snapshotter."""

    namespace: str
    name: str
    digest: str
    tops: tuple[str, ...]
    """Its top snapshots, one for each unpacked platform."""


class Container(msgspec.Struct, frozen=True):
    """A container on this snapshotter."""

    namespace: str
    name: str
    key: str
    """Name of its snapshot."""


class Records(msgspec.Struct, frozen=True):
    """All records of the snapshotter."""

    snapshots: tuple[SnapshotRecord, ...] = ()
    images: tuple[Image, ...] = ()
    containers: tuple[Container, ...] = ()


class Affected(msgspec.Struct, frozen=True):
    """The consequences of losing some snapshots."""

    remove: tuple[SnapshotRecord, ...] = ()
    """Snapshots to be removed because nothing intact needs them, children before their parents."""
    stay: tuple[SnapshotRecord, ...] = ()
    """Lost snapshots that containerd keeps because an intact snapshot is based on them."""
    images: tuple[Image, ...] = ()
    containers: tuple[Container, ...] = ()


def read(content: bytes | None) -> Records:
    """Parse a copy of `meta.db`; empty if there is none.

    Raises:
        Broken: it is damaged.
    """
    if content is None:
        return Records()
    root = load(content).get(b"v1")
    if root is None:
        return Records()
    if not isinstance(root, Bucket):
        raise Broken("v1 is no bucket")
    found = [_namespace(text(name), space) for name, space in root.buckets()]
    snapshots = tuple(one for part in found for one in part.snapshots)
    by_key = {(one.namespace, one.key): one for one in snapshots}
    for one in snapshots:
        _chain(one, by_key)
    return Records(
        snapshots,
        tuple(one for part in found for one in part.images),
        tuple(one for part in found for one in part.containers),
    )


def _namespace(space: str, bucket: Bucket) -> Records:
    known = tuple(
        SnapshotRecord(space, key, values.get("name", ""), values.get("parent", ""))
        for key, values in _objects(bucket, b"snapshots", b"devmapper")
    )
    containers = tuple(
        Container(space, name, values.get("snapshotKey", ""))
        for name, values in _objects(bucket, b"containers")
        if values.get("snapshotter") == "devmapper"
    )
    labels = {text(digest): _labels(blob) for digest, blob in _path(bucket, b"content", b"blob")}
    images = []
    for name, image in _path(bucket, b"images"):
        digest = _values(image.bucket(b"target")).get("digest", "")
        if tops := tuple(sorted(_tops(digest, labels))):
            images.append(Image(space, text(name), digest, tops))
    return Records(known, tuple(images), containers)


def _path(bucket: Bucket, *keys: bytes) -> Iterator[tuple[bytes, Bucket]]:
    """The buckets within the bucket at the end of a path; none if it does not exist."""
    found = bucket.find(*keys)
    return found.buckets() if found else iter(())


def _objects(bucket: Bucket, *keys: bytes) -> Iterator[tuple[str, dict[str, str]]]:
    return ((text(key), _values(inner)) for key, inner in _path(bucket, *keys))


def _values(bucket: Bucket) -> dict[str, str]:
    return {text(key): text(value) for key, value in bucket if isinstance(value, bytes)}


def _labels(blob: Bucket) -> dict[str, str]:
    labels = blob.find(b"labels")
    return _values(labels) if labels else {}


def _tops(digest: str, labels: dict[str, dict[str, str]]) -> set[str]:
    """The top snapshots of the image whose manifest or index has this digest."""
    tops: set[str] = set()
    seen, left = {digest}, [digest]
    while left:
        for label, value in labels.get(left.pop(), {}).items():
            if label == TOP:
                tops.add(value)
            elif label.startswith(CONTENT) and value not in seen:
                seen.add(value)
                left.append(value)
    return tops


def affected(records: Records, lost: Iterable[str]) -> Affected:
    """Determine the consequences of losing snapshots.

    Args:
        records: what containerd knows.
        lost: names of the lost snapshots in the snapshotter's database. A device holds all blocks of its snapshot,
            those of its parents included, so a snapshot based on a lost one may be intact.
    """
    gone = set(lost)
    by_key = {(one.namespace, one.key): one for one in records.snapshots}
    good = [one for one in records.snapshots if one.backend not in gone]
    below = {(one.namespace, one.parent) for one in records.snapshots}
    below |= {(image.namespace, top) for image in records.images for top in image.tops}
    # A layer is removed with a lost one below it, and unpacked again; a container's own snapshot cannot be made again.
    used = {(container.namespace, container.key) for container in records.containers}
    needed: set[tuple[str, str]] = set()
    for one in good:
        if (one.namespace, one.key) in used or ((one.namespace, one.key) not in below):
            needed |= _chain(one, by_key)
    bad = {(one.namespace, one.key) for one in records.snapshots if one.backend in gone}
    fallen = {at for at in by_key if at not in needed and _chain(by_key[at], by_key) & bad}
    order = sorted(fallen, key=lambda at: (-len(_chain(by_key[at], by_key)), at))
    return Affected(
        tuple(by_key[at] for at in order),
        tuple(by_key[at] for at in sorted(bad - fallen)),
        tuple(
            image for image in records.images if any(_reaches(image, top, by_key, fallen | bad) for top in image.tops)
        ),
        tuple(container for container in records.containers if (container.namespace, container.key) in bad),
    )


def _chain(one: SnapshotRecord, by_key: dict[tuple[str, str], SnapshotRecord]) -> set[tuple[str, str]]:
    """The snapshot and all of its ancestors.

    Raises:
        Broken: the chain is longer than any image's.
    """
    chain: set[tuple[str, str]] = set()
    at: SnapshotRecord | None = one
    while at is not None and (at.namespace, at.key) not in chain:
        chain.add((at.namespace, at.key))
        if len(chain) > DEEPEST:
            raise Broken(
                f"more than {DEEPEST} snapshots stacked on each other: {one.key!r:.200} in {one.namespace!r:.200}"
            )
        at = by_key.get((at.namespace, at.parent))
    return chain


def _reaches(image: Image, top: str, by_key: dict[tuple[str, str], SnapshotRecord], bad: set[tuple[str, str]]) -> bool:
    found = by_key.get((image.namespace, top))
    return found is not None and bool(_chain(found, by_key) & bad)
