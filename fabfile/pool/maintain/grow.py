"""Make a pool of either variant larger, data or metadata, while containers write to it."""

from __future__ import annotations

from collections.abc import Sequence

from fabfile import inventory
from fabfile.console import say
from fabfile.context import Context
from fabfile.converge import converge
from fabfile.outcome import Outcome
from fabfile.pool import variants
from fabfile.pool.limits import Growth
from fabfile.pool.lookup import look


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
    """Make a pool larger, of either variant.

    Args:
        c: the machine.
        name: see `lookup.look`.
        instance: see `lookup.look`.
        size: of the data device then; empty: as it is.
        meta_size: of the metadata device then; empty: what the data needs.
        device: disks that a direct pool's volume group gets.
        wipe: those of them whose content may be destroyed.

    Raises:
        Pending: with --dry, if anything would change.
    """
    host, _, have = look(c, name, instance)
    record = have.instances.pools.get(host.pool.dm_name)
    variant = variants.of(record) if record else variants.LOOP
    asked = Growth(size, meta_size, tuple(device), tuple(wipe))
    outcomes = converge(c, [variant.grow(host, asked)])
    now = {key: (getattr(asked, key), getattr(host.pool, key)) for key in variant.sized_by}
    differ = [f'{key} = "{then}"' for key, (then, before) in now.items() if then and then != before]
    changed = any(outcome.status == "changed" for outcome in outcomes)
    if changed and differ and host.pool.dm_name == inventory.of(c, instance).pool.dm_name:
        say(f"set {', '.join(differ)} in its pool in {inventory.load().file}: a reinstalled machine gets that then")
    return outcomes
