"""All disks, partitions and volume groups, and whether pool.direct would accept them."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from fabfile import sizes
from fabfile.console import say
from fabfile.errors import Refused
from fabfile.facts import Facts, gather
from fabfile.facts.disks import Disk
from fabfile.facts.query import Query
from fabfile.facts.volume_group import VolumeGroup
from fabfile.output.answer import show
from fabfile.output.outcome import result
from fabfile.pool.health import visibility
from fabfile.pool.lvm import volume_group as group_module
from fabfile.pool.safety import disk_checks
from fabfile.remote.context import Context


class Offer(msgspec.Struct, frozen=True):
    """A disk, partition or volume group, and everything that forbids a pool on it."""

    name: str
    """Stable name of a disk, or the kernel's if it has none; name of a volume group."""
    kind: str
    """`disk`, `part` or `group`."""
    size: int
    """In bytes; of a volume group, what is free."""
    against: tuple[str, ...] = ()
    """Reasons, worded as in the refusal; empty: it is available."""
    wipe: bool = False
    """Whether its content is the only reason, so that `--wipe` overrides it."""
    device: str = ""
    model: str = ""
    serial: str = ""
    sector: int = 0

    @property
    def verdict(self) -> str:
        """The verdict in a word or two."""
        return "available" if not self.against else "only with --wipe" if self.wipe else "no"


def offers(have: Facts) -> list[Offer]:
    """List disks and partitions by name, then volume groups."""
    every = have.lvm.every if have.lvm else ()
    return [*map(_disk, sorted(have.disks, key=lambda disk: disk.real)), *(_group(have, group) for group in every)]


def _disk(disk: Disk) -> Offer:
    found = disk_checks.obstacles(disk)
    return Offer(
        name=next(iter(disk.links), disk.real),
        kind=disk.nodes[0].type if disk.nodes else "",
        size=disk.size,
        against=tuple(obstacle.what for obstacle in found),
        wipe=bool(found) and all(obstacle.weight == "content" for obstacle in found),
        device=disk.real,
        model=disk.model,
        serial=disk.serial,
        sector=disk.sector,
    )


def _group(have: Facts, group: VolumeGroup) -> Offer:
    assert have.lvm
    against = group_module.against(have.lvm, group)
    twins = sum(other.name == group.name for other in have.lvm.every)
    try:
        group_module.check_name(group.name, "pool.vg")
    except Refused as no:
        against.insert(0, f"{no.what}: {no.details}")
    if twins > 1:
        against.insert(0, f"{twins} volume groups are named {group.name}")
    free = (group.free - group.closed_free) * group.extent
    if free < disk_checks.LEAST:
        against.append(f"too little is free: {sizes.human(free)}, at least {sizes.show(disk_checks.LEAST)}")
    return Offer(name=group.name, kind="group", size=free, against=tuple(against), device=" ".join(group.devices))


def table(found: Sequence[Offer]) -> str:
    """Format a line for each, followed by the reasons against it."""
    lines = []
    for offer in found:
        what = f"on {offer.device}" if offer.kind == "group" else " ".join(filter(None, [offer.device, offer.model]))
        free = " free" if offer.kind == "group" else ""
        lines.append(f"{offer.kind:6} {offer.name}  {sizes.human(offer.size)}{free}  {what}: {offer.verdict}")
        lines += [f"         {reason}" for reason in offer.against]
    return "\n".join(lines) or "no disk and no volume group"


def show_candidates(c: Context) -> None:
    """Print every disk, partition and volume group, and whether a pool can be created on it."""
    have = gather(c, Query(all_disks=True, only=("lvm", "disks")))
    found = offers(have)
    result(found)
    show(table(found))
    if why := visibility.unasked(have.lvm):
        say(f"volume groups are not listed: {why[0]} → {why[1]}")
