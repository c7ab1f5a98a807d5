"""One thin pool and what is under it: device-mapper table and status, files, loop devices, file system and volume."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import msgspec

from fabfile.facts import under
from fabfile.facts.under import BackingVolume, Loop

if TYPE_CHECKING:
    from fabfile.facts.query import Query


class Status(msgspec.Struct, frozen=True):
    """The pool's line of `dmsetup status`. Metadata blocks have 4 KiB, data blocks the pool's block size."""

    used_meta: int
    total_meta: int
    used_data: int
    total_data: int
    mode: str
    """`rw`, `ro`, `out_of_data_space`, or `Fail`."""
    needs_check: bool
    when_full: str = ""
    """Current treatment of writes that find no space: `queue` or `error`; queueing ends after `no_space_timeout`."""
    transaction: int = 0
    """The pool's transaction id."""


class Table(msgspec.Struct, frozen=True):
    """The pool's line of `dmsetup table`."""

    target: str
    sectors: int
    meta: str = ""
    data: str = ""
    """Device numbers, such as `7:1`."""
    block_sectors: int = 0
    low_water: int = 0
    when_full: str = "queue"
    """Configured treatment of writes that find no space: `queue` or `error`."""
    features: tuple[str, ...] = ()
    """Optional features, the words at the end of the line."""


class Backing(msgspec.Struct, frozen=True):
    """A file under the pool."""

    size: int
    allocated: int
    """Bytes that it takes on the file system."""
    used: bool
    """For metadata: its first 4 KiB, the superblock, are not all zero."""
    loops: tuple[str, ...] = ()
    """Numbers of the loop devices on it."""
    device: str = ""
    """Device number of the file system that it is on, which differs after each boot."""
    inode: int = 0


class Place(msgspec.Struct, frozen=True):
    """The file system of the pool's directory, or of its nearest existing parent."""

    type: str
    target: str
    """Its mount point, with blanks as `\\x20`."""
    free: int
    uuid: str = ""
    read_only: bool = False
    """It is mounted read-only."""


class Pool(msgspec.Struct, frozen=True):
    """A thin pool and what is under it."""

    table: Table | None = None
    status: Status | None = None
    data: Backing | None = None
    meta: Backing | None = None
    data_loop: Loop | None = None
    meta_loop: Loop | None = None
    """The loop devices in the kernel's table, or else those still attached to the pool's files, deleted or not."""
    place: Place | None = None
    missing: int = 0
    """Number of components at the end of the directory's path that do not exist."""
    volume: BackingVolume | None = None
    suspended: bool = False
    """Suspended by `dmsetup suspend`, so all I/O waits."""
    uuid: str = ""
    """Device mapper's UUID; of an LVM volume `LVM-`, the UUIDs of group and volume without hyphens, and a suffix."""
    active: bool = False
    changing: str = ""
    """State of its unit or its monitor, if that is still starting or stopping after `prelude.WAIT` seconds."""
    enabled: bool = False
    monitor: bool = False
    """The timer of its monitor is active."""
    stale: bool = False
    """systemd has loaded older versions of its units than are on disk."""
    warning: str = ""
    """The monitor's warning."""
    no_space_timeout: int | None = None
    """Seconds for which the kernel queues writes to a full pool; 0: indefinitely."""


GROWING = r"""
measure() {
  [ -z "$table" ] || status=$(dmsetup status "$name" 2>/dev/null)
  [ $# -eq 0 ] || files=$(stat -c 'file %s %b %B %d %i %n' "$@")
}
# While the pool grows, under its own lock, its files are longer than its devices. Seen at that moment, or with a table
# read before, this would look like an interrupted growth.
growing() {
  data=0 meta=0
  while read -r _ size _ _ _ _ path; do case $path in */data) data=$size ;; */meta) meta=$size ;; esac; done <<FILES
$files
FILES
  # shellcheck disable=SC2086 # their words
  set -- $table
  [ $# -ge 6 ] && [ "$3" = thin-pool ] || return 1
  sectors=$2 block=$6
  # shellcheck disable=SC2086
  set -- $status
  [ $# -ge 6 ] || return 1
  total=${5#*/}
  [ "$data" -ge $(((sectors + block) * 512)) ] || [ "$meta" -ge $(((total + 1) * 4096)) ]
}
"""
"""Shell functions: get the status of the pool and the sizes of its files, and tell whether it is growing right now."""


