"""Read a bolt file, the format of containerd's databases, from its bytes.

Whatever the bytes are, reading ends soon and in bounded memory, with the content of the file or with `Broken`.

Layout (bbolt, internal/common): pages of equal size; pages 0 and 1 are metas, of which the valid one with the higher
transaction is current; a tree of branch and leaf pages for each bucket; a small bucket is stored inline as the value of
its key. Numbers are little-endian, as on every architecture that we have containerd for.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

import msgspec

MAGIC, VERSION = 0xED0CDAED, 2
BRANCH, LEAF, META = 0x01, 0x02, 0x04
"""Flags of a page."""

BUCKET = 0x01
"""Flag of an element whose value is a bucket."""

_HEADER = struct.Struct("<QHHI")  # id, flags, count, overflow
_META = struct.Struct(
    "<IIIIQQQQQQ"
)  # magic, version, page size, flags, root, sequence, freelist, high water, txid, sum
_BRANCH = struct.Struct("<IIQ")  # position, key size, page
_LEAF = struct.Struct("<IIII")  # flags, position, key size, value size
_BUCKET = struct.Struct("<QQ")  # root page (0: inline), sequence

DEPTH = 64
"""Limit for the depth of a tree; a deeper one has a page that leads back to itself."""


class Broken(ValueError):
    """The bytes are not a bolt file, or were copied while it was being written."""


class Image(msgspec.Struct, frozen=True):
    """The bytes of a file, and the bucket in which each of its pages was found."""

    file: bytes
    page_size: int
    claims: dict[int, int] = {}
    """Page → its bucket, as the offset of that bucket's element."""

    def claim(self, number: int, pages: int, origin: int) -> None:
        """Record that pages belong to a bucket.

        Raises:
            Broken: they are not in the file, or belong to another bucket; shared pages could be read over and over.
        """
        if (number + pages) * self.page_size > len(self.file):
            raise Broken(f"it ends at {len(self.file)}, within page {number}")
        for page in range(number, number + pages):
            if self.claims.setdefault(page, origin) != origin:
                raise Broken(f"page {page} belongs to two buckets")


