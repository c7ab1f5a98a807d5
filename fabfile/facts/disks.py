"""Devices that may be written to: their identity, and everything on them and above them.

lsblk alone is not trusted. Signatures are read from the disk by two programs, each of which knows some that the other
does not; the first and last 4 MiB are read; users are searched for on the whole machine; and LVM is queried without its
filters. The script is templates/pool/inspect.sh.j2.
"""

from __future__ import annotations

import re
from functools import cache
from typing import TYPE_CHECKING, TypeVar

import msgspec

from fabfile.facts.prelude import LVM_WAIT
from fabfile.render import render

if TYPE_CHECKING:
    from fabfile.facts.query import Query

IDENTITY = ("asked", "real", "number", "size", "sector", "read-only", "serial", "sequence")
"""Keys of the lines that identify a disk; an empty disk has only these, and itself as its only node."""

NAMES = ("model", "link")
"""Keys of the lines that are printed only when all disks are listed, and are not part of the inspection."""


class Node(msgspec.Struct, frozen=True):
    """A block device: the disk, a partition, or something built on them."""

    number: str
    kernel: str
    name: str
    type: str
    """Type as `lsblk` prints it: disk, part, loop, lvm, crypt, mpath, raid1, …"""


class Signature(msgspec.Struct, frozen=True):
    """A signature on a disk."""

    type: str
    offset: str = ""
    label: str = ""


class Physical(msgspec.Struct, frozen=True):
    """A physical volume, as LVM shows it without filters."""

    number: str
    """Number of its device: the disk or a partition of it."""
    uuid: str
    group: str = ""
    """Name of its volume group; empty if it is in none."""
    group_uuid: str = ""
    group_attr: str = ""
    attr: str = ""
    system: str = ""
    """System ID of the host that the group belongs to."""


Part = TypeVar("Part", Node, Signature, Physical)


class Disk(msgspec.Struct, frozen=True):
    """An inspected device; `real` is empty if it does not exist."""

    asked: str
    real: str = ""
    special: str = ""
    """Type of the file, if it is not a block device."""
    number: str = ""
    size: int = 0
    sector: int = 512
    """Logical sector size in bytes."""
    read_only: bool = False
    serial: str = ""
    nodes: tuple[Node, ...] = ()
    mounts: tuple[str, ...] = ()
    swaps: tuple[str, ...] = ()
    held: tuple[str, ...] = ()
    """Users that show as no device above it, such as a mounted btrfs on several devices."""
    root: bool = False
    """The root file system is on it."""
    multipath: bool = False
    exclusive: bool = False
    """Something has it open exclusively."""
    signatures: tuple[Signature, ...] = ()
    inside: dict[str, str] = {}
    """Kernel name of a partition → its content."""
    bytes: tuple[int, int] = (0, 0)
    """Number of bytes that are not zero in its first and its last 4 MiB."""
    unreadable: tuple[str, ...] = ()
    """Errors of reading those."""
    opened: tuple[str, ...] = ()
    """Process id and name of each process that has it, or a device above it, open."""
    physical: tuple[Physical, ...] = ()
    lvm: tuple[str, ...] = ()
    """Why LVM would not use it."""
    model: str = ""
    links: tuple[str, ...] = ()
    """Its names in /dev/disk/by-id; only when all disks are listed."""
    seen: str = ""
    """The complete output of the inspection. If a later one differs, the disk changed, or is another one."""

    @property
    def bare(self) -> str:
        """What an inspection will print once the disk is empty."""
        kept, first_node = list[str](), True
        for line in self.seen.splitlines():
            key = line.partition(" ")[0]
            if key in IDENTITY or (key == "node" and first_node):
                kept.append(line)
            if key == "node":
                first_node = False
        return "\n".join(kept)


@cache
def functions() -> str:
    """Shell functions: `inspect DEVICE` inspects a disk. A script that writes to it calls it again right before."""
    return render("pool/inspect.sh.j2", lvm_wait=LVM_WAIT)


ALL = """models=$(lsblk -n -r -o KNAME,MODEL)
links=$(find /dev/disk/by-id ! -name 'lvm-*' ! -name 'dm-*' -type l -printf '%p %l\n' 2>/dev/null | sort)
lsblk -n -p -r -e 1,11 -o NAME,TYPE |
  awk '$2 == "disk" || $2 == "part" { print $1 }' | sort -u | while read -r d; do
  inspect "$d" </dev/null
  while read -r of model; do [ "/dev/$of" != "$d" ] || echo "model $model"; done <<MODELS
$models
MODELS
  while read -r link to; do [ "${to##*/}" != "${d##*/}" ] || echo "link $link"; done <<LINKS
$links
LINKS
done"""
"""Shell: inspect every disk and partition except RAM disks (major number 1) and optical drives (11)."""


def fragment(query: Query) -> str:
    """Inspect the devices of the query, or all of them."""
    from fabfile.shell import quote

    if query.all_disks:
        return f"{functions()}\n{ALL}"
    if not query.devices:
        return ""
    return f'{functions()}\nfor d in {" ".join(map(quote, query.devices))}; do inspect "$d"; done'


def parse(text: str) -> tuple[Disk, ...]:
    """Parse the inspections, in the order of the query."""
    inspections: list[list[str]] = []
    for line in filter(None, text.splitlines()):
        if line.startswith("asked "):
            inspections.append([])
        inspections[-1].append(line)
    return tuple(map(_disk, inspections))


def _disk(lines: list[str]) -> Disk:
    found: dict[str, list[str]] = {}
    for line in lines:
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
        seen="\n".join(line for line in lines if line.partition(" ")[0] not in NAMES),
    )


def _inside(lines: list[str]) -> dict[str, str]:
    """Map each partition to all that is in it."""
    found: dict[str, str] = {}
    for line in lines:
        part, _, what = line.partition(" ")
        found[part] = f"{found[part]} {what}" if part in found else what
    return found


def _made(kind: type[Part], words: list[str]) -> Part:
    """Build a part of an inspection from its fields.

    Raises:
        ValueError: the number of fields is wrong.
    """
    try:
        return kind(*words)
    except TypeError as error:
        raise ValueError(f"{len(words)} words for a {kind.__name__}") from error