def fragment(query: Query) -> str:
    """Query the kernel about the pool `query.pool`, and the directory `query.dir`."""
    from fabfile.shell import quote

    name, dir, volume = quote(query.pool), quote(query.dir), quote(query.volume)
    return rf"""
name={name} dir={dir} volume={volume}
# A pool of ours has its directory in its record.
DATA='' conf=/etc/devmapper-pool/$name.conf
# shellcheck source=/dev/null
[ ! -r "$conf" ] || . "$conf"
[ -z "$DATA" ] || dir=${{DATA%/*}}
table=''
while read -r pool rest; do [ "$pool" != "$name:" ] || table=$rest; done <<POOLS
$pools
POOLS
# A device with another target: names as in the kernel, since udev's links appear later.
[ -n "$table" ] || for f in /sys/block/dm-*/dm/name; do
  if read -r other <"$f" && [ "$other" = "$name" ]; then table=$(dmsetup table "$name" 2>/dev/null); fi
done 2>/dev/null
set --
for f in data meta; do [ ! -f "$dir/$f" ] || set -- "$@" "$dir/$f"; done
{GROWING}files='' status='' lock=/run/devmapper-pool/$name.lock
measure "$@"
if growing && [ -e "$lock" ] && flock -s -w 20 "$lock" true; then
  table=$(dmsetup table "$name" 2>/dev/null)
  measure "$@"
fi
if [ -n "$table" ]; then
  printf 'table %s\nstatus %s\n' "$table" "$status"
  info=$held # empty if it has another target
  [ -n "$info" ] || info=$(dmsetup info -c --noheadings --separator : -o suspended,major,minor,uuid "$name" 2>/dev/null)
  echo "info ${{info%%:*}} ${{info#*:*:*:}}"
fi
[ -z "$files" ] || echo "$files"
if [ $# -gt 0 ]; then
  case $(od -An -v -N4096 -tx1 "$dir/meta" 2>/dev/null) in *[1-9a-f]*) echo "used yes" ;; esac
fi
{under.LOOPS}missing=0
while [ ! -d "$dir/" ] && [ "$dir" != "${{dir%/*}}" ]; do dir=${{dir%/*}} missing=$((missing + 1)); done
[ "$missing" = 0 ] || echo "missing $missing"
place=$(findmnt -n -r -b -o FSTYPE,AVAIL,TARGET,UUID -T "$dir/")
echo "place ${{place##*"$nl"}}" # of mounts on each other, the last one is seen
# Root can write unless the file system is mounted read-only; after an error, ext4 may only refuse to open its files.
if [ -f "$dir/data" ]; then {{ true >>"$dir/data"; }} 2>/dev/null; else [ -w "$dir/" ]; fi || echo "read_only yes"
unit 2 ActiveState; echo "active $value"; unit 3 ActiveState; echo "monitor $value"; way 3; way 2
unit 2 NeedDaemonReload; stale=$value; unit 3 NeedDaemonReload
case $stale$value in *yes*) echo "stale yes" ;; esac
[ ! -L "/etc/systemd/system/multi-user.target.wants/devmapper-pool@$name.service" ] || echo "enabled yes"
if [ -r "/run/devmapper-pool/$name.warning" ]; then echo "warning $(cat "/run/devmapper-pool/$name.warning")"; fi
timeout=/sys/module/dm_thin_pool/parameters/no_space_timeout
if [ -r "$timeout" ] && read -r seconds <"$timeout"; then echo "no_space_timeout $seconds"; fi
{under.VOLUME}"""


def parse(text: str) -> Pool:
    """Parse the fragment's output."""
    found: dict[str, list[str]] = {}
    files: dict[str, list[int]] = {}
    loops: list[Loop] = []
    for line in text.splitlines():
        key, *values = line.split()
        if key == "file":
            files[line.rpartition("/")[2]] = [int(value) for value in values[:5]]
        elif key == "loop":
            loops.append(under.loop(values))
        else:
            found[key] = values
    place = found.get("place") or []
    table = parse_table(found["table"]) if found.get("table") else None
    directory = " ".join(found.get("directory", []))
    return Pool(
        table=table,
        status=parse_status(found["status"]) if found.get("status") else None,
        data=_backing(files.get("data"), loops, used=False),
        meta=_backing(files.get("meta"), loops, used="used" in found),
        data_loop=under.on(loops, table.data if table else "", f"{directory}/data"),
        meta_loop=under.on(loops, table.meta if table else "", f"{directory}/meta"),
        place=Place(place[0], place[2], int(place[1]), "".join(place[3:]), "read_only" in found)
        if len(place) >= 3
        else None,
        missing=int(found.get("missing", ["0"])[0]),
        volume=under.volume(found) if {"group", "suspended", "busy"} & found.keys() else None,
        suspended=found.get("info", [""])[:1] == ["Suspended"],
        uuid=" ".join(found.get("info", [])[1:]),
        active=found.get("active") == ["active"],
        changing=" ".join(found.get("changing", [])),
        enabled="enabled" in found,
        monitor=found.get("monitor") == ["active"],
        stale="stale" in found,
        warning=" ".join(found.get("warning", [])),
        no_space_timeout=int(found["no_space_timeout"][0]) if found.get("no_space_timeout") else None,
    )


def parse_table(words: list[str]) -> Table:
    """Parse `0 209715200 thin-pool 7:1 7:0 128 32768 …`, or the line of another target."""
    _, sectors, target, *rest = words
    if target != "thin-pool":
        return Table(target, int(sectors))
    when_full = "error" if "error_if_no_space" in rest[5:] else "queue"
    return Table(target, int(sectors), rest[0], rest[1], int(rest[2]), int(rest[3]), when_full, tuple(rest[5:]))


def parse_status(words: list[str]) -> Status | None:
    """Parse the status line, whose end older kernels leave out; None if the target is not thin-pool."""
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
        transaction=int(rest[0]),
    )  # fmt: skip


def _backing(numbers: list[int] | None, loops: list[Loop], *, used: bool) -> Backing | None:
    """The file with `numbers` (size, blocks, bytes per block, device, inode), and the loop devices on its inode."""
    if not numbers:
        return None
    size, blocks, block, number, inode = numbers
    if number >> 64:
        raise ValueError(f"{number} is not a device number")
    device = f"{os.major(number)}:{os.minor(number)}"
    this = tuple(loop.number for loop in loops if (loop.device, loop.inode) == (device, inode))
    return Backing(size, blocks * block, used, this, device, inode)
