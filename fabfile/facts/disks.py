"""Disks that something may be written to: which they are, and everything on them and above them.

Nothing that lsblk says is believed alone: signatures are read from the disk itself, by two programs that each know some
that the other does not, and where they find none the first and the last 4 MiB are read.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from fabfile.facts import Query

LOOK = r"""
look() {
  [ -n "${roots+known}" ] || survey
  echo "asked $1"
  real=$(readlink -e -- "$1") || { echo absent; return 0; }
  echo "real $real"
  [ -b "$real" ] || { echo "special $(stat -c %F -- "$real")"; return 0; }
  nodes=$(lsblk -n -r -o MAJ:MIN,KNAME,NAME,TYPE,SERIAL,WWN "$real")
  read -r number kernel name type serial <<EOF
$nodes
EOF
  sys=/sys/dev/block/$number size=0 ro='' sequence=''
  read -r size <"$sys/size"
  read -r ro <"$sys/ro"
  [ ! -r "$sys/diskseq" ] || read -r sequence <"$sys/diskseq"
  size=$((size * 512))
  printf '%s\n' "number $number" "size $size" "read-only $ro" "serial $serial" "sequence $sequence" \
    "node $number $kernel $name $type"
  found=$(above; signatures)
  [ -n "$found" ] || found=$(content)
  [ -z "$found" ] || echo "$found"
}
# What the whole machine has mounted, in every mount namespace (a container's mounts are in use all the same), and as
# swap, and what its root file system is on.
survey() {
  spaces=$(find /proc/[0-9]*/ns/mnt -maxdepth 0 -printf '%l %p\n' 2>/dev/null |
    awk '!seen[$1]++ { sub("ns/mnt$", "mountinfo", $2); print $2 }')
  # shellcheck disable=SC2086
  mounts=$(cat $spaces 2>/dev/null | awk '{
    source = ""; for (i = 7; i < NF; i++) if ($i == "-") source = $(i + 2)
    if ($3 !~ /^0:/ || source ~ /^\/dev\//) print "mount", $3, source, $5 }' | sort -u
    awk 'NR > 1 { print "swap", "-", $1, $1 }' /proc/swaps)
  root=$(findmnt -n -o SOURCE /)
  roots=$(lsblk -s -n -r -o MAJ:MIN "${root%%\[*}" 2>/dev/null | tr -d ' ')
}
# Partitions, what is made of them, and how all that is used.
above() {
  printf '%s\n' "$nodes" -- "$mounts" | awk -v self="$number" '$1 == "--" { uses = 1; next }
    uses { if ($2 in of || $3 in of) print $1, $4; next }
    { of[$1]; of["/dev/" $2]; of["/dev/mapper/" $3]; if ($1 != self && !seen[$1]++) print "node", $1, $2, $3, $4 }'
  case "
$roots
" in *"
$number
"*) echo "root $root" ;; esac
  if udevadm info -q property -n "$real" 2>/dev/null | grep -qE '^(DM_MULTIPATH_DEVICE_PATH=1|ID_FS_TYPE=mpath_member)$'
  then echo multipath; fi
}
signatures() {
  wipefs -n -p -O TYPE,OFFSET,LABEL "$real" 2>&1 | sed '/^#/d; s/^/signature /'
  type=$(blkid -p -s TYPE -o value "$real" 2>/dev/null) || [ $? -ne 8 ] || type=ambivalent
  [ -z "$type" ] || echo "signature $type,,"
}
# Bytes that no program has a name for, whoever has it open (only those who keep it so), and what LVM would say.
content() {
  first=$({ head -c 4194304 "$real" || echo unreadable; } | tr -d '\000' | wc -c)
  last=$({ dd if="$real" bs=64K iflag=skip_bytes skip=$((size > 4194304 ? size - 4194304 : 0)) status=none ||
    echo unreadable; } | tr -d '\000' | wc -c)
  [ "$first$last" = 00 ] || echo "bytes $first $last"
  for try in 1 2 3; do
    open=$(find /proc/[0-9]*/fd -lname "$real" 2>/dev/null | cut -d/ -f3 | sort -u)
    if [ -z "$open" ] || [ "$try" -eq 3 ]; then break; fi
    sleep 0.5
  done
  for pid in $open; do echo "open $pid $(cat "/proc/$pid/comm")"; done
  if [ "$first$last" = 00 ] && command -v lvm >/dev/null; then
    said=$(LVM_SUPPRESS_FD_WARNINGS=1 lvm pvcreate --test "$real" </dev/null 2>&1) ||
      echo "$said" | sed '/^  TEST MODE/d; s/^ */lvm /'
  fi
}
"""
"""Shell functions: `look DEVICE` says all of it. The script that writes to a disk takes the same look again."""

IDENTITY = ("asked", "real", "number", "size", "read-only", "serial", "sequence")
"""The lines that say which disk it is: an empty disk has these, and itself as its only node."""


class Node(msgspec.Struct, frozen=True):
    """A block device: the disk, a partition, or what is made of them."""

    number: str
    kernel: str
    name: str
    type: str
    """As lsblk names it: disk, part, loop, lvm, crypt, mpath, raid1, …"""


class Signature(msgspec.Struct, frozen=True):
    """What is written on a disk."""

    type: str
    offset: str = ""
    label: str = ""


class Disk(msgspec.Struct, frozen=True):
    """A device that was asked for; `real` is empty where there is none."""

    asked: str
    real: str = ""
    special: str = ""
    """What it is where it is no block device."""
    number: str = ""
    size: int = 0
    read_only: bool = False
    serial: str = ""
    nodes: tuple[Node, ...] = ()
    mounts: tuple[str, ...] = ()
    swaps: tuple[str, ...] = ()
    root: bool = False
    """Something that the root file system is on."""
    multipath: bool = False
    signatures: tuple[Signature, ...] = ()
    bytes: tuple[int, int] = (0, 0)
    """How many bytes of the first and of the last 4 MiB are not zero; counted only where nothing else was found."""
    opened: tuple[str, ...] = ()
    """Process id and name of whoever keeps it open."""
    lvm: tuple[str, ...] = ()
    """Why LVM would not take it."""
    seen: str = ""
    """The whole look, as text: another look that differs is another state, or another disk."""

    @property
    def bare(self) -> str:
        """What a look will say once nothing is on it any more."""
        kept, nodes = [], 0
        for line in self.seen.splitlines():
            key = line.partition(" ")[0]
            nodes += key == "node"
            if key in IDENTITY or (key == "node" and nodes == 1):
                kept.append(line)
        return "\n".join(kept)


def fragment(query: Query) -> str:
    """Look at each of the query's devices."""
    from fabfile.target import quote

    if not query.devices:
        return ":"
    return f'{LOOK}\nfor d in {" ".join(map(quote, query.devices))}; do look "$d"; done'


def parse(text: str) -> tuple[Disk, ...]:
    """The disks, in the order in which they were asked for."""
    looks: list[list[str]] = []
    for line in filter(None, text.splitlines()):
        if line.startswith("asked "):
            looks.append([])
        looks[-1].append(line)
    return tuple(map(_disk, looks))


def _disk(look: list[str]) -> Disk:
    found: dict[str, list[str]] = {}
    for line in look:
        key, _, value = line.partition(" ")
        found.setdefault(key, []).append(value.strip())

    def one(key: str) -> str:
        return found.get(key, [""])[0]

    first, _, last = one("bytes").partition(" ")
    signatures = [Signature(*(line.split(",", 2))) for line in found.get("signature", [])]
    known = {signature.type for signature in signatures if signature.offset}
    return Disk(
        asked=one("asked"),
        real=one("real"),
        special=one("special"),
        number=one("number"),
        size=int(one("size") or 0),
        read_only=one("read-only") == "1",
        serial=one("serial"),
        nodes=tuple(Node(*line.split()) for line in found.get("node", [])),
        mounts=tuple(found.get("mount", [])),
        swaps=tuple(found.get("swap", [])),
        root="root" in found,
        multipath="multipath" in found,
        signatures=tuple(s for s in signatures if s.offset or s.type not in known),
        bytes=(int(first or 0), int(last or 0)),
        opened=tuple(found.get("open", [])),
        lvm=tuple(found.get("lvm", [])),
        seen="\n".join(look),
    )
