"""Devices that something may be written to: which they are, and everything on them and above them.

Nothing that lsblk says is believed alone: signatures are read from the disk itself, by two programs that each know some
that the other does not, the first and the last 4 MiB are read, whoever uses it is looked for in the whole machine, and
LVM is asked without its filters. The look is templates/pool/look.sh.j2.
"""

from __future__ import annotations

import re
from functools import cache
from typing import TYPE_CHECKING, TypeVar

import msgspec

from fabfile.render import render

if TYPE_CHECKING:
    from fabfile.facts import Query

IDENTITY = ("asked", "real", "number", "size", "sector", "read-only", "serial", "sequence")
"""The lines that say which disk it is: an empty disk has these, and itself as its only node."""

NAMES = ("model", "link")
"""Lines that are told of a disk when all are listed, and are not part of the look."""


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


class Physical(msgspec.Struct, frozen=True):
    """A physical volume of LVM's, as LVM shows it without filters."""

    number: str
    """Of the device: the disk or a partition of it."""
    uuid: str
    group: str = ""
    """Name; empty where it is in none."""
    group_uuid: str = ""
    group_attr: str = ""
    attr: str = ""
    system: str = ""
    """System ID of the host that the group belongs to."""


Part = TypeVar("Part", Node, Signature, Physical)


class Disk(msgspec.Struct, frozen=True):
    """A queried device; `real` is empty if it does not exist."""

    asked: str
    real: str = ""
    special: str = ""
    """What it is where it is no block device."""
    number: str = ""
    size: int = 0
    sector: int = 512
    """Logical, in bytes."""
    read_only: bool = False
    serial: str = ""
    nodes: tuple[Node, ...] = ()
    mounts: tuple[str, ...] = ()
    swaps: tuple[str, ...] = ()
    held: tuple[str, ...] = ()
    """What has it in a way that no device above it shows, such as a mounted btrfs of several devices."""
    root: bool = False
    """Something that the root file system is on."""
    multipath: bool = False
    exclusive: bool = False
    """Somebody has it open exclusively."""
    signatures: tuple[Signature, ...] = ()
    inside: dict[str, str] = {}
    """Kernel name of a partition → what is in it."""
    bytes: tuple[int, int] = (0, 0)
    """How many bytes of the first and of the last 4 MiB are not zero."""
    unreadable: tuple[str, ...] = ()
    """What reading those said."""
    opened: tuple[str, ...] = ()
    """Process id and name of whoever keeps it, or what is above it, open."""
    physical: tuple[Physical, ...] = ()
    lvm: tuple[str, ...] = ()
    """Why LVM would not take it."""
    model: str = ""
    links: tuple[str, ...] = ()
    """Its names in /dev/disk/by-id, told only when all disks are listed."""
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


@cache
def functions() -> str:
    """Shell functions: `look DEVICE` says all of it. The script that writes to a disk takes the same look again."""
    return render("pool/look.sh.j2")


ALL = """models=$(lsblk -n -r -o KNAME,MODEL)
links=$(find /dev/disk/by-id ! -name 'lvm-*' ! -name 'dm-*' -type l -printf '%p %l\n' 2>/dev/null | sort)
lsblk -n -p -r -e 1,11 -o NAME,TYPE |
  awk '$2 == "disk" || $2 == "part" { print $1 }' | sort -u | while read -r d; do
  look "$d" </dev/null
  while read -r of model; do [ "/dev/$of" != "$d" ] || echo "model $model"; done <<MODELS
$models
MODELS
  while read -r link to; do [ "${to##*/}" != "${d##*/}" ] || echo "link $link"; done <<LINKS
$links
LINKS
done"""
"""Look at every disk and partition, RAM disks (major number 1) and optical drives (11) left out."""


def fragment(query: Query) -> str:
    """Look at each of the query's devices, or at all that there are."""
    from fabfile.target import quote

    if query.all_disks:
        return f"{functions()}\n{ALL}"
    if not query.devices:
        return ":"
    return f'{functions()}\nfor d in {" ".join(map(quote, query.devices))}; do look "$d"; done'


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

    first, last, *_ = [*one("bytes").split(), "0", "0"]
    signatures = [_made(Signature, line.split(",", 2)) for line in found.get("signature", [])]
    known = {signature.type for signature in signatures if signature.offset}
    return Disk(
        asked=one("asked"),
        real=one("real"),
        special=one("special"),
        number=one("number"),
        size=int(one("size") or 0),
        sector=int(one("sector") or 512),
        read_only=one("read-only") == "1",
        serial=one("serial"),
        nodes=tuple(_made(Node, line.split()) for line in found.get("node", [])),
        mounts=tuple(found.get("mount", [])),
        swaps=tuple(found.get("swap", [])),
        held=tuple(found.get("held", [])),
        root="root" in found,
        multipath="multipath" in found,
        exclusive="exclusive" in found,
        signatures=tuple(s for s in signatures if s.offset or s.type not in known),
        inside=_inside(found.get("inside", [])),
        bytes=(int(first), int(last)),
        unreadable=tuple(found.get("unreadable", [])),
        opened=tuple(found.get("open", [])),
        physical=tuple(_made(Physical, line.split("|")) for line in found.get("pv", [])),
        lvm=tuple(found.get("lvm", [])),
        model=re.sub(r"\\x([0-9a-f]{2})", lambda found: chr(int(found[1], 16)), one("model")),
        links=tuple(found.get("link", [])),
        seen="\n".join(line for line in look if line.partition(" ")[0] not in NAMES),
    )


def _inside(lines: list[str]) -> dict[str, str]:
    """What is in each partition; of several things none hides another."""
    found: dict[str, str] = {}
    for line in lines:
        of, _, what = line.partition(" ")
        found[of] = f"{found[of]} {what}" if of in found else what
    return found


def _made(kind: type[Part], words: list[str]) -> Part:
    """The part of a look that `words` are the fields of."""
    try:
        return kind(*words)
    except TypeError as error:
        raise ValueError(f"{len(words)} words for a {kind.__name__}") from error
