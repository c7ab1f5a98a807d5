"""Read a bolt file, the format of containerd's databases, from its bytes; never write one.

Layout (bbolt, internal/common): pages of one size; pages 0 and 1 are metas, of which the valid one with the higher
transaction is the state of the file; a tree of branch and leaf pages for each bucket; a small bucket lies inline in the
value of its key. Numbers are little-endian, as on every machine that we have containerd for.
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
"""No real tree is deeper: a page that leads back to itself is."""


class Broken(ValueError):
    """The bytes are no bolt file, or one that was copied while it was written."""


class Bucket(msgspec.Struct, frozen=True):
    """A bucket: keys in their order, with values or buckets."""

    file: bytes
    page_size: int
    start: int
    """Offset of its root page."""
    sequence: int = 0

    def __iter__(self) -> Iterator[tuple[bytes, bytes | Bucket]]:
        """Keys with what they hold.

        Raises:
            Broken: a page is not what it should be.
        """
        return self._walk(self.start, DEPTH)

    def get(self, key: bytes) -> bytes | Bucket | None:
        """What `key` holds; None where it is not in the bucket."""
        return next((value for name, value in self if name == key), None)

    def bucket(self, key: bytes) -> Bucket:
        """The bucket `key`.

        Raises:
            Broken: there is no such bucket.
        """
        found = self.get(key)
        if not isinstance(found, Bucket):
            raise Broken(f"no bucket {key.decode(errors='replace')!r}")
        return found

    def _walk(self, start: int, depth: int) -> Iterator[tuple[bytes, bytes | Bucket]]:
        if not depth:
            raise Broken("its pages run in a ring")
        _, flags, count, _ = _unpack(_HEADER, self.file, start)
        first = start + _HEADER.size
        if flags == BRANCH:
            for number in range(count):
                _, _, page = _unpack(_BRANCH, self.file, first + number * _BRANCH.size)
                yield from self._walk(page * self.page_size, depth - 1)
        elif flags == LEAF:
            for number in range(count):
                yield self._element(first + number * _LEAF.size)
        else:
            raise Broken(f"page at {start} has the flags {flags:#x}")

    def _element(self, at: int) -> tuple[bytes, bytes | Bucket]:
        flags, position, key_size, value_size = _unpack(_LEAF, self.file, at)
        key = _slice(self.file, at + position, key_size)
        value_at = at + position + key_size
        value = _slice(self.file, value_at, value_size)
        if not flags & BUCKET:
            return key, value
        root, sequence = _unpack(_BUCKET, value, 0)
        start = root * self.page_size if root else value_at + _BUCKET.size
        return key, Bucket(self.file, self.page_size, start, sequence)


def load(file: bytes) -> Bucket:
    """The root bucket of a bolt file's content.

    Raises:
        Broken: neither of its two metas is valid.
    """
    # The second meta tells the page size where the first one is torn: all sizes that bolt itself tries.
    offsets = [0, *(1024 << shift for shift in range(7))]
    metas = [meta for offset in offsets if (meta := _meta(file, offset))]
    if not metas:
        raise Broken("neither meta page is valid")
    _, size, root, sequence = max(metas)
    return Bucket(file, size, root * size, sequence)


def _meta(file: bytes, offset: int) -> tuple[int, int, int, int] | None:
    """Transaction, page size, root page and sequence of the meta page at `offset`, if a valid one is there."""
    try:
        _, flags, _, _ = _unpack(_HEADER, file, offset)
        fields = _unpack(_META, file, offset + _HEADER.size)
    except Broken:
        return None
    magic, version, size, _, root, sequence, _, _, transaction, checksum = fields
    body = file[offset + _HEADER.size : offset + _HEADER.size + _META.size - 8]
    if (flags, magic, version, checksum) != (META, MAGIC, VERSION, fnv1a(body)) or offset not in (0, size):
        return None
    return transaction, size, root, sequence


def fnv1a(data: bytes) -> int:
    """The 64-bit FNV-1a hash, which a meta page carries of itself."""
    value = 0xCBF29CE484222325
    for byte in data:
        value = (value ^ byte) * 0x100000001B3 & 0xFFFFFFFFFFFFFFFF
    return value


def _unpack(layout: struct.Struct, data: bytes, at: int) -> tuple[int, ...]:
    if at < 0 or at + layout.size > len(data):
        raise Broken(f"it ends at {len(data)}, before {at + layout.size}")
    return layout.unpack_from(data, at)


def _slice(data: bytes, at: int, size: int) -> bytes:
    if at + size > len(data):
        raise Broken(f"it ends at {len(data)}, before {at + size}")
    return data[at : at + size]
