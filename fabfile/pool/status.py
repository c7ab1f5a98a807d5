"""How full a pool is, and what it consists of."""

from __future__ import annotations

from fabfile import hints, sizes
from fabfile.errors import Failed
from fabfile.facts import Facts
from fabfile.output.answer import show
from fabfile.output.outcome import result
from fabfile.pool.health.finding import since
from fabfile.pool.health.findings import pool_findings
from fabfile.pool.lookup import find_pool
from fabfile.pool.maintain import metadata_copies
from fabfile.pool.maintain.actions import ManagedPool
from fabfile.pool.ownership import owner
from fabfile.remote.context import Context


def show_pool(c: Context, name: str, instance: str) -> None:
    """Print how full a pool is and what it consists of.

    Args:
        c: the machine.
        name: see `lookup.find_pool`.
        instance: see `lookup.find_pool`.

    Raises:
        Failed: the pool is down, or does not exist.
    """
    host, _, have = find_pool(c, name, instance)
    name = host.pool.dm_name
    result(have.pool)
    show("\n".join(describe(name, have)))
    if record := have.instances.pools.get(name):
        copies = metadata_copies.list_copies(c, ManagedPool(name, host.daemon, record, host.pool.dir))
        if copies:
            size = sizes.human(sum(size for _, size in copies))
            show(f"  kept      {len(copies)} copies of its metadata ({size}), left by repairs and restores")
            if have.pool.status and not have.units.unfinished:  # otherwise one of them may be the only sound metadata
                show(f"            → {hints.command('pool.kept', host.daemon, name, '--keep', 0)}")
    if not have.pool.status:
        if name in have.instances.pools:
            wrong = pool_findings(have, name)
            raise Failed(f"the pool {name} is down", "\n".join(one.found for one in wrong), hint=wrong[0].hint)
        others = [
            hints.command("pool.status", owner(other_record), other)
            for other, other_record in have.instances.pools.items()
        ]
        make = f"make one: {hints.command('deploy', host.daemon)}"
        raise Failed(f"no thin pool {name}", "dmsetup does not know it", hint="; or ".join(others) or make)


FULL = {"queue": "writers wait for space", "error": "writers get an error at once"}


def describe(name: str, have: Facts) -> list[str]:
    """Return the lines that describe a pool to an operator."""
    pool = have.pool
    if not pool.status or not pool.table:
        return [f"pool {name}: {state(name, have)}", *_wrong(have, name)]
    block = pool.table.block_sectors * sizes.SECTOR
    used, total = pool.status.used_data * block, pool.status.total_data * block
    meta = f"{sizes.human(pool.status.used_meta * 4096)} of {sizes.human(pool.status.total_meta * 4096)}"
    lines = [
        f"pool {name}: {state(name, have)}",
        f"  data      {sizes.human(used)} of {sizes.human(total)} ({percent(used, total)}), {sizes.show(block)} block",
        f"  metadata  {meta} ({percent(pool.status.used_meta, pool.status.total_meta)})",
        f"  at boot   {'yes' if pool.enabled else 'NO: its unit is not enabled'}",
        f"  when full {FULL[pool.table.when_full]}",
    ]
    if pool.data and pool.place:
        free = sizes.human(pool.place.free)
        lines.append(
            f"  on disk   {sizes.human(pool.data.allocated)}, {free} free on {pool.place.target} ({pool.place.type})"
        )
    if have.lvm and have.lvm.group:
        group = have.lvm.group
        room = sizes.human(group.free * group.extent)
        lines.append(f"  on disk   {' '.join(group.devices)}, {room} free in their volume group")
        volume = group.of_device(name)
        if volume:
            lines.append(
                f"  watched   {'yes' if volume.monitor == 'monitored' else 'NO: dmeventd does not monitor it'}"
            )
    return [*lines, *_last(have, name), *_wrong(have, name)]


def _last(have: Facts, name: str) -> list[str]:
    """When the pool was last checked, backed up and inspected by its monitor."""
    record, units = have.instances.pools.get(name), have.units
    if record is None:
        return []

    def ago(seconds: int | None, otherwise: str) -> str:
        return otherwise if seconds is None else f"{since(seconds)} ago"

    backup = hints.command("pool.backup", owner(record), name)
    lines = [
        f"  checked   {ago(units.checked, 'not since the boot')}",
        f"  backup    {ago(units.backup, f'none → {backup}')}",
    ]
    if record.monitored:
        lines.insert(0, f"  monitor   {ago(units.watched, 'not since the boot')}, to let it grow")
    return lines


def _wrong(have: Facts, name: str) -> list[str]:
    lines = []
    for wrong in pool_findings(have, name):
        lines += [f"  {wrong.result.upper():9} {wrong.found}", f"            → {wrong.hint}"]
    return lines


def state(name: str, have: Facts) -> str:
    """How a pool is, in a few words."""
    pool = have.pool
    if not pool.status or not pool.table:
        return "DOWN" if name in have.instances.pools else "none"
    needs_check = ", NEEDS CHECK" if pool.status.needs_check else ""
    return f"{pool.status.mode}{needs_check}{', SUSPENDED' if pool.suspended else ''}"


def percent(part: int, whole: int) -> str:
    """A part in percent of the whole."""
    return f"{100 * part / whole:.1f}%" if whole else "-"
