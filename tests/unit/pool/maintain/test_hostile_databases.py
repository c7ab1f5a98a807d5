"""Well-formed bolt files with any content: inconsistencies are found and corrected, or the file is broken."""

from __future__ import annotations

import gzip
from base64 import b64encode
from collections.abc import Mapping

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fabfile.bolt import Broken
from fabfile.boltwriter import Content, dump
from fabfile.pool.maintain import containerd_records, corrections, database_files, thin_devices
from fabfile.pool.maintain.disagreements import Orphans, orphans
from tests.unit import cost
from tests.unit.pool import databases

VALUES = st.binary(max_size=6) | st.sampled_from(
    [
        b'{"device_id": 1, "size": 1, "name": "p-snap-1", "state": 4}',
        b'{"device_id": 2, "size": 1, "name": "q-snap-1", "state": 13}',
        b'{"device_id": -1, "size": 1, "name": "p-snap-2"}',
        b'{"device_id": 99999999999999999999, "size": 1, "name": "p-snap-3"}',
        b'{"device_id": 1, "size": 1, "name": "\xff"}',
        b'{"device_id": 1, "size": 1, "name": "p-snap-' + b"9" * 30 + b'", "state": 99}',
        b'{"device_id": 1, "size": 1, "name": "a", "x": ' + b"[" * 5000,
        b"devmapper", b"p-snap-1", b"\1", b"\xff" * 10, b"default/1/a",
    ]
)  # fmt: skip
KEYS = st.sampled_from(
    [
        b"devices", b"device_ids", b"v1", b"snapshots", b"parents", b"devmapper", b"images", b"target", b"digest",
        b"content", b"blob", b"labels", b"containers", b"snapshotter", b"snapshotKey", b"name", b"parent", b"id",
        b"kind", b"default", b"p-snap-1", b"q-snap-1", b"a", b"\xff\xfe",
    ]
)  # fmt: skip
TREES = st.recursive(
    st.dictionaries(KEYS, VALUES, max_size=4).map(lambda tree: Content({**tree})),
    lambda inner: st.dictionaries(KEYS, VALUES | inner, max_size=4).map(Content),
    max_leaves=8,
)


def under(tree: Content, *path: bytes) -> bytes:
    """A file with `tree` at the end of a path."""
    for key in reversed(path):
        tree = Content({key: tree})
    return dump(tree, 4096, 8)


FILES = st.tuples(
    TREES.map(lambda tree: under(tree, b"devices")) | TREES.map(under),
    TREES.map(lambda tree: under(tree, b"v1", b"snapshots")) | TREES.map(under),
    TREES.map(lambda tree: under(tree, b"v1", b"default")) | TREES.map(under),
)


@settings(max_examples=150)
@given(FILES, st.booleans())
def test_any_databases_are_compared_and_corrected_or_broken(files: tuple[bytes, bytes, bytes], running: bool) -> None:
    names = ("db", "snap", "records")
    lines = [f"{name} {b64encode(gzip.compress(file)).decode()}" for name, file in zip(names, files, strict=True)]
    try:
        seen = thin_devices.parse(["id 1 5 1", "id 7 5 2", "dm p-snap-1 1 0 thin 252:1", *lines])
        unpacked = database_files.unpack(lines)
        found = orphans(seen, running=running)
        known = containerd_records.read(unpacked.records)
        todo = corrections.corrections(seen, unpacked, found, ())
        means = containerd_records.affected(known, todo.lost)
    except Broken as broken:
        assert str(broken) and len(str(broken)) < 2000
    else:
        assert isinstance(found, Orphans) and found.count >= 0
        assert set(means.containers) <= set(known.containers) and set(means.remove) <= set(known.snapshots)


def chain(length: int) -> Mapping[str, tuple[str, str]]:
    return {f"k{n}": (f"default/{n}/k{n}", f"k{n - 1}" if n else "") for n in range(length)}


def test_an_endless_chain_of_snapshots_is_broken_at_once() -> None:
    with cost.at_most(10), pytest.raises(Broken, match="more than 1000 snapshots stacked on each other"):
        containerd_records.read(databases.records(chain(20_000), {}, {}))


def test_many_snapshots_and_images_are_judged_in_seconds() -> None:
    there = {f"{image}-{key}": (name, f"{image}-{parent}" if parent else "")
             for image in range(200) for key, (name, parent) in chain(20).items()}  # fmt: skip
    known = containerd_records.read(databases.records(there, {f"i{n}": f"{n}-k19" for n in range(200)}, {}))
    with cost.at_most(5):
        assert len(containerd_records.affected(known, ["default/0/k0"]).images) == 200


def test_a_ring_of_snapshots_ends() -> None:
    known = containerd_records.read(databases.records({"a": ("1", "b"), "b": ("2", "a")}, {"i": "a"}, {"c": "b"}))
    assert msgspec.to_builtins(containerd_records.affected(known, ["1"]))["containers"] == ()
