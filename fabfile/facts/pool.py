"""One thin pool and what it stands on: dm table and status, files, loop devices, the file system, the volume."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from fabfile.facts import Query


class Status(msgspec.Struct, frozen=True):
    """The pool's line of `dmsetup status`; blocks of 4 KiB for metadata, of the pool's block size for data."""

    used_meta: int
    total_meta: int
    used_data: int
    total_data: int
    mode: str
    """`rw`, `ro`, `out_of_data_space`, or `Fail`."""
    needs_check: bool
    when_full: str = ""
    """What it does now with writes that find no space: `queue` or `error`; queueing ends after no_space_timeout."""


class Table(msgspec.Struct, frozen=True):
    """The pool's line of `dmsetup table`."""

    target: str
    sectors: int
    meta: str = ""
    data: str = ""
    """Device numbers, `7:1`."""
    block_sectors: int = 0
    low_water: int = 0
    when_full: str = "queue"
    """What it should do with writes that find no space: `queue` or `error`."""


class Backing(msgspec.Struct, frozen=True):
    """A file under the pool."""

    size: int
    allocated: int
    """Bytes on the file system."""
    used: bool
    """Its first 4 KiB hold something: for metadata, a superblock."""
    loops: tuple[str, ...] = ()
    """Device numbers of the loop devices on it."""


class Place(msgspec.Struct, frozen=True):
    """The file system that the pool's directory is, or would be, on."""

    type: str
    target: str
    free: int


class Volume(msgspec.Struct, frozen=True):
    """The logical volume under the directory, as far as it is there."""

    group_free: int | None = None
    """Bytes; None where there is no such volume group."""
    size: int | None = None
    filesystem: str = ""
    mounted: str = ""


class Pool(msgspec.Struct, frozen=True):
    """A thin pool and what it stands on."""

    table: Table | None = None
    status: Status | None = None
    data: Backing | None = None
    meta: Backing | None = None
    place: Place | None = None
    volume: Volume | None = None
    active: bool = False
    enabled: bool = False
    monitor: bool = False
    """The timer that grows it runs."""
    warning: str = ""
    """What the monitor says."""
    no_space_timeout: int | None = None
    """Seconds for which the kernel queues writes to a full pool; 0: for ever."""


def fragment(query: Query) -> str:
    """Ask the kernel about the pool `query.pool` and the directory `query.dir`."""
    from fabfile.target import quote

    name, dir, volume = quote(query.pool), quote(query.dir), quote(query.volume)
    return rf"""
name={name} dir={dir} volume={volume}
# A pool of ours knows where it is.
DATA='' conf=/etc/devmapper-pool/$name.conf
# shellcheck source=/dev/null
[ ! -r "$conf" ] || . "$conf"
[ -z "$DATA" ] || dir=${{DATA%/*}}
if command -v dmsetup >/dev/null && grep -qs device-mapper /proc/misc; then
  dmsetup table "$name" 2>/dev/null | sed 's/^/table /'
  dmsetup status "$name" 2>/dev/null | sed 's/^/status /'
fi
for f in data meta; do
  [ -f "$dir/$f" ] || continue
  echo "$f $(stat -c '%s %b %B' "$dir/$f") $(head -c 4096 "$dir/$f" | tr -d '\000' | wc -c)"
  losetup -n -O MAJ:MIN -j "$dir/$f" | while read -r l; do echo "loop_$f $l"; done
done
while [ ! -d "$dir" ]; do dir=$(dirname "$dir"); done
df -B1 --output=fstype,avail,target "$dir" | sed -n '2s/^/place /p'
echo "active $(unit 2 ActiveState)"; echo "monitor $(unit 3 ActiveState)"
[ ! -L "/etc/systemd/system/multi-user.target.wants/devmapper-pool@$name.service" ] || echo "enabled yes"
[ ! -r "/run/devmapper-pool/$name.warning" ] || echo "warning $(cat "/run/devmapper-pool/$name.warning")"
timeout=/sys/module/dm_thin_pool/parameters/no_space_timeout
[ ! -r "$timeout" ] || echo "no_space_timeout $(cat "$timeout")"
[ -n "$volume" ] && command -v lvs >/dev/null || exit 0
echo "group $(vgs --noheadings --nosuffix --units b -o vg_free "${{volume%/*}}" 2>/dev/null)"
echo "volume $(lvs --noheadings --nosuffix --units b -o lv_size "$volume" 2>/dev/null)"
[ ! -e "/dev/$volume" ] || echo "filesystem $(blkid -p -s TYPE -o value "/dev/$volume")"
echo "mounted $(findmnt -n -o TARGET -S "/dev/$volume" | head -n 1)"
"""


def parse(text: str) -> Pool:
    """The fact in the fragment's output."""
    found: dict[str, list[str]] = {}
    loops: dict[str, list[str]] = {"data": [], "meta": []}
    for line in text.splitlines():
        key, *values = line.split()
        if key.startswith("loop_"):
            loops[key.removeprefix("loop_")].append(values[0])
        else:
            found[key] = values
    place = found.get("place") or []
    return Pool(
        table=parse_table(found["table"]) if found.get("table") else None,
        status=parse_status(found["status"]) if found.get("status") else None,
        data=_backing(found.get("data"), loops["data"]),
        meta=_backing(found.get("meta"), loops["meta"]),
        place=Place(place[0], " ".join(place[2:]), int(place[1])) if len(place) >= 3 else None,
        volume=_volume(found) if "group" in found else None,
        active=found.get("active") == ["active"],
        enabled="enabled" in found,
        monitor=found.get("monitor") == ["active"],
        warning=" ".join(found.get("warning", [])),
        no_space_timeout=int(found["no_space_timeout"][0]) if found.get("no_space_timeout") else None,
    )


def parse_table(words: list[str]) -> Table:
    """`0 209715200 thin-pool 7:1 7:0 128 32768 …`, or the line of another target."""
    _, sectors, target, *rest = words
    if target != "thin-pool":
        return Table(target, int(sectors))
    when_full = "error" if "error_if_no_space" in rest[5:] else "queue"
    return Table(target, int(sectors), rest[0], rest[1], int(rest[2]), int(rest[3]), when_full)


def parse_status(words: list[str]) -> Status | None:
    """The status line; older kernels leave out its tail. None for another target than thin-pool."""
    _, _, target, *rest = words
    if target != "thin-pool":
        return None
    if len(rest) < 5:
        return Status(0, 0, 0, 0, " ".join(rest), needs_check=False)
    used_meta, _, total_meta = rest[1].partition("/")
    used_data, _, total_data = rest[2].partition("/")
    full = {"error_if_no_space": "error", "queue_if_no_space": "queue"}
    return Status(
        int(used_meta), int(total_meta), int(used_data), int(total_data), rest[4],
        needs_check="needs_check" in rest,
        when_full=next((full[word] for word in rest if word in full), ""),
    )  # fmt: skip


def _backing(words: list[str] | None, loops: list[str]) -> Backing | None:
    if not words:
        return None
    size, blocks, block, used = map(int, words)
    return Backing(size, blocks * block, used > 0, tuple(loops))


def _volume(found: dict[str, list[str]]) -> Volume:
    def number(key: str) -> int | None:
        return int(float(found[key][0])) if found.get(key) else None

    return Volume(
        number("group"), number("volume"), " ".join(found.get("filesystem", [])), " ".join(found.get("mounted", []))
    )