class Bucket(msgspec.Struct, frozen=True):
    """A bucket: keys in order, with values or buckets."""

    image: Image
    start: int
    """Offset of its root page, or of its inline content."""
    end: int
    """End of its inline content; 0 if it is not inline."""
    origin: int
    """Offset of its element."""
    sequence: int = 0

    def __iter__(self) -> Iterator[tuple[bytes, bytes | Bucket]]:
        """Iterate over the keys and their values. Every page is visited once, so the result is no larger than the file.

        Raises:
            Broken: a page is damaged.
        """
        if self.end:
            return self._page(self.start, self.end, set(), DEPTH)
        return self._walk(self.start // self.image.page_size, set(), DEPTH)

    def get(self, key: bytes) -> bytes | Bucket | None:
        """Return the value of a key; None if it is not in the bucket."""
        return next((value for name, value in self if name == key), None)

    def bucket(self, *keys: bytes) -> Bucket:
        """Return the bucket at the end of a path of keys.

        Raises:
            Broken: there is no such bucket.
        """
        found = self.find(*keys)
        if found is None:
            raise Broken(f"no bucket {b'/'.join(keys).decode(errors='replace')!r}")
        return found

    def find(self, *keys: bytes) -> Bucket | None:
        """Return the bucket at the end of a path of keys; None if there is none."""
        found: bytes | Bucket | None = self
        for key in keys:
            found = found.get(key) if isinstance(found, Bucket) else None
        return found if isinstance(found, Bucket) else None

    def buckets(self) -> Iterator[tuple[bytes, Bucket]]:
        """Iterate over the keys that have buckets, and these."""
        return ((key, value) for key, value in self if isinstance(value, Bucket))

    def _walk(self, number: int, seen: set[int], depth: int) -> Iterator[tuple[bytes, bytes | Bucket]]:
        if not depth or number in seen:
            raise Broken("its pages form a cycle")
        seen.add(number)
        start = number * self.image.page_size
        overflow = _unpack(_HEADER, self.image.file, start)[3]
        self.image.claim(number, overflow + 1, self.origin)
        yield from self._page(start, start + (overflow + 1) * self.image.page_size, seen, depth)

    def _page(self, start: int, end: int, seen: set[int], depth: int) -> Iterator[tuple[bytes, bytes | Bucket]]:
        _, flags, count, _ = _unpack(_HEADER, self.image.file, start)
        first = start + _HEADER.size
        if flags == BRANCH:
            for number in range(count):
                _, _, page = _unpack(_BRANCH, self.image.file, first + number * _BRANCH.size)
                yield from self._walk(page, seen, depth - 1)
        elif flags == LEAF:
            yield from self._elements(first, count, end)
        else:
            raise Broken(f"page at {start} has the flags {flags:#x}")

    def _elements(self, first: int, count: int, end: int) -> Iterator[tuple[bytes, bytes | Bucket]]:
        left = end - first
        for number in range(count):
            at = first + number * _LEAF.size
            flags, position, key_size, value_size = _unpack(_LEAF, self.image.file, at)
            left -= _LEAF.size + key_size + value_size
            value_at = at + position + key_size
            if left < 0 or value_at + value_size > end:
                raise Broken(f"the page at {first - _HEADER.size} holds more than it has room for")
            key, value = self.image.file[at + position : value_at], self.image.file[value_at : value_at + value_size]
            yield key, self._inner(value, value_at, at) if flags & BUCKET else value

    def _inner(self, value: bytes, value_at: int, origin: int) -> Bucket:
        root, sequence = _unpack(_BUCKET, value, 0)
        start, end = root * self.image.page_size, 0
        if not root:
            start, end = value_at + _BUCKET.size, value_at + len(value)
        return Bucket(self.image, start, end, origin, sequence)


def load(file: bytes) -> Bucket:
    """Return the root bucket of a bolt file.

    Raises:
        Broken: neither of its two metas is valid.
    """
    _, size, root, sequence = _newest(file)
    return Bucket(Image(file, size, {}), root * size, 0, 0, sequence)


def transaction(file: bytes) -> int:
    """Return the number of the last transaction of a bolt file.

    Raises:
        Broken: neither of its two metas is valid.
    """
    return _newest(file)[0]


def page_size(file: bytes) -> int:
    """Return the page size of a bolt file in bytes.

    Raises:
        Broken: neither of its two metas is valid.
    """
    return _newest(file)[1]


def _newest(file: bytes) -> tuple[int, int, int, int]:
    # If the first meta is damaged, the second one is searched at all page sizes that bolt itself tries.
    offsets = [0, *(1024 << shift for shift in range(7))]
    metas = [meta for offset in offsets if (meta := _meta(file, offset))]
    if not metas:
        raise Broken("neither meta page is valid")
    return max(metas)


def _meta(file: bytes, offset: int) -> tuple[int, int, int, int] | None:
    """Transaction, page size, root page and sequence of a valid meta page at `offset`; None if there is none."""
    try:
        _, flags, _, _ = _unpack(_HEADER, file, offset)
        fields = _unpack(_META, file, offset + _HEADER.size)
    except Broken:
        return None
    magic, version, size, _, root, sequence, _, _, transaction, checksum = fields
    body = file[offset + _HEADER.size : offset + _HEADER.size + _META.size - 8]
    if (flags, magic, version, checksum) != (META, MAGIC, VERSION, fnv1a(body)) or offset not in (0, size):
        return None
    if not 1024 <= size <= 1 << 16 or size & (size - 1):
        return None
    return transaction, size, root, sequence


def fnv1a(data: bytes) -> int:
    """Return the 64-bit FNV-1a hash, the checksum of a meta page."""
    value = 0xCBF29CE484222325
    for byte in data:
        value = (value ^ byte) * 0x100000001B3 & 0xFFFFFFFFFFFFFFFF
    return value


def _unpack(layout: struct.Struct, data: bytes, at: int) -> tuple[int, ...]:
    if at < 0 or at + layout.size > len(data):
        raise Broken(f"it ends at {len(data)}, before {at + layout.size}")
    return layout.unpack_from(data, at)
