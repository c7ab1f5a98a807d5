"""bolt files: what a writer put in is read, and damaged files are broken."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fabfile.bolt import BRANCH, BUCKET, LEAF, MAGIC, META, VERSION, Broken, Bucket, fnv1a, load

PAGE = 4096
Tree = dict[bytes, "bytes | Tree"]
trees = st.recursive(
    st.dictionaries(st.binary(min_size=1, max_size=20), st.binary(max_size=40), max_size=6),
    lambda inner: st.dictionaries(
        st.binary(min_size=1, max_size=20), st.one_of(st.binary(max_size=40), inner), max_size=6
    ),
    max_leaves=12,
)


class Writer:
    """Writes like bbolt: pages by number, small buckets in their leaf, elements followed by their data."""

    def __init__(self, leaf: int) -> None:
        self.pages: dict[int, bytes] = {}
        self.leaf = leaf
        """Keys in a leaf before a branch is put above it."""

    def page(self, number: int, flags: int, count: int, body: bytes) -> bytes:
        return struct.pack("<QHHI", number, flags, count, 0) + body

    def elements(self, pairs: list[tuple[int, bytes, bytes]]) -> bytes:
        """Leaf elements: flags, key, value."""
        heads, data, at = b"", b"", 16 * len(pairs)
        for index, (flags, key, value) in enumerate(pairs):
            heads += struct.pack("<IIII", flags, at + len(data) - 16 * index, len(key), len(value))
            data += key + value
        return heads + data

    def value(self, content: bytes | Tree) -> tuple[int, bytes]:
        """Flags and value of a key: a flat bucket is inline, others have pages of their own."""
        if isinstance(content, bytes):
            return 0, content
        pairs = [(0, key, inner) for key, inner in sorted(content.items()) if isinstance(inner, bytes)]
        if len(pairs) == len(content) <= self.leaf:
            return BUCKET, struct.pack("<QQ", 0, 7) + self.page(0, LEAF, len(pairs), self.elements(pairs))
        return BUCKET, struct.pack("<QQ", self.bucket(content), 7)

    def bucket(self, content: Tree) -> int:
        """Write a bucket's pages and return the number of its root."""
        pairs = [(*self.value(inner), key) for key, inner in sorted(content.items())]
        leaves = [pairs[at : at + self.leaf] for at in range(0, len(pairs), self.leaf)] or [[]]
        numbers = [self.add(LEAF, [(flags, key, value) for flags, value, key in leaf]) for leaf in leaves]
        if len(numbers) == 1:
            return numbers[0]
        heads, data, at = b"", b"", 16 * len(numbers)
        for index, (number, leaf) in enumerate(zip(numbers, leaves, strict=True)):
            heads += struct.pack("<IIQ", at + len(data) - 16 * index, len(leaf[0][2]), number)
            data += leaf[0][2]
        return self.put(BRANCH, len(numbers), heads + data)

    def add(self, flags: int, pairs: list[tuple[int, bytes, bytes]]) -> int:
        return self.put(flags, len(pairs), self.elements(pairs))

    def put(self, flags: int, count: int, body: bytes) -> int:
        number = max(self.pages, default=3) + 1
        size = -(-(16 + len(body)) // PAGE)
        self.pages[number] = self.page(number, flags, count, body).ljust(size * PAGE, b"\0")
        for more in range(1, size):
            self.pages[number + more] = b""
        return number

    def meta(self, number: int, root: int, transaction: int) -> bytes:
        body = struct.pack("<IIIIQQQQQ", MAGIC, VERSION, PAGE, 0, root, 0, 2, 100, transaction)
        return self.page(number, META, 0, body + struct.pack("<Q", fnv1a(body))).ljust(PAGE, b"\0")

    def file(self, content: Tree) -> bytes:
        root = self.bucket(content)
        head = self.meta(0, root, 4) + self.meta(1, 99, 3) + bytes(2 * PAGE)
        return head + b"".join(self.pages[number] for number in sorted(self.pages))


def read(bucket: Bucket) -> Tree:
    return {key: read(value) if isinstance(value, Bucket) else value for key, value in bucket}


@given(trees, st.integers(1, 4))
def test_what_was_written_is_read(content: Tree, leaf: int) -> None:
    assert read(load(Writer(leaf).file(content))) == content


@given(trees, st.integers(1, 4), st.data())
def test_a_file_with_wrong_bytes_is_read_or_broken_and_nothing_else(
    content: Tree, leaf: int, data: st.DataObject
) -> None:
    file = bytearray(Writer(leaf).file(content))
    at = data.draw(st.integers(0, len(file) - 1))
    file[at : at + 8] = data.draw(st.binary(min_size=8, max_size=8))
    torn = bytes(file[: data.draw(st.integers(0, len(file)))])
    try:
        read(load(torn))
    except Broken as broken:
        assert str(broken)


def test_the_newer_of_two_metas_counts_and_a_torn_one_does_not() -> None:
    writer = Writer(4)
    old, new = writer.bucket({b"k": b"old"}), writer.bucket({b"k": b"new"})
    pages = bytes(2 * PAGE) + b"".join(writer.pages[number] for number in sorted(writer.pages))
    both = writer.meta(0, new, 8) + writer.meta(1, old, 7) + pages
    assert load(both).get(b"k") == b"new"
    torn = b"\0" * 100 + both[100:]
    assert load(torn).get(b"k") == b"old"
    with pytest.raises(Broken, match="neither meta"):
        load(bytes(2 * PAGE) + pages)


def test_a_bucket_that_is_not_there_is_named() -> None:
    with pytest.raises(Broken, match="no bucket 'devices'"):
        load(Writer(4).file({b"other": {b"a": b"b"}})).bucket(b"devices")


def test_pages_in_a_ring_end() -> None:
    writer = Writer(4)
    body = struct.pack("<IIQ", 16, 1, 4) + b"a"
    writer.put(BRANCH, 1, body)
    file = writer.meta(0, 4, 4) + writer.meta(1, 4, 3) + bytes(2 * PAGE) + writer.pages[4]
    with pytest.raises(Broken, match="form a cycle"):
        read(load(file))


def branches(levels: int, fan: int) -> bytes:
    """A bucket of branch pages, each naming the next one `fan` times: `fan` to the power of `levels` paths."""
    writer = Writer(4)
    for level in range(levels):
        heads = b"".join(struct.pack("<IIQ", 16 * (fan - n) + n, 1, 5 + level) for n in range(fan))
        writer.put(BRANCH, fan, heads + bytes(range(fan)))
    writer.add(LEAF, [(0, b"k", b"v")])
    pages = b"".join(writer.pages[number] for number in sorted(writer.pages))
    return writer.meta(0, 4, 4) + writer.meta(1, 4, 3) + bytes(2 * PAGE) + pages


def test_pages_that_are_shared_are_visited_once() -> None:
    assert read(load(branches(40, 1))) == {b"k": b"v"}
    with pytest.raises(Broken, match="form a cycle"):
        read(load(branches(40, 2)))


def test_buckets_that_share_a_page_are_broken() -> None:
    writer = Writer(4)
    inner = writer.bucket({b"k": b"v"})
    root = writer.add(LEAF, [(BUCKET, name, struct.pack("<QQ", inner, 0)) for name in (b"a", b"b")])
    pages = b"".join(writer.pages[number] for number in sorted(writer.pages))
    file = writer.meta(0, root, 4) + writer.meta(1, root, 3) + bytes(2 * PAGE) + pages
    with pytest.raises(Broken, match="belongs to two buckets"):
        read(load(file))


def test_elements_that_hold_more_than_their_page_are_broken() -> None:
    writer = Writer(4)
    same = b"".join(struct.pack("<IIII", 0, 16 * (200 - n), 0, 700) for n in range(200))
    root = writer.put(LEAF, 200, same + bytes(700))
    pages = b"".join(writer.pages[number] for number in sorted(writer.pages))
    with pytest.raises(Broken, match="more than it has room for"):
        read(load(writer.meta(0, root, 4) + writer.meta(1, root, 3) + bytes(2 * PAGE) + pages))
