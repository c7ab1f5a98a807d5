"""What containerd's databases list although there is no pool, or nothing on it: they belong to another pool."""

from __future__ import annotations

import base64
import binascii
import zlib
from typing import TYPE_CHECKING

import msgspec

from fabfile.bolt import Broken, Bucket, load

if TYPE_CHECKING:
    from fabfile.facts.query import Query

MOST = 64 << 20
"""Limit for the size of a database in bytes."""


class DatabaseCounts(msgspec.Struct, frozen=True):
    """Counts of what the databases list; null if not counted, or not readable."""

    entries: int | None = None
    """Devices in the pool's database. If the pool has blocks in use, only whether there are any: 1 or 0."""
    snapshots: int | None = None
    """Snapshots in the snapshotter's database."""
    records: int | None = None
    """Snapshots of this snapshotter in containerd's own database."""
    paths: tuple[str, ...] = ()
    """Paths of the databases that exist."""
    blocks: int | None = None
    """Blocks in use in the pool; null if there is no pool, or if it became empty, or got its first block, while the
    databases were read."""


def fragment(query: Query) -> str:
    """Print all databases if the pool has no record or no block in use; otherwise only whether there is any device."""
    from fabfile.shell import quote

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
used() {{
  # shellcheck disable=SC2046 # its words
  set -- $(dmsetup status --noflush "$name" 2>/dev/null)
  case ${{3-}}/${{6-}} in thin-pool/[0-9]*/*) echo "${{6%%/*}}" ;; esac
}}
used=$(used)
if [ -r "$conf" ] && [ "${{used:-1}}" != 0 ]; then
  [ -n "$used" ] || exit 0
  some=$(grep -c -a -m 1 '"device_id"' "$database" 2>/dev/null || :)
  # containerd frees the blocks of its last snapshot before it removes the entry: both may have happened since.
  [ "${{some:-0}}" != 0 ] || used=$(used)
  echo "some $some"
  [ "${{used:-0}}" = 0 ] || echo "used $used"
  exit 0
fi
pack() {{
  [ ! -f "$2" ] || [ "$(stat -c %s "$2")" -gt {MOST} ] || echo "$1 $(gzip -c "$2" | base64 | tr -d '
')"
}}
pack entries "$database"; pack snapshots "$snapshots"; pack records "$records"
[ -z "$used" ] || [ "$(used)" != "$used" ] || echo "used $used"
"""


def parse(text: str) -> DatabaseCounts:
    """Parse the fragment's output. A database that is being written to may be inconsistent, and counts as unknown."""
    found = dict(line.split(" ", 1) for line in text.splitlines() if " " in line)
    some = found.get("some")
    entries = _count(found.get("entries", ""), (b"devices",)) if some is None else int(some or 0)
    return DatabaseCounts(
        entries,
        _count(found.get("snapshots", ""), (b"v1", b"snapshots")),
        _records(found.get("records", "")),
        tuple(line.removeprefix("path ") for line in text.splitlines() if line.startswith("path ")),
        int(found["used"]) if "used" in found else None,
    )


def _load(packed: str) -> Bucket | None:
    inflate = zlib.decompressobj(wbits=31)
    try:
        return load(inflate.decompress(base64.b64decode(packed, validate=True), MOST))
    except (binascii.Error, zlib.error, Broken):
        return None


def _count(packed: str, path: tuple[bytes, ...]) -> int | None:
    root = _load(packed) if packed else None
    if root is None:
        return None
    try:
        bucket = root.find(*path)
        return sum(1 for _ in bucket) if bucket else 0
    except Broken:
        return None


def _records(packed: str) -> int | None:
    root = _load(packed) if packed else None
    if root is None:
        return None
    try:
        spaces = root.find(b"v1")
        named = (space.find(b"snapshots", b"devmapper") for _, space in (spaces.buckets() if spaces else ()))
        return sum(sum(1 for _ in bucket) for bucket in named if bucket)
    except Broken:
        return None
