"""Traits by which hosts that should be alike are compared: versions, and the size and settings of the pool."""

from __future__ import annotations

from fabfile import sizes
from fabfile.facts import Facts
from fabfile.facts.record import LoopRecord, Record, variant
from fabfile.pool.limits import META_BLOCK


def of(have: Facts, pool: str) -> dict[str, str]:
    """Return the traits of a host, by name. It has the traits of a pool only if it has the pool.

    Args:
        have: facts of the machine.
        pool: name of the pool that `have.pool` is about.
    """
    found = {"system": f"{have.system.distribution} {have.system.version}", "kernel": have.system.kernel}
    found |= {name: versions.current or "none" for name, versions in have.versions.items()}
    recorded = have.instances.pools.get(pool)
    if recorded is None:
        return found | {"pool": "not managed" if have.pool.status else "none"} | _sizes(have, pool)
    return found | {"pool": variant(recorded)} | _settings(recorded) | _sizes(have, pool)


def _settings(recorded: Record) -> dict[str, str]:
    """Return the settings in a record, by their keys in hosts.toml; empty for a direct pool, which has them in LVM."""
    if not isinstance(recorded, LoopRecord):
        return {}
    most = sizes.show(recorded.max_bytes) if recorded.max_bytes else ""
    found = {"threshold": recorded.threshold, "percent": recorded.percent, "max_size": most}
    return {f"pool.{key}": str(value) for key, value in found.items() if value}


def _sizes(have: Facts, pool: str) -> dict[str, str]:
    base = next((one.base_image_size for one in have.instances.configs.values() if one.pool == pool), "")
    found = {"pool.base_image_size": base} if base else {}
    table, status = have.pool.table, have.pool.status
    if not table or not status:
        return found
    return found | {
        "pool.size": sizes.show(table.sectors * sizes.SECTOR),
        "pool.meta_size": sizes.show(status.total_meta * META_BLOCK),
        "pool.block_size": sizes.show(table.block_sectors * sizes.SECTOR),
        "pool.when_full": table.when_full,
    }
