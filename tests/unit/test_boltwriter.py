"""bolt files written as a whole: what was put in is read, in the form that bolt itself checks."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fabfile.bolt import BRANCH, BUCKET, LEAF, Broken, load, page_size, transaction
from fabfile.boltwriter import FIRST, FREELIST, Content, content, dump

keys = st.binary(min_size=1, max_size=40)
contents = st.recursive(
    st.builds(Content, st.dictionaries(keys, st.binary(max_size=900), max_size=40), st.integers(0, 1 << 40)),
    lambda inner: st.builds(
        Content, st.dictionaries(keys, st.one_of(st.binary(max_size=60), inner), max_size=6), st.integers(0, 9)
    ),
    max_leaves=6,
)


@given(contents, st.sampled_from([1024, 4096, 65536]), st.integers(1, 1 << 40))
def test_what_was_put_in_comes_out(root: Content, size: int, number: int) -> None:
    file = dump(root, size, number)
    assert content(load(file)) == root
    assert (page_size(file), transaction(file)) == (size, number)


@given(contents, st.sampled_from([1024, 4096]))
def test_every_page_is_used_once_and_named_by_its_own_number(root: Content, size: int) -> None:
    """This is what bolt's own check of a file verifies."""
    file = dump(root, size, 6)
    assert len(file) % size == 0
    used = {0, 1, 2}
    (start,) = struct.unpack_from("<Q", file, 32)
    walk(file, size, start, used)
    assert used == set(range(len(file) // size))
    assert struct.unpack_from("<QHHI", file, 2 * size) == (2, FREELIST, 0, 0)
    (high,) = struct.unpack_from("<Q", file, 16 + 40)
    assert high == len(file) // size


def walk(file: bytes, size: int, number: int, used: set[int]) -> None:
    at = number * size
    own, flags, count, overflow = struct.unpack_from("<QHHI", file, at)
    pages = set(range(number, number + overflow + 1))
    assert own == number >= FIRST
    assert not pages & used
    used |= pages
    names = []
    for index in range(count):
        element = at + 16 + 16 * index
        if flags == BRANCH:
            position, length, page = struct.unpack_from("<IIQ", file, element)
            walk(file, size, page, used)
        else:
            assert flags == LEAF
            kind, position, length, width = struct.unpack_from("<IIII", file, element)
            value = file[element + position + length : element + position + length + width]
            root = struct.unpack_from("<Q", value)[0] if kind & BUCKET else 0
            if root:
                walk(file, size, root, used)
        names.append(file[element + position : element + position + length])
    assert names == sorted(names)


def test_a_path_leads_to_a_bucket_or_is_named() -> None:
    root = Content({b"v1": Content({b"a": Content({}, 3), b"b": b"text"})})
    assert root.at(b"v1", b"a").sequence == 3
    with pytest.raises(Broken, match="no bucket 'b'"):
        root.at(b"v1", b"b")


def test_buckets_that_lie_too_deep_are_broken() -> None:
    root = Content()
    for _ in range(40):
        root = Content({b"in": root})
    with pytest.raises(Broken, match="too deep"):
        content(load(dump(root, 4096, 2)))
