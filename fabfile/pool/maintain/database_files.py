"""Copies of containerd's databases in the output of scripts."""

from __future__ import annotations

import base64
import binascii
import zlib
from collections.abc import Iterable

import msgspec

from fabfile.bolt import Broken

LARGEST = 256 << 20
"""Limit for the size of a database in bytes; with thousands of images, containerd's own has tens of MiB."""


class Files(msgspec.Struct, frozen=True):
    """The bytes of containerd's databases; None if a file does not exist."""

    pool: bytes | None = None
    snapshots: bytes | None = None
    records: bytes | None = None
    """containerd's own database: images, containers and their snapshots."""


NAMES = {"db": "pool", "snap": "snapshots", "records": "records"}
"""Names of the databases in the output of scripts."""


def unpack(lines: Iterable[str], prefix: str = "") -> Files:
    """Extract the databases in the output of a script.

    Each is in lines `PREFIXdb BASE64`, `PREFIXsnap BASE64` or `PREFIXrecords BASE64`.

    Raises:
        Broken: a database is incomplete, or too large.
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
