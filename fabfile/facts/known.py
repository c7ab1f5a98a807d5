"""What containerd's databases have of thin devices, where there is no pool yet, or nothing on it: another pool's."""

from __future__ import annotations

import base64
import binascii
import zlib
from typing import TYPE_CHECKING

import msgspec

from fabfile.bolt import Broken, Bucket, load

if TYPE_CHECKING:
    from fabfile.facts import Query

MOST = 64 << 20
"""Bytes of a database that is looked into."""


class Known(msgspec.Struct, frozen=True):
    """Counts of what the databases name; null if not looked for, or not readable."""

    entries: int | None = None
    """Devices in the pool's database. Of a pool that has blocks in use: at least one, or none."""
    snapshots: int | None = None
    """In the snapshotter's database."""
    records: int | None = None
    """Snapshots of this snapshotter in containerd's own."""
    paths: tuple[str, ...] = ()
    """The databases that are there."""


def fragment(query: Query) -> str:
    """All of the databases where the pool is not recorded or has no block in use, else whether there is any entry."""
    from fabfile.target import quote

    records = quote(f"{query.daemon.root}/io.containerd.metadata.v1.bolt/meta.db")
    return rf"""
name={quote(query.pool)} root={quote(query.dir)} records={records}
DATA='' DIR='' conf=/etc/devmapper-pool/$name.conf
# shellcheck source=/dev/null
[ ! -r "$conf" ] || . "$conf"
[ -z "$DATA" ] || root=${{DATA%/*}}
[ -z "$DIR" ] || root=$DIR
database=$root/$name.db snapshots=$root/metadata.db
for file in "$database" "$snapshots" "$records"; do [ ! -f "$file" ] || echo "path $file"; done
used=$(dmsetup status --noflush "$name" 2>/dev/null | sed -n 's,^[^ ]* [^ ]* thin-pool [^ ]* [^ ]* \([0-9]*\)/.*,,p')
if [ -r "$conf" ] && [ "${{used:-1}}" != 0 ]; then
  [ -z "$used" ] || echo "some $(grep -c -a -m 1 '"device_id"' "$database" 2>/dev/null)"
  exit 0
fi
pack() {{
  [ ! -f "$2" ] || [ "$(stat -c %s "$2")" -gt {MOST} ] || echo "$1 $(gzip -c "$2" | base64 | tr -d '
')"
}}
pack entries "$database"; pack snapshots "$snapshots"; pack records "$records"
"""


def parse(text: str) -> Known:
    """The fact in the fragment's output. A database that is written to just then may be torn: that is unknown."""
    found = dict(line.split(" ", 1) for line in text.splitlines() if " " in line)
    some = found.get("some")
    entries = _count(found.get("entries", ""), (b"devices",)) if some is None else int(some or 0)
    return Known(
        entries,
        _count(found.get("snapshots", ""), (b"v1", b"snapshots")),
        _records(found.get("records", "")),
        tuple(line.removeprefix("path ") for line in text.splitlines() if line.startswith("path ")),
    )


def _load(packed: str) -> Bucket | None:
    inflate = zlib.decompressobj(wbits=31)
    try:
        return load(inflate.decompress(base64.b64decode(packed, validate=True), MOST))
    except (binascii.Error, zlib.error, Broken):
        return None


def _at(bucket: Bucket | None, path: tuple[bytes, ...]) -> Bucket | None:
    found: bytes | Bucket | None = bucket
    for key in path:
        found = found.get(key) if isinstance(found, Bucket) else None
    return found if isinstance(found, Bucket) else None


def _count(packed: str, path: tuple[bytes, ...]) -> int | None:
    root = _load(packed) if packed else None
    if root is None:
        return None
    try:
        bucket = _at(root, path)
        return sum(1 for _ in bucket) if bucket else 0
    except Broken:
        return None


def _records(packed: str) -> int | None:
    root = _load(packed) if packed else None
    if root is None:
        return None
    try:
        spaces = _at(root, (b"v1",))
        named = (_at(space, (b"snapshots", b"devmapper")) for _, space in (spaces.buckets() if spaces else ()))
        return sum(sum(1 for _ in bucket) for bucket in named if bucket)
    except Broken:
        return None
