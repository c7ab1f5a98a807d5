"""What is wrong with a pool, and the way out: for pool.status and doctor."""

from __future__ import annotations

from typing import Literal

import msgspec

from fabfile import sizes
from fabfile.facts import Facts
from fabfile.facts.pool import Pool, Status
from fabfile.steps.pool import files, lost, thin


class Advice(msgspec.Struct, frozen=True):
    """One thing that is wrong."""

    what: str
    result: Literal["warn", "fail"]
    found: str
    hint: str


def advice(have: Facts, name: str) -> list[Advice]:
    """What is wrong with the pool `name`, worst first; nothing for one that is well, or not there.

    What the kernel does when it is full, and what that means for containers, is in docs/full-pools.md.
    """
    pool = have.pool
    missing = [Advice("pool files", "fail", loss.found, lost.RESCUE) for loss in lost.losses(have, name)]
    if not pool.status or not pool.table:
        return missing
    loop = have.instances.pools.get(name, {}).get("VARIANT", "loop") == "loop"
    found = [*missing, *_mode(have, pool, pool.status, files.unit(name))]
    if pool.warning and not found:
        found.append(Advice("pool growth", "warn", pool.warning, f"{more_data(have)}; or {FREE}"))
    if name in have.instances.pools and loop and not pool.monitor:
        timer = files.monitor(name)
        found.append(
            Advice("pool growth", "warn", f"{timer} does not run: the pool does not grow by itself", "pool.loop")
        )
    return found


FREE = "remove images and containers, then pool.trim"

RESTART = "restart the containers that got errors"
"""Until it is mounted again, a file system that got errors may stay read-only, or show files wrong that are not."""


def _mode(have: Facts, pool: Pool, status: Status, unit: str) -> list[Advice]:
    if status.mode in ("Fail", "Error"):
        found = "the kernel has given it up: nothing is read or written"
        return [Advice("pool", "fail", found, "pool.check, and what it says")]
    if status.needs_check:
        found = "an error while its metadata was written: read-only until it was checked"
        hint = f"stop containerd, make room under the pool, systemctl restart {unit}, which checks it; else pool.repair"
        return [Advice("pool", "fail", found, hint)]
    if status.mode == "ro":
        used, total = status.used_meta, status.total_meta
        found = f"its metadata is full ({used} of {total} blocks): read-only, writes fail"
        return [Advice("pool", "fail", found, f"{more_metadata(have)}, then {RESTART}")]
    if status.mode == "out_of_data_space":
        then = f", then {RESTART}" if status.when_full == "error" else ""
        hint = f"{more_data(have)}{then}; or {FREE}"
        return [Advice("pool", "fail", f"its data is full: {_waiting(pool, status)}", hint)]
    return []


def _waiting(pool: Pool, status: Status) -> str:
    assert pool.table is not None
    if status.when_full != "error":
        if pool.no_space_timeout == 0:
            return "writers wait until there is space"
        return f"writers wait, for {pool.no_space_timeout or 60} s, and then get errors"
    if pool.table.when_full == "queue":
        return "writers have waited in vain: writes fail now"
    return "writes fail"


def more_metadata(have: Facts) -> str:
    """The command that doubles the metadata of a pool that is there."""
    assert have.pool.status is not None
    double = min(2 * have.pool.status.total_meta * thin.META_BLOCK, thin.META_MOST)
    return f"pool.grow --meta-size {sizes.show(double)}"


def more_data(have: Facts) -> str:
    """The command that gives a pool that is there a fifth more, and what it takes where that has no room."""
    pool, group = have.pool, have.lvm.group if have.lvm else None
    assert pool.table is not None
    now = pool.table.sectors * sizes.SECTOR
    size = f"--size {-(-now * 6 // 5 // sizes.MIB)}M"
    if group and group.free * group.extent < now // 5:
        return f"pool.grow --device DEV {size}, as its group has {sizes.human(group.free * group.extent)} free"
    if pool.place and pool.data and pool.place.free < now * 6 // 5 - pool.data.allocated:
        free = sizes.human(pool.place.free)
        return f"make room on {pool.place.target}, which has {free} free, then pool.grow {size}"
    return f"pool.grow {size}"
