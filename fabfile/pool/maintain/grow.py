"""Enlarge a pool of either variant, data or metadata, while containers write to it."""

from __future__ import annotations

from collections.abc import Sequence

from fabfile import inventory, sizes
from fabfile.converge import converge
from fabfile.output.outcome import Outcome
from fabfile.pool import variants
from fabfile.pool.health import stated
from fabfile.pool.limits import Growth
from fabfile.pool.lookup import find_pool
from fabfile.remote.context import Context


def enlarge_pool(
    c: Context,
    name: str,
    instance: str,
    *,
    size: str,
    meta_size: str,
    device: Sequence[str],
    wipe: Sequence[str],
) -> list[Outcome]:
    """Enlarge a pool.

    Args:
        c: the machine.
        name: see `lookup.find_pool`.
        instance: see `lookup.find_pool`.
        size: new size of the data device; empty: unchanged.
        meta_size: new size of the metadata device; empty: what the data needs.
        device: disks to add to a direct pool's volume group.
        wipe: those of them whose content may be destroyed.

    Raises:
        Pending: with --dry, if anything would change.
        Refused: the pool cannot grow, a size is less than the present one, or a disk cannot be used.
    """
    host, _, have = find_pool(c, name, instance, ("instances",))
    record = have.instances.pools.get(host.pool.dm_name)
    variant = variants.of(record) if record else variants.LOOP
    asked = Growth(size, meta_size, tuple(device), tuple(wipe))
    outcomes = converge(c, [variant.grow(host, asked)])
    given = {key: getattr(asked, key) for key in variant.sized_by if getattr(asked, key)}
    differ = {key: value for key, value in given.items() if value != getattr(host.pool, key)}
    most = host.pool.max_size
    if "size" in differ and most and sizes.parse(most) < sizes.parse(size):
        differ["max_size"] = size  # a deploy refuses a limit below the pool's size
    changed = any(outcome.status == "changed" for outcome in outcomes)
    if changed and differ and host.pool.dm_name == inventory.of(c, instance).pool.dm_name:
        stated.note(host.instance, differ, "a reinstalled host then gets the same")
    return outcomes
