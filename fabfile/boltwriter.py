"""Write a bolt file, the format of containerd's databases, while no process has it open.

Nothing is changed in place. All content goes into a new file without free pages, as if bolt had compacted it. The
layout is described in bolt.py.
"""

from __future__ import annotations

import struct

import msgspec

from fabfile.bolt import BRANCH, BUCKET, LEAF, MAGIC, META, VERSION, Broken, Bucket, fnv1a

FREELIST = 0x10
"""Flag of the page that lists free pages."""

FIRST = 3
"""Number of the first page after the metas and the freelist."""

DEEPEST = 16
"""Limit for the nesting of buckets; containerd has six levels."""


class Content(msgspec.Struct):
    """The content of a bucket, which may be modified."""

    items: dict[bytes, bytes | Content] = {}
    sequence: int = 0

    def at(self, *keys: bytes) -> Content:
        """Return the bucket at the end of a path of keys.

        Raises:
            Broken: there is no such bucket.
        """
        found: bytes | Content | None = self
        for key in keys:
            found = found.items.get(key) if isinstance(found, Content) else None
            if not isinstance(found, Content):
                raise Broken(f"no bucket {key.decode(errors='replace')!r}")
        assert isinstance(found, Content)
        return found


def content(bucket: Bucket, deepest: int = DEEPEST) -> Content:
    """Read the whole content of a bucket.

    Args:
        bucket: the bucket.
        deepest: limit for the nesting of buckets.

    Raises:
        Broken: a page is damaged, or buckets are nested too deeply.
    """
    if not deepest:
        raise Broken("buckets are nested too deeply")
    items = {key: content(value, deepest - 1) if isinstance(value, Bucket) else value for key, value in bucket}
    return Content(items, bucket.sequence)


def dump(root: Content, page_size: int, transaction: int) -> bytes:
    """Return the bytes of a new file.

    Args:
        root: content of the root bucket.
        page_size: size of a page in bytes; bolt accepts the size that the metas state.
        transaction: number of its last transaction, higher than that of the file which it replaces.
    """
    pages = _Pages(page_size)
    number = pages.bucket(root)
    end = FIRST + len(pages.data) // page_size
    metas = [_meta(which, page_size, number, root.sequence, end, transaction) for which in (0, 1)]
    freelist = struct.pack("<QHHI", 2, FREELIST, 0, 0)
    return b"".join(part.ljust(page_size, b"\0") for part in (*metas, freelist)) + bytes(pages.data)


def _meta(which: int, page_size: int, root: int, sequence: int, end: int, transaction: int) -> bytes:
    # bolt writes the meta of a transaction to the page of its parity; the other page has the transaction before.
    own = transaction if transaction % 2 == which else transaction - 1
    body = struct.pack("<IIIIQQQQQ", MAGIC, VERSION, page_size, 0, root, sequence, 2, end, own)
    return struct.pack("<QHHI", which, META, 0, 0) + body + struct.pack("<Q", fnv1a(body))


class _Pages:
    """The pages after the freelist."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.data = bytearray()

    def bucket(self, bucket: Content) -> int:
        """Write the pages of a bucket, and return the number of its root page."""
        pairs = [(key, *self._value(value)) for key, value in sorted(bucket.items.items())]
        level = [(part[0][0] if part else b"", self._leaf(part)) for part in self._split(pairs)]
        while len(level) > 1:
            fit = max(2, (self.size - 16) // (16 + max(len(key) for key, _ in level)))
            parts = [level[at : at + fit] for at in range(0, len(level), fit)]
            level = [(part[0][0], self._branch(part)) for part in parts]
        return level[0][1]

    def _value(self, value: bytes | Content) -> tuple[int, bytes]:
        """Flags and bytes of a value; a small bucket without buckets is stored inline, as bolt does."""
        if isinstance(value, bytes):
            return 0, value
        flat = [(key, 0, inner) for key, inner in sorted(value.items.items()) if isinstance(inner, bytes)]
        body = _elements(flat)
        if len(flat) == len(value.items) and 16 + len(body) <= self.size // 4:
            page = struct.pack("<QHHI", 0, LEAF, len(flat), 0) + body
            return BUCKET, struct.pack("<QQ", 0, value.sequence) + page
        return BUCKET, struct.pack("<QQ", self.bucket(value), value.sequence)

    def _split(self, pairs: list[tuple[bytes, int, bytes]]) -> list[list[tuple[bytes, int, bytes]]]:
        parts: list[list[tuple[bytes, int, bytes]]] = [[]]
        used = 16
        for pair in pairs:
            need = 16 + len(pair[0]) + len(pair[2])
            if parts[-1] and used + need > self.size:
                parts.append([])
                used = 16
            parts[-1].append(pair)
            used += need
        return parts

    def _leaf(self, pairs: list[tuple[bytes, int, bytes]]) -> int:
        return self._put(LEAF, len(pairs), _elements(pairs))

    def _branch(self, children: list[tuple[bytes, int]]) -> int:
        heads, keys = bytearray(), bytearray()
        for index, (key, page) in enumerate(children):
            heads += struct.pack("<IIQ", 16 * (len(children) - index) + len(keys), len(key), page)
            keys += key
        return self._put(BRANCH, len(children), bytes(heads + keys))

    def _put(self, flags: int, count: int, body: bytes) -> int:
        number = FIRST + len(self.data) // self.size
        pages = -(-(16 + len(body)) // self.size)
        head = struct.pack("<QHHI", number, flags, count, pages - 1)
        self.data += (head + body).ljust(pages * self.size, b"\0")
        return number


def _elements(pairs: list[tuple[bytes, int, bytes]]) -> bytes:
    """The elements of a leaf, followed by their keys and values."""
    heads, data = bytearray(), bytearray()
    for index, (key, flags, value) in enumerate(pairs):
        heads += struct.pack("<IIII", flags, 16 * (len(pairs) - index) + len(data), len(key), len(value))
        data += key + value
    return bytes(heads + data)
